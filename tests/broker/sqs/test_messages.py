"""What a message may hold."""

import pytest

from amply.broker.sqs.faults import (
    INVALID_MESSAGE_CONTENTS,
    INVALID_PARAMETER_VALUE,
    MISSING_PARAMETER,
    UNSUPPORTED_OPERATION,
    Fault,
    FaultRow,
)
from amply.broker.sqs.limits import AWS
from amply.broker.sqs.messages import check_message, has_forbidden_characters, size_bytes
from amply.broker.sqs.shapes import MessageAttributeValue, SendMessageRequest

Value = MessageAttributeValue


def check(message: SendMessageRequest, size_max: int = 1_048_576, *, in_batch: bool = False) -> None:
    size = size_bytes(message.message_body, message.message_attributes)
    check_message(message, size, size_max, AWS, in_batch=in_batch)


def fault_of(message: SendMessageRequest, size_max: int = 1_048_576, *, in_batch: bool = False) -> tuple[FaultRow, str]:
    with pytest.raises(Fault) as caught:
        check(message, size_max, in_batch=in_batch)
    return caught.value.row, caught.value.message


def with_attribute(name: str, value: Value) -> SendMessageRequest:
    return SendMessageRequest(queue_url="q", message_body="x", message_attributes={name: value})


def test_size_is_utf8_bytes_of_body_and_of_attribute_names_types_and_values() -> None:
    assert size_bytes("aé€", None) == 6
    attributes = {"ab": Value("String", "é"), "c": Value("Binary", None, b"123")}
    assert size_bytes("", attributes) == (2 + 6 + 2) + (1 + 6 + 3)


def test_an_empty_body_is_a_missing_one() -> None:
    assert fault_of(SendMessageRequest(queue_url="q", message_body="")) == (
        MISSING_PARAMETER,
        "The request must contain the parameter MessageBody.",
    )


def test_a_message_may_be_as_long_as_the_queue_allows_and_no_longer() -> None:
    check(SendMessageRequest(queue_url="q", message_body="x" * 1024), 1024)
    message = SendMessageRequest(queue_url="q", message_body="x" * 1025)
    text = "One or more parameters are invalid. Reason: Message must be shorter than 1024 bytes."
    assert fault_of(message, 1024) == (INVALID_PARAMETER_VALUE, text)
    text = "One or more parameters cannot be validated. Reason: Message must be shorter than 1024 bytes."
    assert fault_of(message, 1024, in_batch=True) == (INVALID_PARAMETER_VALUE, text)


@pytest.mark.parametrize("character", [0x9, 0xA, 0xD, 0x20, 0x7F, 0x80, 0xD7FF, 0xE000, 0xFFFD, 0x10000, 0x10FFFF])
def test_these_characters_may_be_sent(character: int) -> None:
    check(SendMessageRequest(queue_url="q", message_body=f"a{chr(character)}"))


@pytest.mark.parametrize("character", [0x0, 0x8, 0xB, 0xC, 0xE, 0x1F, 0xD800, 0xDFFF, 0xFFFE, 0xFFFF])
@pytest.mark.parametrize("rest", ["a", "é"])
def test_these_characters_may_not_be_sent(character: int, rest: str) -> None:
    assert has_forbidden_characters(rest + chr(character))
    assert fault_of(SendMessageRequest(queue_url="q", message_body=rest + chr(character)))[0] is (
        INVALID_MESSAGE_CONTENTS
    )


@pytest.mark.parametrize("delay", [-1, 901])
def test_a_delay_is_0_to_900_seconds(delay: int) -> None:
    text = f"Value {delay} for parameter DelaySeconds is invalid. Reason: DelaySeconds must be >= 0 and <= 900."
    message = SendMessageRequest(queue_url="q", message_body="x", delay_seconds=delay)
    assert fault_of(message) == (INVALID_PARAMETER_VALUE, text)
    for allowed in (0, 900):
        check(SendMessageRequest(queue_url="q", message_body="x", delay_seconds=allowed))


@pytest.mark.parametrize("name", ["a", "a.b-c_9", "x" * 256, "awsx", "my.aws.x"])
def test_these_attribute_names_are_taken(name: str) -> None:
    check(with_attribute(name, Value("String", "x")))


@pytest.mark.parametrize(
    "name", ["", ".a", "a.", "a..b", "AWS.x", "aws.x", "Amazon.x", "aMaZoN.x", "a b", "é", "x" * 257, "a\n"]
)
def test_these_attribute_names_are_refused(name: str) -> None:
    assert fault_of(with_attribute(name, Value("String", "x")))[0] is INVALID_PARAMETER_VALUE


@pytest.mark.parametrize("data_type", ["", "Foo", "string", "Stringx", "String.", ".String", "String." + "x" * 250])
def test_a_data_type_is_string_number_or_binary_with_an_optional_label(data_type: str) -> None:
    assert fault_of(with_attribute("a", Value(data_type, "1")))[0] is INVALID_PARAMETER_VALUE
    check(with_attribute("a", Value("Number.float", "1.5")))


def test_an_attribute_must_have_a_value_of_its_type() -> None:
    text = "Message (user) attribute 'a' must contain a non-empty value of type 'String'."
    for value in (Value("String"), Value("String", ""), Value("String", None, b"x"), Value("String", "x", b"x")):
        assert fault_of(with_attribute("a", value)) == (INVALID_PARAMETER_VALUE, text)
    for value in (Value("Binary"), Value("Binary", "x"), Value("Binary", None, b"")):
        assert "of type 'Binary'" in fault_of(with_attribute("a", value))[1]
    check(with_attribute("a", Value("Binary.png", None, b"\x00\xff")))


def test_a_forbidden_character_in_an_attribute_is_an_invalid_parameter() -> None:
    assert fault_of(with_attribute("a", Value("String", "\x00")))[0] is INVALID_PARAMETER_VALUE


@pytest.mark.parametrize(
    "text", ["0", "-1", "+1.50", ".5", "5.", "1e126", "1E-128", "9" * 38, "0" * 100 + "1", "1" + "0" * 100]
)
def test_these_numbers_are_taken(text: str) -> None:
    check(with_attribute("a", Value("Number", text)))


@pytest.mark.parametrize(
    "text", ["x", "1e", "--1", "NaN", "Infinity", "1e127", "1e-129", "1e999", "1" * 39, " 1", "1\n", "\u0661", "1_0"]
)
def test_these_numbers_are_refused(text: str) -> None:
    assert fault_of(with_attribute("a", Value("Number", text)))[0] is INVALID_PARAMETER_VALUE


def test_list_values_are_unsupported() -> None:
    assert fault_of(with_attribute("a", Value("String", string_list_values=["x"])))[0] is UNSUPPORTED_OPERATION


def test_ten_attributes_are_the_most() -> None:
    def message(count: int) -> SendMessageRequest:
        attributes = {f"a{number}": Value("String", "x") for number in range(count)}
        return SendMessageRequest(queue_url="q", message_body="x", message_attributes=attributes)

    check(message(10))
    assert fault_of(message(11))[0] is INVALID_PARAMETER_VALUE


def test_the_trace_header_is_the_only_system_attribute() -> None:
    def message(name: str, value: Value) -> SendMessageRequest:
        return SendMessageRequest(queue_url="q", message_body="x", message_system_attributes={name: value})

    check(message("AWSTraceHeader", Value("String", "Root=1-5759e988-bd862e3fe1be46a994272793")))
    for refused in (
        message("SenderId", Value("String", "x")),
        message("AWSTraceHeader", Value("Number", "1")),
        message("AWSTraceHeader", Value("String", "")),
    ):
        assert fault_of(refused)[0] is INVALID_PARAMETER_VALUE


@pytest.mark.parametrize("value", ["", " ", "a b", "x" * 129, "é", "a\n"])
def test_group_and_deduplication_ids_are_1_to_128_printable_characters(value: str) -> None:
    for name, message in (
        ("MessageGroupId", SendMessageRequest(queue_url="q", message_body="x", message_group_id=value)),
        ("MessageDeduplicationId", SendMessageRequest(queue_url="q", message_body="x", message_deduplication_id=value)),
    ):
        reason = f"{name} can only include alphanumeric and punctuation characters. 1 to 128 in length."
        text = f"Value {value} for parameter {name} is invalid. Reason: {reason}"
        assert fault_of(message) == (INVALID_PARAMETER_VALUE, text)
