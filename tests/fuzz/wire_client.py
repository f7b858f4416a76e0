"""A client on a connection without a network: every byte, every moment, and the end are in a test's hand."""

import asyncio
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from amply.broker.server.connection import AHEAD_MAX_BYTES, IDLE_DEADLINE_S, Connection
from amply.broker.server.hall import Hall
from amply.broker.server.hosts import HostCheck
from amply.broker.server.reader import PIPELINE_MAX
from amply.broker.server.side_door import SideDoor
from amply.broker.service import observation

if TYPE_CHECKING:
    from world import World

MAX_BODY_BYTES = 300
_HEAD = re.compile(rb"HTTP/1\.1 (\d{3}) [^\r\n]*\r\n((?:[^\r\n]+\r\n)*)\r\n")
_LENGTH = re.compile(rb"content-length: (\d+)\r\n")


class Wire(asyncio.Transport):
    """A transport whose other end is memory."""

    def __init__(self, loop: asyncio.AbstractEventLoop, connection: Connection) -> None:
        super().__init__()
        self._loop = loop
        self._connection = connection
        self._unread = bytearray()  # sent by the client while the server does not read
        self._reads = True
        self._closing = False
        self.is_lost = False
        self.written = bytearray()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return {"socket": self, "peername": ("127.0.0.1", 50_000)}.get(name, default)

    def getsockopt(self, *_: int) -> bytes:
        return b"\1"  # established, says the kernel

    def arrive(self, data: bytes) -> None:
        """What the client sends, as soon as the server reads."""
        self._unread += data
        self._deliver()

    def hang_up(self) -> None:
        """The client closes."""
        if not self._closing and not self._connection.eof_received():
            self.close()

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """The client decides when the buffer is full."""

    def write(self, data: Any) -> None:
        if not self._closing:
            self.written += data

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        """Nothing more will come."""

    def is_closing(self) -> bool:
        return self._closing

    def is_reading(self) -> bool:
        return self._reads

    def pause_reading(self) -> None:
        self._reads = False

    def resume_reading(self) -> None:
        self._reads = True
        self._loop.call_soon(self._deliver)

    def _deliver(self) -> None:
        if self._reads and self._unread and not self._closing:
            data, self._unread = bytes(self._unread), bytearray()
            self._connection.data_received(data)

    def close(self) -> None:
        if not self._closing:
            self._closing = True
            self._loop.call_soon(self._lose)

    def abort(self) -> None:
        self.close()

    def _lose(self) -> None:
        self.is_lost = True
        self._connection.connection_lost(None)


class HttpClient:
    """A client of a world's broker."""

    def __init__(self, world: "World") -> None:
        self._world = world
        self._now_s = 1000.0
        self._hall = Hall(
            HostCheck(SideDoor(world.front, lambda: observation.readiness(world.service)), ("x",)),
            now=lambda: self._now_s,
            wall_ms=None,
            max_body_bytes=MAX_BODY_BYTES,
            max_connections=1,
            max_per_address=1,
            max_held_bytes=MAX_BODY_BYTES,
        )
        self._connection = Connection(self._hall)
        self._wire = Wire(world.loop, self._connection)
        self._longest = 0
        self._happens(self._connection.connection_made, self._wire)

    def send(self, data: bytes) -> None:
        self._longest = max(self._longest, len(data))
        self._happens(self._wire.arrive, data)

    def stop_reading(self) -> None:
        self._happens(self._connection.pause_writing)

    def read_on(self) -> None:
        self._happens(self._connection.resume_writing)

    def hang_up(self) -> None:
        """The client is gone; nothing waits for it any more."""
        self._happens(self._wire.hang_up)
        if any(view.parked_polls for view in observation.queue_views(self._world.service)):
            raise RuntimeError("a poll of nobody is parked")

    def pass_time(self, seconds: float) -> None:
        self._now_s += seconds
        self._happens(self._hall.tick)
        self._happens(self._world.advance, seconds)

    def end(self) -> None:
        """The client goes silent; whatever it left behind, the connection ends, and its answers can be read."""
        for _ in range(8):  # more than all deadlines together, and a long poll
            self.pass_time(IDLE_DEADLINE_S / 2)
        if not self._wire.is_lost or self._hall.guests or self._hall.held_bytes:
            raise RuntimeError(f"the connection is still there: {self._connection._stage!r}")
        check_answers(bytes(self._wire.written))

    def _happens(self, event: Callable[..., object], *arguments: object) -> None:
        """In the event loop; then the broker does what it can, and holds no more than it may."""
        self._world.loop.call_soon(event, *arguments)
        self._world.settle()
        connection = self._connection
        reader = connection._reader
        if len(connection._ahead) > AHEAD_MAX_BYTES + self._longest or len(reader.arrived) > PIPELINE_MAX:
            raise RuntimeError("the connection holds too much of what was sent ahead")
        if reader.body_bytes > MAX_BODY_BYTES + self._longest:
            raise RuntimeError("the connection holds too much of a body")


def check_answers(data: bytes) -> None:
    """Whole answers, one behind the other, none of them a failure of ours."""
    at = 0
    while at < len(data):
        head = _HEAD.match(data, at)
        if head is None:
            raise RuntimeError(f"no answer begins with {data[at : at + 80]!r}")
        status = int(head[1])
        if status >= 500 and status != 505:
            raise RuntimeError(f"the answer is {data[at : at + 400]!r}")
        length = _LENGTH.search(head[2])
        if (length is None) != (status == 100):
            raise RuntimeError(f"an answer of unknown length: {head[0]!r}")
        at = head.end() + (int(length[1]) if length else 0)
    if at != len(data):
        raise RuntimeError("the last answer is cut short")
