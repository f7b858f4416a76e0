"""The MD5 digests that SQS answers with and its SDKs check. Source: developer guide, "Amazon SQS message metadata".

They detect damage in transit; they are no protection against anybody.
"""

import hashlib
from collections.abc import Mapping
from struct import Struct as Layout

from amply.broker.sqs.shapes import MessageAttributeValue

_LENGTH = Layout(">I").pack
_STRING = b"\x01"
_BINARY = b"\x02"


def md5_of_body(body: str) -> str:
    """Hex MD5 of the body's UTF-8 bytes."""
    return hashlib.md5(body.encode(), usedforsecurity=False).hexdigest()


def md5_of_attributes(attributes: Mapping[str, MessageAttributeValue]) -> str:
    """Hex MD5 of the attributes in order of their names: name, type and value, each after its length."""
    parts: list[bytes] = []
    for name in sorted(attributes):
        attribute = attributes[name]
        name_bytes = name.encode()
        type_bytes = attribute.data_type.encode()
        if attribute.binary_value is not None:
            transport, value = _BINARY, attribute.binary_value
        else:
            transport, value = _STRING, (attribute.string_value or "").encode()
        parts += (
            _LENGTH(len(name_bytes)),
            name_bytes,
            _LENGTH(len(type_bytes)),
            type_bytes,
            transport,
            _LENGTH(len(value)),
            value,
        )
    return hashlib.md5(b"".join(parts), usedforsecurity=False).hexdigest()
