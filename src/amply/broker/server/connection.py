"""One client's connection: its requests one after the other, their answers, its deadlines, its end.

Knows when to read, to answer, to wait and to hang up. Does not know what is a valid request (`reader`), what an answer
looks like (`answer`), or what a request means (the handler).
"""

import asyncio
import logging
import socket
from enum import IntEnum, auto
from functools import partial
from math import inf
from typing import Final, cast

from amply.broker.server.answer import CLOSE, CONTINUE, KEEP, refusal, render
from amply.broker.server.hall import Cancel, Guest, Hall
from amply.broker.server.reader import RequestReader
from amply.broker.wire.http import Request, Response

HEADER_DEADLINE_S: Final = 10.0
BODY_DEADLINE_S: Final = 30.0
BODY_RATE_MIN_BYTES_PER_S: Final = 1024
# A small body may come in two parts; its average speed means something only after a while.
BODY_RATE_GRACE_S: Final = 5.0
IDLE_DEADLINE_S: Final = 75.0
WRITE_DEADLINE_S: Final = 30.0
# How long a refused client may go on sending: closing at once would reset the connection under the refusal.
LINGER_S: Final = 2.0

# Above this, no further request of the connection is handled until the peer reads.
SEND_BUFFER_MAX_BYTES: Final = 64 * 1024
# A request that is longer than this may be refused while the unfinished requests of all connections are too much.
SMALL_REQUEST_BYTES: Final = 64 * 1024
# Requests sent ahead while one is being answered; above it reading stops, and with it the notice of a hang-up.
AHEAD_MAX_BYTES: Final = 64 * 1024

_TCP_INFO: Final[int | None] = getattr(socket, "TCP_INFO", None)
_TCP_ESTABLISHED: Final = 1  # first byte of Linux' tcp_info: the state

_INTERNAL_FAILURE: Final = refusal(500, "InternalFailure", "The request processing has failed: see the broker's log.")
_TOO_SLOW: Final = refusal(408, "RequestTimeout", "The request did not arrive in time.")
_NO_SEAT: Final = refusal(503, "ServiceUnavailable", "Too many connections.")
_NO_ROOM: Final = refusal(503, "ServiceUnavailable", "Too many large requests are on their way. Try again.")

log = logging.getLogger(__name__)


class _Stage(IntEnum):
    IDLE = auto()  # nothing of the next request is here
    HEAD = auto()
    BODY = auto()
    ANSWERING = auto()  # the handler owes an answer, in its own time
    ANSWERED = auto()  # what comes next has not been looked at yet
    CHOKED = auto()  # the peer does not read its answers
    LEAVING = auto()  # nothing more is read or answered


_DEADLINES_S: Final = {
    _Stage.IDLE: IDLE_DEADLINE_S,
    _Stage.HEAD: HEADER_DEADLINE_S,
    _Stage.BODY: BODY_DEADLINE_S,
    _Stage.CHOKED: WRITE_DEADLINE_S,
    _Stage.LEAVING: WRITE_DEADLINE_S,
}


class Connection(asyncio.Protocol):
    """A client, from accept to close; served by `hall.handler`, one request at a time.

    With TLS it starts after the `handshake`, a seated guest of the hall, whose seat and address it takes over.
    """

    __slots__ = (
        "_ahead",
        "_cancel",
        "_choked",
        "_deadline_s",
        "_hall",
        "_handshake",
        "_held_bytes",
        "_line",
        "_reader",
        "_refusal",
        "_serial",
        "_stage",
        "_taking_turns",
        "_transport",
        "address",
        "is_seated",
    )

    _transport: asyncio.Transport

    def __init__(self, hall: Hall, handshake: Guest | None = None) -> None:
        self._hall = hall
        self._handshake = handshake
        self._reader = RequestReader(hall.max_body_bytes)
        self._stage = _Stage.IDLE
        self._deadline_s = inf
        self._ahead = bytearray()
        self._refusal: Response | None = None
        self._serial = 0  # of the request being answered, so that a late answer does not meet the next one
        self._line = KEEP
        self._cancel: Cancel | None = None
        self._taking_turns = False
        self._choked = False
        self._held_bytes = 0  # what of `hall.held_bytes` is ours
        self.address = ""
        self.is_seated = False

    # What the event loop calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        hall = self._hall
        is_welcome = self._enter() if self._handshake is None else self._enter_after(self._handshake)
        self._reader.peer = self.address
        if not is_welcome:
            self.abort()
            return
        self._transport.set_write_buffer_limits(high=SEND_BUFFER_MAX_BYTES)
        self._deadline_s = hall.now() + HEADER_DEADLINE_S
        if not self.is_seated:
            self._refuse(_NO_SEAT)

    def data_received(self, data: bytes) -> None:
        stage = self._stage
        if stage is _Stage.IDLE or stage is _Stage.HEAD or stage is _Stage.BODY:
            self._refusal = self._reader.feed(data)
            self._take_turns()
        elif stage is not _Stage.LEAVING:
            self._ahead += data
            if len(self._ahead) > AHEAD_MAX_BYTES:
                self._transport.pause_reading()

    def eof_received(self) -> None:
        """A client that closes, or half-closes, waits for nothing. Returning None closes the transport."""
        self._forget()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - closed or reset, the client is gone
        self._forget()
        self._hall.leave(self)

    def pause_writing(self) -> None:
        self._choked = True

    def resume_writing(self) -> None:
        self._choked = False
        if self._stage is _Stage.CHOKED:
            self._take_turns()

    def _enter(self) -> bool:
        """Whether there is a seat, or room to be told that there is none."""
        hall = self._hall
        self.address = address_of(self._transport.get_extra_info("peername"))
        self.is_seated = not hall.closing and hall.has_seat(self.address)
        standing_room = not hall.closing and hall.has_standing_room()
        hall.enter(self)
        return self.is_seated or standing_room

    def _enter_after(self, handshake: Guest) -> bool:
        self._handshake = None
        self.address, self.is_seated = handshake.address, handshake.is_seated
        self._hall.succeed(handshake, self)
        return not self._hall.closing

    # What the hall calls.

    def check_deadline(self, now_s: float) -> None:
        stage = self._stage
        if now_s < self._deadline_s:
            if stage is _Stage.BODY and self._trickles(now_s):
                self._refuse(_TOO_SLOW)
        elif stage is _Stage.HEAD or stage is _Stage.BODY:
            self._refuse(_TOO_SLOW)
        elif stage is _Stage.IDLE:
            self._leave()
        else:
            self.abort()

    def drain(self) -> None:
        if self._stage is not _Stage.ANSWERING:
            self._leave()

    def abort(self) -> None:
        self._forget()
        self._transport.abort()

    # Turns: one request is handled, its answer is written, then the next.

    def _take_turns(self) -> None:
        """Go on until an answer is owed or bytes are needed."""
        reader = self._reader
        self._taking_turns = True
        while self._stage is not _Stage.ANSWERING and self._stage is not _Stage.LEAVING:
            if self._choked:
                self._wait(_Stage.CHOKED)
                break
            if reader.arrived:
                self._handle(*reader.arrived.popleft())
            elif self._refusal is not None:
                self._refuse(self._refusal)
            elif self._ahead:
                self._read_ahead()
            else:
                self._wait_for_bytes()
                break
        self._taking_turns = False

    def _handle(self, request: Request, line: bytes) -> None:
        self._serial += 1
        self._line = line
        self._stage = _Stage.ANSWERING
        self._deadline_s = inf
        if self._held_bytes:
            self._hold(0)  # what is complete is the handler's, which has bounds of its own
        try:
            cancel = self._hall.handler(request, partial(self._respond, self._serial))
        except Exception:
            log.exception("a request handler failed; its connection is closed")
            if self._stage is _Stage.ANSWERING:
                self._refuse(_INTERNAL_FAILURE)
            else:
                self._leave()
        else:
            if self._stage is _Stage.ANSWERING:
                self._cancel = cancel

    def _respond(self, serial: int, response: Response) -> bool:
        """`Respond` of one request."""
        if self._stage is not _Stage.ANSWERING or serial != self._serial:
            return False
        transport, hall = self._transport, self._hall
        cancel, self._cancel = self._cancel, None
        # An answer within the handler's call cannot have missed a hang-up; a later one can. Asking the kernel costs as
        # much as handling a small request, so only those are asked about for whom a hang-up makes a difference.
        if transport.is_closing() or (cancel is not None and not self._is_connected()):
            self.abort()
            return False
        line = CLOSE if hall.closing else self._line
        self._stage = _Stage.ANSWERED
        transport.write(render(response, line, hall.date))
        if transport.is_closing():
            self._forget()  # the write itself met the reset
            return False
        if line is CLOSE:
            self._leave()
        elif not self._taking_turns:
            self._look_on()
        return True

    def _look_on(self) -> None:
        """After an answer that was given later: the next request must not start inside the caller of `Respond`."""
        if self._choked or self._reader.arrived or self._refusal is not None or self._ahead:
            asyncio.get_running_loop().call_soon(self._take_turns)
        else:
            self._wait_for_bytes()

    def _read_ahead(self) -> None:
        data = bytes(self._ahead)
        self._ahead.clear()
        if len(data) > AHEAD_MAX_BYTES:
            self._transport.resume_reading()
        self._refusal = self._reader.feed(data)

    def _is_connected(self) -> bool:
        """What the kernel says, which knows of a FIN or reset before the event loop does. True where it cannot tell."""
        if _TCP_INFO is None:
            return True
        try:
            state = self._transport.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, _TCP_INFO, 1)
        except OSError:
            return False
        return bool(state[0] == _TCP_ESTABLISHED)

    # Waiting and leaving.

    def _wait(self, stage: _Stage) -> None:
        """Enter a stage with its deadline; staying in one does not extend it."""
        if self._stage is not stage:
            self._stage = stage
            self._deadline_s = self._hall.now() + _DEADLINES_S[stage]

    def _wait_for_bytes(self) -> None:
        reader = self._reader
        if not (reader.in_body or reader.in_head):
            self._wait(_Stage.IDLE)
            return
        self._hold(reader.unfinished_bytes)
        if self._held_bytes > SMALL_REQUEST_BYTES and self._hall.held_bytes > self._hall.max_held_bytes:
            self._refuse(_NO_ROOM)
            return
        self._wait(_Stage.BODY if reader.in_body else _Stage.HEAD)
        if reader.awaits_continue:
            reader.awaits_continue = False
            self._transport.write(CONTINUE)

    def _hold(self, size_bytes: int) -> None:
        self._hall.held_bytes += size_bytes - self._held_bytes
        self._held_bytes = size_bytes

    def _trickles(self, now_s: float) -> bool:
        elapsed_s = now_s - (self._deadline_s - BODY_DEADLINE_S)
        return elapsed_s > BODY_RATE_GRACE_S and self._reader.body_bytes < elapsed_s * BODY_RATE_MIN_BYTES_PER_S

    def _refuse(self, response: Response) -> None:
        """Give a last answer, and let the client read it before the connection goes."""
        transport = self._transport
        self._forget()
        if transport.is_closing():
            return
        transport.write(render(response, CLOSE, self._hall.date))
        if not transport.can_write_eof():  # TLS has no half-closed connections
            transport.close()
            return
        transport.write_eof()
        transport.resume_reading()
        self._deadline_s = self._hall.now() + LINGER_S

    def _leave(self) -> None:
        """Close when what was answered is sent."""
        self._forget()
        self._transport.close()

    def _forget(self) -> None:
        """Nothing more is read or answered; the handler is told if it still owes an answer."""
        cancel, self._cancel = self._cancel, None
        self._wait(_Stage.LEAVING)
        self._hold(0)
        self._refusal = None
        self._ahead.clear()
        self._reader.arrived.clear()
        if cancel is not None:
            try:
                cancel()
            except Exception:
                log.exception("a request's cancel failed")


def address_of(peer: tuple[object, ...] | None) -> str:
    """The IP address of a socket's peer, empty if it is gone; an IPv4 one in its own form, also on an IPv6 socket."""
    return str(peer[0]).removeprefix("::ffff:") if peer else ""
