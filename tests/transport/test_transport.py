"""The transport from kombu's side, at a broker: who is handed over when, and what becomes of the rest."""

import gc
import weakref

import pytest
from kombu import Consumer, Queue
from kombu.exceptions import ContentDisallowed

from amply.transport.delivery import Cause
from amply.transport.intake import Intake

AT_ONCE = {"first_s": 0, "most_s": 0, "factor": 1, "jitter": 0}


@pytest.fixture
def high(line):
    """A second queue."""
    return line.make_queue("high")


def arguments(line):
    return [message.payload[0][0] for message in line.arrived]


def test_a_higher_queues_jobs_go_first(line, high):
    for number in range(5):
        line.send(f"low {number}")
        line.send(f"high {number}", queue="high")
    consumer = line.consume("high", "jobs")
    line.until(lambda: len(line.arrived) == 10, consumer)
    assert [argument.split()[0] for argument in arguments(line)] == ["high"] * 5 + ["low"] * 5


def test_the_declared_order_goes_before_that_of_consuming(line, high):
    line.send("low")
    line.send("high", queue="high")
    consumer = line.consume("jobs", "high", queue_order=["high", "jobs"])
    line.until(lambda: len(line.arrived) == 2, consumer)
    assert arguments(line) == ["high", "low"]


def test_a_starving_queue_gets_a_turn(line, high):
    line.send("low")
    for number in range(12):
        line.send(f"high {number}", queue="high")
    consumer = line.consume("high", "jobs", starvation_guard=3)
    line.until(lambda: len(line.arrived) == 13, consumer)
    assert arguments(line).index("low") in {3, 4}


def test_no_more_is_received_than_may_be_held(line):
    for number in range(5):
        line.send(number)
    consumer = line.consume(prefetch=2, keep=True)
    line.until(lambda: len(line.arrived) == 2, consumer)
    for _ in range(10):
        line.broker.advance(1)
        line.turn(consumer)
    assert line.counts() == (3, 2, 0)


def test_a_queue_that_does_not_answer_holds_up_no_other(line):
    line.send("low")
    gone = {"url": f"{line.broker.endpoint_url}/000000000000/gone"}
    consumer = line.consume("gone", "jobs", predefined_queues={"gone": gone, "jobs": {"url": line.jobs}})
    line.until(lambda: line.arrived, consumer)


def test_a_cancelled_queues_jobs_are_given_back(line):
    for number in range(3):
        line.send(number)
    connection = line.connect()
    channel = connection.channel()
    channel.basic_qos(prefetch_count=3)
    consumer = Consumer(channel, [Queue("jobs")], on_message=line.arrived.append, auto_declare=False)
    consumer.consume()
    connection.transport.intake.start()
    # Nobody takes them from the inbox.
    line.until(lambda: len(connection.transport.intake._ready) == 3)
    consumer.cancel()
    line.until(lambda: line.counts() == (3, 0, 0))
    assert line.arrived == []
    assert connection.transport.intake._turns.held == 0


def test_a_callback_that_raises_fails_its_job_and_no_other(line, caplog):
    line.send("bad")
    connection = line.connect(backoff=AT_ONCE)
    channel = connection.channel()
    channel.basic_qos(prefetch_count=1)
    seen = []

    def on_message(message):
        seen.append(message)
        raise RuntimeError("no")

    Consumer(channel, [Queue("jobs")], on_message=on_message, auto_declare=False).consume()
    line.until(lambda: line.counts("dead")[0] == 1, connection)
    assert len(seen) == 5
    assert "could not be handed over" in caplog.text


def test_what_cannot_be_read_never_arrives_and_is_a_dead_letter(line):
    line.sqs.send_message(QueueUrl=line.jobs, MessageBody="not a job")
    line.send("good")
    consumer = line.consume(backoff=AT_ONCE)
    line.until(lambda: line.arrived and line.counts("dead")[0] == 1, consumer)
    assert arguments(line) == ["good"]
    assert consumer.transport.intake._turns.held == 0


def test_a_message_is_got_by_hand(line):
    line.send("one")
    channel = line.connect().channel()
    message = channel.basic_get("jobs")
    assert message.payload[0] == ["one"]
    assert channel.basic_get("jobs") is None
    message.ack()
    line.until(lambda: line.counts() == (0, 0, 0))


def test_a_message_got_without_acknowledging_is_gone(line):
    line.send("one")
    line.connect().channel().basic_get("jobs", no_ack=True)
    line.until(lambda: line.counts() == (0, 0, 0))


def test_a_passive_declaration_counts_and_an_ordinary_one_asks_nobody(line):
    line.send("one")
    connection = line.connect()
    channel = connection.channel()
    before = connection.transport.sqs.requests.total()
    channel.queue_declare("jobs")
    assert connection.transport.sqs.requests.total() == before
    assert channel.queue_declare("jobs", passive=True).message_count == 1


def test_a_purge_gives_how_many_there_were(line):
    line.send("one")
    line.send("two")
    assert line.connect().channel().queue_purge("jobs") == 2
    assert line.counts() == (0, 0, 0)


def test_a_connection_that_is_closed_gives_back_at_once_what_was_not_started(line):
    for number in range(3):
        line.send(number)
    consumer = line.consume(prefetch=3, keep=True)
    line.until(lambda: len(line.arrived) == 3, consumer)
    line.arrived[0].delivery.is_started = True
    consumer.transport.intake.close()
    assert line.counts() == (2, 1, 0)
    # A job that runs is acknowledged when it is done.
    line.arrived[0].ack()
    line.until(lambda: line.counts() == (2, 0, 0))


def test_a_process_that_ends_shows_what_was_cut_off_and_the_run_counts(line):
    line.send("one")
    consumer = line.consume(keep=True)
    line.until(lambda: line.arrived, consumer)
    line.arrived[0].delivery.is_started = True
    consumer.transport.intake.close()
    consumer.transport.intake.finish()
    assert line.counts() == (1, 0, 0)
    again = line.consume(keep=True)
    line.until(lambda: len(line.arrived) == 2, again)
    assert line.arrived[1].headers["attempt"] == 2


def test_a_closed_connection_is_forgotten(line):
    line.send("one")
    connection = line.consume()
    line.until(lambda: line.counts() == (0, 0, 0), connection)
    intake: weakref.ref[Intake] = weakref.ref(connection.transport.intake)
    connection.close()
    line.arrived.clear()
    line.until(lambda: gc.collect() is not None and intake() is None)


def test_a_body_that_cannot_be_decoded_is_rejected_where_celery_would_acknowledge_it(line):
    with line.connect().Producer() as producer:
        producer.publish([[], {}, {}], routing_key="jobs", serializer="pickle", headers={"task": "x", "id": "1"})
    consumer = line.consume(keep=True)
    line.until(lambda: line.arrived, consumer)
    message = line.arrived[0]
    message.accept = {"application/json"}
    with pytest.raises(ContentDisallowed):
        message.decode()
    message.ack()
    assert message.delivery.cause.reason == "content that is not accepted or cannot be decoded"
    line.until(lambda: line.counts()[1] == 1 and not len(consumer.transport.intake.verdicts.leases), consumer)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (KeyError("tasks.add"), "unknown task"),
        (KeyError("other"), "not a Celery task"),
        (TypeError("x"), "not a Celery task"),
        (ValueError("x"), "invalid task message"),
    ],
)
def test_what_is_rejected_while_an_error_is_handled_has_that_for_its_reason(line, error, reason):
    line.send("one")
    consumer = line.consume(keep=True)
    line.until(lambda: line.arrived, consumer)
    try:
        raise error
    except type(error):
        line.arrived[0].reject()
    assert line.arrived[0].delivery.cause.reason == reason


def test_a_reason_that_is_known_is_not_replaced(line):
    line.send("one")
    consumer = line.consume(keep=True)
    line.until(lambda: line.arrived, consumer)
    known = line.arrived[0].delivery.cause = Cause("raised", "ValueError")
    line.arrived[0].reject()
    assert line.arrived[0].delivery.cause is known
