"""Accepts TLS clients: a seat first, then the handshake. Without a seat there is none.

The event loop's own server shakes hands before anybody hears of a client, so strangers who never finish would be in no
cap, and could take the files that the store needs. Knows the listening socket and seats; must not know TLS itself.
"""

import asyncio
import logging
import socket
import ssl
from typing import Final

from amply.broker.server.connection import address_of
from amply.broker.server.hall import Hall
from amply.broker.server.handshake import Handshake

# How long nobody is let in after the system had no file or memory for one more: without it the loop would spin.
PAUSE_S: Final = 0.25

log = logging.getLogger(__name__)


class Doorkeeper:
    """Lets clients in from `listening` until `close`; it has `close` and `wait_closed` as an `asyncio.Server` has."""

    def __init__(self, hall: Hall, listening: socket.socket, tls: ssl.SSLContext) -> None:
        self._hall = hall
        self._listening = listening
        self._tls = tls
        self._loop = asyncio.get_running_loop()
        self._shaking: set[asyncio.Task[None]] = set()
        self._pause: asyncio.TimerHandle | None = None
        self._has_complained = False
        listening.setblocking(False)
        self._watch()

    def close(self) -> None:
        """Accept no more. Handshakes under way are guests of the hall, and end with it."""
        if self._listening.fileno() < 0:
            return  # closed before
        if self._pause is not None:
            self._pause.cancel()
        self._loop.remove_reader(self._listening)
        self._listening.close()

    async def wait_closed(self) -> None:
        """Until no handshake is under way."""
        await asyncio.gather(*self._shaking)

    def _watch(self) -> None:
        self._pause = None
        self._loop.add_reader(self._listening, self._accept)

    def _accept(self) -> None:
        """Accept one. The others wait for the next turn of the loop, so that a crowd keeps nobody else waiting."""
        try:
            accepted, peer = self._listening.accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            return  # it is gone again
        except OSError as error:
            self._rest(error)
            return
        self._has_complained = False
        address = address_of(peer)
        if not self._hall.has_seat(address):
            accepted.close()
            return
        accepted.setblocking(False)
        handshake = self._loop.create_task(Handshake(self._hall, accepted, address).shake(self._tls))
        self._shaking.add(handshake)
        handshake.add_done_callback(self._shaking.discard)

    def _rest(self, error: OSError) -> None:
        if not self._has_complained:
            self._has_complained = True
            log.error("cannot accept connections (%s); trying again until it works", error)
        self._loop.remove_reader(self._listening)
        self._pause = self._loop.call_later(PAUSE_S, self._watch)
