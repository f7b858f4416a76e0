"""Bytes into requests: what this server accepts as HTTP/1.1, and with which refusal it turns the rest down.

Knows the HTTP rules and their caps (RFC 9112, strict: one reading of a request or none). Knows no socket and no time:
the connection feeds it and decides when to answer.
"""

from collections import deque
from typing import Final

import httptools

from amply.broker.server.answer import CLOSE, KEEP, KEEP_HTTP_1_0, refusal
from amply.broker.wire.http import Request, Response

HEADER_BLOCK_MAX_BYTES: Final = 16 * 1024
HEADER_LINES_MAX: Final = 100
TARGET_MAX_BYTES: Final = 64 * 1024
# Chunk sizes, extensions and trailers received in a row without a byte of body between them.
CHUNK_FRAMING_MAX_BYTES: Final = 16 * 1024
# Requests sent ahead in one read. The answer to the last one closes the connection; a client sends the rest again.
PIPELINE_MAX: Final = 32


class _Refused(Exception):
    """Stops the parser in the middle of its bytes."""


class RequestReader:
    """One connection's parser. When `feed` returned a refusal, or set `closing`, it is not fed again.

    `arrived` holds the complete requests in order, each with the `connection` header line that its answer must carry.
    `in_head` and `in_body` tell where an unfinished request stands, `body_bytes` how much of its body is here. `peer`
    is the client's address, for its requests.
    """

    __slots__ = (
        "_body",
        "_fed_bytes",
        "_framing_bytes",
        "_headers",
        "_line",
        "_lines",
        "_max_body_bytes",
        "_method",
        "_parser",
        "_refusal",
        "_url",
        "arrived",
        "awaits_continue",
        "body_bytes",
        "closing",
        "in_body",
        "in_head",
        "peer",
    )

    def __init__(self, max_body_bytes: int) -> None:
        self.arrived: deque[tuple[Request, bytes]] = deque()
        self.in_head = self.in_body = False
        self.awaits_continue = False
        self.closing = False
        self.body_bytes = 0
        self.peer = ""
        self._max_body_bytes = max_body_bytes
        self._refusal: Response | None = None
        self._fed_bytes = 0  # since the head began; a little too many, never too few
        self._framing_bytes = 0  # since the last byte of body
        self._url = b""
        self._lines: list[tuple[bytes, bytes]] = []  # headers as they came; behind the head, trailers
        self._headers: dict[bytes, bytes] = {}
        self._method = ""
        self._line = KEEP
        self._body: bytes | bytearray = b""
        self._parser = httptools.HttpRequestParser(self)

    @property
    def unfinished_bytes(self) -> int:
        """How much of a request is here that is not complete; a little too many, never too few."""
        return self.body_bytes if self.in_body else self._fed_bytes if self.in_head else 0

    def feed(self, data: bytes) -> Response | None:
        """Parse; complete requests are in `arrived` afterwards. Returns the refusal that ends the connection, if any.

        The parser reports a header line when it is complete, and cannot stop between two requests. So what is
        unfinished is bounded here, after each feed, by what was fed; what is complete is bounded in the callbacks.
        """
        arrived_before, body_bytes_before = len(self.arrived), self.body_bytes
        self._fed_bytes = self._fed_bytes + len(data) if self.in_head else len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserCallbackError:
            if self._refusal is None and not self.closing:
                raise  # a fault in our own callbacks
        except httptools.HttpParserError as error:
            self._refusal = refusal(400, "BadRequest", f"This is not an HTTP/1.1 request: {error}.")
        if self._refusal is None and self.in_head:
            if len(self.arrived) != arrived_before:  # an unknown part of the bytes was of the requests before
                self._fed_bytes = 0
            if self._fed_bytes - len(self._url) > HEADER_BLOCK_MAX_BYTES:
                self._refusal = _too_large_head()
        elif self._refusal is None and self.in_body:
            self._framing_bytes = self._framing_bytes + len(data) if self.body_bytes == body_bytes_before else 0
            if self._framing_bytes > CHUNK_FRAMING_MAX_BYTES:
                self._refusal = refusal(400, "BadRequest", "The chunked body carries more framing than content.")
        return self._refusal

    # The parser's callbacks, in the order in which it calls them.

    def on_message_begin(self) -> None:
        if self.closing:
            raise _Refused
        self.in_head = True
        self.body_bytes = self._framing_bytes = 0

    def on_url(self, url: bytes) -> None:
        self._url += url
        if len(self._url) > TARGET_MAX_BYTES:
            self._refuse(414, "UriTooLong", f"The request target is longer than {TARGET_MAX_BYTES} bytes.")

    def on_header(self, name: bytes, value: bytes) -> None:
        self._lines.append((name, value))

    def on_headers_complete(self) -> None:
        parser = self._parser
        headers = self._headers = self._collect_headers()
        keep_alive = parser.should_keep_alive()
        # Only HTTP/1.1 keeps alive without being asked. Asking for the version costs more than the rest of these rules.
        plain = keep_alive and b"connection" not in headers and b"proxy-connection" not in headers
        version = "1.1" if plain else parser.get_http_version()
        if version not in {"1.1", "1.0"}:
            self._refuse(505, "HttpVersionNotSupported", "This server speaks HTTP/1.1 and HTTP/1.0.")
        self._method = parser.get_method().decode("ascii")
        if self._method not in {"POST", "GET"}:
            self._refuse(405, "MethodNotAllowed", "" if self._method == "HEAD" else "Use POST or GET.")
        if b"host" not in headers and version == "1.1":
            self._refuse(400, "BadRequest", "The request has no Host header.")
        if parser.should_upgrade():
            self._refuse(400, "BadRequest", "This server does not change protocols: leave the Upgrade header out.")
        if not self._url.startswith(b"/"):  # that it is ASCII, the parser has seen to
            self._refuse(400, "BadRequest", "The request target must be a path that starts with a slash.")
        if b"expect" in headers or b"content-encoding" in headers or b"transfer-encoding" in headers:
            self._check_seldom_headers(version)
        if b"content-length" in headers and int(headers[b"content-length"]) > self._max_body_bytes:
            self._refuse_body()
        self._line = CLOSE if not keep_alive else KEEP if version == "1.1" else KEEP_HTTP_1_0
        self._lines = []
        self.in_head = False
        self.in_body = True

    def on_body(self, data: bytes) -> None:
        self.body_bytes += len(data)
        if self.body_bytes > self._max_body_bytes:
            self._refuse_body()
        if not self._body:
            self._body = data  # most bodies come in one piece, and stay that piece
            return
        # Not a list: what comes in chunks of two bytes would take thirty times its size.
        if isinstance(self._body, bytes):
            self._body = bytearray(self._body)
        self._body += data

    def on_message_complete(self) -> None:
        if self._lines:
            self._refuse(400, "BadRequest", "Trailers behind a chunked body are not supported.")
        self.in_body = self.awaits_continue = False
        line = CLOSE if len(self.arrived) == PIPELINE_MAX - 1 else self._line
        if line is CLOSE:
            self.closing = True
        body = bytes(self._body)
        self.arrived.append((Request(self._method, self._url.decode("ascii"), self._headers, body, self.peer), line))
        # An idle connection holds nothing of its last request, which may have been large.
        self._url, self._headers, self._body = b"", {}, b""

    def _collect_headers(self) -> dict[bytes, bytes]:
        lines = self._lines
        if len(lines) > HEADER_LINES_MAX or (
            self._fed_bytes > HEADER_BLOCK_MAX_BYTES  # else it cannot be
            and sum(len(name) + len(value) + 4 for name, value in lines) > HEADER_BLOCK_MAX_BYTES
        ):
            self._refusal = _too_large_head()
            raise _Refused
        headers = {name.lower(): value.strip(b" \t") for name, value in lines}
        if len(headers) == len(lines):
            return headers
        headers = {}
        for name, value in ((name.lower(), value.strip(b" \t")) for name, value in lines):
            if name == b"host" and name in headers:
                self._refuse(400, "BadRequest", "The request has more than one Host header.")
            # As a list, never "last one wins": a proxy before us must not have seen another value than we do.
            headers[name] = headers[name] + b"," + value if name in headers else value
        return headers

    def _check_seldom_headers(self, version: str) -> None:
        headers = self._headers
        expect = headers.get(b"expect", b"").lower()
        if expect not in {b"", b"100-continue"}:
            self._refuse(417, "ExpectationFailed", "The only expectation that can be met is 100-continue.")
        self.awaits_continue = expect != b"" and version == "1.1"
        if headers.get(b"content-encoding", b"identity").lower() != b"identity":
            self._refuse(400, "BadRequest", "Compressed requests are not supported: leave Content-Encoding out.")
        transfer = headers.get(b"transfer-encoding")
        # The parser refuses Transfer-Encoding next to Content-Length, in any order.
        if transfer is not None and (transfer.lower() != b"chunked" or version != "1.1"):
            self._refuse(400, "BadRequest", "The only Transfer-Encoding is chunked, and only in HTTP/1.1.")

    def _refuse_body(self) -> None:
        self._refuse(413, "RequestEntityTooLarge", f"The body is longer than {self._max_body_bytes} bytes.")

    def _refuse(self, status: int, code: str, message: str) -> None:
        self._refusal = refusal(status, code, message)
        raise _Refused


def _too_large_head() -> Response:
    message = f"The header is larger than {HEADER_BLOCK_MAX_BYTES} bytes or {HEADER_LINES_MAX} lines."
    return refusal(431, "RequestHeaderFieldsTooLarge", message)
