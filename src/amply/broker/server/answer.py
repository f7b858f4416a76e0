"""Responses into bytes, and the few answers that this room gives by itself.

Knows the response head. Does not know sockets, nor what an answer means.
"""

from email.utils import formatdate
from http import HTTPStatus
from typing import Final

import msgspec

from amply.broker.wire.http import Response

# The `connection` header line of an answer. Compared by identity.
KEEP: Final = b""
KEEP_HTTP_1_0: Final = b"connection: keep-alive\r\n"
CLOSE: Final = b"connection: close\r\n"

CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"

_STATUS_LINES: Final = {
    status.value: b"HTTP/1.1 %d %b\r\nserver: amply\r\n" % (status.value, status.phrase.encode("ascii"))
    for status in HTTPStatus
}


def date_line(epoch_s: float) -> bytes:
    """The `date` header line of that moment, in RFC 9110's form."""
    return b"date: %b\r\n" % formatdate(epoch_s, usegmt=True).encode("ascii")


def render(response: Response, connection_line: bytes, date: bytes) -> bytes:
    """The whole answer, for one write. `connection_line` is KEEP, KEEP_HTTP_1_0 or CLOSE; `date` a `date_line`."""
    parts = [
        _STATUS_LINES[response.status],
        date,
        connection_line,
        b"content-type: ",
        response.content_type,
        b"\r\ncontent-length: %d\r\n" % len(response.body),
    ]
    for name, value in response.headers:
        parts += (name, b": ", value, b"\r\n")
    parts += (b"\r\n", response.body)
    return b"".join(parts)


def refusal(status: int, code: str, message: str) -> Response:
    """An error answer in the shape of SQS's JSON protocol, so that an SDK shows its code; no message, no body."""
    body = msgspec.json.encode({"__type": code, "message": message}) if message else b""
    headers = ((b"allow", b"GET, POST"),) if status == HTTPStatus.METHOD_NOT_ALLOWED else ()
    return Response(status, b"application/x-amz-json-1.0", body, headers)
