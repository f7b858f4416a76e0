"""The AWS Query protocol's answers: results and faults into XML, or into the JSON of the same tree.

XML is only ever written here, never read.
"""

import re
from base64 import b64encode
from functools import cache
from typing import Any, TypeAlias

import msgspec
from msgspec import structs

from amply.broker.sqs.actions import Action
from amply.broker.sqs.faults import Fault
from amply.broker.sqs.shapes import MessageAttributeValue, ResultShape

CONTENT_TYPE = b"text/xml"
JSON_CONTENT_TYPE = b"application/json"
NAMESPACE = "http://queue.amazonaws.com/doc/2012-11-05/"

UNKNOWN_OPERATION_BODY = b"<UnknownOperationException/>"

_FORBIDDEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
_REPLACEMENT = "\ufffd"

# The JSON form of a Query answer spells these in its own way.
_JSON_NAMES = {"Messages": "messages", "QueueUrls": "queueUrls"}

_Shape: TypeAlias = ResultShape | MessageAttributeValue


def escape(text: str) -> str:
    """Text for an element. A character that XML cannot carry becomes U+FFFD; stored messages hold none."""
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    text = text.replace('"', "&quot;").replace("\r", "&#xD;")
    return text if text.isprintable() else _FORBIDDEN.sub(_REPLACEMENT, text)


def write_result(action: Action, result: ResultShape | None, request_id: str) -> bytes:
    """`<ActionResponse>` with the result, if the action has one, and the request id."""
    parts = [f'<?xml version="1.0"?><{action.name}Response xmlns="{NAMESPACE}">']
    if result is not None:
        parts.append(f"<{action.name}Result>")
        _write_members(parts, result, action)
        parts.append(f"</{action.name}Result>")
    parts.append(f"<ResponseMetadata><RequestId>{escape(request_id)}</RequestId></ResponseMetadata>")
    parts.append(f"</{action.name}Response>")
    return "".join(parts).encode()


def write_fault(fault: Fault, request_id: str) -> bytes:
    """`<ErrorResponse>`."""
    return (
        f'<?xml version="1.0"?><ErrorResponse xmlns="{NAMESPACE}"><Error><Type>{_fault_type(fault)}</Type>'
        f"<Code>{fault.row.query_code}</Code><Message>{escape(fault.message)}</Message><Detail/></Error>"
        f"<RequestId>{escape(request_id)}</RequestId></ErrorResponse>"
    ).encode()


def write_result_as_json(action: Action, result: ResultShape | None, request_id: str) -> bytes:
    """The tree of `write_result` as JSON: maps are lists of pairs, and what is absent is null."""
    response: dict[str, Any] = {"ResponseMetadata": {"RequestId": request_id}}
    if result is not None:
        response[f"{action.name}Result"] = {
            _JSON_NAMES.get(aws_name, aws_name): _json_value(
                getattr(result, member), _key_name(action.query_names.get(aws_name, aws_name))
            )
            for member, aws_name in _members(type(result))
        }
    return msgspec.json.encode({f"{action.name}Response": response})


def write_fault_as_json(fault: Fault, request_id: str) -> bytes:
    """The tree of `write_fault` as JSON."""
    error = {"Type": _fault_type(fault), "Code": fault.row.query_code, "Message": fault.message}
    return msgspec.json.encode({"Error": error, "RequestId": request_id})


@cache
def _members(shape_type: type[_Shape]) -> tuple[tuple[str, str], ...]:
    """The members of a shape: Python's name and AWS's."""
    return tuple((field.name, field.encode_name) for field in structs.fields(shape_type))


def _fault_type(fault: Fault) -> str:
    return "Sender" if fault.row.is_sender else "Receiver"


def _write_members(parts: list[str], shape: _Shape, action: Action) -> None:
    for member, aws_name in _members(type(shape)):
        value = getattr(shape, member)
        name = action.query_names.get(aws_name, aws_name)
        if isinstance(value, list):
            for element in value:
                _write_element(parts, name, element, action)
        elif isinstance(value, dict):
            key_name = _key_name(name)
            for key, element in value.items():
                parts.append(f"<{name}><{key_name}>{escape(key)}</{key_name}>")
                _write_element(parts, "Value", element, action)
                parts.append(f"</{name}>")
        elif value is not None:
            _write_element(parts, name, value, action)


def _write_element(parts: list[str], name: str, value: object, action: Action) -> None:
    parts.append(f"<{name}>")
    if isinstance(value, _Shape):
        _write_members(parts, value, action)
    else:
        parts.append(_text(value))
    parts.append(f"</{name}>")


def _text(value: object) -> str:
    if isinstance(value, str):
        return escape(value)
    if isinstance(value, bytes):
        return b64encode(value).decode()
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def _json_value(value: object, key_name: str = "Name") -> object:
    if isinstance(value, list):
        return [_json_value(element) for element in value] or None
    if isinstance(value, dict):
        return [{key_name: key, "Value": _json_value(element)} for key, element in value.items()] or None
    if isinstance(value, _Shape):
        return {aws_name: _json_value(getattr(value, member)) for member, aws_name in _members(type(value))}
    return value


def _key_name(element_name: str) -> str:
    return "Key" if element_name == "Tag" else "Name"
