"""boto3: FIFO queues, message by message."""

import hashlib
from itertools import pairwise

import pytest

ATTRIBUTES = {"FifoQueue": "true", "VisibilityTimeout": "30"}
EITHER = "The queue should either have ContentBasedDeduplication enabled or MessageDeduplicationId provided explicitly"


@pytest.fixture
def fifo(sqs):
    return sqs.create_queue(QueueName="work.fifo", Attributes=ATTRIBUTES)["QueueUrl"]


@pytest.fixture
def by_content(sqs):
    attributes = {**ATTRIBUTES, "ContentBasedDeduplication": "true"}
    return sqs.create_queue(QueueName="content.fifo", Attributes=attributes)["QueueUrl"]


def send(sqs, queue, body, group="g", id_=None, **members):
    ids = {"MessageGroupId": group, "MessageDeduplicationId": id_ or body}
    return sqs.send_message(QueueUrl=queue, MessageBody=body, **ids, **members)


def receive(sqs, queue, **members):
    given = {"MaxNumberOfMessages": 10, "MessageSystemAttributeNames": ["All"], **members}
    return sqs.receive_message(QueueUrl=queue, **given).get("Messages", [])


def bodies(sqs, queue, **members):
    return [message["Body"] for message in receive(sqs, queue, **members)]


def test_a_sent_message_has_a_sequence_number_and_comes_back_with_all_its_attributes(sqs, fifo):
    sent = send(sqs, fifo, "hello", "tenant", "once")
    assert len(sent["SequenceNumber"]) == 20
    (message,) = receive(sqs, fifo)
    attributes = message["Attributes"]
    assert attributes["SequenceNumber"] == sent["SequenceNumber"]
    assert (attributes["MessageGroupId"], attributes["MessageDeduplicationId"]) == ("tenant", "once")
    only = {"MessageSystemAttributeNames": ["SequenceNumber"], "VisibilityTimeout": 0}
    sqs.change_message_visibility(QueueUrl=fifo, ReceiptHandle=message["ReceiptHandle"], VisibilityTimeout=0)
    (again,) = receive(sqs, fifo, **only)
    assert again["Attributes"] == {"SequenceNumber": sent["SequenceNumber"]}


def test_sequence_numbers_rise(sqs, fifo):
    numbers = [send(sqs, fifo, str(number), f"g{number % 3}")["SequenceNumber"] for number in range(5)]
    assert all(one < other for one, other in pairwise(numbers))


def test_a_duplicate_is_answered_as_the_first_was(sqs, fifo):
    first = send(sqs, fifo, "one", id_="same")
    again = send(sqs, fifo, "another body", id_="same")
    assert (again["MessageId"], again["SequenceNumber"]) == (first["MessageId"], first["SequenceNumber"])
    assert again["MD5OfMessageBody"] == hashlib.md5(b"another body").hexdigest(), "so that the SDK accepts the answer"
    assert bodies(sqs, fifo) == ["one"]


def test_deduplication_by_content_is_by_the_body_alone(sqs, by_content):
    text = {"a": {"DataType": "String", "StringValue": "x"}}
    first = sqs.send_message(QueueUrl=by_content, MessageBody="same", MessageGroupId="g")
    again = sqs.send_message(QueueUrl=by_content, MessageBody="same", MessageGroupId="g", MessageAttributes=text)
    assert again["MessageId"] == first["MessageId"]
    explicit = send(sqs, by_content, "other", id_=hashlib.sha256(b"same").hexdigest())
    assert explicit["MessageId"] == first["MessageId"]
    send(sqs, by_content, "same", id_="explicit")
    (one, two) = receive(sqs, by_content)
    assert one["Attributes"]["MessageDeduplicationId"] == hashlib.sha256(b"same").hexdigest()
    assert two["Attributes"]["MessageDeduplicationId"] == "explicit"


def test_a_batch_keeps_its_order_and_finds_duplicates_within_itself(sqs, fifo):
    entries = [
        {"Id": str(number), "MessageBody": str(number), "MessageGroupId": "g", "MessageDeduplicationId": id_}
        for number, id_ in enumerate(["a", "b", "a", "c"])
    ]
    answer = sqs.send_message_batch(QueueUrl=fifo, Entries=entries)["Successful"]
    assert answer[2]["MessageId"] == answer[0]["MessageId"]
    assert answer[2]["SequenceNumber"] == answer[0]["SequenceNumber"]
    assert bodies(sqs, fifo) == ["0", "1", "3"]


def test_a_batch_with_one_bad_message_sends_the_others(sqs, fifo):
    entries = [
        {"Id": "good", "MessageBody": "good", "MessageGroupId": "g", "MessageDeduplicationId": "1"},
        {"Id": "bad", "MessageBody": "bad\x02", "MessageGroupId": "g", "MessageDeduplicationId": "2"},
    ]
    answer = sqs.send_message_batch(QueueUrl=fifo, Entries=entries)
    assert [one["Id"] for one in answer["Successful"]] == ["good"]
    assert [(one["Id"], one["Code"]) for one in answer["Failed"]] == [("bad", "InvalidMessageContents")]


def test_what_a_fifo_message_lacks_is_said(sqs, fifo, refused):
    message = {"QueueUrl": fifo, "MessageBody": "x"}
    no_group = "The request must contain the parameter MessageGroupId."
    assert refused(sqs.send_message, **message) == (400, "MissingParameter", no_group)
    assert refused(sqs.send_message, **message, MessageGroupId="g") == (400, "InvalidParameterValue", EITHER)
    entries = [{"Id": "a", "MessageBody": "x"}]
    batch = refused(sqs.send_message_batch, QueueUrl=fifo, Entries=entries)
    assert batch == (400, "InvalidParameterValue", no_group)
    entries[0]["MessageGroupId"] = "g"
    assert refused(sqs.send_message_batch, QueueUrl=fifo, Entries=entries) == (400, "InvalidParameterValue", EITHER)
    assert bodies(sqs, fifo) == []


@pytest.mark.parametrize("value", ["", "with space", "ü", "x" * 129, "new\nline"])
@pytest.mark.parametrize("name", ["MessageGroupId", "MessageDeduplicationId"])
def test_ids_hold_letters_digits_and_punctuation(sqs, fifo, refused, name, value):
    ids = {"MessageGroupId": "g", "MessageDeduplicationId": "d", name: value}
    status, code, message = refused(sqs.send_message, QueueUrl=fifo, MessageBody="x", **ids)
    assert (status, code) == (400, "InvalidParameterValue")
    reason = f"{name} can only include alphanumeric and punctuation characters. 1 to 128 in length."
    assert message == f"Value {value} for parameter {name} is invalid. Reason: {reason}"


def test_every_punctuation_character_is_allowed_in_ids(sqs, fifo):
    odd = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~"
    send(sqs, fifo, "x", odd, odd)
    (message,) = receive(sqs, fifo)
    assert (message["Attributes"]["MessageGroupId"], message["Attributes"]["MessageDeduplicationId"]) == (odd, odd)


def test_a_delay_of_one_message_is_refused_and_zero_is_none(sqs, fifo, refused):
    ids = {"MessageGroupId": "g", "MessageDeduplicationId": "d"}
    reason = "The request include parameter that is not valid for this queue type."
    expected = (400, "InvalidParameterValue", f"Value 2 for parameter DelaySeconds is invalid. Reason: {reason}")
    assert refused(sqs.send_message, QueueUrl=fifo, MessageBody="x", DelaySeconds=2, **ids) == expected
    send(sqs, fifo, "x", DelaySeconds=0)
    assert bodies(sqs, fifo) == ["x"]


def test_an_expired_receipt_handle_deletes_nothing(sqs, fifo, refused):
    send(sqs, fifo, "x")
    (old,) = receive(sqs, fifo)
    sqs.change_message_visibility(QueueUrl=fifo, ReceiptHandle=old["ReceiptHandle"], VisibilityTimeout=0)
    handle = old["ReceiptHandle"]
    expired = f"Value {handle} for parameter ReceiptHandle is invalid. Reason: The receipt handle has expired."
    assert refused(sqs.delete_message, QueueUrl=fifo, ReceiptHandle=handle) == (400, "InvalidParameterValue", expired)
    batch = sqs.delete_message_batch(QueueUrl=fifo, Entries=[{"Id": "a", "ReceiptHandle": handle}])
    assert [(one["Code"], one["Message"]) for one in batch["Failed"]] == [("InvalidParameterValue", expired)]
    (new,) = receive(sqs, fifo)
    sqs.delete_message(QueueUrl=fifo, ReceiptHandle=new["ReceiptHandle"])
    sqs.delete_message(QueueUrl=fifo, ReceiptHandle=handle)


def test_the_same_attempt_gets_the_same_messages_and_handles(sqs, fifo, refused):
    send(sqs, fifo, "one", "a")
    send(sqs, fifo, "two", "b")
    first = receive(sqs, fifo, ReceiveRequestAttemptId="try")
    again = receive(sqs, fifo, ReceiveRequestAttemptId="try")
    assert [(one["Body"], one["ReceiptHandle"]) for one in again] == [(m["Body"], m["ReceiptHandle"]) for m in first]
    assert again[0]["Attributes"]["ApproximateReceiveCount"] == "1"
    assert receive(sqs, fifo, ReceiveRequestAttemptId="other") == []
    _, code, _ = refused(sqs.receive_message, QueueUrl=fifo, ReceiveRequestAttemptId="with space")
    assert code == "InvalidParameterValue"


def test_a_long_poll_gets_what_a_freed_group_holds(sqs, fifo, in_background):
    send(sqs, fifo, "one")
    send(sqs, fifo, "two")
    (first,) = receive(sqs, fifo, MaxNumberOfMessages=1)
    waiting = in_background(bodies, sqs, fifo, WaitTimeSeconds=20)
    sqs.delete_message(QueueUrl=fifo, ReceiptHandle=first["ReceiptHandle"])
    assert waiting.result(15) == ["two"]


def test_a_dead_letter_keeps_its_id_and_its_group(sqs, fifo):
    dead = sqs.create_queue(QueueName="dead.fifo", Attributes={"FifoQueue": "true"})["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=dead, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    policy = f'{{"deadLetterTargetArn":"{arn}","maxReceiveCount":"1"}}'
    sqs.set_queue_attributes(QueueUrl=fifo, Attributes={"RedrivePolicy": policy})
    sent = [send(sqs, fifo, "same", "a", "1"), send(sqs, fifo, "same", "b", "2")]
    assert len(receive(sqs, fifo, VisibilityTimeout=0)) == 2
    assert receive(sqs, fifo) == []
    letters = receive(sqs, dead)
    assert [letter["MessageId"] for letter in letters] == [one["MessageId"] for one in sent]
    attributes = letters[0]["Attributes"]
    assert attributes["MessageGroupId"] == "a"
    assert attributes["ApproximateReceiveCount"] == "2"
    assert attributes["DeadLetterQueueSourceArn"].endswith(":work.fifo")
    assert attributes["MessageDeduplicationId"] == sent[0]["MessageId"]


def test_counts_tell_what_waits_behind_a_locked_group(sqs, fifo):
    for number in range(4):
        send(sqs, fifo, str(number))
    receive(sqs, fifo, MaxNumberOfMessages=1)
    attributes = sqs.get_queue_attributes(QueueUrl=fifo, AttributeNames=["All"])["Attributes"]
    assert attributes["ApproximateNumberOfMessages"] == "3"
    assert attributes["ApproximateNumberOfMessagesNotVisible"] == "1"


def test_a_group_id_on_a_standard_queue_comes_back_without_a_sequence_number(sqs, queue):
    sent = sqs.send_message(QueueUrl=queue, MessageBody="x", MessageGroupId="tenant")
    assert "SequenceNumber" not in sent
    (message,) = receive(sqs, queue)
    assert message["Attributes"]["MessageGroupId"] == "tenant"
    assert "SequenceNumber" not in message["Attributes"]
