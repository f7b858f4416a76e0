"""boto3: messages are sent and received, one by one and in batches."""

import hashlib
import struct

import pytest

CHARACTERS = "Valid unicode characters are #x9 | #xA | #xD | #x20 to #xD7FF | #xE000 to #xFFFD | #x10000 to #x10FFFF"
ATTRIBUTES = {
    "kind": {"DataType": "String", "StringValue": "gift"},
    "amount": {"DataType": "Number.eur", "StringValue": "12.50"},
    "proof": {"DataType": "Binary.png", "BinaryValue": b"\x00\xff\x80"},
    "Proof.of": {"DataType": "String", "StringValue": "ünïcode ✓"},
}


def md5(text):
    return hashlib.md5(text.encode()).hexdigest()


def md5_of_attributes(attributes):
    """AWS developer guide, "Calculating the MD5 message digest for message attributes"."""
    digest = hashlib.md5()
    for name in sorted(attributes):
        attribute = attributes[name]
        parts = [name.encode(), attribute["DataType"].encode()]
        is_binary = attribute["DataType"].startswith("Binary")
        value = attribute["BinaryValue"] if is_binary else attribute["StringValue"].encode()
        for part in parts:
            digest.update(struct.pack(">I", len(part)) + part)
        digest.update((b"\x02" if is_binary else b"\x01") + struct.pack(">I", len(value)) + value)
    return digest.hexdigest()


def receive(sqs, queue, **members):
    return sqs.receive_message(QueueUrl=queue, **members).get("Messages", [])


def test_a_message_comes_back_as_it_was_sent(sqs, queue):
    body = 'Grüße ✓ 😀 <&> "quoted"\r\n\tend'
    sent = sqs.send_message(QueueUrl=queue, MessageBody=body, MessageAttributes=ATTRIBUTES)
    assert sent["MD5OfMessageBody"] == md5(body)
    assert sent["MD5OfMessageAttributes"] == md5_of_attributes(ATTRIBUTES)
    assert "MD5OfMessageSystemAttributes" not in sent
    assert "SequenceNumber" not in sent
    (message,) = receive(sqs, queue, MessageAttributeNames=["All"])
    assert message["MessageId"] == sent["MessageId"]
    assert message["Body"] == body
    assert message["MD5OfBody"] == md5(body)
    assert message["MessageAttributes"] == ATTRIBUTES
    assert message["MD5OfMessageAttributes"] == md5_of_attributes(ATTRIBUTES)
    assert len(message["ReceiptHandle"]) <= 1024


def test_a_receive_that_asks_for_nothing_gets_no_attributes(sqs, queue):
    sqs.send_message(QueueUrl=queue, MessageBody="x", MessageAttributes=ATTRIBUTES)
    (message,) = receive(sqs, queue)
    assert message.keys() == {"MessageId", "ReceiptHandle", "MD5OfBody", "Body"}


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["All"], list(ATTRIBUTES)),
        ([".*"], list(ATTRIBUTES)),
        (["*"], list(ATTRIBUTES)),
        (["kind", "nothing"], ["kind"]),
        (["Proof.*"], ["Proof.of"]),
        (["Kind"], []),
    ],
)
def test_message_attributes_are_chosen_by_name_and_digested_as_chosen(sqs, queue, names, expected):
    sqs.send_message(QueueUrl=queue, MessageBody="x", MessageAttributes=ATTRIBUTES)
    (message,) = receive(sqs, queue, MessageAttributeNames=names)
    chosen = {name: ATTRIBUTES[name] for name in expected}
    assert message.get("MessageAttributes", {}) == chosen
    assert message.get("MD5OfMessageAttributes") == (md5_of_attributes(chosen) if chosen else None)


def test_system_attributes_are_given_as_asked_for(broker, sqs, queue):
    trace = {"AWSTraceHeader": {"DataType": "String", "StringValue": "Root=1-5759e988-bd862e3fe1be46a994272793"}}
    sent = sqs.send_message(QueueUrl=queue, MessageBody="x", MessageSystemAttributes=trace, MessageGroupId="tenant-1")
    assert sent["MD5OfMessageSystemAttributes"] == md5_of_attributes(trace)
    broker.advance(5)
    (message,) = receive(sqs, queue, MessageSystemAttributeNames=["All"], VisibilityTimeout=0)
    assert message["Attributes"] == {
        "SenderId": "test",
        "SentTimestamp": "1700000000000",
        "ApproximateReceiveCount": "1",
        "ApproximateFirstReceiveTimestamp": "1700000005000",
        "AWSTraceHeader": trace["AWSTraceHeader"]["StringValue"],
        "MessageGroupId": "tenant-1",
    }
    broker.advance(5)
    (message,) = receive(
        sqs, queue, AttributeNames=["ApproximateReceiveCount", "ApproximateFirstReceiveTimestamp", "SequenceNumber"]
    )
    assert message["Attributes"] == {
        "ApproximateReceiveCount": "2",
        "ApproximateFirstReceiveTimestamp": "1700000005000",
    }


def test_an_unknown_system_attribute_cannot_be_asked_for(sqs, queue, refused):
    answer = refused(sqs.receive_message, QueueUrl=queue, MessageSystemAttributeNames=["Foobar"])
    assert answer == (400, "InvalidAttributeName", "Unknown Attribute Foobar.")


def test_a_receive_gives_up_to_ten_messages_in_the_order_they_were_sent(sqs, queue):
    for number in range(12):
        sqs.send_message(QueueUrl=queue, MessageBody=str(number))
    assert [message["Body"] for message in receive(sqs, queue)] == ["0"]
    assert [message["Body"] for message in receive(sqs, queue, MaxNumberOfMessages=10)] == [
        str(number) for number in range(1, 11)
    ]
    assert [message["Body"] for message in receive(sqs, queue, MaxNumberOfMessages=10)] == ["11"]
    assert receive(sqs, queue) == []


@pytest.mark.parametrize(
    ("members", "message"),
    [
        (
            {"MaxNumberOfMessages": 0},
            "Value 0 for parameter MaxNumberOfMessages is invalid. Reason: Must be between 1 and 10, if provided.",
        ),
        (
            {"MaxNumberOfMessages": 11},
            "Value 11 for parameter MaxNumberOfMessages is invalid. Reason: Must be between 1 and 10, if provided.",
        ),
        (
            {"WaitTimeSeconds": 21},
            "Value 21 for parameter WaitTimeSeconds is invalid. Reason: Must be >= 0 and <= 20, if provided.",
        ),
        (
            {"WaitTimeSeconds": -1},
            "Value -1 for parameter WaitTimeSeconds is invalid. Reason: Must be >= 0 and <= 20, if provided.",
        ),
        ({"VisibilityTimeout": -1}, "Value -1 for parameter VisibilityTimeout is invalid. Reason: "),
        ({"VisibilityTimeout": 43201}, "Value 43201 for parameter VisibilityTimeout is invalid. Reason: "),
    ],
)
def test_a_receive_out_of_range_is_refused_and_receives_nothing(sqs, queue, refused, members, message):
    sqs.send_message(QueueUrl=queue, MessageBody="x")
    status, code, text = refused(sqs.receive_message, QueueUrl=queue, **members)
    assert (status, code) == (400, "InvalidParameterValue")
    assert text.startswith(message)
    assert receive(sqs, queue, AttributeNames=["All"])[0]["Attributes"]["ApproximateReceiveCount"] == "1"


@pytest.mark.parametrize(
    ("members", "code", "message"),
    [
        ({"MessageBody": ""}, "MissingParameter", "The request must contain the parameter MessageBody."),
        (
            {"MessageBody": "é" * 513},
            "InvalidParameterValue",
            "One or more parameters are invalid. Reason: Message must be shorter than 1024 bytes.",
        ),
        ({"MessageBody": "a\x00b"}, "InvalidMessageContents", f"Invalid characters found. {CHARACTERS}"),
        ({"MessageBody": "\uffff"}, "InvalidMessageContents", f"Invalid characters found. {CHARACTERS}"),
        (
            {"DelaySeconds": 901},
            "InvalidParameterValue",
            "Value 901 for parameter DelaySeconds is invalid. Reason: DelaySeconds must be >= 0 and <= 900.",
        ),
        (
            {"DelaySeconds": -1},
            "InvalidParameterValue",
            "Value -1 for parameter DelaySeconds is invalid. Reason: DelaySeconds must be >= 0 and <= 900.",
        ),
        (
            {"MessageDeduplicationId": "d"},
            "InvalidParameterValue",
            (
                "Value d for parameter MessageDeduplicationId is invalid. Reason: "
                "The request includes a parameter that is not valid for this queue type."
            ),
        ),
        (
            {"MessageGroupId": "with space"},
            "InvalidParameterValue",
            (
                "Value with space for parameter MessageGroupId is invalid. Reason: "
                "MessageGroupId can only include alphanumeric and punctuation characters. 1 to 128 in length."
            ),
        ),
        (
            {"MessageAttributes": {"a": {"DataType": "String", "StringValue": ""}}},
            "InvalidParameterValue",
            "Message (user) attribute 'a' must contain a non-empty value of type 'String'.",
        ),
        ({"MessageAttributes": {"a": {"DataType": "Foo", "StringValue": "x"}}}, "InvalidParameterValue", None),
        ({"MessageAttributes": {"AWS.a": {"DataType": "String", "StringValue": "x"}}}, "InvalidParameterValue", None),
        ({"MessageAttributes": {"a..b": {"DataType": "String", "StringValue": "x"}}}, "InvalidParameterValue", None),
        ({"MessageAttributes": {"a" * 257: {"DataType": "String", "StringValue": "x"}}}, "InvalidParameterValue", None),
        ({"MessageAttributes": {"a": {"DataType": "Number", "StringValue": "1e999"}}}, "InvalidParameterValue", None),
        ({"MessageAttributes": {"a": {"DataType": "String", "StringValue": "\x00"}}}, "InvalidParameterValue", None),
        (
            {"MessageAttributes": {f"a{n}": {"DataType": "String", "StringValue": "x"} for n in range(11)}},
            "InvalidParameterValue",
            None,
        ),
        (
            {"MessageSystemAttributes": {"Other": {"DataType": "String", "StringValue": "x"}}},
            "InvalidParameterValue",
            None,
        ),
        (
            {"MessageBody": "x" * 1000, "MessageAttributes": {"a": {"DataType": "String", "StringValue": "x" * 18}}},
            "InvalidParameterValue",
            "One or more parameters are invalid. Reason: Message must be shorter than 1024 bytes.",
        ),
    ],
)
def test_a_message_that_may_not_be_sent_is_refused(sqs, queue, refused, *, members, code, message):
    sqs.set_queue_attributes(QueueUrl=queue, Attributes={"MaximumMessageSize": "1024"})
    status, refused_code, text = refused(sqs.send_message, **{"QueueUrl": queue, "MessageBody": "x", **members})
    assert (status, refused_code) == (400, code)
    assert message is None or text == message
    assert receive(sqs, queue) == []


def test_a_message_of_exactly_the_largest_size_is_taken(sqs, queue):
    body = "x" * 1_048_576
    sqs.send_message(QueueUrl=queue, MessageBody=body)
    assert receive(sqs, queue)[0]["Body"] == body


def test_a_batch_sends_each_message_by_itself(sqs, queue):
    sqs.set_queue_attributes(QueueUrl=queue, Attributes={"MaximumMessageSize": "1024"})
    answer = sqs.send_message_batch(
        QueueUrl=queue,
        Entries=[
            {"Id": "good", "MessageBody": "x", "MessageAttributes": ATTRIBUTES},
            {"Id": "long", "MessageBody": "x" * 1025},
            {"Id": "nul", "MessageBody": "\x00"},
            {"Id": "late", "MessageBody": "y", "DelaySeconds": 5},
        ],
    )
    good, late = answer["Successful"]
    assert (good["Id"], good["MD5OfMessageBody"]) == ("good", md5("x"))
    assert good["MD5OfMessageAttributes"] == md5_of_attributes(ATTRIBUTES)
    assert late["Id"] == "late"
    assert answer["Failed"] == [
        {
            "Id": "long",
            "SenderFault": True,
            "Code": "InvalidParameterValue",
            "Message": "One or more parameters cannot be validated. Reason: Message must be shorter than 1024 bytes.",
        },
        {
            "Id": "nul",
            "SenderFault": True,
            "Code": "InvalidMessageContents",
            "Message": f"Invalid characters found. {CHARACTERS}",
        },
    ]
    assert [message["MessageId"] for message in receive(sqs, queue, MaxNumberOfMessages=10)] == [good["MessageId"]]


def test_batches_leave_out_the_list_that_is_empty(sqs, queue):
    sent = sqs.send_message_batch(QueueUrl=queue, Entries=[{"Id": "1", "MessageBody": "x"}])
    assert "Failed" not in sent
    failed = sqs.delete_message_batch(QueueUrl=queue, Entries=[{"Id": "1", "ReceiptHandle": "garbage"}])
    assert "Successful" not in failed


TOO_MANY = "Maximum number of entries per request are 10. You have sent 11."
BAD_ID = (
    "A batch entry id can only contain alphanumeric characters, hyphens and underscores. "
    "It can be at most 80 letters long."
)
BATCHES = {
    "send_message_batch": {"MessageBody": "x"},
    "delete_message_batch": {"ReceiptHandle": "x"},
    "change_message_visibility_batch": {"ReceiptHandle": "x", "VisibilityTimeout": 1},
}


@pytest.mark.parametrize("action", BATCHES)
@pytest.mark.parametrize(
    ("ids", "code", "message"),
    [
        ([str(number) for number in range(11)], "TooManyEntriesInBatchRequest", TOO_MANY),
        (["a", "a"], "BatchEntryIdsNotDistinct", "Id a repeated."),
        (["with space"], "InvalidBatchEntryId", BAD_ID),
        (["x" * 81], "InvalidBatchEntryId", BAD_ID),
        ([""], "InvalidBatchEntryId", BAD_ID),
        ([], "EmptyBatchRequest", "There should be at least one {action}RequestEntry in the request."),
    ],
    ids=["eleven", "twice", "space", "long", "empty", "none"],
)
def test_a_batch_that_is_wrong_as_a_whole_does_nothing(sqs, queue, refused, *, action, ids, code, message):
    entries = [{"Id": entry_id, **BATCHES[action]} for entry_id in ids]
    aws_action = "".join(word.capitalize() for word in action.split("_"))
    expected = 400, f"AWS.SimpleQueueService.{code}", message.format(action=aws_action)
    assert refused(getattr(sqs, action), QueueUrl=queue, Entries=entries) == expected
    assert receive(sqs, queue) == []


def test_a_batch_over_one_mebibyte_is_refused_whatever_the_queue_takes(sqs, queue, refused):
    half = "x" * 524_288
    entries = [{"Id": "1", "MessageBody": half}, {"Id": "2", "MessageBody": half + "x"}]
    text = "Batch requests cannot be longer than 1048576 bytes. You have sent 1048577 bytes."
    expected = 400, "AWS.SimpleQueueService.BatchRequestTooLong", text
    assert refused(sqs.send_message_batch, QueueUrl=queue, Entries=entries) == expected
    assert receive(sqs, queue) == []
    entries[1]["MessageBody"] = half
    assert len(sqs.send_message_batch(QueueUrl=queue, Entries=entries)["Successful"]) == 2


@pytest.mark.parametrize("every", ["All", "ALL"])
def test_every_attribute_is_asked_for_as_aws_says_it_or_as_kombu_does(sqs, queue, every):
    sqs.send_message(QueueUrl=queue, MessageBody="x", MessageAttributes=ATTRIBUTES)
    names = {"MessageSystemAttributeNames": [every], "MessageAttributeNames": [every]}
    (message,) = receive(sqs, queue, **names)
    assert set(message["MessageAttributes"]) == set(ATTRIBUTES)
    assert message["Attributes"]["ApproximateReceiveCount"] == "1"
