"""What the members of a call must be, so that neither kombu nor a Celery worker stumbles over them.

Knows what Celery does with each member, where a value of another type ends a whole worker (Celery 5.7,
worker/strategy.py, worker/request.py, app/task.py `Context`). Must not know how members travel.
"""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, NamedTuple

from amply.envelope.json_text import Unreadable

TEXT_CHARS_MAX = 1024
NUMBER_MAX = 2**31


class _Rule(NamedTuple):
    holds: Callable[[Any], bool]
    expected: str


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and 0 < len(value) <= TEXT_CHARS_MAX and value.isprintable()


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and len(value) <= TEXT_CHARS_MAX and (value.isascii() or _is_unicode(value))


def _is_unicode(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value < NUMBER_MAX


def _is_time(value: Any) -> bool:
    try:
        # At either end of the calendar Celery's change of time zone overflows.
        return isinstance(value, str) and 1970 <= datetime.fromisoformat(value).year <= 9998
    except ValueError:
        return False


def _is_seconds(value: Any) -> bool:
    return value is None or (type(value) in {int, float} and 0 <= value < NUMBER_MAX)


def _are_timelimits(value: Any) -> bool:
    if not isinstance(value, list) or len(value) not in {0, 2}:
        return False
    return not value or (_is_seconds(value[0]) and _is_seconds(value[1]))


def _are_texts(value: Any) -> bool:
    return isinstance(value, list) and all(map(_is_text, value))


def _is_mapping(value: Any) -> bool:
    return isinstance(value, dict)


def _are_mappings(value: Any) -> bool:
    return isinstance(value, list) and all(map(_is_mapping, value))


_NAME = _Rule(_is_name, f"1 to {TEXT_CHARS_MAX} printable characters")
_TEXT = _Rule(_is_text, f"text of at most {TEXT_CHARS_MAX} characters")
_COUNT = _Rule(_is_count, "a whole number from 0")
_TIME = _Rule(_is_time, "a time in ISO 8601 between the years 1970 and 9998")
_MAPPING = _Rule(_is_mapping, "an object")
_SIGNATURES = _Rule(_are_mappings, "a list of objects")

# Members of headers in protocol 2, of the body in protocol 1. Null stands for absent, but for `retries`.
CALL = {
    **dict.fromkeys(("task", "id"), _NAME),
    **dict.fromkeys(("shadow", "root_id", "parent_id", "group", "taskset", "compression"), _TEXT),
    **dict.fromkeys(("retries", "group_index", "replaced_task_nesting"), _COUNT),
    **dict.fromkeys(("eta", "expires"), _TIME),
    "timelimit": _Rule(_are_timelimits, "two numbers of seconds from 0, or nulls"),
    "stamped_headers": _Rule(_are_texts, "a list of texts"),
    **dict.fromkeys(("stamps", "headers", "chord"), _MAPPING),
    **dict.fromkeys(("callbacks", "errbacks", "chain"), _SIGNATURES),
}
# Members of what protocol 2 embeds in the body: Celery lays them over the headers and over what the channel said.
EMBEDDED = {
    **CALL,
    "args": _Rule(lambda value: isinstance(value, list), "a list"),
    **dict.fromkeys(("kwargs", "properties", "delivery_info"), _MAPPING),
}
# Members of `properties` and of `properties.delivery_info`.
ROUTE = {
    **dict.fromkeys(("correlation_id", "reply_to", "exchange", "routing_key", "consumer_tag"), _TEXT),
    "priority": _COUNT,
}


def check_members(members: Mapping[str, Any], rules: dict[str, _Rule], where: str) -> None:
    """Raise Unreadable, naming the member, unless every member that a rule speaks of is as it says."""
    for name, value in members.items():
        # Most members are null; asking for that first halves the time, and this is on the path of every message.
        if value is not None and name in rules and not rules[name].holds(value):
            raise Unreadable(f"{where}.{name} must be {rules[name].expected}")
    # Celery compares it with the most retries allowed, and does not expect it to be null.
    if members.get("retries", 0) is None:
        raise Unreadable(f"{where}.retries must be {_COUNT.expected}")


def check_call(headers: Mapping[str, Any], call: Any) -> None:
    """Raise Unreadable unless headers and the decoded body are a call of a task, in Celery's protocol 1 or 2."""
    if "task" not in headers:
        if not isinstance(call, dict) or "task" not in call:
            raise Unreadable("neither headers nor body name a task")
        check_names(call, "body")
        # Celery takes a job's id from the headers where they have one, a null too (worker/request.py).
        if headers.get("id", call["id"]) is None:
            raise Unreadable("headers.id must not be null")
        _check_protocol_1(call)
    elif isinstance(call, dict) and "args" in call:
        # Headers of protocol 2 around a body of protocol 1, which Celery takes as well.
        _check_protocol_1(call)
    else:
        _check_protocol_2(call)


def check_names(members: Mapping[str, Any], where: str) -> None:
    """Raise Unreadable unless task and id are there."""
    for name in ("task", "id"):
        if members.get(name) is None:
            raise Unreadable(f"{where}.{name} is missing")


def _check_protocol_1(call: dict[str, Any]) -> None:
    check_members(call, CALL, "body")
    _check_arguments(call.get("args", []), call.get("kwargs", {}))


def _check_protocol_2(call: Any) -> None:
    if not isinstance(call, list) or len(call) != 3:
        raise Unreadable("body must be a list of args, kwargs and embedded calls")
    args, kwargs, embedded = call
    _check_arguments(args, kwargs)
    if not isinstance(embedded, dict):
        raise Unreadable("body[2], the embedded calls, must be an object")
    check_members(embedded, EMBEDDED, "body[2]")


def _check_arguments(args: Any, kwargs: Any) -> None:
    if not isinstance(args, list):
        raise Unreadable("args in the body must be a list")
    if not isinstance(kwargs, dict):
        raise Unreadable("kwargs in the body must be an object")
