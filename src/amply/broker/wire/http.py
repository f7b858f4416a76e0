"""An HTTP request and its response, as the wire takes and gives them. Knows no sockets."""

from msgspec import Struct


class Request(Struct, frozen=True, gc=False):
    """One complete request.

    `target` is as sent: path and query, starting with a slash. Header names are lower case; a header that came more
    than once is one value joined by commas. `peer` is the IP address that it came from, "" where there is none.
    """

    method: str
    target: str
    headers: dict[bytes, bytes]
    body: bytes
    peer: str = ""


class Response(Struct, frozen=True, gc=False):
    """One complete answer. Length, date and connection headers are the server's business."""

    status: int
    content_type: bytes
    body: bytes
    headers: tuple[tuple[bytes, bytes], ...] = ()
