"""One request to the broker, as everybody past the wire sees it."""

from msgspec import Struct

from amply.broker.sqs.shapes import RequestShape


class Context(Struct, frozen=True, kw_only=True, gc=False):
    """Who asks, and where. `base_url` is what queue URLs are made from: scheme, host and port without a final slash.

    `trace_header` is the request's X-Amzn-Trace-Id; a sent message keeps it as AWSTraceHeader unless it brings its own.
    """

    account: str
    base_url: str
    sender_id: str
    request_id: str
    trace_header: str | None = None


class Call(Struct, frozen=True, gc=False):
    """An action by its AWS name, with its request. Every required member of the request is present."""

    action: str
    request: RequestShape
    context: Context
