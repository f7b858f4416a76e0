"""Which runs count: failures do, being handed around does not, and a job that may not run any more is a dead letter."""

import json

import pytest

from amply.clock import ManualClock
from amply.transport.delivery import Cause, received
from amply.transport.options import Options
from amply.transport.queues import Limits, Queue
from amply.transport.verdicts import Verdicts

AT_ONCE = {"first_s": 0, "most_s": 0, "factor": 1, "jitter": 0}
FIFO = Queue("jobs.fifo", "jobs.fifo", "http://here/jobs.fifo")
HOUR_S = 3600


def fail_until_dead(line, consumer, *, runs):
    """Reject what arrives, until it is a dead letter after so many runs; gives their headers."""
    before = len(line.arrived)
    for run in range(before + 1, before + runs + 1):
        line.until(lambda: len(line.arrived) == run, consumer)  # noqa: B023
        line.arrived[-1].reject()
    line.until(lambda: line.counts("dead")[0] == 1, consumer)
    assert len(line.arrived) == before + runs
    return [message.headers for message in line.arrived[before:]]


def test_a_job_that_fails_five_times_is_a_dead_letter(line):
    line.send(1)
    consumer = line.consume(keep=True, backoff=AT_ONCE)
    headers = fail_until_dead(line, consumer, runs=5)
    assert [told["attempt"] for told in headers] == [1, 2, 3, 4, 5]


def test_a_job_given_back_ten_times_has_all_of_its_runs_left(line):
    line.send(1)
    for _ in range(10):
        connection = line.consume(keep=True)
        line.until(lambda: line.arrived, connection)
        line.arrived.clear()
        connection.transport.intake.close()
        line.until(lambda: line.counts() == (1, 0, 0))
    consumer = line.consume(keep=True, backoff=AT_ONCE)
    headers = fail_until_dead(line, consumer, runs=5)
    assert [told["attempt"] for told in headers] == [1, 2, 3, 4, 5]


def test_runs_that_failed_count_after_a_job_was_given_back(line):
    line.send(1)
    first = line.consume(keep=True, backoff=AT_ONCE)
    for run in (1, 2):
        line.until(lambda: len(line.arrived) == run, first)  # noqa: B023
        line.arrived[-1].reject()
    line.until(lambda: len(line.arrived) == 3, first)
    first.transport.intake.close()
    line.until(lambda: line.counts() == (1, 0, 0))
    headers = fail_until_dead(line, line.consume(keep=True, backoff=AT_ONCE), runs=3)
    assert [told["attempt"] for told in headers] == [3, 4, 5]
    assert [told["receive_count"] for told in headers] == [1, 2, 3]


def test_a_retry_carries_the_runs_before_it(line):
    line.send(1, headers={"attempt": 3, "receive_count": 3})
    headers = fail_until_dead(line, line.consume(keep=True, backoff=AT_ONCE), runs=2)
    assert [told["attempt"] for told in headers] == [4, 5]


@pytest.mark.parametrize("attempt", [5, 50])
def test_each_retry_beyond_the_queues_count_runs_once(line, attempt):
    line.send(1, headers={"attempt": attempt})
    headers = fail_until_dead(line, line.consume(keep=True, backoff=AT_ONCE), runs=1)
    assert headers[0]["attempt"] == attempt + 1


@pytest.mark.parametrize("value", ["-1", "1000000000", "1.5"])
def test_attempts_that_nobody_can_have_made_count_as_none(line, value):
    line.send(1)
    message = line.sqs.receive_message(QueueUrl=line.jobs)["Messages"][0]
    line.sqs.delete_message(QueueUrl=line.jobs, ReceiptHandle=message["ReceiptHandle"])
    attributes = {"AmplyAttempts": {"DataType": "Number", "StringValue": value}}
    line.sqs.send_message(QueueUrl=line.jobs, MessageBody=message["Body"], MessageAttributes=attributes)
    consumer = line.consume(keep=True)
    line.until(lambda: line.arrived, consumer)
    assert line.arrived[0].headers["attempt"] == 1


def test_a_job_whose_lease_is_over_is_not_acknowledged(line, caplog):
    line.send(1)
    consumer = line.consume(keep=True)
    line.until(lambda: line.arrived, consumer)
    line.broker.advance(121)
    line.arrived[0].ack()
    assert "not acknowledged" in caplog.text
    line.until(lambda: len(line.arrived) == 2, consumer)
    assert line.arrived[1].headers["attempt"] == 2


def test_a_job_that_is_done_is_settled_once(line):
    line.send(1)
    consumer = line.consume()
    line.until(lambda: line.counts() == (0, 0, 0), consumer)
    intake = consumer.transport.intake
    intake.acknowledge(line.arrived[0].delivery)
    intake.fail(line.arrived[0].delivery, Cause("late"))
    assert intake._turns.held == 0
    assert intake._with_celery == 0


def test_failures_are_recorded_in_the_telemetry_queue(line):
    line.send(1)
    consumer = line.consume(keep=True, backoff=AT_ONCE, telemetry_queue="telemetry")
    fail_until_dead(line, consumer, runs=5)
    line.until(lambda: line.counts("telemetry")[0] == 5, consumer)


class Unlimited:
    """Queues of which a policy is known without asking."""

    def limits(self, queue):
        return Limits(max_receive_count=5)


@pytest.fixture
def settled(recorded, monkeypatch):
    """Verdicts whose orders go nowhere, and those orders."""
    verdicts = Verdicts(recorded, Unlimited(), Options(), ManualClock(0), None, distrust=lambda: None)
    orders = []
    monkeypatch.setattr(verdicts, "_settle", orders.append)
    return verdicts, orders


def delivery(queue=FIFO, receive_count=1):
    message = {"MessageId": "1", "ReceiptHandle": "1", "Attributes": {"ApproximateReceiveCount": str(receive_count)}}
    return received(queue, message, now_ms=0, lease_s=120)


@pytest.mark.parametrize(("due_in_s", "hidden_s"), [(2400, 2400), (30 * HOUR_S, 12 * HOUR_S - 5)])
def test_on_a_fifo_queue_a_job_for_later_is_hidden(settled, due_in_s, hidden_s):
    verdicts, orders = settled
    verdicts.put_off(delivery(), due_in_s)
    assert [(order.kind, order.seconds) for order in orders] == [("show", hidden_s)]


def test_on_a_fifo_queue_what_is_given_back_keeps_its_place(settled):
    verdicts, orders = settled
    verdicts.give_back(delivery())
    assert [(order.kind, order.seconds) for order in orders] == [("show", 0)]


def test_a_lost_message_is_not_given_back(settled):
    verdicts, orders = settled
    lost = delivery()
    lost.is_lost = True
    verdicts.give_back(lost)
    assert orders == []


@pytest.mark.parametrize(("receive_count", "again_in_s"), [(1, 0), (5, None)])
def test_a_failure_after_the_lease_was_over_is_recorded_and_its_job_is_there_again_at_once(
    settled, monkeypatch, receive_count, again_in_s
):
    verdicts, _ = settled
    verdicts.nodename = "high@here"
    monkeypatch.setattr(verdicts, "_options", Options(telemetry_queue="telemetry"))
    told = []
    monkeypatch.setattr(verdicts, "send_telemetry", told.append)
    lost = delivery(receive_count=receive_count)
    lost.is_lost = True
    verdicts.fail(lost, Cause("raised"))
    (record,) = map(json.loads, told)
    assert (record["again_in_s"], record["nodename"]) == (again_in_s, "high@here")
