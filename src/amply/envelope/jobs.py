"""What a payload says of its job, for people and for tools: dead letters, the dashboard, messages about sizes.

Knows Celery's protocols 1 and 2. Must not run, unpickle or trust anything in a payload.
"""

from typing import Any

import msgspec

from amply.envelope.content import plain_form, unpacked
from amply.envelope.json_text import Unreadable, parse

TEXT_CHARS_MAX = 1024
REPR_CHARS_MAX = 4096


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """A job as its message tells it. What is missing or of another type is None; texts are cut to 1024 characters.

    `args` and `kwargs` are decoded from JSON; where they are None, `unread` is the reason, in one line. `argsrepr` and
    `kwargsrepr` are the sender's own words (at most 4096 characters). `eta` and `expires` are in ISO 8601 as sent.
    """

    task: str | None = None
    id: str | None = None
    args: list[Any] | None = None
    kwargs: dict[str, Any] | None = None
    unread: str | None = None
    argsrepr: str | None = None
    kwargsrepr: str | None = None
    retries: int | None = None
    eta: str | None = None
    expires: str | None = None
    root_id: str | None = None
    parent_id: str | None = None
    origin: str | None = None
    routing_key: str | None = None
    content_type: str | None = None


def job(payload: Any) -> Job:
    """The job in a payload, from `read` or not; never raises, whatever the payload holds."""
    payload = _mapping(payload)
    headers, properties = _mapping(payload.get("headers")), _mapping(payload.get("properties"))
    call, unread = _call(payload, headers, properties)
    # Headers win over the body, as they do in Celery (worker/strategy.py, hybrid_to_proto2).
    said = {**_mapping(call), **headers}
    args, kwargs = _arguments(call)
    if args is None or kwargs is None:
        unread = unread or "the body is no call of a task"
    retries = said.get("retries")
    return Job(
        **{name: _text(said.get(name)) for name in ("task", "id", "eta", "expires", "root_id", "parent_id", "origin")},
        args=args,
        kwargs=kwargs,
        unread=unread,
        argsrepr=_text(said.get("argsrepr"), REPR_CHARS_MAX),
        kwargsrepr=_text(said.get("kwargsrepr"), REPR_CHARS_MAX),
        retries=retries if type(retries) is int else None,
        routing_key=_text(_mapping(properties.get("delivery_info")).get("routing_key")),
        content_type=_text(payload.get("content-type")),
    )


def _call(payload: dict[str, Any], headers: dict[str, Any], properties: dict[str, Any]) -> tuple[Any, str | None]:
    """The decoded body, or None and why it is not decoded."""
    if payload.get("content-type") != "application/json":
        return None, "the content is not application/json"
    try:
        _, _, data = plain_form(payload.get("body"), properties.get("body_encoding"))
        plain = unpacked(data, _text(headers.get("compression")))
        if plain is None:
            return None, "the body is compressed in a way that is not known here"
        return parse(plain, "the body"), None
    except Unreadable as fault:
        return None, fault.reason


def _arguments(call: Any) -> tuple[list[Any] | None, dict[str, Any] | None]:
    args, kwargs = None, None
    if isinstance(call, dict) and ("task" in call or "args" in call):
        args, kwargs = call.get("args", []), call.get("kwargs", {})
    elif isinstance(call, list) and len(call) == 3:
        args, kwargs, _ = call
    return (args if isinstance(args, list) else None), (kwargs if isinstance(kwargs, dict) else None)


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _text(value: Any, most: int = TEXT_CHARS_MAX) -> str | None:
    return value[:most] if isinstance(value, str) else None
