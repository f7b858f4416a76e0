"""AWS Query: every action as a form, every answer as XML, as SDKs before 2023 speak it."""

import base64
import hashlib
import re

import pytest

URL = "/000000000000/work"
NO_SUCH_QUEUE = (
    400,
    "AWS.SimpleQueueService.NonExistentQueue",
    "The specified queue does not exist for this wsdl version.",
)


def md5(text):
    return hashlib.md5(text.encode()).hexdigest()


def pairs(answer, path, key="Name", value="Value"):
    return {element.findtext(key): element.findtext(value) for element in answer.xml.findall(path)}


@pytest.fixture
def work(query):
    """The URL of a queue, and a way to make requests about it."""
    url = query("CreateQueue", {"QueueName": "work"}).text("CreateQueueResult/QueueUrl")

    def ask(action, **fields):
        return query(action, {"QueueUrl": url} | {name.replace("__", "."): value for name, value in fields.items()})

    ask.url = url
    return ask


def assert_void(answer, action):
    """An action without a result answers nothing but the request's id."""
    assert answer.status == 200
    assert answer.xml.tag == f"{action}Response"
    assert [child.tag for child in answer.xml] == ["ResponseMetadata"]
    assert answer.text("ResponseMetadata/RequestId") == answer.headers["x-amzn-requestid"]


def test_a_queue_is_created_with_attributes_and_tags(query):
    answer = query(
        "CreateQueue",
        {
            "QueueName": "work",
            "Attribute.1.Name": "DelaySeconds",
            "Attribute.1.Value": "5",
            "Attribute.2.Name": "VisibilityTimeout",
            "Attribute.2.Value": "60",
            "Tag.1.Key": "team",
            "Tag.1.Value": "giving",
        },
    )
    assert answer.status == 200
    assert answer.headers["content-type"].startswith("text/xml")
    assert answer.xml.tag == "CreateQueueResponse"
    assert answer.text("ResponseMetadata/RequestId") == answer.headers["x-amzn-requestid"]
    url = answer.text("CreateQueueResult/QueueUrl")
    assert url.endswith("/000000000000/work")
    asked = {"AttributeName.1": "DelaySeconds", "AttributeName.2": "VisibilityTimeout"}
    attributes = query("GetQueueAttributes", {"QueueUrl": url, **asked})
    expected = {"DelaySeconds": "5", "VisibilityTimeout": "60"}
    assert pairs(attributes, "GetQueueAttributesResult/Attribute") == expected
    tags = query("ListQueueTags", {"QueueUrl": url})
    assert pairs(tags, "ListQueueTagsResult/Tag", "Key") == {"team": "giving"}


def test_a_queue_is_found_listed_and_deleted(query, work):
    assert query("GetQueueUrl", {"QueueName": "work"}).text("GetQueueUrlResult/QueueUrl") == work.url
    assert query("ListQueues", {"QueueNamePrefix": "wo"}).texts("ListQueuesResult/QueueUrl") == [work.url]
    assert_void(work("DeleteQueue"), "DeleteQueue")
    assert work("DeleteQueue").error == NO_SUCH_QUEUE
    assert query("GetQueueUrl", {"QueueName": "work"}).error == NO_SUCH_QUEUE


def test_queues_are_listed_in_pages(query):
    for number in range(3):
        query("CreateQueue", {"QueueName": f"page-{number}"})
    first = query("ListQueues", {"QueueNamePrefix": "page-", "MaxResults": 2})
    token = first.text("ListQueuesResult/NextToken")
    second = query("ListQueues", {"QueueNamePrefix": "page-", "MaxResults": 2, "NextToken": token})
    urls = first.texts("ListQueuesResult/QueueUrl") + second.texts("ListQueuesResult/QueueUrl")
    assert [url.rpartition("/")[2] for url in urls] == ["page-0", "page-1", "page-2"]
    assert second.text("ListQueuesResult/NextToken") is None
    none = query("ListQueues", {"QueueNamePrefix": "none"})
    assert [child.tag for child in none.xml] == ["ListQueuesResult", "ResponseMetadata"]
    assert none.texts("ListQueuesResult/QueueUrl") == []


def test_attributes_are_set_and_read(work):
    changed = {"Attribute__1__Name": "VisibilityTimeout", "Attribute__1__Value": "1800"}
    assert_void(work("SetQueueAttributes", **changed), "SetQueueAttributes")
    answer = pairs(work("GetQueueAttributes", AttributeName__1="All"), "GetQueueAttributesResult/Attribute")
    assert answer["VisibilityTimeout"] == "1800"
    assert answer["QueueArn"] == "arn:aws:sqs:eu-central-1:000000000000:work"
    assert pairs(work("GetQueueAttributes"), "GetQueueAttributesResult/Attribute") == {}


def test_tags_are_set_and_taken_away(work):
    tags = {"Tag__1__Key": "a", "Tag__1__Value": "1", "Tag__2__Key": "b", "Tag__2__Value": ""}
    assert_void(work("TagQueue", **tags), "TagQueue")
    assert_void(work("UntagQueue", TagKey__1="a", TagKey__2="never"), "UntagQueue")
    assert pairs(work("ListQueueTags"), "ListQueueTagsResult/Tag", "Key") in ({"b": ""}, {"b": None})


def test_a_message_is_sent_received_and_deleted(broker, work):
    body = 'Grüße ✓ <&> "q" a\r\nb'
    sent = work(
        "SendMessage",
        MessageBody=body,
        MessageAttribute__1__Name="kind",
        MessageAttribute__1__Value__DataType="String",
        MessageAttribute__1__Value__StringValue="gift",
        MessageAttribute__2__Name="proof",
        MessageAttribute__2__Value__DataType="Binary",
        MessageAttribute__2__Value__BinaryValue=base64.b64encode(b"\x00\xff").decode(),
        MessageSystemAttribute__1__Name="AWSTraceHeader",
        MessageSystemAttribute__1__Value__DataType="String",
        MessageSystemAttribute__1__Value__StringValue="Root=1-5759e988-bd862e3fe1be46a994272793",
    )
    assert sent.text("SendMessageResult/MD5OfMessageBody") == md5(body)
    assert re.fullmatch("[0-9a-f]{32}", sent.text("SendMessageResult/MD5OfMessageAttributes"))
    assert re.fullmatch("[0-9a-f]{32}", sent.text("SendMessageResult/MD5OfMessageSystemAttributes"))
    received = work("ReceiveMessage", MaxNumberOfMessages=10, AttributeName__1="All", MessageAttributeName__1="All")
    (message,) = received.xml.findall("ReceiveMessageResult/Message")
    assert message.findtext("MessageId") == sent.text("SendMessageResult/MessageId")
    assert message.findtext("Body") == body
    assert message.findtext("MD5OfBody") == md5(body)
    sent_md5 = sent.text("SendMessageResult/MD5OfMessageAttributes")
    assert message.findtext("MD5OfMessageAttributes") == sent_md5
    attributes = {one.findtext("Name"): one.findtext("Value") for one in message.findall("Attribute")}
    assert attributes["ApproximateReceiveCount"] == "1"
    assert attributes["SentTimestamp"] == "1700000000000"
    assert attributes["AWSTraceHeader"] == "Root=1-5759e988-bd862e3fe1be46a994272793"
    values = {one.findtext("Name"): one.find("Value") for one in message.findall("MessageAttribute")}
    assert {name: value.findtext("DataType") for name, value in values.items()} == {"kind": "String", "proof": "Binary"}
    assert values["kind"].findtext("StringValue") == "gift"
    assert base64.b64decode(values["proof"].findtext("BinaryValue")) == b"\x00\xff"
    assert b"&#xD;" in received.body
    assert b"&quot;q&quot;" in received.body
    assert_void(work("DeleteMessage", ReceiptHandle=message.findtext("ReceiptHandle")), "DeleteMessage")
    broker.advance(31)
    empty = work("ReceiveMessage")
    assert [child.tag for child in empty.xml] == ["ReceiveMessageResult", "ResponseMetadata"]
    assert empty.xml.findall("ReceiveMessageResult/Message") == []


def test_visibility_is_changed(work):
    work("SendMessage", MessageBody="x")
    handle = work("ReceiveMessage").text("ReceiveMessageResult/Message/ReceiptHandle")
    changed = work("ChangeMessageVisibility", ReceiptHandle=handle, VisibilityTimeout=0)
    assert_void(changed, "ChangeMessageVisibility")
    assert work("ReceiveMessage").text("ReceiveMessageResult/Message/Body") == "x"


def test_the_three_batches(broker, work):
    entry = "SendMessageBatchRequestEntry__"
    sent = work(
        "SendMessageBatch",
        **{
            f"{entry}1__Id": "a",
            f"{entry}1__MessageBody": "A",
            f"{entry}2__Id": "b",
            f"{entry}2__MessageBody": "\x01",
            f"{entry}3__Id": "c",
            f"{entry}3__MessageBody": "C",
            f"{entry}3__MessageAttribute__1__Name": "kind",
            f"{entry}3__MessageAttribute__1__Value__DataType": "Number",
            f"{entry}3__MessageAttribute__1__Value__StringValue": "7",
        },
    )
    results = sent.xml.findall("SendMessageBatchResult/SendMessageBatchResultEntry")
    assert [(one.findtext("Id"), one.findtext("MD5OfMessageBody")) for one in results] == [
        ("a", md5("A")),
        ("c", md5("C")),
    ]
    assert results[1].findtext("MD5OfMessageAttributes")
    (failed,) = sent.xml.findall("SendMessageBatchResult/BatchResultErrorEntry")
    assert (failed.findtext("Id"), failed.findtext("Code")) == ("b", "InvalidMessageContents")
    assert failed.findtext("SenderFault") == "true"

    handles = work("ReceiveMessage", MaxNumberOfMessages=10).texts("ReceiveMessageResult/Message/ReceiptHandle")
    entry = "ChangeMessageVisibilityBatchRequestEntry__"
    changed = work(
        "ChangeMessageVisibilityBatch",
        **{
            f"{entry}1__Id": "a",
            f"{entry}1__ReceiptHandle": handles[0],
            f"{entry}1__VisibilityTimeout": 0,
            f"{entry}2__Id": "b",
            f"{entry}2__ReceiptHandle": "garbage",
            f"{entry}2__VisibilityTimeout": 0,
        },
    )
    result = "ChangeMessageVisibilityBatchResult"
    assert changed.texts(f"{result}/ChangeMessageVisibilityBatchResultEntry/Id") == ["a"]
    assert changed.texts(f"{result}/BatchResultErrorEntry/Code") == ["ReceiptHandleIsInvalid"]

    entry = "DeleteMessageBatchRequestEntry__"
    deleted = work(
        "DeleteMessageBatch",
        **{f"{entry}{number}__Id": str(number) for number in (1, 2)},
        **{f"{entry}{number}__ReceiptHandle": handle for number, handle in enumerate(handles, 1)},
    )
    assert deleted.texts("DeleteMessageBatchResult/DeleteMessageBatchResultEntry/Id") == ["1", "2"]
    broker.advance(31)
    assert work("ReceiveMessage").text("ReceiveMessageResult/Message/Body") is None


def test_a_queue_is_purged_once_a_minute(work):
    work("SendMessage", MessageBody="x")
    assert_void(work("PurgeQueue"), "PurgeQueue")
    assert work("ReceiveMessage").text("ReceiveMessageResult/Message/Body") is None
    assert work("PurgeQueue").error == (
        403,
        "AWS.SimpleQueueService.PurgeQueueInProgress",
        "Only one PurgeQueue operation on work is allowed every 60 seconds.",
    )


def test_an_error_has_its_whole_frame(work):
    answer = work("SendMessage")
    assert answer.headers["content-type"].startswith("text/xml")
    assert answer.xml.tag == "ErrorResponse"
    assert [child.tag for child in answer.xml.find("Error")] == ["Type", "Code", "Message", "Detail"]
    assert answer.text("Error/Type") == "Sender"
    assert answer.error == (400, "MissingParameter", "The request must contain the parameter MessageBody.")
    assert answer.text("RequestId") == answer.headers["x-amzn-requestid"]


@pytest.mark.parametrize(
    ("action", "fields", "error"),
    [
        ("CreateQueue", {}, (400, "MissingParameter", "The request must contain the parameter QueueName.")),
        (
            "SendMessage",
            {"MessageBody": "x"},
            (400, "MissingParameter", "The request must contain the parameter QueueUrl."),
        ),
        (
            "SendMessageBatch",
            {"QueueUrl": URL},
            (
                400,
                "AWS.SimpleQueueService.EmptyBatchRequest",
                "There should be at least one SendMessageBatchRequestEntry in the request.",
            ),
        ),
        (
            "DeleteMessage",
            {"QueueUrl": URL, "ReceiptHandle": "garbage"},
            (400, "ReceiptHandleIsInvalid", 'The input receipt handle "garbage" is not a valid receipt handle.'),
        ),
        (
            "ReceiveMessage",
            {"QueueUrl": URL, "MaxNumberOfMessages": "11"},
            (
                400,
                "InvalidParameterValue",
                "Value 11 for parameter MaxNumberOfMessages is invalid. Reason: Must be between 1 and 10, if provided.",
            ),
        ),
        ("SendMessage", {"QueueUrl": "/000000000000/nowhere", "MessageBody": "x"}, NO_SUCH_QUEUE),
        ("GetQueueUrl", {"QueueName": "nowhere"}, NO_SUCH_QUEUE),
        ("Foo", {}, (400, "InvalidAction", "The action Foo is not valid for this endpoint.")),
    ],
)
def test_errors_have_their_query_codes(query, work, action, fields, error):
    assert query(action, fields).error == error


def test_a_request_may_be_posted_to_the_queue_itself(query, work):
    sent = query("SendMessage", {"MessageBody": "x"}, path=URL)
    assert sent.status == 200
    other = query("CreateQueue", {"QueueName": "other"}).text("CreateQueueResult/QueueUrl")
    explicit = query("SendMessage", {"QueueUrl": other, "MessageBody": "elsewhere"}, path=URL)
    assert explicit.status == 200
    received = query("ReceiveMessage", {"MaxNumberOfMessages": 10}, path=URL)
    assert received.texts("ReceiveMessageResult/Message/Body") == ["x"]
    assert query("GetQueueUrl", {"QueueName": "other"}, path=URL).text("GetQueueUrlResult/QueueUrl") == other


@pytest.mark.parametrize("action", ["ListQueues", "CreateQueue", "Foo"])
def test_some_actions_are_not_valid_on_a_queue(query, work, action):
    text = f"The action {action} is not valid for this endpoint."
    assert query(action, {"QueueName": "x"}, path=URL).error == (400, "InvalidAction", text)


def test_a_get_request_is_as_good_as_a_form(ask, work):
    sent = ask("GET", f"{URL}?Action=SendMessage&MessageBody=by+get&Version=2012-11-05")
    assert sent.text("SendMessageResult/MD5OfMessageBody") == md5("by get")
    received = ask("GET", f"{URL}?Action=ReceiveMessage&AttributeName.1=All", headers={"Accept": "application/json"})
    result = received.json["ReceiveMessageResponse"]["ReceiveMessageResult"]
    assert [message["Body"] for message in result["messages"]] == ["by get"]
    asked = f"{URL}?Action=GetQueueAttributes&AttributeName.1=DelaySeconds"
    attributes = ask("GET", asked, headers={"Accept": "application/json"})
    result = attributes.json["GetQueueAttributesResponse"]["GetQueueAttributesResult"]
    assert result["Attributes"] == [{"Name": "DelaySeconds", "Value": "0"}]
    refused = ask("GET", f"{URL}?Action=SendMessage", headers={"Accept": "application/json"})
    assert refused.status == 400
    assert refused.json["Error"]["Code"] == "MissingParameter"


def test_a_request_without_an_action_names_no_operation(ask, work):
    for accept in ("*/*", "application/json"):
        answer = ask("GET", URL, headers={"Accept": accept})
        assert (answer.status, answer.body) == (404, b"<UnknownOperationException/>")
