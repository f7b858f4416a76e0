"""boto3: delays, long polls, visibility, retention, dead letters and restarts, on a clock that the tests move."""

import json

import pytest

from amply.broker.store.sqlite import SqliteStore

DEAD_ARN = "arn:aws:sqs:eu-central-1:000000000000:dead"


def receive(sqs, queue, **members):
    return sqs.receive_message(QueueUrl=queue, AttributeNames=["All"], **members).get("Messages", [])


def bodies(sqs, queue, **members):
    return [message["Body"] for message in receive(sqs, queue, **members)]


def counts(sqs, queue):
    """Visible, in flight, delayed."""
    attributes = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["All"])["Attributes"]
    return [int(attributes[f"ApproximateNumberOfMessages{state}"]) for state in ("", "NotVisible", "Delayed")]


def declare_dead_letters(sqs, queue, max_receive_count):
    dead = sqs.create_queue(QueueName="dead")["QueueUrl"]
    policy = {"deadLetterTargetArn": DEAD_ARN, "maxReceiveCount": max_receive_count}
    sqs.set_queue_attributes(QueueUrl=queue, Attributes={"RedrivePolicy": json.dumps(policy)})
    return dead


def test_a_delayed_message_is_visible_when_its_delay_is_over_and_not_before(broker, sqs, queue):
    sqs.send_message(QueueUrl=queue, MessageBody="later", DelaySeconds=900)
    broker.advance(899.999)
    assert receive(sqs, queue) == []
    broker.advance(0.001)
    assert bodies(sqs, queue) == ["later"]


def test_a_messages_own_delay_goes_before_the_queues(broker, sqs, queue):
    sqs.set_queue_attributes(QueueUrl=queue, Attributes={"DelaySeconds": "10"})
    sqs.send_message(QueueUrl=queue, MessageBody="as the queue says")
    sqs.send_message(QueueUrl=queue, MessageBody="at once", DelaySeconds=0)
    assert bodies(sqs, queue, MaxNumberOfMessages=10) == ["at once"]
    broker.advance(10)
    assert bodies(sqs, queue, MaxNumberOfMessages=10) == ["as the queue says"]


def test_a_new_delay_of_the_queue_leaves_the_messages_in_it_alone(broker, sqs, queue):
    sqs.set_queue_attributes(QueueUrl=queue, Attributes={"DelaySeconds": "10"})
    sqs.send_message(QueueUrl=queue, MessageBody="x")
    sqs.set_queue_attributes(QueueUrl=queue, Attributes={"DelaySeconds": "0"})
    assert receive(sqs, queue) == []
    broker.advance(10)
    assert bodies(sqs, queue) == ["x"]


def test_a_message_is_hidden_for_the_visibility_timeout_of_its_receive_or_else_of_the_queue(broker, sqs, queue):
    sqs.send_message(QueueUrl=queue, MessageBody="x")
    for members, timeout_s in (({}, 30), ({"VisibilityTimeout": 43200}, 43200), ({"VisibilityTimeout": 1}, 1)):
        assert bodies(sqs, queue, **members) == ["x"]
        broker.advance(timeout_s - 0.001)
        assert receive(sqs, queue) == []
        broker.advance(0.001)
    assert [message["Attributes"]["ApproximateReceiveCount"] for message in receive(sqs, queue)] == ["4"]


def test_a_receive_with_no_visibility_timeout_counts_and_hides_nothing(sqs, queue):
    sqs.send_message(QueueUrl=queue, MessageBody="x")
    for count in ("1", "2", "3"):
        (message,) = receive(sqs, queue, VisibilityTimeout=0)
        assert message["Attributes"]["ApproximateReceiveCount"] == count
    sqs.delete_message(QueueUrl=queue, ReceiptHandle=message["ReceiptHandle"])
    assert receive(sqs, queue) == []


def test_a_long_poll_is_answered_by_the_message_that_comes(broker, sqs, queue, in_background):
    poll = in_background(receive, sqs, queue, WaitTimeSeconds=20, MaxNumberOfMessages=10)
    broker.wait_for_polls("work")
    sqs.send_message(QueueUrl=queue, MessageBody="x")
    assert [message["Body"] for message in poll.result(10)] == ["x"]


def test_a_long_poll_is_answered_empty_when_its_time_is_up(broker, sqs, queue, in_background):
    poll = in_background(sqs.receive_message, QueueUrl=queue, WaitTimeSeconds=20)
    broker.wait_for_polls("work")
    broker.advance(19.999)
    broker.wait_for_polls("work")
    broker.advance(0.001)
    assert "Messages" not in poll.result(10)


def test_the_queue_may_make_every_receive_a_long_poll_but_for_those_that_say_no(broker, sqs, queue, in_background):
    sqs.set_queue_attributes(QueueUrl=queue, Attributes={"ReceiveMessageWaitTimeSeconds": "20"})
    assert receive(sqs, queue, WaitTimeSeconds=0) == []
    poll = in_background(receive, sqs, queue)
    broker.wait_for_polls("work")
    broker.advance(20)
    assert poll.result(10) == []


@pytest.mark.parametrize("what", ["delay", "visibility timeout", "change to 0"])
def test_a_long_poll_ends_early_when_a_message_becomes_visible(broker, sqs, queue, in_background, what):
    sqs.send_message(QueueUrl=queue, MessageBody="x", DelaySeconds=5 if what == "delay" else 0)
    handle = None
    if what != "delay":
        handle = receive(sqs, queue, VisibilityTimeout=5)[0]["ReceiptHandle"]
    poll = in_background(bodies, sqs, queue, WaitTimeSeconds=20)
    broker.wait_for_polls("work")
    if what == "change to 0":
        sqs.change_message_visibility(QueueUrl=queue, ReceiptHandle=handle, VisibilityTimeout=0)
    else:
        broker.advance(5)
    assert poll.result(10) == ["x"]


def test_polls_that_wait_share_the_messages_that_come(broker, sqs, queue, in_background):
    polls = [in_background(bodies, sqs, queue, WaitTimeSeconds=20) for _ in range(3)]
    broker.wait_for_polls("work", 3)
    entries = [{"Id": str(number), "MessageBody": str(number)} for number in range(3)]
    sqs.send_message_batch(QueueUrl=queue, Entries=entries)
    assert sorted(body for poll in polls for body in poll.result(10)) == ["0", "1", "2"]


def test_a_long_poll_on_a_queue_that_is_deleted_ends_and_takes_nothing_of_the_next(broker, sqs, queue, in_background):
    poll = in_background(sqs.receive_message, QueueUrl=queue, WaitTimeSeconds=20)
    broker.wait_for_polls("work")
    sqs.delete_queue(QueueUrl=queue)
    assert "Messages" not in poll.result(10)
    broker.advance(60)
    sqs.create_queue(QueueName="work")
    sqs.send_message(QueueUrl=queue, MessageBody="x")
    assert bodies(sqs, queue) == ["x"]


@pytest.mark.parametrize("state", ["visible", "in flight", "delayed"])
def test_a_message_is_gone_at_the_end_of_its_retention_in_whatever_state(broker, sqs, queue, state):
    sqs.set_queue_attributes(QueueUrl=queue, Attributes={"MessageRetentionPeriod": "60"})
    sqs.send_message(QueueUrl=queue, MessageBody="x", DelaySeconds=900 if state == "delayed" else 0)
    handle = None
    if state == "in flight":
        handle = receive(sqs, queue, VisibilityTimeout=600)[0]["ReceiptHandle"]
    broker.advance(59.999)
    assert sum(counts(sqs, queue)) == 1
    broker.advance(0.001)
    assert receive(sqs, queue) == []
    assert counts(sqs, queue) == [0, 0, 0]
    broker.advance(1000)
    assert receive(sqs, queue) == []
    if handle:
        sqs.delete_message(QueueUrl=queue, ReceiptHandle=handle)


def test_a_message_received_in_vain_too_often_goes_to_the_dead_letter_queue_as_it_was(broker, sqs, queue):
    dead = declare_dead_letters(sqs, queue, 2)
    attributes = {"kind": {"DataType": "String", "StringValue": "poison"}}
    sent = sqs.send_message(QueueUrl=queue, MessageBody="x", MessageAttributes=attributes)
    broker.advance(5)
    for count in ("1", "2"):
        (message,) = receive(sqs, queue)
        assert message["Attributes"]["ApproximateReceiveCount"] == count
        broker.advance(30)
        assert counts(sqs, dead) == [0, 0, 0], "it moves at the next receive, not at the timeout"
    assert receive(sqs, queue) == []
    assert counts(sqs, queue) == [0, 0, 0]
    assert counts(sqs, dead) == [1, 0, 0]
    (message,) = receive(sqs, dead, MessageAttributeNames=["All"])
    assert message["MessageId"] == sent["MessageId"]
    assert message["Body"] == "x"
    assert message["MessageAttributes"] == attributes
    assert message["Attributes"] == {
        "SenderId": "test",
        "SentTimestamp": "1700000000000",
        "ApproximateReceiveCount": "3",
        "ApproximateFirstReceiveTimestamp": "1700000005000",
        "DeadLetterQueueSourceArn": "arn:aws:sqs:eu-central-1:000000000000:work",
    }


def test_a_receive_goes_on_to_good_messages_after_one_that_is_dead(sqs, queue):
    dead = declare_dead_letters(sqs, queue, 1)
    sqs.send_message(QueueUrl=queue, MessageBody="poison")
    assert bodies(sqs, queue, VisibilityTimeout=0) == ["poison"]
    sqs.send_message(QueueUrl=queue, MessageBody="good")
    assert bodies(sqs, queue) == ["good"]
    assert bodies(sqs, dead) == ["poison"]


def test_a_long_poll_on_the_dead_letter_queue_gets_what_moves_there(broker, sqs, queue, in_background):
    dead = declare_dead_letters(sqs, queue, 1)
    sqs.send_message(QueueUrl=queue, MessageBody="poison")
    receive(sqs, queue, VisibilityTimeout=0)
    poll = in_background(bodies, sqs, dead, WaitTimeSeconds=20)
    broker.wait_for_polls("dead")
    assert receive(sqs, queue) == []
    assert poll.result(10) == ["poison"]


def test_a_dead_letter_is_kept_as_long_as_its_queue_says_since_it_was_sent(broker, sqs, queue):
    dead = declare_dead_letters(sqs, queue, 1)
    sqs.set_queue_attributes(QueueUrl=dead, Attributes={"MessageRetentionPeriod": "100"})
    sqs.send_message(QueueUrl=queue, MessageBody="poison")
    broker.advance(60)
    receive(sqs, queue, VisibilityTimeout=0)
    receive(sqs, queue)
    broker.advance(39.999)
    assert counts(sqs, dead) == [1, 0, 0]
    broker.advance(0.001)
    assert receive(sqs, dead) == []


def test_messages_stay_where_they_are_while_the_dead_letter_queue_is_gone(sqs, queue):
    dead = declare_dead_letters(sqs, queue, 1)
    sqs.delete_queue(QueueUrl=dead)
    sqs.send_message(QueueUrl=queue, MessageBody="x")
    for _ in range(3):
        assert bodies(sqs, queue, VisibilityTimeout=0) == ["x"]


def test_a_restart_changes_nothing(tmp_path, start_broker, make_client):
    """Counts, handles, deadlines, delays, dead letters, tags and the 60 s rules, with the clock still standing."""
    first = start_broker(SqliteStore(tmp_path / "data", ballast_bytes=65_536))
    sqs = make_client(first.endpoint_url)
    queue = sqs.create_queue(QueueName="work", tags={"team": "giving"})["QueueUrl"]
    dead = declare_dead_letters(sqs, queue, 3)
    for body, delay_s in (("poison", 0), ("held", 0), ("later", 50)):
        sqs.send_message(QueueUrl=queue, MessageBody=body, DelaySeconds=delay_s)
    poison, held = receive(sqs, queue, MaxNumberOfMessages=10, VisibilityTimeout=10)
    before = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["All"])["Attributes"]
    gone = sqs.create_queue(QueueName="gone")["QueueUrl"]
    sqs.delete_queue(QueueUrl=gone)
    first.stop()

    second = start_broker(SqliteStore(tmp_path / "data", ballast_bytes=65_536))
    sqs = make_client(second.endpoint_url)
    assert sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["All"])["Attributes"] == before
    assert sqs.list_queue_tags(QueueUrl=queue)["Tags"] == {"team": "giving"}
    with pytest.raises(sqs.exceptions.QueueDeletedRecently):
        sqs.create_queue(QueueName="gone")
    sqs.delete_message(QueueUrl=queue, ReceiptHandle=held["ReceiptHandle"])
    second.advance(9.999)
    assert receive(sqs, queue) == []
    second.advance(0.001)
    (again,) = receive(sqs, queue, MaxNumberOfMessages=10, VisibilityTimeout=0)
    assert again["MessageId"] == poison["MessageId"]
    assert again["Attributes"] == poison["Attributes"] | {"ApproximateReceiveCount": "2"}
    receive(sqs, queue, VisibilityTimeout=0)
    second.stop()

    third = start_broker(SqliteStore(tmp_path / "data", ballast_bytes=65_536))
    sqs = make_client(third.endpoint_url)
    assert receive(sqs, queue) == []
    (buried,) = receive(sqs, dead)
    assert buried["MessageId"] == poison["MessageId"]
    assert buried["Attributes"]["ApproximateReceiveCount"] == "4"
    third.advance(39.999)
    assert receive(sqs, queue) == []
    third.advance(0.001)
    assert bodies(sqs, queue) == ["later"]
