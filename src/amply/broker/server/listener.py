"""The open port: binds, accepts, keeps the sweep timer going, and closes in order.

Knows sockets and the event loop. Does not know HTTP, nor which addresses may be bound: the caller decides that.
"""

import asyncio
import errno
import logging
import os
import resource
import socket
import ssl
from collections.abc import Callable
from functools import partial
from typing import Final

from amply.broker.server.connection import Connection
from amply.broker.server.doorkeeper import Doorkeeper
from amply.broker.server.hall import OVERFLOW_MAX, Hall, Handler
from amply.errors import AmplyError

# What the largest legal request can take. The messages of a request are 1 MiB together, bodies and attributes. JSON may
# write a character of one byte as \u00xx, six times its size; in a form, text can grow to three times its size, and
# bytes to four, as base64 with every character escaped. Names, ids and the queue's URL take the rest.
MAX_BODY_BYTES: Final = 6 * 1024 * 1024 + 256 * 1024
MAX_CONNECTIONS: Final = 10_000
# Nobody takes every seat. Half of them are more than any one machine's workers need.
MAX_CONNECTIONS_PER_ADDRESS: Final = MAX_CONNECTIONS // 2
# Bodies that are on their way, of all connections together: forty of the largest.
MAX_HELD_BYTES: Final = 256 * 1024 * 1024
# Open files that are not connections: the store's, the log's, the listening socket, and room to accept and refuse.
OTHER_FILES: Final = 64 + OVERFLOW_MAX
SWEEP_EVERY_S: Final = 1.0
BACKLOG: Final = 1024

KEEPALIVE_IDLE_S: Final = 30
KEEPALIVE_EVERY_S: Final = 10
KEEPALIVE_PROBES: Final = 3

log = logging.getLogger(__name__)


class Listener:
    """The endpoint on one address: `await start()`, later `await stop(grace_s)`; not to be started twice.

    `now` is a monotonic clock in seconds (the event loop's unless given); all deadlines of connections run on it.
    `wall_ms` gives the `date` of the answers; without it they carry none. With `tls` nothing but TLS is spoken.
    """

    def __init__(
        self,
        handler: Handler,
        host: str,
        port: int,
        *,
        max_body_bytes: int = MAX_BODY_BYTES,
        max_connections: int = MAX_CONNECTIONS,
        max_per_address: int = MAX_CONNECTIONS_PER_ADDRESS,
        max_held_bytes: int = MAX_HELD_BYTES,
        now: Callable[[], float] | None = None,
        wall_ms: Callable[[], int] | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._handler = handler
        self._host = host
        self._port = port
        self._max_body_bytes = max_body_bytes
        self._max_connections = max_connections
        self._max_per_address = max_per_address
        self._max_held_bytes = max_held_bytes
        self._now = now
        self._wall_ms = wall_ms
        self._tls = tls
        self._hall: Hall | None = None
        self._server: asyncio.Server | Doorkeeper | None = None
        self._sweep: asyncio.TimerHandle | None = None

    @property
    def connections(self) -> int:
        """How many clients are connected, with those who are in a TLS handshake."""
        return len(self._hall.guests) if self._hall else 0

    async def start(self) -> int:
        """Listen; returns the port, which the system chooses for port 0. Raises AmplyError when it cannot."""
        loop = asyncio.get_running_loop()
        self._hall = Hall(
            self._handler,
            now=self._now or loop.time,
            wall_ms=self._wall_ms,
            max_body_bytes=self._max_body_bytes,
            max_connections=_seats(self._max_connections),
            max_per_address=self._max_per_address,
            max_held_bytes=self._max_held_bytes,
        )
        listening = _bind(self._host, self._port)
        try:
            if self._tls is None:
                factory = partial(Connection, self._hall)
                self._server = await loop.create_server(factory, sock=listening, backlog=BACKLOG)
            else:
                self._server = Doorkeeper(self._hall, listening, self._tls)
        except BaseException:
            listening.close()
            raise
        self._sweep = loop.call_later(SWEEP_EVERY_S, self._sweep_again)
        return int(listening.getsockname()[1])

    def sweep(self) -> None:
        """End what took too long. Runs about every second by itself."""
        if self._hall is not None:
            self._hall.tick()

    async def stop(self, grace_s: float) -> None:
        """Accept no more, close what is idle, wait up to `grace_s` for the answers owed, then close everything.

        Parked long polls are answers owed: whoever parked them releases them first. After it nothing is connected, and
        every handler has given its answer or was told by its `Cancel`.
        """
        hall, server = self._hall, self._server
        if hall is None or server is None:
            return
        hall.closing = True
        server.close()
        for guest in list(hall.guests):
            guest.drain()
        try:
            await asyncio.wait_for(hall.empty.wait(), grace_s)
        except TimeoutError:
            for guest in list(hall.guests):
                guest.abort()
            await hall.empty.wait()
        if self._sweep is not None:
            self._sweep.cancel()
        await server.wait_closed()
        self._server = None

    def _sweep_again(self) -> None:
        self._sweep = asyncio.get_running_loop().call_later(SWEEP_EVERY_S, self._sweep_again)
        self.sweep()


def _seats(wanted: int) -> int:
    """How many connections can be served without taking the store its files.

    The soft limit on open files is raised as far as that needs and the hard one allows.
    """
    files = wanted + OTHER_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < files:
        raised = files if hard == resource.RLIM_INFINITY else min(files, hard)
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (raised, hard))
        except (OSError, ValueError):  # some systems have another limit below the hard one
            raised = soft
        if raised < files:
            seats = max(1, raised - OTHER_FILES)
            log.warning("%d connections at most: the limit on open files is %d (`ulimit -n`)", seats, raised)
            return seats
    return wanted


def _bind(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listening = socket.create_server((host, port), family=family, backlog=BACKLOG)  # sets SO_REUSEADDR on POSIX
    except OSError as error:
        raise _cannot_listen(host, port, error) from error
    # Accepted sockets inherit these from the listening one, which saves five system calls a connection.
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    timeout_ms = (KEEPALIVE_IDLE_S + KEEPALIVE_EVERY_S * KEEPALIVE_PROBES) * 1000  # the same moment for unread data
    for name, value in (
        ("TCP_KEEPIDLE", KEEPALIVE_IDLE_S),
        ("TCP_KEEPINTVL", KEEPALIVE_EVERY_S),
        ("TCP_KEEPCNT", KEEPALIVE_PROBES),
        ("TCP_USER_TIMEOUT", timeout_ms),
    ):
        if hasattr(socket, name):  # not every platform has all
            listening.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
    return listening


def _cannot_listen(host: str, port: int, error: OSError) -> AmplyError:
    if error.errno == errno.EADDRINUSE:
        return AmplyError(
            f"port {port} on {host} is in use",
            hint=f"Choose another one with --port, or stop its owner: `lsof -i :{port}` names it.",
        )
    if error.errno == errno.EACCES:
        return AmplyError(f"port {port} on {host} needs more rights", hint="Choose a port from 1024 up with --port.")
    reason = os.strerror(error.errno) if error.errno and error.errno > 0 else str(error)
    return AmplyError(f"cannot listen on {host}, port {port}: {reason}", hint="Choose an address of this machine.")
