"""boto3: messages are sent, received, deleted, and made visible sooner or later, one by one and in batches."""

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


def test_a_deleted_message_is_gone_and_may_be_deleted_again(broker, sqs, queue):
    sqs.send_message(QueueUrl=queue, MessageBody="x")
    (message,) = receive(sqs, queue)
    for _ in range(2):
        sqs.delete_message(QueueUrl=queue, ReceiptHandle=message["ReceiptHandle"])
    broker.advance(31)
    assert receive(sqs, queue) == []


def test_each_receive_gives_a_new_handle_and_every_one_of_them_deletes(broker, sqs, queue):
    sqs.send_message(QueueUrl=queue, MessageBody="x")
    handles = []
    for _ in range(3):
        handles.append(receive(sqs, queue)[0]["ReceiptHandle"])
        broker.advance(30)
    assert len(set(handles)) == 3
    sqs.delete_message(QueueUrl=queue, ReceiptHandle=handles[0])
    assert receive(sqs, queue) == []


def test_a_handle_works_after_its_timeout_and_before_the_next_receive(broker, sqs, queue):
    sqs.send_message(QueueUrl=queue, MessageBody="x")
    (message,) = receive(sqs, queue)
    broker.advance(31)
    sqs.delete_message(QueueUrl=queue, ReceiptHandle=message["ReceiptHandle"])
    assert receive(sqs, queue) == []


def test_a_batch_deletes_each_message_by_itself(broker, sqs, queue):
    for body in "ab":
        sqs.send_message(QueueUrl=queue, MessageBody=body)
    first, second = receive(sqs, queue, MaxNumberOfMessages=10)
    answer = sqs.delete_message_batch(
        QueueUrl=queue,
        Entries=[
            {"Id": "0", "ReceiptHandle": first["ReceiptHandle"]},
            {"Id": "1", "ReceiptHandle": "garbage"},
            {"Id": "2", "ReceiptHandle": second["ReceiptHandle"]},
        ],
    )
    assert answer["Successful"] == [{"Id": "0"}, {"Id": "2"}]
    assert answer["Failed"] == [
        {
            "Id": "1",
            "SenderFault": True,
            "Code": "ReceiptHandleIsInvalid",
            "Message": 'The input receipt handle "garbage" is not a valid receipt handle.',
        }
    ]
    broker.advance(31)
    assert receive(sqs, queue) == []


def test_a_handle_that_nobody_gave_out_here_is_refused(sqs, queue, refused):
    other = sqs.create_queue(QueueName="other")["QueueUrl"]
    sqs.send_message(QueueUrl=other, MessageBody="x")
    real = receive(sqs, other)[0]["ReceiptHandle"]
    flipped = real[:-5] + ("A" if real[-5] != "A" else "B") + real[-4:]
    for handle in ("garbage", real, flipped, "x" * 10_000, "ü", real + "="):
        text = f'The input receipt handle "{handle}" is not a valid receipt handle.'
        expected = 400, "ReceiptHandleIsInvalid", text
        assert refused(sqs.delete_message, QueueUrl=queue, ReceiptHandle=handle) == expected
        change = {"QueueUrl": queue, "ReceiptHandle": handle, "VisibilityTimeout": 0}
        assert refused(sqs.change_message_visibility, **change) == expected


def test_visibility_is_changed_from_now_on_and_forgotten_at_the_next_receive(broker, sqs, queue):
    sqs.send_message(QueueUrl=queue, MessageBody="x")
    handle = receive(sqs, queue)[0]["ReceiptHandle"]
    broker.advance(29)
    sqs.change_message_visibility(QueueUrl=queue, ReceiptHandle=handle, VisibilityTimeout=100)
    broker.advance(99)
    assert receive(sqs, queue) == []
    broker.advance(1)
    (message,) = receive(sqs, queue)
    broker.advance(29)
    assert receive(sqs, queue) == []
    sqs.change_message_visibility(QueueUrl=queue, ReceiptHandle=message["ReceiptHandle"], VisibilityTimeout=0)
    assert len(receive(sqs, queue)) == 1


def test_visibility_of_a_deleted_message_cannot_be_changed(sqs, queue, refused):
    sqs.send_message(QueueUrl=queue, MessageBody="x")
    handle = receive(sqs, queue)[0]["ReceiptHandle"]
    sqs.delete_message(QueueUrl=queue, ReceiptHandle=handle)
    text = (
        f"Value {handle} for parameter ReceiptHandle is invalid. "
        "Reason: Message does not exist or is not available for visibility timeout change."
    )
    change = {"QueueUrl": queue, "ReceiptHandle": handle, "VisibilityTimeout": 1}
    assert refused(sqs.change_message_visibility, **change) == (400, "InvalidParameterValue", text)


def test_visibility_may_not_pass_twelve_hours_in_all(broker, sqs, queue, refused):
    sqs.send_message(QueueUrl=queue, MessageBody="x")
    handle = receive(sqs, queue)[0]["ReceiptHandle"]
    broker.advance(10)
    change = {"QueueUrl": queue, "ReceiptHandle": handle}
    text = (
        "Value 43191 for parameter VisibilityTimeout is invalid. "
        "Reason: Total VisibilityTimeout for the message is beyond the limit [43200 seconds]"
    )
    answer = refused(sqs.change_message_visibility, VisibilityTimeout=43191, **change)
    assert answer == (400, "InvalidParameterValue", text)
    sqs.change_message_visibility(VisibilityTimeout=43190, **change)
    status, code, _ = refused(sqs.change_message_visibility, VisibilityTimeout=43201, **change)
    assert (status, code) == (400, "InvalidParameterValue")


def test_a_batch_changes_each_visibility_by_itself(sqs, queue):
    for body in "ab":
        sqs.send_message(QueueUrl=queue, MessageBody=body)
    first, second = receive(sqs, queue, MaxNumberOfMessages=10)
    answer = sqs.change_message_visibility_batch(
        QueueUrl=queue,
        Entries=[
            {"Id": "now", "ReceiptHandle": first["ReceiptHandle"], "VisibilityTimeout": 0},
            {"Id": "bad", "ReceiptHandle": second["ReceiptHandle"], "VisibilityTimeout": 43201},
            {"Id": "none", "ReceiptHandle": "garbage", "VisibilityTimeout": 0},
        ],
    )
    assert answer["Successful"] == [{"Id": "now"}]
    assert [(entry["Id"], entry["SenderFault"], entry["Code"]) for entry in answer["Failed"]] == [
        ("bad", True, "InvalidParameterValue"),
        ("none", True, "ReceiptHandleIsInvalid"),
    ]
    assert [message["Body"] for message in receive(sqs, queue, MaxNumberOfMessages=10)] == ["a"]


def test_the_counters_tell_visible_in_flight_and_delayed_apart(sqs, queue):
    for delay_s in (0, 0, 0, 10, 10):
        sqs.send_message(QueueUrl=queue, MessageBody="x", DelaySeconds=delay_s)
    receive(sqs, queue)
    attributes = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["All"])["Attributes"]
    names = "", "NotVisible", "Delayed"
    assert [attributes[f"ApproximateNumberOfMessages{name}"] for name in names] == ["2", "1", "2"]
