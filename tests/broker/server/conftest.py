"""A listener in a thread of its own, and a client that sees every byte. Each test runs on both event loops."""

import asyncio
import queue
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Self

import pytest
import uvloop

from amply.broker.server.hall import Cancel, Respond
from amply.broker.server.listener import Listener
from amply.broker.wire.http import Request, Response

PATIENCE_S = 10.0
BIG = b"x" * (16 * 1024 * 1024)


class Desk:
    """A handler that answers by path: `/park` later, `/boom` with an exception, `/big` with a lot, others at once."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.parked: queue.Queue[Respond] = queue.Queue()
        self.cancelled: queue.Queue[str] = queue.Queue()
        self.answered: queue.Queue[bool] = queue.Queue()

    def __call__(self, request: Request, respond: Respond) -> Cancel | None:
        self.requests.append(request)
        path = request.target.partition("?")[0]
        if path == "/boom":
            raise RuntimeError("boom")
        if path == "/park":
            self.parked.put(respond)
            return lambda: self.cancelled.put(request.target)
        self.answered.put(respond(text(BIG if path == "/big" else f"{request.method} {request.target}".encode())))
        return None


def text(body: bytes, status: int = 200) -> Response:
    return Response(status, b"text/plain", body, ((b"x-amzn-RequestId", b"r-1"),))


class Serving:
    """The running server: its desk, its clock, and a way into its thread."""

    def __init__(self, loop: asyncio.AbstractEventLoop, handler: Any, **options: Any) -> None:
        self.loop = loop
        self.desk = handler
        self.now_s = 1000.0
        self.unhandled: list[dict[str, Any]] = []
        loop.set_exception_handler(lambda _, context: self.unhandled.append(context))
        self.listener = Listener(
            handler, "127.0.0.1", 0, now=lambda: self.now_s, wall_ms=lambda: 784_111_777_000, **options
        )
        self.thread = threading.Thread(target=loop.run_forever)
        self.thread.start()
        self.port = self.wait_for(self.listener.start())

    def wait_for(self, coroutine: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(PATIENCE_S)

    def call(self, function: Callable[..., Any], *args: Any) -> Any:
        async def called() -> Any:
            return function(*args)

        return self.wait_for(called())

    def move(self, seconds: float) -> None:
        self.call(int)  # what the loop is in the middle of still belongs to the time before
        self.now_s += seconds
        self.call(self.listener.sweep)

    def until(self, predicate: Callable[[], bool]) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not self.call(predicate):
            assert time.monotonic() < deadline, "it did not come to that"

    def until_empty(self) -> None:
        self.until(lambda: self.listener.connections == 0)

    def text(self, body: bytes) -> Response:
        return text(body)

    def client(self, receive_buffer: int | None = None, *, source: str = "127.0.0.1") -> "Client":
        return Client(self.port, receive_buffer, source)

    def close(self) -> None:
        self.wait_for(self.listener.stop(0))
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(PATIENCE_S)
        self.loop.close()
        assert self.unhandled == []


class Client:
    def __init__(self, port: int, receive_buffer: int | None, source: str) -> None:
        self.socket = socket.socket()
        if receive_buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.settimeout(PATIENCE_S)
        self.socket.bind((source, 0))
        self.socket.connect(("127.0.0.1", port))
        self.file = self.socket.makefile("rb")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()
        self.socket.close()

    def send(self, data: bytes) -> "Client":
        self.socket.sendall(data)
        return self

    def ask(self, target: str, *headers: str, method: str = "POST", body: bytes = b"") -> "Client":
        lines = [f"{method} {target} HTTP/1.1", "Host: localhost", f"Content-Length: {len(body)}", *headers, "", ""]
        return self.send("\r\n".join(lines).encode() + body)

    def answer(self) -> tuple[int, dict[str, str], bytes]:
        status = self.file.readline()
        assert status.startswith(b"HTTP/1.1 "), status
        headers = {}
        while (line := self.file.readline()) not in {b"\r\n", b""}:
            name, _, value = line.decode().partition(":")
            headers[name.lower()] = value.strip()
        return int(status.split()[1]), headers, self.file.read(int(headers.get("content-length", "0")))

    def is_closed(self) -> bool:
        """Whether the server ended the connection without another byte."""
        try:
            return self.file.read(1) == b""
        except ConnectionResetError:
            return True

    def vanish(self) -> None:
        """Close with a reset instead of a FIN."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self.file.close()
        self.socket.close()


Serve = Callable[..., Any]


@pytest.fixture(params=["asyncio", "uvloop"])
def serve(request: pytest.FixtureRequest) -> Serve:
    """A context manager that serves a handler (a fresh Desk unless given) with the listener's options."""

    @contextmanager
    def serving(handler: Any = None, **options: Any) -> Iterator[Serving]:
        loop = asyncio.new_event_loop() if request.param == "asyncio" else uvloop.new_event_loop()
        server = Serving(loop, handler or Desk(), **options)
        try:
            yield server
        finally:
            server.close()

    return serving


@pytest.fixture
def server(serve: Serve) -> Iterator[Serving]:
    with serve() as running:
        yield running
