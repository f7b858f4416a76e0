"""One keep-alive HTTP/1.1 connection on a blocking socket, with a deadline for everything and a way to be aborted.

Knows HTTP's framing and sockets; must not know SQS, signatures or what is sent. Under gevent's monkey patching the
blocking calls are greenlets' waits; that is why nothing here goes around `socket`, `ssl` and `threading`.
"""

import contextlib
import functools
import os
import socket
import ssl
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final, NamedTuple
from urllib.parse import urlsplit

import botocore.httpsession

from amply.clock import Clock, SystemClock
from amply.transport.faults import Aborted, TimedOut, Unreachable

CONNECT_TIMEOUT_S = 5.0
# Ten messages of 1 MiB, escaped in JSON.
BODY_BYTES_MAX = 16 * 1024 * 1024
HEADER_BYTES_MAX = 64 * 1024
# Firewalls and NAT forget silent connections without telling (AWS's NAT gateways after 350 s), and a request sent into
# such a one is lost. A connection that was silent for longer is opened anew.
IDLE_MS_MAX = 60_000
_RECEIVE_BYTES = 64 * 1024
_CLOCK: Final = SystemClock()


class Response(NamedTuple):
    """An HTTP answer; the names of `headers` are lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class _Broken(Exception):  # why the exchange failed, before it is told with the address
    pass


class _Unanswered(_Broken):  # the peer closed, and no byte of an answer had come
    pass


class Connection:
    """One request at a time to one address; reopened when needed.

    `url` is "http[s]://host[:port]". `connect_timeout_s` bounds address, connect and TLS handshake together (only a
    resolver may take its own time over a name). A connection belongs to the thread that calls `exchange`; `abort` may
    be called from any. In a forked child it leaves the parent's socket alone and opens its own.
    """

    def __init__(
        self,
        url: str,
        *,
        connect_timeout_s: float = CONNECT_TIMEOUT_S,
        ca_bundle: str | None = None,
        clock: Clock = _CLOCK,
    ) -> None:
        parts = urlsplit(url)
        self._url = url
        self._is_tls = parts.scheme == "https"
        self._host = parts.hostname or ""
        self._port = parts.port or (443 if self._is_tls else 80)
        self._connect_timeout_s = connect_timeout_s
        self._ca_bundle = ca_bundle
        self._clock = clock
        self._socket: socket.socket | None = None
        self._pid = os.getpid()
        self._used_ms = 0
        # Guards the three below: who closes the socket when an abort and the end of an exchange meet. Closing it under
        # a thread that waits on it would hand its number to the next file, so that thread closes it itself.
        self._lock = threading.RLock()
        self._is_busy = False
        self._is_aborted = False

    def exchange(
        self, headers: Mapping[str, str], body: bytes, *, timeout_s: float, is_repeatable: bool = False
    ) -> Response:
        """POST to "/" and return the whole answer, within `timeout_s` seconds from now whatever happens.

        A kept connection that the peer has closed meanwhile is noticed before anything is sent, and opened anew. If the
        peer closes it after that without one byte of an answer, the request is sent once more only when it
        `is_repeatable`: the peer may have acted on it.

        Raises `Unreachable`, after an abort `Aborted`; ValueError for a header that would break out of its line.
        """
        request = self._request(headers, body)
        self._begin()
        whole = False
        try:
            deadline_ms = self._clock.now_ms() + round(timeout_s * 1000)
            is_reused = self._is_alive()
            try:
                response, keep = self._attempt(request, deadline_ms)
            except _Unanswered:
                if not (is_reused and is_repeatable) or self._is_aborted:
                    raise
                self._drop()
                response, keep = self._attempt(request, deadline_ms)
            whole = keep
        except (_Broken, OSError) as error:
            if self._is_aborted:
                raise Aborted(f"{self._url}: the request was aborted") from error
            failure = TimedOut if isinstance(error, TimeoutError) else Unreachable
            raise failure(f"{self._url}: {_reason(error, timeout_s)}") from error
        finally:
            # Whatever got us here, a signal's exception in the middle of an answer too, half an exchange is not kept.
            self._end(keep=whole)
        return response

    def abort(self) -> None:
        """End the connection from any thread: a running exchange raises `Aborted` at once, and so does every later."""
        with self._lock:
            self._is_aborted = True
            if self._socket is not None:
                # Wakes the thread that waits on it. Not SSLSocket's own: that takes the session from under a reader.
                with contextlib.suppress(OSError):
                    socket.socket.shutdown(self._socket, socket.SHUT_RDWR)
            if not self._is_busy:
                self._drop()

    def close(self) -> None:
        """Close the socket if no exchange is running; the next exchange opens a new one."""
        with self._lock:
            if not self._is_busy:
                self._drop()

    def _request(self, headers: Mapping[str, str], body: bytes) -> bytes:
        lines = [f"{name}: {value}\r\n" for name, value in headers.items()]
        head = f"POST / HTTP/1.1\r\n{''.join(lines)}content-length: {len(body)}\r\n\r\n"
        if head.count("\r") != len(lines) + 3 or head.count("\n") != len(lines) + 3:
            raise ValueError("a line break in a request's header: look for one in the credentials or the session token")
        return head.encode("latin-1") + body

    def _begin(self) -> None:
        if self._pid != os.getpid():
            # Forked. Closing our copy says nothing to the peer, and the lock may be a vanished thread's.
            self._pid, self._lock, self._is_busy = os.getpid(), threading.RLock(), False
            self._drop()
        with self._lock:
            if self._is_aborted:
                raise Aborted(f"{self._url}: the connection was aborted")
            if self._is_busy:
                raise RuntimeError("a connection carries one request at a time")
            self._is_busy = True

    def _end(self, *, keep: bool) -> None:
        with self._lock:
            self._is_busy = False
            self._used_ms = self._clock.now_ms()
            if not keep or self._is_aborted:
                self._drop()

    def _drop(self) -> None:
        with self._lock:
            if self._socket is not None:
                self._socket.close()
                self._socket = None

    def _is_alive(self) -> bool:
        """Whether there is a socket the peer still listens to; a stale one is dropped."""
        if self._socket is None:
            return False
        if self._clock.now_ms() - self._used_ms <= IDLE_MS_MAX:
            self._socket.settimeout(0)
            try:
                # A read, no peek: of TLS only a read takes in session tickets and sees the peer's goodbye. Whatever is
                # read here, end of file or bytes nobody asked for, the connection is of no more use.
                self._socket.recv(1)
            except (BlockingIOError, ssl.SSLWantReadError):
                return True
            except OSError:
                pass  # reset: as good as closed
        self._drop()
        return False

    def _attempt(self, request: bytes, deadline_ms: int) -> tuple[Response, bool]:
        connected = self._socket or self._open(deadline_ms)
        incoming = _Incoming(lambda: self._receive(connected, deadline_ms))
        try:
            unsent = memoryview(request)
            while unsent:
                connected.settimeout(self._left_s(deadline_ms))
                unsent = unsent[connected.send(unsent) :]
            return _read_response(incoming)
        except (ConnectionError, ssl.SSLError) as error:
            # A peer that closes while we send may have said why before; the answer is lost with the reset, though.
            raise (_Broken if incoming.has_begun else _Unanswered)(_reason(error, 0)) from error

    def _open(self, deadline_ms: int) -> socket.socket:
        timeout_s = min(self._left_s(deadline_ms), self._connect_timeout_s)
        deadline_ms = self._clock.now_ms() + round(timeout_s * 1000)
        try:
            addresses = socket.getaddrinfo(self._host, self._port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            raise _Broken(f"no connection: {_reason(error, timeout_s)}") from error
        for at, (family, kind, protocol, _, address) in enumerate(addresses):
            opened = socket.socket(family, kind, protocol)
            self._adopt(opened)
            # The time left is shared among the addresses left: a dead first one leaves some for the second.
            try:
                opened.settimeout(self._left_s(deadline_ms) / (len(addresses) - at))
                opened.connect(address)
                return self._secure(opened, deadline_ms)
            except OSError as error:
                self._drop()
                if self._is_aborted or at + 1 == len(addresses):
                    raise _Broken(f"no connection: {_reason(error, timeout_s)}") from error
        raise _Broken("no connection: the name has no address")

    def _secure(self, opened: socket.socket, deadline_ms: int) -> socket.socket:
        # An abort while it was connecting may have found nothing to shut yet.
        self._adopt(opened)
        opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if not self._is_tls:
            return opened
        opened.settimeout(self._left_s(deadline_ms))
        context = _tls_context(self._ca_bundle)
        with self._lock:
            # Wrapping empties the plain socket: an abort in between would find nothing to shut.
            wrapped = context.wrap_socket(opened, server_hostname=self._host, do_handshake_on_connect=False)
            self._adopt(wrapped)
        wrapped.do_handshake()
        return wrapped

    def _adopt(self, opened: socket.socket) -> None:
        with self._lock:
            self._socket = opened
            if self._is_aborted:
                raise _Broken("aborted")

    def _receive(self, connected: socket.socket, deadline_ms: int) -> bytes:
        connected.settimeout(self._left_s(deadline_ms))
        return connected.recv(_RECEIVE_BYTES)

    def _left_s(self, deadline_ms: int) -> float:
        left_ms = deadline_ms - self._clock.now_ms()
        if left_ms <= 0:
            raise TimeoutError
        return left_ms / 1000


class _Incoming:
    """The bytes that come, and as many of them as HTTP's framing asks for."""

    def __init__(self, receive: Callable[[], bytes]) -> None:
        self._receive = receive
        self._buffer = bytearray()
        self.has_begun = False

    @property
    def is_used_up(self) -> bool:
        """Whether nothing is left of what has come."""
        return not self._buffer

    def block(self, mark: bytes, bytes_max: int) -> bytes:
        """Everything before the next `mark`, which is taken away too."""
        start = 0
        while (at := self._buffer.find(mark, start)) < 0:
            if len(self._buffer) > bytes_max:
                raise _Broken(f"the answer's head is longer than {bytes_max} bytes")
            start = max(len(self._buffer) - len(mark) + 1, 0)
            self._more()
        taken = bytes(self._buffer[:at])
        del self._buffer[: at + len(mark)]
        return taken

    def exactly(self, size: int) -> bytes:
        """The next `size` bytes."""
        while len(self._buffer) < size:
            self._more()
        taken = bytes(memoryview(self._buffer)[:size])
        del self._buffer[:size]
        return taken

    def rest(self) -> bytes:
        """Everything until the peer closes."""
        while received := self._receive():
            self._buffer += received
            _check_size(len(self._buffer))
        taken = bytes(self._buffer)
        self._buffer.clear()
        return taken

    def _more(self) -> None:
        received = self._receive()
        if not received:
            raise _Broken("the answer ended half way") if self.has_begun else _Unanswered("closed without an answer")
        self.has_begun = True
        self._buffer += received


def _read_response(incoming: _Incoming) -> tuple[Response, bool]:
    """An answer, and whether the connection can carry another (RFC 9112)."""
    while True:
        version, status, headers = _read_head(incoming)
        if status >= 200:
            break
    connection = headers.get("connection", "").lower()
    keep = version == "HTTP/1.1" and "close" not in connection
    if status in {204, 304}:
        body = b""
    elif (coding := headers.get("transfer-encoding")) is not None:
        if coding.lower() != "chunked":
            raise _Broken(f"the answer's transfer encoding is {coding[:40]!r}")
        body = _read_chunks(incoming)
    elif (length := headers.get("content-length")) is not None:
        body = incoming.exactly(_size(length, 10))
    else:
        body, keep = incoming.rest(), False
    return Response(status, headers, body), keep and incoming.is_used_up


def _read_head(incoming: _Incoming) -> tuple[str, int, dict[str, str]]:
    # One step for a peer that is not HTTP at all, so that it is told from one that is only slow.
    lines = incoming.block(b"\r\n\r\n", HEADER_BYTES_MAX).decode("latin-1").split("\r\n")
    version, _, rest = lines[0].partition(" ")
    digits = rest[:3]
    if not version.startswith("HTTP/1.") or not (len(digits) == 3 and digits.isascii() and digits.isdecimal()):
        raise _Broken("the answer is not HTTP")
    headers = {}
    for line in lines[1:]:
        name, colon, value = line.partition(":")
        if not colon:
            raise _Broken("the answer is not HTTP: a header without a colon")
        headers[name.lower()] = value.strip()
    return version, int(digits), headers


def _read_chunks(incoming: _Incoming) -> bytes:
    body = bytearray()
    while size := _size(incoming.block(b"\r\n", HEADER_BYTES_MAX).partition(b";")[0].decode("latin-1"), 16):
        _check_size(len(body) + size)
        body += incoming.exactly(size)
        if incoming.exactly(2) != b"\r\n":
            raise _Broken("the answer is not HTTP: a chunk without an end")
    while incoming.block(b"\r\n", HEADER_BYTES_MAX):  # trailers, of no use to us
        pass
    return bytes(body)


def _size(text: str, base: int) -> int:
    text = text.strip()
    if not (text.isascii() and text.isalnum()):
        raise _Broken("the answer is not HTTP: its length is no number")
    try:
        size = int(text, base)
    except ValueError:
        raise _Broken("the answer is not HTTP: its length is no number") from None
    _check_size(size)
    return size


def _check_size(size: int) -> None:
    if size > BODY_BYTES_MAX:
        raise _Broken(f"the answer is longer than {BODY_BYTES_MAX} bytes")


def _reason(error: Exception, timeout_s: float) -> str:
    """Why, in a few words for people."""
    if isinstance(error, TimeoutError):
        return f"timed out after {timeout_s:g} s"
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted ({error.verify_message}); AWS_CA_BUNDLE names further authorities"
    if isinstance(error, ConnectionRefusedError):
        return "connection refused"
    if isinstance(error, ConnectionResetError | BrokenPipeError):
        return "the connection was reset"
    return (getattr(error, "strerror", None) or str(error))[:200]


@functools.lru_cache(maxsize=4)
def _tls_context(ca_bundle: str | None) -> ssl.SSLContext:
    """Whom to trust: the bundle if one is named, else this machine's authorities, else those botocore brings along."""
    defaults = ssl.get_default_verify_paths()
    if ca_bundle is None and not (defaults.cafile or defaults.capath):
        ca_bundle = botocore.httpsession.where()
    if ca_bundle is None:
        context = ssl.create_default_context()
    elif Path(ca_bundle).is_dir():
        context = ssl.create_default_context(capath=ca_bundle)
    else:
        context = ssl.create_default_context(cafile=ca_bundle)
    context.set_alpn_protocols(["http/1.1"])
    return context
