"""From a payload of kombu to the body of an SQS message, in three forms that every Celery worker on SQS understands.

Knows the forms. Must not know sizes allowed, message attributes, or queues.
"""

import base64
from typing import Any, Literal, assert_never

from amply.envelope.json_text import ascii_json

Form = Literal["brief", "readable", "stock"]

_SHOWN_CHARS_MAX = 1024


def write(payload: dict[str, Any], form: Form) -> str:
    """The message body for a payload as kombu's virtual channel hands it to `_put`; the payload stays as it is.

    `brief`: a JSON envelope whose body is base64. `readable`: the body as text where it is UTF-8 and not compressed,
    else as in `brief`. `stock`: base64 of `brief`, as stock kombu writes by default. All in ASCII. `delivery_tag` is
    left out: it means something to the sending channel alone.

    TypeError for headers or properties that kombu could not write either; ValueError for a body that is no text.
    """
    data = _body_bytes(payload)
    properties = {name: value for name, value in payload["properties"].items() if name != "delivery_tag"}
    text = _text(data) if form == "readable" and not payload["headers"].get("compression") else None
    if text is None:
        text, properties["body_encoding"] = base64.b64encode(data).decode("ascii"), "base64"
    else:
        properties["body_encoding"] = "utf-8"
    envelope = ascii_json({**payload, "body": text, "properties": properties})
    match form:
        case "brief" | "readable":
            return envelope
        case "stock":
            return base64.b64encode(envelope.encode("ascii")).decode("ascii")
        case _:
            assert_never(form)


def foreign(body: str, *, task: str, message_id: str) -> dict[str, Any]:
    """Another system's message as a payload (Celery's protocol 2) that calls `task` with the body as its one argument.

    The job's id is the SQS message's, so that a message received twice is the same job twice.
    """
    call = [[body], {}, {"callbacks": None, "errbacks": None, "chain": None, "chord": None}]
    shown = body if len(body) <= _SHOWN_CHARS_MAX else f"{body[:_SHOWN_CHARS_MAX]}..."
    return {
        "body": base64.b64encode(ascii_json(call).encode("ascii")).decode("ascii"),
        "content-type": "application/json",
        "content-encoding": "utf-8",
        "headers": {
            "lang": "py",
            "task": task,
            "id": message_id,
            "shadow": None,
            "eta": None,
            "expires": None,
            "group": None,
            "group_index": None,
            "retries": 0,
            "timelimit": [None, None],
            "root_id": message_id,
            "parent_id": None,
            "argsrepr": f"[{shown!r}]",
            "kwargsrepr": "{}",
            "origin": "",
        },
        "properties": {
            "correlation_id": message_id,
            "reply_to": "",
            "delivery_mode": 2,
            "delivery_info": {"exchange": "", "routing_key": ""},
            "priority": 0,
            "body_encoding": "base64",
            "delivery_tag": None,
        },
    }


def _body_bytes(payload: dict[str, Any]) -> bytes:
    body = payload["body"]
    if payload["properties"].get("body_encoding") == "base64":
        return base64.b64decode(body)
    return body if isinstance(body, bytes) else body.encode()


def _text(data: bytes) -> str | None:
    try:
        return data.decode()
    except UnicodeDecodeError:
        return None
