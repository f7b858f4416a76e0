"""AWS Query requests: forms and query strings."""

from typing import Any
from urllib.parse import urlencode

import pytest

from amply.broker.sqs import faults, shapes
from amply.broker.sqs.calls import Call
from amply.broker.sqs.faults import FaultRow
from amply.broker.sqs.shapes import MessageAttributeValue
from amply.broker.wire.http import Request
from amply.broker.wire.protocols import Exchange, Protocol, read, write

URL = "http://localhost:9324/000000000000/q"
FORM = b"application/x-www-form-urlencoded; charset=utf-8"


def read_request(request: Request) -> Exchange:
    return read(request, default_account="000000000000", base_url=None, request_id="id-1")


def post(fields: dict[str, str], path: str = "/", **headers: bytes) -> Exchange:
    given = {b"host": b"localhost:9324", b"content-type": FORM}
    given |= {name.replace("_", "-").encode(): value for name, value in headers.items()}
    return read_request(Request("POST", path, given, urlencode(fields).encode()))


def get(fields: dict[str, str], path: str = "/", **headers: bytes) -> Exchange:
    given = {b"host": b"localhost:9324"} | {name.encode(): value for name, value in headers.items()}
    return read_request(Request("GET", f"{path}?{urlencode(fields)}", given, b""))


def call_of(exchange: Exchange) -> Call:
    assert exchange.fault is None, exchange.fault
    assert exchange.call is not None
    return exchange.call


def row_of(exchange: Exchange) -> FaultRow:
    assert exchange.call is None
    assert exchange.fault is not None
    return exchange.fault.row


FORMS: list[tuple[dict[str, str], shapes.RequestShape]] = [
    (
        {
            "Action": "SendMessage",
            "QueueUrl": URL,
            "MessageBody": "é\r\n& =+",
            "DelaySeconds": "5",
            "MessageAttribute.1.Name": "s",
            "MessageAttribute.1.Value.DataType": "String",
            "MessageAttribute.1.Value.StringValue": "x",
            "MessageAttribute.2.Name": "b",
            "MessageAttribute.2.Value.DataType": "Binary",
            "MessageAttribute.2.Value.BinaryValue": "AP8=",
            "MessageAttribute.3.Name": "l",
            "MessageAttribute.3.Value.DataType": "String",
            "MessageAttribute.3.Value.StringListValue.1": "y",
            "MessageSystemAttribute.1.Name": "AWSTraceHeader",
            "MessageSystemAttribute.1.Value.DataType": "String",
            "MessageSystemAttribute.1.Value.StringValue": "Root=1",
            "MessageGroupId": "null",
            "Version": "2012-11-05",
            "Signature": "ignored",
        },
        shapes.SendMessageRequest(
            queue_url=URL,
            message_body="é\r\n& =+",
            delay_seconds=5,
            message_attributes={
                "s": MessageAttributeValue("String", "x"),
                "b": MessageAttributeValue("Binary", None, b"\x00\xff"),
                "l": MessageAttributeValue("String", string_list_values=["y"]),
            },
            message_system_attributes={"AWSTraceHeader": MessageAttributeValue("String", "Root=1")},
            message_group_id="null",
        ),
    ),
    (
        {
            "Action": "SendMessageBatch",
            "QueueUrl": URL,
            "SendMessageBatchRequestEntry.2.Id": "b",
            "SendMessageBatchRequestEntry.2.MessageBody": "y",
            "SendMessageBatchRequestEntry.1.Id": "a",
            "SendMessageBatchRequestEntry.1.MessageBody": "x",
            "SendMessageBatchRequestEntry.1.MessageAttribute.1.Name": "n",
            "SendMessageBatchRequestEntry.1.MessageAttribute.1.Value.DataType": "Number",
            "SendMessageBatchRequestEntry.1.MessageAttribute.1.Value.StringValue": "1",
        },
        shapes.SendMessageBatchRequest(
            queue_url=URL,
            entries=[
                shapes.SendMessageBatchRequestEntry(
                    id="a", message_body="x", message_attributes={"n": MessageAttributeValue("Number", "1")}
                ),
                shapes.SendMessageBatchRequestEntry(id="b", message_body="y"),
            ],
        ),
    ),
    (
        {"Action": "SendMessageBatch", "QueueUrl": URL},
        shapes.SendMessageBatchRequest(queue_url=URL, entries=[]),
    ),
    (
        {
            "Action": "ReceiveMessage",
            "QueueUrl": URL,
            "MaxNumberOfMessages": "10",
            "AttributeName.1": "All",
            "MessageSystemAttributeName.1": "SenderId",
            "MessageAttributeName.1": "a",
            "MessageAttributeName.2": "b.*",
        },
        shapes.ReceiveMessageRequest(
            queue_url=URL,
            max_number_of_messages=10,
            attribute_names=["All"],
            message_system_attribute_names=["SenderId"],
            message_attribute_names=["a", "b.*"],
        ),
    ),
    (
        {
            "Action": "CreateQueue",
            "QueueName": "q",
            "Attribute.1.Name": "DelaySeconds",
            "Attribute.1.Value": "5",
            "Tag.1.Key": "k",
            "Tag.1.Value": "",
        },
        shapes.CreateQueueRequest(queue_name="q", attributes={"DelaySeconds": "5"}, tags={"k": ""}),
    ),
    (
        {
            "Action": "AddPermission",
            "QueueUrl": URL,
            "Label": "l",
            "AWSAccountId.1": "1",
            "ActionName.1": "SendMessage",
            "ActionName.2": "*",
        },
        shapes.AddPermissionRequest(queue_url=URL, label="l", aws_account_ids=["1"], actions=["SendMessage", "*"]),
    ),
    (
        {"Action": "UntagQueue", "QueueUrl": URL, "TagKey.1": "a", "TagKey.2": "b"},
        shapes.UntagQueueRequest(queue_url=URL, tag_keys=["a", "b"]),
    ),
    (
        {"Action": "TagQueue", "QueueUrl": URL, "Tag.1.Key": "k", "Tag.1.Value": "v"},
        shapes.TagQueueRequest(queue_url=URL, tags={"k": "v"}),
    ),
    (
        {
            "Action": "ChangeMessageVisibilityBatch",
            "QueueUrl": URL,
            "ChangeMessageVisibilityBatchRequestEntry.1.Id": "a",
            "ChangeMessageVisibilityBatchRequestEntry.1.ReceiptHandle": "r",
            "ChangeMessageVisibilityBatchRequestEntry.1.VisibilityTimeout": "0",
        },
        shapes.ChangeMessageVisibilityBatchRequest(
            queue_url=URL,
            entries=[shapes.ChangeMessageVisibilityBatchRequestEntry(id="a", receipt_handle="r", visibility_timeout=0)],
        ),
    ),
]


@pytest.mark.parametrize("send", [post, get])
@pytest.mark.parametrize(("form", "request_shape"), FORMS, ids=lambda value: getattr(value, "get", {}.get)("Action"))
def test_a_form_and_a_query_string_are_read_member_for_member(
    send: Any, form: dict[str, str], request_shape: shapes.RequestShape
) -> None:
    exchange = send(form)
    assert exchange.protocol is Protocol.QUERY
    assert call_of(exchange).action == form["Action"]
    assert call_of(exchange).request == request_shape


@pytest.mark.parametrize("send", [post, get])
def test_on_a_queue_url_that_queue_is_meant(send: Any) -> None:
    call = call_of(send({"Action": "PurgeQueue"}, "/000000000000/q"))
    assert call.request == shapes.PurgeQueueRequest(queue_url="/000000000000/q")


def test_an_explicit_queue_url_wins_over_the_path() -> None:
    call = call_of(post({"Action": "PurgeQueue", "QueueUrl": URL}, "/000000000000/other"))
    assert call.request == shapes.PurgeQueueRequest(queue_url=URL)


def test_get_queue_url_works_on_a_queue_url() -> None:
    call = call_of(get({"Action": "GetQueueUrl", "QueueName": "other"}, "/000000000000/q"))
    assert call.request == shapes.GetQueueUrlRequest(queue_name="other")


@pytest.mark.parametrize("action", ["CreateQueue", "ListQueues", "Nothing", "", "sendmessage"])
def test_some_actions_are_not_valid_on_a_queue_url(action: str) -> None:
    exchange = get({"Action": action, "QueueName": "x"}, "/000000000000/q")
    assert row_of(exchange) is faults.INVALID_ACTION
    assert exchange.fault is not None
    assert exchange.fault.message == f"The action {action} is not valid for this endpoint."


@pytest.mark.parametrize("path", ["/", "/000000000000/q"])
@pytest.mark.parametrize("accept", [b"", b"application/json"])
def test_no_action_is_an_unknown_operation_in_xml_whatever_is_accepted(path: str, accept: bytes) -> None:
    exchange = get({"QueueUrl": URL}, path, accept=accept)
    assert exchange.fault is not None
    response = write(exchange, exchange.fault)
    assert (response.status, response.content_type) == (404, b"text/xml")
    assert response.body == b"<UnknownOperationException/>"


@pytest.mark.parametrize("content_type", [b"text/plain", b"multipart/form-data; boundary=x", b"application/xml", b""])
def test_a_body_of_another_content_type_is_not_a_form(content_type: bytes) -> None:
    assert row_of(post({"Action": "ListQueues"}, content_type=content_type)) is faults.UNKNOWN_OPERATION


ENTRY = "SendMessageBatchRequestEntry"


@pytest.mark.parametrize(
    ("numbered", "alone"),
    [
        ({"Action": "ReceiveMessage", "AttributeName.1": "All"}, {"Action": "ReceiveMessage", "AttributeName": "All"}),
        ({"Action": "UntagQueue", "TagKey.1": "a"}, {"Action": "UntagQueue", "TagKey": "a"}),
        (
            {"Action": "TagQueue", "Tag.1.Key": "a", "Tag.1.Value": "b"},
            {"Action": "TagQueue", "Tag.Key": "a", "Tag.Value": "b"},
        ),
        (
            {"Action": "SetQueueAttributes", "Attribute.1.Name": "Policy", "Attribute.1.Value": ""},
            {"Action": "SetQueueAttributes", "Attribute.Name": "Policy", "Attribute.Value": ""},
        ),
    ],
)
def test_the_only_element_needs_no_number(numbered: dict[str, str], alone: dict[str, str]) -> None:
    url = {"QueueUrl": URL}
    assert call_of(post(url | alone)).request == call_of(post(url | numbered)).request


@pytest.mark.parametrize(
    "fields",
    [
        {"Attribute.Name": "Policy"},
        {"Attribute.Value": "x"},
        {"Attribute.Name": "Policy", "Attribute.Value": "x", "Attribute.1.Name": "Policy", "Attribute.1.Value": "x"},
        {"Attribute.Name.x": "Policy", "Attribute.Value": "x"},
        {"Attribute.Name": "Policy", "Attribute.Value.1": "x"},
    ],
)
def test_half_a_pair_is_refused(fields: dict[str, str]) -> None:
    exchange = post({"Action": "SetQueueAttributes", "QueueUrl": URL} | fields)
    assert row_of(exchange) in (faults.INVALID_PARAMETER_VALUE, faults.MISSING_PARAMETER)


@pytest.mark.parametrize(
    "fields",
    [
        {"AttributeName.2": "All"},
        {"AttributeName.0": "All"},
        {"AttributeName.01": "All"},
        {"AttributeName.999999999": "All"},
        {"AttributeName.-1": "All"},
        {"AttributeName.\u0661": "All"},
        {"AttributeName.x": "All"},
        {"AttributeName": "All", "AttributeName.1": "All"},
        {"AttributeName.1.x": "All"},
        {"AttributeName.1": "All", "AttributeName.3": "All"},
        {"AttributeName.1": "All", "AttributeName.1.x": "All"},
        {"AttributeName.1.x": "All", "AttributeName.1": "All"},
        {"MaxNumberOfMessages": "x"},
        {"MaxNumberOfMessages": "1e1"},
        {"MaxNumberOfMessages": "1.0"},
        {"MaxNumberOfMessages": "null"},
        {"MaxNumberOfMessages": " 1"},
        {"MaxNumberOfMessages": "\u0661"},
        {"MaxNumberOfMessages": "2147483648"},
        {"MaxNumberOfMessages": ""},
        {"MaxNumberOfMessages": "9" * 5000},
        {"MaxNumberOfMessages.1": "1"},
    ],
)
def test_a_malformed_parameter_is_refused(fields: dict[str, str]) -> None:
    exchange = post({"Action": "ReceiveMessage", "QueueUrl": URL, **fields})
    assert row_of(exchange) in {faults.INVALID_PARAMETER_VALUE, faults.MISSING_PARAMETER}


@pytest.mark.parametrize(
    "fields",
    [
        {f"{ENTRY}.1": "x"},
        {f"{ENTRY}.1.Id": "a"},
        {f"{ENTRY}.1.MessageBody": "x"},
        {f"{ENTRY}.2.Id": "a", f"{ENTRY}.2.MessageBody": "x"},
        {f"{ENTRY}.1.Id": "a", f"{ENTRY}.1.MessageBody": "x", f"{ENTRY}.1.MessageAttribute.1": "x"},
        {f"{ENTRY}.1.Id": "a", f"{ENTRY}.1.MessageBody": "x", f"{ENTRY}.1.MessageAttribute.1.Name": "x"},
        {f"{ENTRY}.1.Id": "a", f"{ENTRY}.1.MessageBody": "x", f"{ENTRY}.1.MessageAttribute.1.Value": "x"},
        {
            f"{ENTRY}.1.Id": "a",
            f"{ENTRY}.1.MessageBody": "x",
            f"{ENTRY}.1.MessageAttribute.1.Name": "x",
            f"{ENTRY}.1.MessageAttribute.1.Value": "x",
        },
        {
            f"{ENTRY}.1.Id": "a",
            f"{ENTRY}.1.MessageBody": "x",
            f"{ENTRY}.1.MessageAttribute.1.Name": "x",
            f"{ENTRY}.1.MessageAttribute.1.Value.BinaryValue": "not base64!",
        },
        {
            f"{ENTRY}.1.Id": "a",
            f"{ENTRY}.1.MessageBody": "x",
            f"{ENTRY}.1.MessageAttribute.1.Name": "x",
            f"{ENTRY}.1.MessageAttribute.1.Value.DataType": "String",
            f"{ENTRY}.1.MessageAttribute.1.Value": "both a value and fields below it",
        },
    ],
)
def test_a_malformed_batch_is_refused(fields: dict[str, str]) -> None:
    exchange = post({"Action": "SendMessageBatch", "QueueUrl": URL, **fields})
    assert row_of(exchange) in {faults.INVALID_PARAMETER_VALUE, faults.MISSING_PARAMETER}


def test_the_largest_legal_batch_fits_and_more_fields_do_not() -> None:
    fields = {"Action": "SendMessageBatch", "Version": "2012-11-05", "QueueUrl": URL}
    for entry in (f"{ENTRY}.{number}" for number in range(1, 11)):
        for name in ("Id", "MessageBody", "MessageDeduplicationId", "MessageGroupId"):
            fields[f"{entry}.{name}"] = "x"
        fields[f"{entry}.DelaySeconds"] = "0"
        for kind, count in (("MessageAttribute", 10), ("MessageSystemAttribute", 1)):
            for number in range(1, count + 1):
                fields[f"{entry}.{kind}.{number}.Name"] = f"n{number}"
                fields[f"{entry}.{kind}.{number}.Value.DataType"] = "String"
                fields[f"{entry}.{kind}.{number}.Value.StringValue"] = "v"
                fields[f"{entry}.{kind}.{number}.Value.BinaryValue"] = ""
    request = call_of(post(fields)).request
    assert isinstance(request, shapes.SendMessageBatchRequest)
    assert [len(entry.message_attributes or ()) for entry in request.entries] == [10] * 10
    assert row_of(post(fields | {f"x{number}": "" for number in range(300)})) is faults.MALFORMED_QUERY_STRING


@pytest.mark.parametrize("body", [b"\xff", b"Action=%ff", b"Action=ListQueues&x=%ed%a0%80", b"\xed\xa0\x80=1"])
def test_bad_utf8_is_a_malformed_query_string(body: bytes) -> None:
    assert row_of(read_request(Request("POST", "/", {b"content-type": FORM}, body))) is faults.MALFORMED_QUERY_STRING


def test_an_answer_in_json_can_be_accepted() -> None:
    exchange = get({"Action": "PurgeQueue", "QueueUrl": URL}, accept=b"text/html, application/json")
    assert exchange.protocol is Protocol.QUERY_AS_JSON
