"""The AWS JSON 1.0 protocol: bodies into requests, results and faults into bodies."""

import msgspec

from amply.broker.sqs.actions import ANSWERED, Action
from amply.broker.sqs.faults import SERIALIZATION, Fault
from amply.broker.sqs.shapes import RequestShape, ResultShape

CONTENT_TYPE = b"application/x-amz-json-1.0"

_TARGET_PREFIX = "AmazonSQS."
_DECODERS = {name: msgspec.json.Decoder(action.request) for name, action in ANSWERED.items()}
_BY_TARGET = {(_TARGET_PREFIX + name).encode(): action for name, action in ANSWERED.items()}
_ENCODER = msgspec.json.Encoder()
# Lengths of lists and maps are checked after decoding, and a body of half a million tiny members would hold the event
# loop for a second before anybody knows who sent it. Only a string's own quotes have no backslash before them, however
# many its text holds, so this counts names and texts. The largest request, ten messages with ten attributes each, has
# less than a thousand of them; lists of names take a few more.
_STRINGS_MAX = 20_000
# Shorter bodies are quick, whatever is in them.
_SMALL_BYTES = 64 * 1024

_NAMESPACE = {True: "com.amazonaws.sqs", False: "com.amazon.coral.service"}


def action_of(target: bytes) -> Action | None:
    """The action that an X-Amz-Target header names."""
    return _BY_TARGET.get(target)


def decode(action: Action, body: bytes) -> RequestShape:
    """The request in a body; Fault SerializationException if it is not JSON, or not of the action's types."""
    if len(body) > _SMALL_BYTES and body.count(b'"') - body.count(b'\\"') > 2 * _STRINGS_MAX:
        raise Fault(SERIALIZATION, f"The JSON has more than {_STRINGS_MAX} names and texts.")
    try:
        return _DECODERS[action.name].decode(body or b"{}")
    except RecursionError:
        raise Fault(SERIALIZATION, "The JSON is nested too deep.") from None
    except ValueError as error:  # bad UTF-8, or msgspec's own, which names the member and never its value
        raise Fault(SERIALIZATION, str(error)) from None


def encode(result: ResultShape | None) -> bytes:
    """A result's body; an action without result answers an empty object."""
    return b"{}" if result is None else _ENCODER.encode(result)


def encode_fault(fault: Fault) -> bytes:
    """A fault's body. The code that older SDKs look for travels in a header."""
    row = fault.row
    return _ENCODER.encode({"__type": f"{_NAMESPACE[row.is_modelled]}#{row.shape}", "message": fault.message})
