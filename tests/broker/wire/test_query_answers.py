"""AWS Query answers: XML, or the JSON of its tree."""

import json
from typing import Any
from xml.etree import ElementTree as ET

import botocore.parsers
from hypothesis import given
from hypothesis import strategies as st

from amply.broker.sqs import faults, shapes
from amply.broker.sqs.actions import ACTIONS
from amply.broker.sqs.faults import Fault
from amply.broker.sqs.shapes import MessageAttributeValue
from amply.broker.wire.protocols import Exchange, Protocol, write

URL = "http://localhost:9324/000000000000/q"
NAMESPACE = "{http://queue.amazonaws.com/doc/2012-11-05/}"


def exchange_of(action: str, protocol: Protocol = Protocol.QUERY) -> Exchange:
    return Exchange(protocol=protocol, request_id="id-1", action=ACTIONS[action])


def tree(element: ET.Element) -> Any:
    children = [(child.tag.removeprefix(NAMESPACE), tree(child)) for child in element]
    return children or (element.text or "")


def xml_of(exchange: Exchange, outcome: shapes.ResultShape | Fault | None) -> Any:
    response = write(exchange, outcome)
    assert response.content_type == b"text/xml"
    root = ET.fromstring(response.body)
    assert root.tag.startswith(NAMESPACE)
    return root.tag.removeprefix(NAMESPACE), tree(root)


def test_a_result_is_written_as_flattened_xml() -> None:
    exchange = exchange_of("ReceiveMessage")
    message = shapes.Message(
        message_id="m",
        receipt_handle="r",
        md5_of_body="1",
        body='<a b="c">&\r\n\té\U0001f600',
        attributes={"SentTimestamp": "1", "SenderId": "x"},
        md5_of_message_attributes="2",
        message_attributes={"b": MessageAttributeValue("Binary", None, b"\x00\xff")},
    )
    body = write(exchange, shapes.ReceiveMessageResult(messages=[message, message])).body
    assert b"&lt;a b=&quot;c&quot;&gt;&amp;&#xD;" in body
    expected = [
        ("MessageId", "m"),
        ("ReceiptHandle", "r"),
        ("MD5OfBody", "1"),
        ("Body", '<a b="c">&\r\n\té\U0001f600'),
        ("Attribute", [("Name", "SentTimestamp"), ("Value", "1")]),
        ("Attribute", [("Name", "SenderId"), ("Value", "x")]),
        ("MD5OfMessageAttributes", "2"),
        ("MessageAttribute", [("Name", "b"), ("Value", [("DataType", "Binary"), ("BinaryValue", "AP8=")])]),
    ]
    assert xml_of(exchange, shapes.ReceiveMessageResult(messages=[message, message])) == (
        "ReceiveMessageResponse",
        [
            ("ReceiveMessageResult", [("Message", expected), ("Message", expected)]),
            ("ResponseMetadata", [("RequestId", "id-1")]),
        ],
    )


def test_a_batch_result_names_its_elements() -> None:
    exchange = exchange_of("DeleteMessageBatch")
    result = shapes.DeleteMessageBatchResult(
        successful=[shapes.DeleteMessageBatchResultEntry(id="a")],
        failed=[shapes.BatchResultErrorEntry(id="b", sender_fault=True, code="c", message="m")],
    )
    assert xml_of(exchange, result)[1][0] == (
        "DeleteMessageBatchResult",
        [
            ("DeleteMessageBatchResultEntry", [("Id", "a")]),
            ("BatchResultErrorEntry", [("Id", "b"), ("SenderFault", "true"), ("Code", "c"), ("Message", "m")]),
        ],
    )


def test_tags_have_keys_and_a_void_action_has_no_result() -> None:
    exchange = exchange_of("ListQueueTags")
    assert xml_of(exchange, shapes.ListQueueTagsResult(tags={"k": "v"}))[1][0] == (
        "ListQueueTagsResult",
        [("Tag", [("Key", "k"), ("Value", "v")])],
    )
    assert xml_of(exchange_of("PurgeQueue"), None) == (
        "PurgeQueueResponse",
        [("ResponseMetadata", [("RequestId", "id-1")])],
    )


def test_a_fault_is_written_as_botocore_reads_it() -> None:
    exchange = exchange_of("PurgeQueue")
    response = write(exchange, Fault(faults.PURGE_QUEUE_IN_PROGRESS, 'a<b>"c"'))
    assert response.status == 403
    assert (b"x-amzn-requestid", b"id-1") in response.headers
    answer = {"status_code": response.status, "headers": {}, "body": response.body}
    parsed = botocore.parsers.create_parser("query").parse(answer, None)
    assert parsed["Error"] == {
        "Type": "Sender",
        "Code": "AWS.SimpleQueueService.PurgeQueueInProgress",
        "Message": 'a<b>"c"',
        "Detail": None,
    }
    assert parsed["ResponseMetadata"]["RequestId"] == "id-1"


def test_a_missing_queue_has_the_long_text() -> None:
    exchange = exchange_of("PurgeQueue")
    error = dict(xml_of(exchange, Fault(faults.QUEUE_DOES_NOT_EXIST))[1][0][1])
    assert error["Code"] == "AWS.SimpleQueueService.NonExistentQueue"
    assert error["Message"] == "The specified queue does not exist for this wsdl version."


@given(st.text())
def test_any_text_makes_well_formed_xml(text: str) -> None:
    exchange = exchange_of("GetQueueUrl")
    for outcome in (shapes.GetQueueUrlResult(queue_url=text), Fault(faults.INVALID_ADDRESS, text)):
        ET.fromstring(write(exchange, outcome).body)


def test_an_accepted_json_answer_is_the_same_tree() -> None:
    def answer(action: str, result: shapes.ResultShape | None) -> Any:
        response = write(exchange_of(action, Protocol.QUERY_AS_JSON), result)
        assert (response.status, response.content_type) == (200, b"application/json")
        body = json.loads(response.body)[f"{action}Response"]
        assert body.pop("ResponseMetadata") == {"RequestId": "id-1"}
        return body.get(f"{action}Result")

    message = shapes.Message(message_id="m", receipt_handle="r", md5_of_body="1", body="b")
    messages = answer("ReceiveMessage", shapes.ReceiveMessageResult(messages=[message]))["messages"]
    assert (messages[0]["MessageId"], messages[0]["Body"], messages[0]["Attributes"]) == ("m", "b", None)
    assert answer("ReceiveMessage", shapes.ReceiveMessageResult()) == {"messages": None}
    attributes = answer("GetQueueAttributes", shapes.GetQueueAttributesResult(attributes={"DelaySeconds": "0"}))
    assert attributes == {"Attributes": [{"Name": "DelaySeconds", "Value": "0"}]}
    queues = answer("ListQueues", shapes.ListQueuesResult(queue_urls=[URL]))
    assert queues == {"queueUrls": [URL], "NextToken": None}
    tags = answer("ListQueueTags", shapes.ListQueueTagsResult(tags={"k": "v"}))
    assert tags == {"Tags": [{"Key": "k", "Value": "v"}]}
    assert answer("PurgeQueue", None) is None


def test_an_accepted_json_fault_has_code_and_message() -> None:
    exchange = exchange_of("PurgeQueue", Protocol.QUERY_AS_JSON)
    response = write(exchange, Fault(faults.QUEUE_DOES_NOT_EXIST))
    assert response.status == 400
    error = json.loads(response.body)["Error"]
    assert error["Code"] == "AWS.SimpleQueueService.NonExistentQueue"
    assert error["Message"] == "The specified queue does not exist for this wsdl version."
