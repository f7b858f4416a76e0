"""One POST to a stranger's server: to an allowed address only, within a total time, reading a bounded answer.

The name is looked up once and the connection goes to the very address that was checked, so no second lookup, redirect
or proxy can lead it elsewhere; the certificate is still checked against the name. Knows sockets and HTTP; must not know
endpoints, deliveries or the store.
"""

import functools
import logging
import socket
import ssl
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any, NamedTuple

import httpcore

from amply.clock import SystemClock
from amply.jobs.addresses import Address, Target, is_allowed

_log = logging.getLogger(__name__)

# Looks a host up within a number of seconds. Raises OSError when it cannot.
Resolve = Callable[[str, int, float], list[Address]]

# Blocked, unresolvable and unreachable read the same to a customer, so that a webhook is no scanner of our network.
UNREACHABLE = "could not connect"
TIMED_OUT = "no answer in time"
BROKEN = "broken answer"

_ADDRESSES_TRIED_MAX = 4


@dataclass(frozen=True)
class Limits:
    """What one POST may take. Seconds in all and for connecting to one address; bytes read of the answer."""

    total_s: float
    connect_s: float
    answer_bytes: int


# Standard Webhooks 1.0.0 advises 15 to 30 seconds.
POST_LIMITS = Limits(total_s=20, connect_s=5, answer_bytes=64 * 1024)


class Answer(NamedTuple):
    """What came back. `status` is None when no answer did, and `problem` then says why in a customer's words."""

    status: int | None
    problem: str | None
    retry_after: str | None
    start: bytes


class _BlockedError(httpcore.ConnectError):
    """The address may not be reached."""


def post(
    target: Target,
    headers: Mapping[str, str],
    body: bytes,
    *,
    allow_private: bool,
    resolve: Resolve,
    limits: Limits,
) -> Answer:
    """Send the body, and tell what came back; never raises for what the other side does."""
    deadline = _Deadline(limits.total_s)
    backend = _PinnedBackend(resolve, allow_private=allow_private, deadline=deadline, connect_s=limits.connect_s)
    url = httpcore.URL(scheme=target.scheme, host=target.host, port=target.port, target=target.path)
    authority = f"[{target.host}]" if ":" in target.host else target.host
    if target.port != {"http": 80, "https": 443}[target.scheme]:
        authority = f"{authority}:{target.port}"
    sent = {"Host": authority, "Content-Length": str(len(body)), "Accept-Encoding": "identity", **headers}
    pool = httpcore.ConnectionPool(
        ssl_context=_tls(), network_backend=backend, max_keepalive_connections=0, retries=0, http2=False
    )
    try:
        with pool, pool.stream("POST", url, headers=list(sent.items()), content=body) as response:
            found = {name.lower(): value for name, value in response.headers}
            retry_after = found.get(b"retry-after")
            return Answer(
                status=response.status,
                problem=None,
                retry_after=None if retry_after is None else retry_after.decode("latin-1"),
                start=_read_start(response, limits.answer_bytes),
            )
    except (httpcore.ConnectError, httpcore.ConnectTimeout):
        problem = UNREACHABLE
    except httpcore.TimeoutException:
        problem = TIMED_OUT if backend.connected else UNREACHABLE
    except (httpcore.NetworkError, httpcore.ProtocolError):
        problem = BROKEN
    return Answer(status=None, problem=problem, retry_after=None, start=b"")


def resolve_by_system(host: str, port: int, timeout_s: float) -> list[Address]:
    """The addresses of a host, by the system's resolver, which cannot be interrupted and so gets its own thread."""
    found: list[Address] = []

    def look_up() -> None:
        try:
            answers = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError):  # the latter for a part of more than 63 characters
            return
        found.extend(ip_address(str(sockaddr[0]).partition("%")[0]) for *_, sockaddr in answers)

    thread = threading.Thread(target=look_up, daemon=True, name="webhook-lookup")
    thread.start()
    thread.join(timeout_s)
    if thread.is_alive() or not found:
        raise OSError(f"no address for {host}")
    return found


def _read_start(response: httpcore.Response, limit_bytes: int) -> bytes:
    # As it comes over the wire, never decompressed. The status has arrived: a body that breaks off changes nothing.
    start = bytearray()
    try:
        for chunk in response.iter_stream():
            start += chunk
            if len(start) >= limit_bytes:
                break
    except (httpcore.TimeoutException, httpcore.NetworkError, httpcore.ProtocolError):
        pass
    return bytes(start[:limit_bytes])


@functools.cache
def _tls() -> ssl.SSLContext:
    return httpcore.default_ssl_context()


class _Deadline:
    """A moment after which nothing more is waited for. Always of the real clock: sockets do not know another."""

    def __init__(self, total_s: float) -> None:
        self._clock = SystemClock()
        self._end_ms = self._clock.now_ms() + round(total_s * 1000)

    def left_s(self, error: type[Exception]) -> float:
        left_ms = self._end_ms - self._clock.now_ms()
        if left_ms <= 0:
            raise error("the time is up")
        return left_ms / 1000


class _PinnedBackend(httpcore.NetworkBackend):
    """Connects to checked addresses only."""

    def __init__(self, resolve: Resolve, *, allow_private: bool, deadline: _Deadline, connect_s: float) -> None:
        self._resolve = resolve
        self._allow_private = allow_private
        self._deadline = deadline
        self._connect_s = connect_s
        self._sockets = httpcore.SyncBackend()
        self.connected = False

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ARG002 - the deadline rules
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        addresses = self._look_up(host, port)
        failure: Exception = httpcore.ConnectError(UNREACHABLE)
        for address in addresses[:_ADDRESSES_TRIED_MAX]:
            left_s = min(self._connect_s, self._deadline.left_s(httpcore.ConnectTimeout))
            try:
                stream = self._sockets.connect_tcp(str(address), port, left_s, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
                continue
            if ip_address(stream.get_extra_info("server_addr")[0]) != address:
                stream.close()
                raise _BlockedError(UNREACHABLE)
            self.connected = True
            return _TimedStream(stream, self._deadline)
        raise failure

    def connect_unix_socket(
        self,
        path: str,  # noqa: ARG002
        timeout: float | None = None,  # noqa: ARG002
        socket_options: Iterable[Any] | None = None,  # noqa: ARG002
    ) -> httpcore.NetworkStream:
        raise _BlockedError(UNREACHABLE)

    def _look_up(self, host: str, port: int) -> list[Address]:
        try:
            addresses = [ip_address(host)]
        except ValueError:
            try:
                addresses = self._resolve(host, port, self._deadline.left_s(httpcore.ConnectTimeout))
            except OSError:
                raise httpcore.ConnectError(UNREACHABLE) from None
        # One address that is not allowed spoils the name: whoever mixes them is up to something.
        if not addresses or not all(is_allowed(address, allow_private=self._allow_private) for address in addresses):
            _log.warning("webhook blocked: its host resolves to an address that is not allowed")
            raise _BlockedError(UNREACHABLE)
        return addresses


class _TimedStream(httpcore.NetworkStream):
    """A connection whose every wait ends at the deadline."""

    def __init__(self, stream: httpcore.NetworkStream, deadline: _Deadline) -> None:
        self._stream = stream
        self._deadline = deadline

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ARG002
        return self._stream.read(max_bytes, self._deadline.left_s(httpcore.ReadTimeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ARG002
        # Sent piece by piece here: the wrapped stream would grant each piece the whole time again.
        connection: socket.socket = self._stream.get_extra_info("socket")
        rest = memoryview(buffer)
        while rest:
            connection.settimeout(self._deadline.left_s(httpcore.WriteTimeout))
            try:
                rest = rest[connection.send(rest) :]
            except TimeoutError as error:
                raise httpcore.WriteTimeout(str(error)) from error
            except OSError as error:
                raise httpcore.WriteError(str(error)) from error

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ARG002
    ) -> httpcore.NetworkStream:
        left_s = self._deadline.left_s(httpcore.ConnectTimeout)
        return _TimedStream(self._stream.start_tls(ssl_context, server_hostname, left_s), self._deadline)

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)
