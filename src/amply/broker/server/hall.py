"""What all connections of one listener share: the handler, the caps, the time, the `date` line, and who is connected.

One timer of the listener calls `tick` about every second; deadlines are kept there and nowhere else, so a connection
costs no timer. Knows no sockets and no HTTP.
"""

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import Final, Protocol

from amply.broker.server.answer import date_line
from amply.broker.wire.http import Request, Response

# Connections above the cap that may be told so (503) at the same time; the rest is dropped without a word.
OVERFLOW_MAX: Final = 128

Respond = Callable[[Response], bool]
"""Gives the answer, once, from the event loop's thread, within the handler or any time later.

True: the bytes are with the kernel or in the bounded send buffer of a connection that was alive. False: the client is
gone (it closed, reset, or half-closed), or this request was answered or cancelled before; nothing was sent, and what
the answer hands out (received messages) must be taken back. A hang-up that the event loop has not seen yet is noticed
for requests whose handler gave a `Cancel`: the others have nothing to take back."""

Cancel = Callable[[], None]
"""Told once when the client went away, or the server stops by force, before the answer was given."""

Handler = Callable[[Request, Respond], Cancel | None]
"""Takes a request. It must not block; what it raises is answered with 500 and closes the connection."""


class Guest(Protocol):
    """A connection, or its TLS handshake, as the hall sees it. What it says of itself does not change after `enter`."""

    address: str  # the IP address at the other end
    is_seated: bool  # served; the others are only told that they are not

    def check_deadline(self, now_s: float) -> None:
        """End what took too long."""

    def drain(self) -> None:
        """Leave as soon as no answer is owed."""

    def abort(self) -> None:
        """Leave now."""


class Hall:
    """`now` is a monotonic clock in seconds, `wall_ms` the wall clock. `closing`: no further request is taken.

    Without a wall clock the answers carry no `date` (RFC 9110 6.6.1). `held_bytes` is what all connections
    together hold of requests that are not complete; each of them adds and takes off its own.
    """

    def __init__(
        self,
        handler: Handler,
        *,
        now: Callable[[], float],
        wall_ms: Callable[[], int] | None,
        max_body_bytes: int,
        max_connections: int,
        max_per_address: int,
        max_held_bytes: int,
    ) -> None:
        self.handler = handler
        self.now = now
        self.max_body_bytes = max_body_bytes
        self.max_held_bytes = max_held_bytes
        self.held_bytes = 0
        self.closing = False
        self.date = b""
        self.guests: set[Guest] = set()
        self.empty = asyncio.Event()
        self.empty.set()
        self._max_connections = max_connections
        self._max_per_address = max_per_address
        self._seated = 0
        self._seated_from: Counter[str] = Counter()
        self._wall_ms = wall_ms
        self._renew_date()

    def has_seat(self, address: str) -> bool:
        """Whether one more connection from there is served."""
        return self._seated < self._max_connections and self._seated_from[address] < self._max_per_address

    def has_standing_room(self) -> bool:
        """Whether one more connection may at least be told that there is no seat."""
        return len(self.guests) - self._seated < OVERFLOW_MAX

    def enter(self, guest: Guest) -> None:
        self.guests.add(guest)
        self.empty.clear()
        if guest.is_seated:
            self._seated += 1
            self._seated_from[guest.address] += 1

    def leave(self, guest: Guest) -> None:
        self.guests.discard(guest)
        if guest.is_seated:
            self._seated -= 1
            self._seated_from[guest.address] -= 1
            if not self._seated_from[guest.address]:
                del self._seated_from[guest.address]
        if not self.guests:
            self.empty.set()

    def succeed(self, guest: Guest, successor: Guest) -> None:
        """The seat of `guest` is `successor`'s, who is from the same address; in between it is nobody else's."""
        self.guests.remove(guest)
        self.guests.add(successor)

    def tick(self) -> None:
        """Renew the `date` line and end what took too long."""
        self._renew_date()
        now_s = self.now()
        for guest in list(self.guests):
            guest.check_deadline(now_s)

    def _renew_date(self) -> None:
        if self._wall_ms is not None:
            self.date = date_line(self._wall_ms() / 1000)
