"""From the body of an SQS message to a payload that kombu and a Celery worker can take without stumbling.

Knows the forms that stock kombu and other languages' Celery clients write. Must not know channels, and runs nothing.
"""

from typing import Any

from amply.envelope.content import plain_form, strict_base64, unpacked
from amply.envelope.json_text import Unreadable, parse
from amply.envelope.members import CALL, ROUTE, check_call, check_members, check_names

JSON = "application/json"
# kombu hands these to every application as they are (kombu 5.7, serialization.py TRUSTED_CONTENT), and a worker that
# finds no call in them ends.
_NEVER_A_CALL = frozenset({"application/data", "application/text"})


def read(body: str) -> dict[str, Any]:
    """The payload of a message: `body`, `content-type`, `content-encoding`, `headers`, `properties`.

    Takes base64 of a JSON envelope, and a JSON envelope whose body is base64 or text (kombu 5.7, transport/SQS `_put`).
    What other languages' clients leave out is filled in; headers and properties are otherwise as they came, but for
    `delivery_tag`, which is None until a channel gives its own. `Message(payload, channel=...)` (kombu 5.7,
    transport/virtual/base.py) and a worker's `Request` raise nothing on the result when the content is JSON; other
    content is not opened here: whether it is accepted at all is the application's word.

    Raises Unreadable, and nothing else.
    """
    envelope = _envelope(body)
    content_type = _label(envelope, "content-type", JSON)
    content_encoding = _label(envelope, "content-encoding", "utf-8")
    headers = _mapping(envelope, "headers", "headers")
    properties = _mapping(envelope, "properties", "properties")
    delivery_info = _mapping(properties, "delivery_info", "properties.delivery_info")
    check_members(headers, CALL, "headers")
    check_members(properties, ROUTE, "properties")
    check_members(delivery_info, ROUTE, "properties.delivery_info")
    if "task" in headers:
        check_names(headers, "headers")

    text, body_encoding, data = plain_form(envelope.get("body"), properties.get("body_encoding"))
    _check_content(headers, unpacked(data, headers.get("compression")), content_type)

    # kombu looks both up without asking when it puts a message back.
    for name in ("exchange", "routing_key"):
        if delivery_info.get(name) is None:
            delivery_info[name] = ""
    properties["delivery_info"] = delivery_info
    properties["delivery_tag"] = None
    properties["body_encoding"] = body_encoding
    return {
        "body": text,
        "content-type": content_type,
        "content-encoding": content_encoding,
        "headers": headers,
        "properties": properties,
    }


def _envelope(body: str) -> dict[str, Any]:
    try:
        data = body.encode() if body.lstrip()[:1] == "{" else strict_base64(body)
    except ValueError:
        data = b""
    if data.lstrip()[:1] != b"{":
        raise Unreadable("the message is neither a JSON object nor base64 of one")
    envelope = parse(data, "the message")
    if not isinstance(envelope, dict) or "body" not in envelope:
        raise Unreadable("the message is a JSON object, but no Celery message: it has no body")
    return envelope


def _check_content(headers: dict[str, Any], data: bytes | None, content_type: str) -> None:
    if content_type in _NEVER_A_CALL:
        raise Unreadable("content-type says plain data; a call of a task is application/json")
    if data is None or content_type != JSON:
        return
    check_call(headers, parse(data, "body"))


def _label(envelope: dict[str, Any], name: str, default: str) -> str:
    value = envelope.get(name)
    if value is None or value == "":
        return default
    if not isinstance(value, str) or len(value) > 255 or not value.isprintable():
        raise Unreadable(f"{name} must be at most 255 printable characters")
    return value


def _mapping(members: dict[str, Any], name: str, where: str) -> dict[str, Any]:
    """A member that is an object; absent, null and PHP's spelling of an empty one, `[]`, are an empty one."""
    value = members.get(name)
    if value is None or value == []:
        return {}
    if not isinstance(value, dict):
        raise Unreadable(f"{where} must be an object")
    return value
