"""What a message may hold: the checks of SendMessage and of each entry of SendMessageBatch.

Pure rules in SQS's own order; rules that need the queue (FIFO or not, deduplication) are the service's. Source: AWS API
reference, SendMessage; developer guide, "Amazon SQS message metadata".
"""

import re
from collections.abc import Mapping
from decimal import Decimal

from amply.broker.sqs.faults import (
    INVALID_MESSAGE_CONTENTS,
    INVALID_PARAMETER_VALUE,
    UNSUPPORTED_OPERATION,
    Fault,
    invalid_parameter,
    missing_parameter,
)
from amply.broker.sqs.limits import Limits
from amply.broker.sqs.shapes import MessageAttributeValue, SendMessageBatchRequestEntry, SendMessageRequest

TRACE_HEADER = "AWSTraceHeader"

# All of ASCII that a message may hold. Deleting it from plain text is several times faster than searching with a regex.
_ALLOWED_ASCII = b"\t\n\r" + bytes(range(0x20, 0x80))
_FORBIDDEN = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_FORBIDDEN_TEXT = (
    "Invalid characters found. Valid unicode characters are "
    "#x9 | #xA | #xD | #x20 to #xD7FF | #xE000 to #xFFFD | #x10000 to #x10FFFF"
)

_ATTRIBUTE_NAME = re.compile(r"[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*")
_RESERVED_PREFIXES = ("aws.", "amazon.")
_DATA_TYPE = re.compile(r"(String|Number|Binary)(?:\..+)?", re.DOTALL)
_NUMBER = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]{1,3})?")
_NUMBER_LENGTH_MAX = 512  # no number in range needs more; keeps Decimal from long work

_FIFO_ID = re.compile(r"[!-~]+")


def size_bytes(body: str, attributes: Mapping[str, MessageAttributeValue] | None) -> int:
    """What counts against the size limits: UTF-8 bytes of the body, and of attribute names, types and values."""
    size = _utf8_length(body)
    if attributes:
        for name, attribute in attributes.items():
            size += _utf8_length(name) + _utf8_length(attribute.data_type)
            if attribute.string_value is not None:
                size += _utf8_length(attribute.string_value)
            if attribute.binary_value is not None:
                size += len(attribute.binary_value)
    return size


def check_message(
    message: SendMessageRequest | SendMessageBatchRequestEntry,
    size: int,
    size_max: int,
    limits: Limits,
    *,
    in_batch: bool,
) -> None:
    """Raise the Fault that SQS answers to this message, if any.

    `size` is what `size_bytes` said, `size_max` the queue's MaximumMessageSize.
    """
    body = message.message_body
    if not body:
        raise missing_parameter("MessageBody")
    if size > size_max:
        verb = "cannot be validated" if in_batch else "are invalid"
        text = f"One or more parameters {verb}. Reason: Message must be shorter than {size_max} bytes."
        raise Fault(INVALID_PARAMETER_VALUE, text)
    if has_forbidden_characters(body):
        raise Fault(INVALID_MESSAGE_CONTENTS, _FORBIDDEN_TEXT)
    if message.message_attributes:
        check_attributes(message.message_attributes, limits)
    if message.message_system_attributes:
        check_system_attributes(message.message_system_attributes, limits)
    if message.message_deduplication_id is not None:
        check_fifo_id("MessageDeduplicationId", message.message_deduplication_id, limits.deduplication_id_length_max)
    if message.message_group_id is not None:
        check_fifo_id("MessageGroupId", message.message_group_id, limits.group_id_length_max)
    delay = message.delay_seconds
    if delay is not None and not 0 <= delay <= limits.delay_s_max:
        raise invalid_parameter("DelaySeconds", delay, f"DelaySeconds must be >= 0 and <= {limits.delay_s_max}.")


def has_forbidden_characters(text: str) -> bool:
    """Whether the text holds a character that XML 1.0, and therefore SQS, cannot carry."""
    if not text.isascii():
        return _FORBIDDEN.search(text) is not None
    # Nearly every message is one line of printable ASCII, and this is the fastest way to see it.
    return not text.isprintable() and bool(text.encode().translate(None, _ALLOWED_ASCII))


def check_attributes(attributes: Mapping[str, MessageAttributeValue], limits: Limits) -> None:
    """Names, types and values of the message attributes."""
    if len(attributes) > limits.message_attributes_max:
        text = f"Number of message attributes [{len(attributes)}] exceeds the allowed maximum"
        raise Fault(INVALID_PARAMETER_VALUE, f"{text} [{limits.message_attributes_max}].")
    for name, attribute in attributes.items():
        _check_attribute_name(name, limits)
        _check_attribute(name, attribute, limits)


def check_system_attributes(attributes: Mapping[str, MessageAttributeValue], limits: Limits) -> None:
    """The X-Ray trace header, a string, is the only one that can be sent."""
    for name, attribute in attributes.items():
        if name != TRACE_HEADER:
            text = f"Message system attribute name '{name}' is invalid; only {TRACE_HEADER} can be sent."
            raise Fault(INVALID_PARAMETER_VALUE, text)
        if attribute.data_type != "String":
            raise Fault(INVALID_PARAMETER_VALUE, f"The message system attribute {TRACE_HEADER} must be a String.")
        _check_attribute(name, attribute, limits)


def check_fifo_id(parameter: str, value: str, length_max: int) -> None:
    """MessageGroupId, MessageDeduplicationId, ReceiveRequestAttemptId: ASCII letters, digits and punctuation."""
    if len(value) > length_max or not _FIFO_ID.fullmatch(value):
        reason = f"{parameter} can only include alphanumeric and punctuation characters. 1 to {length_max} in length."
        raise invalid_parameter(parameter, value, reason)


def sequence_number(seq: int) -> str:
    """SequenceNumber: 20 digits, so that their order as text is that of the messages (AWS's SendMessage)."""
    return f"{seq:020d}"


def _check_attribute_name(name: str, limits: Limits) -> None:
    if len(name) > (most := limits.message_attribute_name_length_max):
        text = f"Message (user) attribute names can be at most {most} characters long."
        raise Fault(INVALID_PARAMETER_VALUE, text)
    if not _ATTRIBUTE_NAME.fullmatch(name):
        raise Fault(
            INVALID_PARAMETER_VALUE,
            f"Message (user) attribute name '{name}' is invalid: it can hold letters, digits, hyphens, underscores, "
            "and single periods that neither start nor end it.",
        )
    if name.lower().startswith(_RESERVED_PREFIXES):
        text = f"Message (user) attribute name '{name}' is invalid: names starting with AWS. or Amazon. are reserved."
        raise Fault(INVALID_PARAMETER_VALUE, text)


def _check_attribute(name: str, attribute: MessageAttributeValue, limits: Limits) -> None:
    if attribute.string_list_values or attribute.binary_list_values:
        raise Fault(UNSUPPORTED_OPERATION, f"Message (user) attribute '{name}': list values are not supported.")
    match = _DATA_TYPE.fullmatch(attribute.data_type)
    if match is None or len(attribute.data_type) > limits.message_attribute_type_length_max:
        raise Fault(
            INVALID_PARAMETER_VALUE,
            f"The type of message (user) attribute '{name}' is invalid. You must use only the following supported "
            "type prefixes: Binary, Number, String.",
        )
    kind = match[1]
    value = attribute.binary_value if kind == "Binary" else attribute.string_value
    if not value or (attribute.string_value is not None and attribute.binary_value is not None):
        text = f"Message (user) attribute '{name}' must contain a non-empty value of type '{kind}'."
        raise Fault(INVALID_PARAMETER_VALUE, text)
    if isinstance(value, str) and has_forbidden_characters(value):
        raise Fault(INVALID_PARAMETER_VALUE, _FORBIDDEN_TEXT)
    if kind == "Number" and not _is_number(attribute.string_value or "", limits):
        text = f"Can't cast the value of message (user) attribute '{name}' to a number."
        raise Fault(INVALID_PARAMETER_VALUE, text)


def _is_number(text: str, limits: Limits) -> bool:
    if len(text) > _NUMBER_LENGTH_MAX or not _NUMBER.fullmatch(text):
        return False
    number = Decimal(text)
    if not number:
        return True
    significant = "".join(map(str, number.as_tuple().digits)).strip("0")
    return (
        len(significant) <= limits.number_digits_max
        and limits.number_exponent_min <= number.adjusted() <= limits.number_exponent_max
    )


def _utf8_length(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode(errors="surrogatepass"))
