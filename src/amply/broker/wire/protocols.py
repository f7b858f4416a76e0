"""Which protocol a request speaks, what it calls, and how its answer is written.

AWS JSON and AWS Query share every endpoint; the request alone tells them apart (an X-Amz-Target header means JSON).
Whatever a client sends, `read` gives an `Exchange`, and `write` can answer it.
"""

import re
from enum import Enum, auto
from functools import lru_cache

from msgspec import Struct
from msgspec.structs import fields, replace

from amply.broker.sqs.actions import ANSWERED, Action
from amply.broker.sqs.calls import Call, Context
from amply.broker.sqs.faults import (
    ACCESS_DENIED,
    INVALID_ACTION,
    QUEUE_DOES_NOT_EXIST,
    UNKNOWN_OPERATION,
    Fault,
    missing_parameter,
)
from amply.broker.sqs.shapes import RequestShape, ResultShape
from amply.broker.wire import aws_json, aws_query, xml
from amply.broker.wire.credentials import account_of, read_credentials
from amply.broker.wire.http import Request, Response

_HOST = re.compile(rb"[A-Za-z0-9._-]{1,253}(?::[0-9]{1,5})?|\[[0-9A-Fa-f:.]{2,45}\](?::[0-9]{1,5})?")
_NOT_ON_A_QUEUE = frozenset({"CreateQueue", "ListQueues"})
_NO_SUCH_QUEUE_IN_QUERY = "The specified queue does not exist for this wsdl version."

# The AWS names of required members, for the text of MissingParameter.
_AWS_NAMES = {
    name: {field.name: field.encode_name for field in fields(action.request)} for name, action in ANSWERED.items()
}
_ENTRY_AWS_NAMES = {"id": "Id", "message_body": "MessageBody", "receipt_handle": "ReceiptHandle"}


class Protocol(Enum):
    """How the answer is to be written."""

    JSON = auto()
    QUERY = auto()
    QUERY_AS_JSON = auto()


class Exchange(Struct, frozen=True, kw_only=True):
    """A request that was read: either `call`, or `fault` saying why there is none."""

    protocol: Protocol
    request_id: str
    action: Action | None = None
    call: Call | None = None
    fault: Fault | None = None


def read(
    request: Request, *, default_account: str, base_url: str | None, request_id: str, scheme: str = "http"
) -> Exchange:
    """Never raises a Fault. `base_url` None: queue URLs are made from the scheme and the request's Host header."""
    headers = request.headers
    protocol = Protocol.JSON
    action: Action | None = None
    path, _, query = request.target.partition("?")
    try:
        target = headers.get(b"x-amz-target")
        if target is not None or headers.get(b"content-type", b"").startswith(b"application/x-amz-json-1."):
            action = _json_action(target)
            shape = aws_json.decode(action, request.body)
        else:
            protocol = Protocol.QUERY
            if b"application/json" in headers.get(b"accept", b""):
                protocol = Protocol.QUERY_AS_JSON
            form = _form(request, query)
            action = _query_action(form, on_queue=path != "/")
            shape = aws_query.decode(action, form)
        shape = _complete(action, shape, path)
        _check_is_no_browser(headers)
    except Fault as fault:
        return Exchange(protocol=protocol, request_id=request_id, action=action, fault=fault.with_traceback(None))
    credentials = read_credentials(headers.get(b"authorization"), query)
    account = account_of(credentials, default_account)
    trace = headers.get(b"x-amzn-trace-id")
    context = Context(
        account=account,
        base_url=base_url if base_url is not None else _base_url(scheme, headers.get(b"host", b"")),
        sender_id=credentials.access_key if credentials is not None else account,
        request_id=request_id,
        trace_header=trace.decode("latin-1") if trace else None,
    )
    return Exchange(protocol=protocol, request_id=request_id, action=action, call=Call(action.name, shape, context))


def write(exchange: Exchange, outcome: ResultShape | Fault | None) -> Response:
    """The answer to an exchange: a result, None for an action without one, or a fault (its own or a later one)."""
    request_id = exchange.request_id
    header = (b"x-amzn-requestid", request_id.encode())
    if isinstance(outcome, Fault):
        return _write_fault(exchange, outcome, header)
    if exchange.protocol is Protocol.JSON:
        return Response(200, aws_json.CONTENT_TYPE, aws_json.encode(outcome), (header,))
    if exchange.action is None:
        raise ValueError("only a fault can answer a request without an action")
    if exchange.protocol is Protocol.QUERY:
        return Response(200, xml.CONTENT_TYPE, xml.write_result(exchange.action, outcome, request_id), (header,))
    body = xml.write_result_as_json(exchange.action, outcome, request_id)
    return Response(200, xml.JSON_CONTENT_TYPE, body, (header,))


def _write_fault(exchange: Exchange, fault: Fault, header: tuple[bytes, bytes]) -> Response:
    row = fault.row
    if exchange.protocol is Protocol.JSON:
        code = f"{row.query_code};{'Sender' if row.is_sender else 'Receiver'}"
        headers = (header, (b"x-amzn-query-error", code.encode()))
        return Response(row.status, aws_json.CONTENT_TYPE, aws_json.encode_fault(fault), headers)
    if row is UNKNOWN_OPERATION:
        return Response(404, xml.CONTENT_TYPE, xml.UNKNOWN_OPERATION_BODY, (header,))
    if row is QUEUE_DOES_NOT_EXIST and fault.message == row.message:
        fault = Fault(row, _NO_SUCH_QUEUE_IN_QUERY)
    if exchange.protocol is Protocol.QUERY:
        return Response(row.status, xml.CONTENT_TYPE, xml.write_fault(fault, exchange.request_id), (header,))
    body = xml.write_fault_as_json(fault, exchange.request_id)
    return Response(row.status, xml.JSON_CONTENT_TYPE, body, (header,))


def _check_is_no_browser(headers: dict[bytes, bytes]) -> None:
    """Only browsers send an Origin. Otherwise a page anywhere could have its visitors call their own broker."""
    if b"origin" in headers:
        raise Fault(ACCESS_DENIED, "Requests from web pages are not taken.")


def _json_action(target: bytes | None) -> Action:
    action = aws_json.action_of(target) if target is not None else None
    if action is None:
        raise Fault(UNKNOWN_OPERATION, "The X-Amz-Target header names no action of SQS.")
    return action


def _form(request: Request, query: str) -> dict[str, str]:
    """The fields of the query string, and those of a posted form, which win."""
    form = aws_query.read_fields(query)
    content_type = request.headers.get(b"content-type", b"").partition(b";")[0].strip().lower()
    if request.method == "POST" and content_type == b"application/x-www-form-urlencoded":
        form.update(aws_query.read_fields(request.body))
    return form


def _query_action(form: dict[str, str], *, on_queue: bool) -> Action:
    name = form.get("Action")
    if name is None:
        raise Fault(UNKNOWN_OPERATION)
    action = ANSWERED.get(name)
    if action is None or (on_queue and name in _NOT_ON_A_QUEUE):
        raise Fault(INVALID_ACTION, f"The action {name} is not valid for this endpoint.")
    return action


def _complete(action: Action, shape: RequestShape, path: str) -> RequestShape:
    """Take the queue from the path if the request does not name one, and check that nothing required is missing."""
    for member in action.required:
        if getattr(shape, member) is None:
            if member != "queue_url" or path == "/":
                raise missing_parameter(_AWS_NAMES[action.name][member])
            shape = replace(shape, queue_url=path)
    if action.entry_required:
        entries: list[RequestShape] = getattr(shape, "entries")  # noqa: B009 - only the batches have it
        for number, entry in enumerate(entries, 1):
            for member in action.entry_required:
                if getattr(entry, member) is None:
                    name = f"{action.query_names['Entries']}.{number}.{_ENTRY_AWS_NAMES[member]}"
                    raise missing_parameter(name)
    return shape


@lru_cache(maxsize=256)
def _base_url(scheme: str, host: bytes) -> str:
    return f"{scheme}://{host.decode() if _HOST.fullmatch(host) else 'localhost'}"
