"""The AWS Query protocol's requests: form fields such as `Attribute.1.Name` into typed requests.

Lists and maps are flattened into numbered fields. The number may be left out where there is one element, as in examples
of AWS's API reference (`AttributeName=All`, `Tag.Key=QueueType&Tag.Value=Production`). Nothing is ever allocated by a
number that a client sent.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from typing import Any, TypeAlias

import msgspec
from msgspec import inspect

from amply.broker.sqs.actions import ANSWERED, Action
from amply.broker.sqs.faults import INVALID_PARAMETER_VALUE, MALFORMED_QUERY_STRING, Fault, missing_parameter
from amply.broker.sqs.shapes import RequestShape

# The largest legal request: ten entries, each with five fields, ten attributes of four fields, and a trace header.
FIELDS_MAX = 640
_DEPTH_MAX = 8  # SendMessageBatchRequestEntry.1.MessageAttribute.1.Value.StringListValue.1 has seven

_BROKEN_ESCAPE = re.compile(rb"%(?![0-9A-Fa-f]{2})")
_INTEGER = re.compile(r"[+-]?[0-9]{1,10}")

# A field's text, or the fields below it.
_Node: TypeAlias = "str | dict[str, Any]"
_Read: TypeAlias = Callable[[_Node, str], Any]


def read_fields(text: bytes | str) -> dict[str, str]:
    """The fields of a form or a query string; Fault MalformedQueryString.

    A name may come once: a signature protects which values there are in a query string, and not the order of those with
    one name (Signature Version 4, canonical query string).
    """
    if isinstance(text, str):
        text = text.encode()
    if text.count(b"&") >= FIELDS_MAX:
        raise Fault(MALFORMED_QUERY_STRING, f"The request has more than {FIELDS_MAX} parameters.")
    fields: dict[str, str] = {}
    for field in text.split(b"&"):
        if field:
            escaped_name, _, value = field.partition(b"=")
            name = _unescape(escaped_name)
            if name in fields:
                raise Fault(MALFORMED_QUERY_STRING, "A parameter is given more than once.")
            fields[name] = _unescape(value)
    return fields


def _unescape(text: bytes) -> str:
    """Undo a form's escapes: three megabytes of nothing else, the largest message, in about 0.1 s.

    The standard library takes ten times as long, in which nobody else is served. Python's own escapes are decoded in C,
    so a form's are turned into those.
    """
    text = text.replace(b"+", b" ")
    if b"%" in text:
        if _BROKEN_ESCAPE.search(text):
            raise Fault(MALFORMED_QUERY_STRING, "A percent sign in the parameters is not followed by two hex digits.")
        escapes = text.replace(b"\\", b"\\\\").replace(b"%", b"\\x")
        text = escapes.decode("unicode_escape").encode("latin-1")
    try:
        return text.decode()
    except UnicodeDecodeError:
        raise Fault(MALFORMED_QUERY_STRING, "The parameters are not valid UTF-8.") from None


def decode(action: Action, fields: Mapping[str, str]) -> RequestShape:
    """The request that the fields describe; those that the action does not know are ignored, as SQS does.

    Fault InvalidParameterValue or MissingParameter. An absent batch is an empty one: the protocol cannot tell them
    apart.
    """
    members = _reader(action.name)(_nest(fields), "")
    if action.entry_required:
        members.setdefault("Entries", [])
    try:
        return msgspec.convert(members, action.request)
    except ValueError as error:
        raise Fault(INVALID_PARAMETER_VALUE, f"A parameter is invalid. Reason: {error}.") from None


def _nest(fields: Mapping[str, str]) -> dict[str, Any]:
    root: dict[str, Any] = {}
    for name, value in fields.items():
        *heads, last = name.split(".", _DEPTH_MAX)
        node = root
        for head in heads:
            node = node.setdefault(head, {})
            if not isinstance(node, dict):
                raise _invalid_name(name)
        if node.setdefault(last, value) is not value:
            raise _invalid_name(name)
    return root


@cache
def _reader(action_name: str) -> _Read:
    action = ANSWERED[action_name]
    return _struct_reader(inspect.type_info(action.request), action.query_names)


def _struct_reader(info: inspect.Type, names: Mapping[str, str]) -> _Read:
    if not isinstance(info, inspect.StructType):
        raise TypeError(f"{info} is not a structure")
    members = [
        (field.encode_name, names.get(field.encode_name, field.encode_name), _member_reader(field, names))
        for field in info.fields
    ]

    def read(node: _Node, path: str) -> dict[str, Any]:
        if isinstance(node, str):
            raise _invalid_name(path)
        prefix = f"{path}." if path else ""
        return {
            member: read_member(node[query_name], prefix + query_name)
            for member, query_name, read_member in members
            if query_name in node
        }

    return read


def _member_reader(field: inspect.Field, names: Mapping[str, str]) -> _Read:
    is_tags = names.get(field.encode_name) == "Tag"
    return _type_reader(field.type, names, "Key" if is_tags else "Name")


def _type_reader(info: inspect.Type, names: Mapping[str, str], key_name: str) -> _Read:
    if isinstance(info, inspect.UnionType):  # T | None
        info = next(option for option in info.types if not isinstance(option, inspect.NoneType))
    if isinstance(info, inspect.StructType):
        return _struct_reader(info, names)
    if isinstance(info, inspect.ListType):
        return _list_reader(_type_reader(info.item_type, names, key_name))
    if isinstance(info, inspect.DictType):
        return _map_reader(_type_reader(info.value_type, names, key_name), key_name)
    if isinstance(info, inspect.BoolType):
        return _read_boolean
    return _read_integer if isinstance(info, inspect.IntType) else _read_text


def _list_reader(read_element: _Read) -> _Read:
    def read(node: _Node, path: str) -> list[Any]:
        elements = [(node, path)] if isinstance(node, str) else _numbered(node, path)
        return [read_element(child, child_path) for child, child_path in elements]

    return read


def _map_reader(read_value: _Read, key_name: str) -> _Read:
    def read(node: _Node, path: str) -> dict[str, Any]:
        pairs: dict[str, Any] = {}
        is_alone = isinstance(node, dict) and node.keys() == {key_name, "Value"}
        for child, child_path in [(node, path)] if is_alone else _numbered(node, path):
            if isinstance(child, str):
                raise _invalid_name(child_path)
            for part in (key_name, "Value"):
                if part not in child:
                    raise missing_parameter(f"{child_path}.{part}")
            key = _read_text(child[key_name], f"{child_path}.{key_name}")
            pairs[key] = read_value(child["Value"], f"{child_path}.Value")
        return pairs

    return read


def _read_text(node: _Node, path: str) -> str:
    if not isinstance(node, str):
        raise _invalid_name(path)
    return node


def _read_integer(node: _Node, path: str) -> int:
    text = _read_text(node, path)
    if not _INTEGER.fullmatch(text):
        raise Fault(INVALID_PARAMETER_VALUE, f"The parameter {path} must be an integer.")
    return int(text)


def _read_boolean(node: _Node, path: str) -> bool:
    text = _read_text(node, path)
    if text not in {"true", "false"}:
        raise Fault(INVALID_PARAMETER_VALUE, f"The parameter {path} must be true or false.")
    return text == "true"


def _numbered(node: _Node, path: str) -> Iterator[tuple[_Node, str]]:
    """The children 1, 2, 3 ... of a list, which must have no others."""
    if isinstance(node, str):
        raise _invalid_name(path)
    for number in range(1, len(node) + 1):
        child = node.get(str(number))
        if child is None:
            raise missing_parameter(f"{path}.{number}")
        yield child, f"{path}.{number}"


def _invalid_name(name: str) -> Fault:
    return Fault(INVALID_PARAMETER_VALUE, f"The parameter {name} is not of the form that this action takes.")
