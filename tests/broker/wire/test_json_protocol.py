"""AWS JSON as botocore writes the requests and reads the answers."""

import base64
import json
from typing import Any

import botocore.loaders
import botocore.model
import botocore.parsers
import botocore.serialize
import msgspec
import pytest

from amply.broker.sqs import faults, shapes
from amply.broker.sqs.actions import ACTIONS
from amply.broker.sqs.calls import Call
from amply.broker.sqs.faults import Fault, FaultRow
from amply.broker.wire.http import Request, Response
from amply.broker.wire.protocols import Exchange, Protocol, read, write

MODEL = botocore.model.ServiceModel(botocore.loaders.Loader().load_service_model("sqs", "service-2"))
SERIALIZER = botocore.serialize.create_serializer("json")
PARSER = botocore.parsers.create_parser("json")
URL = "http://localhost:9324/000000000000/q"
ATTRIBUTES = {
    "s": {"DataType": "String", "StringValue": 'é\r\n"<&>'},
    "b": {"DataType": "Binary.png", "BinaryValue": b"\x00\xff"},
}
TRACE = {"AWSTraceHeader": {"DataType": "String", "StringValue": "Root=1"}}
SENT = {"MessageId": "m", "MD5OfMessageBody": "1", "MD5OfMessageAttributes": "2"}
FAILED = {"Id": "b", "SenderFault": True, "Code": "InvalidParameterValue", "Message": "no"}
BATCHES = {"Successful": [{"Id": "a"}], "Failed": [FAILED]}
ARN = "arn:aws:sqs:us-east-1:000000000000:q"

REQUESTS: dict[str, dict[str, Any]] = {
    "AddPermission": {"QueueUrl": URL, "Label": "l", "AWSAccountIds": ["1"], "Actions": ["SendMessage", "*"]},
    "CancelMessageMoveTask": {"TaskHandle": "t"},
    "ChangeMessageVisibility": {"QueueUrl": URL, "ReceiptHandle": "r", "VisibilityTimeout": 0},
    "ChangeMessageVisibilityBatch": {
        "QueueUrl": URL,
        "Entries": [{"Id": "a", "ReceiptHandle": "r", "VisibilityTimeout": 5}, {"Id": "b", "ReceiptHandle": "r"}],
    },
    "CreateQueue": {"QueueName": "q", "Attributes": {"DelaySeconds": "5"}, "tags": {"k": "v"}},
    "DeleteMessage": {"QueueUrl": URL, "ReceiptHandle": "r"},
    "DeleteMessageBatch": {"QueueUrl": URL, "Entries": [{"Id": "a", "ReceiptHandle": "r"}]},
    "DeleteQueue": {"QueueUrl": URL},
    "GetQueueAttributes": {"QueueUrl": URL, "AttributeNames": ["All"]},
    "GetQueueUrl": {"QueueName": "q", "QueueOwnerAWSAccountId": "123456789012"},
    "ListDeadLetterSourceQueues": {"QueueUrl": URL, "NextToken": "n", "MaxResults": 5},
    "ListMessageMoveTasks": {"SourceArn": ARN, "MaxResults": 2},
    "ListQueueTags": {"QueueUrl": URL},
    "ListQueues": {"QueueNamePrefix": "p", "MaxResults": 7},
    "PurgeQueue": {"QueueUrl": URL},
    "ReceiveMessage": {
        "QueueUrl": URL,
        "AttributeNames": ["All"],
        "MessageSystemAttributeNames": ["SenderId"],
        "MessageAttributeNames": [".*"],
        "MaxNumberOfMessages": 10,
        "VisibilityTimeout": 0,
        "WaitTimeSeconds": 20,
        "ReceiveRequestAttemptId": "a",
    },
    "RemovePermission": {"QueueUrl": URL, "Label": "l"},
    "SendMessage": {
        "QueueUrl": URL,
        "MessageBody": "\u0000 é \U0001f600",
        "DelaySeconds": 0,
        "MessageAttributes": ATTRIBUTES,
        "MessageSystemAttributes": TRACE,
        "MessageDeduplicationId": "d",
        "MessageGroupId": "g",
    },
    "SendMessageBatch": {
        "QueueUrl": URL,
        "Entries": [
            {"Id": "a", "MessageBody": "x", "MessageAttributes": ATTRIBUTES, "MessageSystemAttributes": TRACE},
            {"Id": "b", "MessageBody": "y", "DelaySeconds": 3},
        ],
    },
    "SetQueueAttributes": {"QueueUrl": URL, "Attributes": {"Policy": ""}},
    "StartMessageMoveTask": {"SourceArn": ARN, "DestinationArn": ARN, "MaxNumberOfMessagesPerSecond": 5},
    "TagQueue": {"QueueUrl": URL, "Tags": {"k": ""}},
    "UntagQueue": {"QueueUrl": URL, "TagKeys": ["k"]},
}

RESULTS: dict[str, dict[str, Any]] = {
    "CancelMessageMoveTask": {"ApproximateNumberOfMessagesMoved": 0},
    "ChangeMessageVisibilityBatch": BATCHES,
    "CreateQueue": {"QueueUrl": URL},
    "DeleteMessageBatch": BATCHES,
    "GetQueueAttributes": {"Attributes": {"DelaySeconds": "0", "Policy": '{"a":"<&>"}'}},
    "GetQueueUrl": {"QueueUrl": URL},
    "ListDeadLetterSourceQueues": {"queueUrls": [URL], "NextToken": "n"},
    "ListMessageMoveTasks": {
        "Results": [
            {"Status": "RUNNING", "SourceArn": ARN, "ApproximateNumberOfMessagesMoved": 0, "StartedTimestamp": 2**41}
        ]
    },
    "ListQueueTags": {"Tags": {"k": ""}},
    "ListQueues": {"QueueUrls": [URL, URL + "2"], "NextToken": "n"},
    "ReceiveMessage": {
        "Messages": [
            {
                "MessageId": "m",
                "ReceiptHandle": "r",
                "MD5OfBody": "1",
                "Body": 'a\r\n"é\U0001f600',
                "Attributes": {"SentTimestamp": "1"},
                "MD5OfMessageAttributes": "2",
                "MessageAttributes": ATTRIBUTES,
            },
            {"MessageId": "n", "ReceiptHandle": "s", "MD5OfBody": "3", "Body": "x"},
        ]
    },
    "SendMessage": SENT,
    "SendMessageBatch": {"Successful": [{"Id": "a", **SENT}], "Failed": [FAILED]},
    "StartMessageMoveTask": {"TaskHandle": "t"},
}


def read_json(action: str, body: bytes, path: str = "/", **headers: str) -> Exchange:
    given = {
        "host": "localhost:9324",
        "content-type": "application/x-amz-json-1.0",
        "x-amz-target": f"AmazonSQS.{action}",
        **headers,
    }
    encoded = {name.replace("_", "-").encode(): value.encode() for name, value in given.items()}
    request = Request("POST", path, encoded, body)
    return read(request, default_account="000000000000", base_url=None, request_id="id-1")


def call_of(exchange: Exchange) -> Call:
    assert exchange.fault is None, exchange.fault
    assert exchange.call is not None
    return exchange.call


def row_of(exchange: Exchange) -> FaultRow:
    assert exchange.call is None
    assert exchange.fault is not None
    return exchange.fault.row


def header(response: Response, name: bytes) -> bytes | None:
    return dict(response.headers).get(name)


def with_base64(value: Any) -> Any:
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, dict):
        return {key: with_base64(element) for key, element in value.items()}
    return [with_base64(element) for element in value] if isinstance(value, list) else value


def test_there_is_an_example_of_every_action() -> None:
    assert set(REQUESTS) == set(ACTIONS)
    assert set(RESULTS) == {name for name, action in ACTIONS.items() if action.result}


@pytest.mark.parametrize("name", sorted(REQUESTS))
def test_what_botocore_writes_is_read_member_for_member(name: str) -> None:
    serialized = SERIALIZER.serialize_to_request(REQUESTS[name], MODEL.operation_model(name))
    exchange = read_json(name, serialized["body"])
    call = call_of(exchange)
    assert exchange.protocol is Protocol.JSON
    assert call.action == name
    assert type(call.request) is ACTIONS[name].request
    sent = {key: value for key, value in msgspec.to_builtins(call.request).items() if value is not None}
    entries = sent.get("Entries", [])
    for number, entry in enumerate(entries):
        entries[number] = {key: value for key, value in entry.items() if value is not None}
    assert sent == with_base64(REQUESTS[name])


@pytest.mark.parametrize("name", sorted(ACTIONS))
def test_what_is_written_botocore_reads_member_for_member(name: str) -> None:
    exchange = read_json(name, json.dumps(with_base64(REQUESTS[name])).encode())
    result_type = ACTIONS[name].result
    result = msgspec.convert(with_base64(RESULTS[name]), result_type) if result_type else None
    response = write(exchange, result)
    assert response.status == 200
    assert response.content_type == b"application/x-amz-json-1.0"
    assert header(response, b"x-amzn-requestid") == b"id-1"
    answer = {
        "status_code": response.status,
        "headers": {"x-amzn-requestid": "id-1"},
        "body": response.body,
    }
    parsed = PARSER.parse(answer, MODEL.operation_model(name).output_shape)
    assert parsed.pop("ResponseMetadata")["RequestId"] == "id-1"
    assert parsed == RESULTS.get(name, {})


@pytest.mark.parametrize(
    ("result", "body"),
    [
        (shapes.ReceiveMessageResult(), b"{}"),
        (shapes.ListQueuesResult(), b"{}"),
        (shapes.GetQueueAttributesResult(), b"{}"),
        (shapes.ListQueueTagsResult(), b"{}"),
        (shapes.SendMessageBatchResult(), b"{}"),
        (shapes.ListDeadLetterSourceQueuesResult(queue_urls=[]), b'{"queueUrls":[]}'),
        (None, b"{}"),
    ],
)
def test_an_empty_result_leaves_its_members_out(result: shapes.ResultShape | None, body: bytes) -> None:
    assert write(read_json("ListQueues", b"{}"), result).body == body


@pytest.mark.parametrize("row", [row for row in vars(faults).values() if isinstance(row, FaultRow)])
def test_botocore_sees_the_query_code_and_the_shape_of_every_fault(row: FaultRow) -> None:
    response = write(read_json("ListQueues", b"{}"), Fault(row, "why"))
    assert response.status == row.status
    assert response.content_type == b"application/x-amz-json-1.0"
    code = header(response, b"x-amzn-query-error")
    assert code == f"{row.query_code};{'Sender' if row.status < 500 else 'Receiver'}".encode()
    namespace = "com.amazonaws.sqs" if row.is_modelled else "com.amazon.coral.service"
    assert json.loads(response.body) == {"__type": f"{namespace}#{row.shape}", "message": "why"}
    answer = {
        "status_code": response.status,
        "headers": {"x-amzn-query-error": code.decode(), "x-amzn-requestid": "id-1"},
        "body": response.body,
    }
    error = PARSER.parse(answer, MODEL.operation_model("ListQueues").output_shape)["Error"]
    assert (error["Code"], error["Message"], error["QueryErrorCode"]) == (row.query_code, "why", row.shape)


def test_a_missing_queue_has_its_short_text() -> None:
    response = write(read_json("ListQueues", b"{}"), Fault(faults.QUEUE_DOES_NOT_EXIST))
    assert json.loads(response.body)["message"] == "The specified queue does not exist."


def test_an_empty_body_is_a_request_without_parameters() -> None:
    assert call_of(read_json("ListQueues", b"")).request == shapes.ListQueuesRequest()


def test_json_posted_to_a_queue_means_that_queue() -> None:
    request = call_of(read_json("PurgeQueue", b"{}", "/000000000000/q")).request
    assert request == shapes.PurgeQueueRequest(queue_url="/000000000000/q")


def test_a_queue_url_in_the_body_wins_over_the_path() -> None:
    request = call_of(read_json("PurgeQueue", json.dumps({"QueueUrl": URL}).encode(), "/000000000000/other")).request
    assert request == shapes.PurgeQueueRequest(queue_url=URL)


@pytest.mark.parametrize("target", ["AmazonSQS.Nothing", "SendMessage", "AmazonSNS.SendMessage", "", "\u00e9"])
def test_an_unknown_target_is_an_unknown_operation(target: str) -> None:
    assert row_of(read_json("", b"{}", x_amz_target=target)) is faults.UNKNOWN_OPERATION


def test_json_without_a_target_is_an_unknown_operation() -> None:
    request = Request("POST", "/", {b"content-type": b"application/x-amz-json-1.0"}, b"{}")
    exchange = read(request, default_account="000000000000", base_url=None, request_id="id-1")
    assert row_of(exchange) is faults.UNKNOWN_OPERATION
    assert exchange.fault is not None
    assert write(exchange, exchange.fault).status == 400


def test_the_context_tells_who_asks_and_where() -> None:
    authorization = (
        "AWS4-HMAC-SHA256 Credential=123456789012/20260101/eu-central-1/sqs/aws4_request, "
        "SignedHeaders=host, Signature=0"
    )
    context = call_of(
        read_json("ListQueues", b"{}", authorization=authorization, x_amzn_trace_id="Root=1", host="sqs.test:80")
    ).context
    assert (context.account, context.sender_id) == ("123456789012", "123456789012")
    assert (context.base_url, context.trace_header, context.request_id) == ("http://sqs.test:80", "Root=1", "id-1")


def test_without_credentials_the_default_account_asks() -> None:
    context = call_of(read_json("ListQueues", b"{}")).context
    assert (context.account, context.sender_id, context.trace_header) == ("000000000000", "000000000000", None)


def test_a_configured_base_url_wins_over_the_host_header() -> None:
    request = Request("POST", "/", {b"host": b"inner:9324", b"x-amz-target": b"AmazonSQS.ListQueues"}, b"{}")
    exchange = read(request, default_account="0", base_url="https://sqs.example", request_id="")
    assert call_of(exchange).context.base_url == "https://sqs.example"


@pytest.mark.parametrize("host", ["", "a b", "a/b", "user@host", "<script>", "host:99999999", "a\r\nb"])
def test_a_host_header_that_is_none_never_reaches_a_queue_url(host: str) -> None:
    assert call_of(read_json("ListQueues", b"{}", host=host)).context.base_url == "http://localhost"
