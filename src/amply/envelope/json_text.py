"""JSON as kombu writes and reads it, from hostile senders too, with a bound on nesting.

Knows kombu's marks for values that JSON has no type for (kombu 5.7, utils/json.py). Must not know what the values mean.
"""

import base64
import json
import uuid
from collections.abc import Callable
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any, cast

import msgspec

# Far more than Celery's own nested canvases need, and far less than what exhausts Python's stack in a worker that
# decodes, prints and pickles the values again.
NESTING_MAX = 200

_decode = msgspec.json.Decoder().decode


class Unreadable(Exception):
    """A message that is no Celery job. `reason` is one line for people; it never holds any of the message itself."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def parse(data: bytes, what: str) -> Any:
    """The value of a JSON text, marked values revived; `what` names the text in the reason of `Unreadable`.

    Takes what Python's `json` takes, because stock Celery reads and writes with it: NaN and Infinity, lone surrogates
    as escapes, and the last of two members with one name.
    """
    try:
        value = _parse_as_kombu(data) if _may_be_marked(data) else _parse_quickly(data)
    except RecursionError:
        raise Unreadable(f"{what} is nested too deep (more than {NESTING_MAX} levels)") from None
    # What the revival of a hostile mark can raise; kombu's answer to each is that the content cannot be decoded.
    except (ValueError, TypeError, AttributeError, KeyError, ArithmeticError):
        raise Unreadable(f"{what} is not JSON that kombu can read") from None
    if data.count(b"[") + data.count(b"{") > NESTING_MAX and _is_deeper(value, NESTING_MAX):
        raise Unreadable(f"{what} is nested too deep (more than {NESTING_MAX} levels)")
    return value


def ascii_json(value: Any) -> str:
    """A value as compact JSON in ASCII, since SQS takes only some of Unicode; values without a JSON type are marked.

    TypeError for a value that kombu could not write either, ValueError for one that holds itself.
    """
    return _encoder.encode(value)


def _may_be_marked(data: bytes) -> bool:
    """Whether a mark may be in it, spelled plainly or with escapes (`\\u005f` for an underscore, and so on)."""
    if b"__type__" in data:
        return True
    return b"\\" in data and any(escape in data for escape in (b"\\u005", b"\\u006", b"\\u007"))


def _parse_quickly(data: bytes) -> Any:
    try:
        return _decode(data)
    except (msgspec.DecodeError, ValueError):
        return _parse_as_kombu(data)


def _parse_as_kombu(data: bytes) -> Any:
    return json.loads(data.decode(), object_hook=_revived)


def _is_deeper(value: Any, levels: int) -> bool:
    """Whether containers lie in containers more than so many levels deep; level by level, without recursion."""
    level = [value] if isinstance(value, dict | list) else []
    for _ in range(levels):
        level = [
            inner
            for outer in level
            for inner in (outer.values() if isinstance(outer, dict) else outer)
            if isinstance(inner, dict | list)
        ]
        if not level:
            return False
    return True


def _revived(members: dict[str, Any]) -> Any:
    if members.keys() != {"__type__", "__value__"}:
        return members
    revive = _REVIVE.get(members["__type__"])
    # An application may have registered marks of its own; only its kombu can tell what they mean.
    return members if revive is None else revive(members["__value__"])


def _marked(value: Any) -> Any:
    """What kombu writes in the place of a value that JSON has no type for."""
    reduce = getattr(value, "__json__", None)
    if reduce is not None:
        return reduce()
    for kind, mark, plain in _MARKS:
        if isinstance(value, kind):
            return {"__type__": mark, "__value__": plain(value)}
    if isinstance(value, bytes):
        return _marked_bytes(value)
    raise TypeError(f"a {type(value).__name__} cannot be written as JSON")


def _marked_bytes(value: bytes) -> dict[str, str]:
    try:
        return {"__type__": "bytes", "__value__": value.decode()}
    except UnicodeDecodeError:
        return {"__type__": "base64", "__value__": base64.b64encode(value).decode()}


_MARKS: tuple[tuple[type, str, Callable[[Any], Any]], ...] = (
    (datetime, "datetime", datetime.isoformat),  # before date: every datetime is a date, too
    (date, "date", date.isoformat),
    (time, "time", time.isoformat),
    (Decimal, "decimal", str),
    (uuid.UUID, "uuid", lambda value: {"hex": cast(uuid.UUID, value).hex}),
)
_REVIVE: dict[Any, Callable[[Any], Any]] = {
    "datetime": datetime.fromisoformat,
    "date": lambda text: datetime.fromisoformat(text).date(),
    "time": time.fromisoformat,
    "decimal": Decimal,
    "uuid": lambda members: uuid.UUID(**members),
    "bytes": lambda text: text.encode(),
    "base64": lambda text: base64.b64decode(text.encode()),
}
_encoder = json.JSONEncoder(ensure_ascii=True, separators=(",", ":"), default=_marked)
