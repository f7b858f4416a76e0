"""Jobs with a time to start: they wait at SQS, come once, on time, and have all of their runs left."""

from datetime import UTC, datetime

import pytest

from amply.transport import verdicts
from amply.transport.faults import SqsFault, Unreachable

WAITS = (0, 0, 1)


def walk(line, seconds, connection, *, step_s=60.0):
    """Let so much time pass; after every step all hops are done."""
    ends_ms = line.clock.now_ms() + round(seconds * 1000)
    while (left_ms := ends_ms - line.clock.now_ms()) > 0:
        line.broker.advance(min(step_s, left_ms / 1000))
        line.until(lambda: line.counts() == WAITS, connection)


def test_a_countdown_of_40_minutes_waits_at_sqs_and_runs_once_and_on_time(line):
    line.send(1, in_s=2400)
    due_s = line.now_s + 2400
    consumer = line.consume()
    walk(line, 2390, consumer)
    assert line.arrived == []
    line.until(lambda: line.arrived, consumer)
    assert due_s <= line.arrived_s[0] <= due_s + 2
    assert line.arrived[0].headers["task"] == "tasks.add"
    assert "eta" not in line.arrived[0].headers, "Celery would hold a slot until then"
    line.until(lambda: line.counts() == (0, 0, 0), consumer)
    assert len(line.arrived) == 1


def test_after_its_hops_a_job_has_five_runs_left(line):
    line.send(in_s=2000)
    consumer = line.consume(keep=True, backoff={"first_s": 1, "factor": 1, "jitter": 0})
    walk(line, 1990, consumer)
    for attempt in range(1, 6):
        line.until(lambda: len(line.arrived) == attempt, consumer)  # noqa: B023
        headers = line.arrived[-1].headers
        assert (headers["attempt"], headers["receive_count"]) == (attempt, attempt)
        line.arrived[-1].reject()
    line.until(lambda: line.counts("dead")[0] == 1, consumer)
    assert len(line.arrived) == 5


def test_a_time_beyond_the_queues_retention_is_reached(line):
    line.sqs.set_queue_attributes(QueueUrl=line.jobs, Attributes={"MessageRetentionPeriod": "1800"})
    line.send(in_s=4 * 3600)
    consumer = line.consume()
    walk(line, 4 * 3600 - 10, consumer, step_s=450)
    line.until(lambda: line.arrived, consumer)


def test_a_time_20_days_ahead_is_waited_for_15_minutes_at_once(line):
    line.send(in_s=20 * 86_400)
    consumer = line.consume()
    walk(line, 3600, consumer)
    assert line.arrived == []


@pytest.mark.parametrize("in_s", [-1, -86_400])
def test_a_time_that_is_past_is_now(line, in_s):
    line.send(in_s=in_s)
    consumer = line.consume()
    line.until(lambda: line.arrived, consumer)
    assert "eta" not in line.arrived[0].headers


def test_a_time_without_a_zone_is_utc(line):
    connection = line.connect()
    naive = datetime.fromtimestamp(line.now_s + 100, UTC).replace(tzinfo=None).isoformat()
    headers = {"task": "tasks.add", "id": "1", "eta": naive}
    with connection.Producer() as producer:
        producer.publish([[], {}, {}], routing_key="jobs", headers=headers)
    due_s = line.now_s + 100
    consumer = line.consume()
    line.broker.advance(98)
    line.until(lambda: line.arrived, consumer)
    assert due_s <= line.arrived_s[0] <= due_s + 2


def test_a_sender_whose_clock_is_ahead_makes_a_job_late_by_no_more_than_that(line):
    """The date is the sender's; the delay is right whatever its clock says."""
    line.send(in_s=600 + 30, connection=line.connect(ahead_s=30))
    consumer = line.consume()
    line.broker.advance(600)
    walk(line, 20, consumer, step_s=5)
    due_s = line.now_s + 10
    line.until(lambda: line.arrived, consumer)
    assert due_s - 1 <= line.arrived_s[0] <= due_s + 2


def test_a_worker_whose_clock_is_behind_waits_for_its_own_time_at_sqs(line):
    line.send(in_s=60)
    due_s = line.now_s + 60
    consumer = line.consume(ahead_s=-45)
    line.broker.advance(60)
    line.until(lambda: line.counts() == WAITS, consumer)
    line.broker.advance(43)
    line.until(lambda: line.arrived, consumer)
    assert due_s + 45 <= line.arrived_s[0] <= due_s + 47
    assert line.arrived[0].headers["attempt"] == 1


def test_a_hop_takes_the_jobs_attributes_along(line):
    attributes = {
        "Customer": {"DataType": "String", "StringValue": "42"},
        "Digest": {"DataType": "Binary", "BinaryValue": b"\x00\xff"},
    }
    line.send(in_s=1000, message_attributes=attributes)
    consumer = line.consume(keep=True)
    walk(line, 990, consumer)
    line.until(lambda: line.arrived, consumer)
    assert line.arrived[0].delivery.attributes == {
        "Customer": {"DataType": "String", "StringValue": "42"},
        "Digest": {"DataType": "Binary", "BinaryValue": "AP8="},
    }


def struck(connection, action, error):
    """While the gate is shut, this action fails on the connection; gives the gate and how often it was tried."""
    client = connection.transport.sqs
    real, gate, tries = client.call, {"is_shut": True}, []

    def call(asked, members, **more):
        if asked == action and gate["is_shut"]:
            tries.append(members)
            raise error
        return real(asked, members, **more)

    client.call = call
    return gate, tries


def test_a_hop_whose_send_fails_keeps_its_lease_and_is_tried_again(line):
    consumer = line.connect()
    gate, tries = struck(consumer, "SendMessageBatch", Unreachable("nobody there"))
    line.send(in_s=1000)
    line.consume(connection=consumer)
    line.broker.advance(900)
    line.until(lambda: len(tries) > 3, consumer)
    assert line.counts() == (0, 1, 0)
    gate["is_shut"] = False
    line.until(lambda: line.counts() == WAITS, consumer)
    walk(line, 60, consumer)
    line.until(lambda: line.arrived or line.broker.advance(0.5), consumer)
    assert line.arrived[0].headers["attempt"] == 1


def test_a_hop_of_a_role_that_may_not_send_hides_the_message_instead(line, caplog):
    consumer = line.connect()
    struck(consumer, "SendMessageBatch", SqsFault("SendMessageBatch", 403, "AccessDenied", "no"))
    line.send(in_s=3000)
    due_s = line.now_s + 3000
    line.consume(connection=consumer)
    line.broker.advance(900)
    line.until(lambda: "sqs:SendMessage" in caplog.text, consumer)
    line.until(lambda: not len(consumer.transport.intake.verdicts.leases), consumer)
    while line.now_s < due_s - 90:
        line.broker.advance(60)
        assert line.counts() == (0, 1, 0)
    line.until(lambda: line.arrived or line.broker.advance(0.5), consumer)
    assert due_s <= line.arrived_s[0] <= due_s + 2


def test_a_kill_between_the_two_steps_of_a_hop_leaves_the_job_twice_under_one_id(line, monkeypatch):
    monkeypatch.setattr(verdicts, "_FLUSH_S", 0)
    killed = line.connect()
    gate, tries = struck(killed, "DeleteMessageBatch", Unreachable("killed"))
    line.send(in_s=1000)
    line.consume(connection=killed)
    line.broker.advance(900)
    line.until(lambda: tries, killed)
    killed.transport.intake.close()
    assert line.counts() == (0, 1, 1)
    line.broker.advance(120)
    consumer = line.consume()
    line.until(lambda: len(line.arrived) == 2, consumer)
    assert len({message.headers["id"] for message in line.arrived}) == 1
    gate["is_shut"] = False
    line.until(lambda: not len(killed.transport.intake.verdicts.leases))
