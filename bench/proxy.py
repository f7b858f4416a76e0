"""A proxy before an SQS endpoint that is slow, counts, and fails on demand: `python -m bench.proxy --help`.

Knows HTTP/1.1 messages with a Content-Length, SQS's two ways to name an action, and how services and networks fail.
Does not know what the actions do. A client that hangs up is hung up on at the endpoint too, because a broker gives
the messages of an abandoned poll to somebody else.
"""

import argparse
import asyncio
import contextlib
import json
import re
import signal
import socket
import struct
import sys
import threading
from collections import Counter
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from enum import Enum, auto
from typing import Any, Final, NamedTuple, Self, TypeVar
from urllib.parse import urlsplit

import uvloop
from msgspec import Struct

_PATIENCE_S: Final = 10.0
_DRIP_S: Final = 0.5
_MESSAGE_BYTES_MAX: Final = 4 << 20
_LENGTH: Final = re.compile(rb"\r\ncontent-length:\s*(\d+)", re.IGNORECASE)
_TARGET: Final = re.compile(rb"\r\nx-amz-target:\s*AmazonSQS\.(\w+)", re.IGNORECASE)
_ACTION: Final = re.compile(rb"(?:^|&)Action=(\w+)")
# close() then sends a reset, and what was not sent yet is thrown away.
_NO_LINGER: Final = struct.pack("ii", 1, 0)
Answer = TypeVar("Answer")


class Manner(Enum):
    """What becomes of a request."""

    ANSWER = auto()  # the fault's own answer
    RESET = auto()  # the connection is reset
    HALF = auto()  # half of the endpoint's answer, then the end of the connection
    HANG = auto()  # never answered, and the connection stays
    DRIP = auto()  # the endpoint's answer, a byte every half second


class Fault(Struct, frozen=True, kw_only=True):
    """One way to fail. `is_forwarded`: the endpoint gets the request, and does what it says, all the same."""

    name: str
    manner: Manner
    is_forwarded: bool = False
    answer: bytes = b""


def _answer(status: str, body: str, content_type: str = "application/x-amz-json-1.0") -> bytes:
    content = body.encode()
    head = f"HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\nContent-Length: {len(content)}\r\n\r\n"
    return head.encode() + content


def _refused(status: str, code: str) -> Fault:
    return Fault(name=code, manner=Manner.ANSWER, answer=_answer(status, json.dumps({"__type": code, "message": code})))


_HTML: Final = "<html><body><h1>503 Service Unavailable</h1></body></html>"
_WRONG: Final = '{"Messages": 7, "Successful": "all", "Failed": 1, "MessageId": ["?"]}'

INTERNAL_ERROR: Final = _refused("500 Internal Server Error", "com.amazonaws.sqs#InternalError")
THROTTLED: Final = _refused("400 Bad Request", "com.amazonaws.sqs#ThrottlingException")
EXPIRED_TOKEN: Final = _refused("403 Forbidden", "com.amazonaws.sqs#ExpiredToken")
ACCESS_DENIED: Final = _refused("403 Forbidden", "com.amazonaws.sqs#AccessDenied")
UNAVAILABLE: Final = Fault(
    name="503 with HTML", manner=Manner.ANSWER, answer=_answer("503 Service Unavailable", _HTML, "text/html")
)
TORN_JSON: Final = Fault(name="200 with torn JSON", manner=Manner.ANSWER, answer=_answer("200 OK", '{"Messages": ['))
WRONG_JSON: Final = Fault(name="200 with other members", manner=Manner.ANSWER, answer=_answer("200 OK", _WRONG))
GARBAGE: Final = Fault(name="garbage bytes", manner=Manner.ANSWER, answer=bytes(range(256)) * 4)
RESET: Final = Fault(name="reset", manner=Manner.RESET)
RESET_AFTER: Final = Fault(name="reset after it was done", manner=Manner.RESET, is_forwarded=True)
HALF: Final = Fault(name="half an answer", manner=Manner.HALF, is_forwarded=True)
HANG: Final = Fault(name="never answered", manner=Manner.HANG)
HANG_AFTER: Final = Fault(name="done, never answered", manner=Manner.HANG, is_forwarded=True)
DRIP: Final = Fault(name="slow drip", manner=Manner.DRIP, is_forwarded=True)


class _Message(NamedTuple):
    """A request or an answer: everything up to the empty line and with it, and the rest."""

    head: bytes
    body: bytes


async def _read(reader: asyncio.StreamReader) -> _Message | None:
    """The next message; None when the other side has left."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
        length = _LENGTH.search(head)
        return _Message(head, await reader.readexactly(int(length[1])) if length else b"")
    except (asyncio.IncompleteReadError, OSError):
        return None


class _Endpoint:
    """The connection to the endpoint that belongs to one connection of a client."""

    def __init__(self, address: tuple[str, int]) -> None:
        self._address = address
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def exchange(self, request: _Message) -> _Message | None:
        """The endpoint's answer; None if it is not there or left before it answered."""
        if self._streams and self._streams[0].at_eof():
            self.close()
        try:
            if self._streams is None:
                self._streams = await asyncio.open_connection(*self._address, limit=_MESSAGE_BYTES_MAX)
            reader, writer = self._streams
            writer.write(request.head + request.body)
        except OSError:
            return None
        return await _read(reader)

    def close(self) -> None:
        """Hang up."""
        if self._streams:
            self._streams[1].close()
            self._streams = None


class Proxy:
    """A proxy in a thread of its own, from `with` to its end. Its other methods may be called from any thread.

    `counts` has the requests by action ("" when none is named), `met` those that met a fault, by the fault's name.
    """

    def __init__(self, to: str, *, delay_ms: float = 0.0, port: int = 0) -> None:
        """`to` is the endpoint, like http://127.0.0.1:9324. ValueError if that is not plain HTTP."""
        parts = urlsplit(to)
        if parts.scheme != "http" or not parts.hostname:
            raise ValueError(f"the proxy speaks plain HTTP to an endpoint like http://127.0.0.1:9324, not to {to}")
        self._address = (parts.hostname, parts.port or 80)
        self.delay_ms = delay_ms
        self.port = port
        self.counts: Counter[str] = Counter()
        self.met: Counter[str] = Counter()
        self._faults: dict[str, Fault] = {}
        self._connections: dict[asyncio.Task[None], asyncio.StreamWriter] = {}
        self._server: asyncio.Server | None = None
        self._loop = uvloop.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy")

    def __enter__(self) -> Self:
        self._thread.start()
        self._run(self._listen())
        return self

    def __exit__(self, *_: object) -> None:
        self._run(self._leave())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_PATIENCE_S)
        self._loop.close()

    @property
    def endpoint_url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"

    @contextmanager
    def failing(self, fault: Fault, *actions: str) -> Iterator[None]:
        """Inside the block every request of these actions meets the fault; of any action, if none is named.

        What hangs or drips by then goes on hanging after it.
        """
        self._faults = dict.fromkeys(actions or ("*",), fault)
        try:
            yield
        finally:
            self._faults = {}

    @contextmanager
    def refusing(self) -> Iterator[None]:
        """Inside the block nobody listens: every connection is reset, and every new one refused."""
        self._run(self._leave())
        try:
            yield
        finally:
            self._run(self._listen())

    def _run(self, coroutine: Coroutine[Any, Any, Answer]) -> Answer:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(_PATIENCE_S)

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port, limit=_MESSAGE_BYTES_MAX)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _leave(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        for task, writer in self._connections.items():
            _reset(writer)
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = self._loop.create_task(self._serve(reader, writer))
        self._connections[task] = writer
        task.add_done_callback(self._connections.pop)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one request after the other. The next is read meanwhile: that shows when the client leaves."""
        endpoint = _Endpoint(self._address)
        coming = asyncio.create_task(_read(reader))
        answering: asyncio.Task[bool] | None = None
        try:
            while (request := await coming) is not None:
                coming = asyncio.create_task(_read(reader))
                answering = asyncio.create_task(self._answer(request, endpoint, writer))
                await asyncio.wait((answering, coming), return_when=asyncio.FIRST_COMPLETED)
                has_left = coming.done() and coming.result() is None
                if has_left or not await answering:
                    break
        finally:
            endpoint.close()
            for task in filter(None, (coming, answering)):
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task
            writer.close()

    async def _answer(self, request: _Message, endpoint: _Endpoint, writer: asyncio.StreamWriter) -> bool:
        """Whether the connection can be used again."""
        named = _TARGET.search(request.head) or _ACTION.search(request.body)
        action = named[1].decode() if named else ""
        self.counts[action] += 1
        if self.delay_ms:
            await asyncio.sleep(self.delay_ms / 1000)
        fault = self._faults.get(action) or self._faults.get("*")
        if fault is not None:
            self.met[fault.name] += 1
        answer = await endpoint.exchange(request) if fault is None or fault.is_forwarded else None
        if fault is not None:
            return await _fail(fault, b"".join(answer or ()), writer)
        if answer is None:
            _reset(writer)
            return False
        writer.write(answer.head + answer.body)
        await writer.drain()
        return True


async def _fail(fault: Fault, answer: bytes, writer: asyncio.StreamWriter) -> bool:
    """Whether the connection can be used again. `answer` is the endpoint's, if it was asked."""
    match fault.manner:
        case Manner.ANSWER:
            writer.write(fault.answer)
            return fault is not GARBAGE
        case Manner.RESET:
            _reset(writer)
        case Manner.HALF:
            writer.write(answer[: len(answer) // 2])
        case Manner.DRIP:
            for byte in answer:
                writer.write(bytes((byte,)))
                await asyncio.sleep(_DRIP_S)
        case Manner.HANG:
            await asyncio.Event().wait()
    return False


def _reset(writer: asyncio.StreamWriter) -> None:
    plain = writer.get_extra_info("socket")
    if plain is not None and not writer.is_closing():
        plain.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
    writer.transport.abort()


def main(arguments: list[str] | None = None) -> int:
    """Until SIGINT or SIGTERM; then the last line of the output has the counts, as JSON."""
    parser = argparse.ArgumentParser(prog="python -m bench.proxy", description="A slow, counting proxy before SQS.")
    parser.add_argument("--to", required=True, metavar="URL", help="the endpoint, like http://127.0.0.1:9324")
    parser.add_argument("--delay-ms", type=float, default=0.0, help="added to each request")
    parser.add_argument("--port", type=int, default=0, help="of the loopback; 0 for any that is free")
    told = parser.parse_args(arguments)
    asked = {signal.SIGINT, signal.SIGTERM}
    signal.pthread_sigmask(signal.SIG_BLOCK, asked)
    with Proxy(told.to, delay_ms=told.delay_ms, port=told.port) as proxy:
        print(f"{proxy.endpoint_url} is {told.to}, {told.delay_ms:g} ms later", flush=True)
        signal.sigwait(asked)
        print(json.dumps(dict(proxy.counts)), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
