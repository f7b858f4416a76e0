"""A client that is connected and has not agreed on TLS yet: it has a seat like any other, and ten seconds.

Knows the seat and the TLS handshake. Must not know what comes after it: that is the `Connection`, which gets the seat.
"""

import asyncio
import contextlib
import socket
import ssl

from amply.broker.server.connection import HEADER_DEADLINE_S, Connection
from amply.broker.server.hall import Hall


class Handshake:
    """A guest of the hall, from accept until the handshake has succeeded or failed. There must be a seat for it.

    `accepted` does not block. It is the event loop's from now on, which closes it.
    """

    is_seated = True

    def __init__(self, hall: Hall, accepted: socket.socket, address: str) -> None:
        self._hall = hall
        self._accepted = accepted
        self.address = address
        hall.enter(self)

    async def shake(self, tls: ssl.SSLContext) -> None:
        """Agree on TLS. Afterwards a `Connection` has the seat, or nobody."""
        loop = asyncio.get_running_loop()
        try:
            # Strangers fail in a dozen ways, and each is their own affair.
            with contextlib.suppress(OSError):
                await loop.connect_accepted_socket(
                    lambda: Connection(self._hall, self),
                    self._accepted,
                    ssl=tls,
                    ssl_handshake_timeout=HEADER_DEADLINE_S,
                )
        finally:
            if self in self._hall.guests:
                self._hall.leave(self)

    def check_deadline(self, now_s: float) -> None:
        """The event loop keeps the handshake's deadline."""

    def drain(self) -> None:
        """No request can have been made."""
        self.abort()

    def abort(self) -> None:
        # The event loop has the transport and gives it to nobody yet. It takes the end of the bytes for the client's,
        # and closes; cancelling it, it forgets transports of which it was not told itself (asyncio, Python 3.11).
        with contextlib.suppress(OSError):  # the client was faster
            self._accepted.shutdown(socket.SHUT_RDWR)
