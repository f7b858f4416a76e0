"""The rules of messages on standard queues, one by one."""

import sys
from pathlib import Path

import pytest

from amply.broker.engine.commands import DeleteQueue, SetQueueAttributes
from amply.broker.sqs.faults import Fault
from amply.broker.sqs.limits import AWS

sys.path.insert(0, str(Path(__file__).parent))

from settled import ACCOUNT, DAY_S, DEAD, WORK, Broker, redrive


@pytest.fixture
def broker() -> Broker:
    return Broker()


def test_messages_come_in_the_order_in_which_they_were_sent(broker: Broker) -> None:
    broker.queue(WORK)
    broker.send(*map(str, range(25)))
    assert broker.bodies() + broker.bodies() + broker.bodies() == [str(number) for number in range(25)]


def test_a_received_message_is_hidden_until_its_visibility_timeout_ends(broker: Broker) -> None:
    broker.queue(WORK, VisibilityTimeout=30)
    broker.send("a")
    assert broker.bodies() == ["a"]
    broker.pass_time(29.999)
    assert broker.bodies() == []
    broker.pass_time(0.001)
    (again,) = broker.receive()
    assert again.entry.receive_count == 2


def test_the_moment_of_the_first_receive_is_kept(broker: Broker) -> None:
    broker.queue(WORK)
    broker.send("a")
    (first,) = broker.receive(timeout_s=1)
    broker.pass_time(1)
    (second,) = broker.receive()
    assert second.entry.first_received_ms == first.entry.first_received_ms == first.received_ms


def test_a_visibility_timeout_of_zero_counts_the_receive_and_hides_nothing(broker: Broker) -> None:
    broker.queue(WORK)
    broker.send("a")
    assert [broker.receive(timeout_s=0)[0].entry.receive_count for _ in range(3)] == [1, 2, 3]


def test_in_flight_survives_a_restart_to_its_old_deadline(broker: Broker) -> None:
    broker.queue(WORK)
    broker.send("a")
    broker.receive(timeout_s=60)
    broker.pass_time(20)
    broker.restart()
    assert broker.counts() == (0, 1, 0)
    broker.pass_time(39)
    assert broker.bodies() == []
    broker.pass_time(1)
    assert broker.bodies() == ["a"]


def test_a_delay_survives_a_restart_and_is_never_shortened(broker: Broker) -> None:
    broker.queue(WORK)
    broker.send("a", delay_s=60)
    broker.restart()
    assert broker.counts() == (0, 0, 1)
    broker.pass_time(59.9)
    assert broker.bodies() == []
    broker.pass_time(0.2)
    assert broker.bodies() == ["a"]


def test_a_message_takes_the_queues_delay_unless_it_brings_its_own(broker: Broker) -> None:
    broker.queue(WORK, DelaySeconds=10)
    broker.send("queue's")
    broker.send("own", delay_s=0)
    assert broker.bodies() == ["own"]
    broker.pass_time(10.1)
    assert broker.bodies() == ["queue's"]


def test_a_poll_that_waits_is_served_by_a_delay_that_ends(broker: Broker) -> None:
    broker.queue(WORK)
    broker.send("a", delay_s=5)
    ticket = broker.poll()
    broker.pass_time(5.1)
    assert [delivery.content.body for delivery in broker.outcome(ticket)] == ["a"]


def test_waiting_polls_are_served_in_their_order(broker: Broker) -> None:
    broker.queue(WORK)
    tickets = [broker.poll(count=1) for _ in range(3)]
    broker.send("a", "b", "c")
    assert [broker.outcome(ticket)[0].content.body for ticket in tickets] == ["a", "b", "c"]


def test_a_message_received_too_often_lands_in_the_dead_letter_queue_at_the_next_receive(broker: Broker) -> None:
    broker.work_with_dead_letters(max_receive_count=2)
    broker.send("poison")
    for _ in range(2):
        assert broker.bodies(timeout_s=1) == ["poison"]
        broker.pass_time(1)
    assert broker.counts(DEAD) == (0, 0, 0)
    assert broker.bodies() == []
    (dead,) = broker.receive(DEAD)
    assert dead.content.body == "poison"
    assert dead.entry.receive_count == 3
    assert dead.entry.dead_letter_source_arn == f"arn:aws:sqs:eu-central-1:{ACCOUNT}:work"


def test_a_poll_at_the_dead_letter_queue_is_served_by_what_arrives_there(broker: Broker) -> None:
    broker.work_with_dead_letters(max_receive_count=1)
    broker.send("poison")
    broker.receive(timeout_s=0)
    ticket = broker.poll(DEAD)
    assert broker.bodies() == []
    assert [delivery.content.body for delivery in broker.outcome(ticket)] == ["poison"]


def test_poison_in_front_does_not_hold_up_the_messages_behind_it(broker: Broker) -> None:
    broker.work_with_dead_letters(max_receive_count=1)
    broker.send("poison")
    broker.receive(timeout_s=0)
    broker.send("good")
    assert broker.bodies() == ["good"]
    assert broker.counts(DEAD) == (1, 0, 0)


def test_without_its_dead_letter_queue_a_source_keeps_its_messages(broker: Broker) -> None:
    broker.work_with_dead_letters(max_receive_count=1)
    broker.send("poison")
    broker.run(DeleteQueue(DEAD))
    assert [broker.bodies(timeout_s=0) for _ in range(3)] == [["poison"]] * 3


def test_retention_ends_for_messages_in_every_state(broker: Broker) -> None:
    broker.queue(WORK, MessageRetentionPeriod=60)
    broker.send("in flight")
    (held,) = broker.receive(timeout_s=600)
    broker.send("ready")
    broker.send("delayed", delay_s=300)
    assert broker.counts() == (1, 1, 1)
    broker.pass_time(60)
    assert broker.counts() == (0, 0, 0)
    broker.delete(held)


def test_retention_counts_from_the_first_send_also_in_the_dead_letter_queue(broker: Broker) -> None:
    broker.queue(DEAD, MessageRetentionPeriod=10 * DAY_S)
    broker.queue(WORK, MessageRetentionPeriod=14 * DAY_S, RedrivePolicy=redrive(DEAD, 1))
    broker.send("old")
    broker.receive(timeout_s=0)
    broker.pass_time(9 * DAY_S)
    broker.receive()
    assert broker.counts(DEAD) == (1, 0, 0)
    broker.pass_time(DAY_S)
    assert broker.counts(DEAD) == (0, 0, 0)


def test_a_shorter_retention_applies_to_what_is_there(broker: Broker) -> None:
    broker.queue(WORK)
    broker.send("old")
    broker.pass_time(100)
    broker.run(SetQueueAttributes(WORK, {"MessageRetentionPeriod": "60"}))
    assert broker.counts() == (0, 0, 0)


def test_any_receipt_of_a_message_deletes_it(broker: Broker) -> None:
    broker.queue(WORK)
    broker.send("a")
    (first,) = broker.receive(timeout_s=1)
    broker.pass_time(1)
    broker.receive()
    broker.delete(first)
    assert broker.counts() == (0, 0, 0)


def test_an_expired_receipt_deletes_a_message_that_is_visible_again_and_on_disk_only(broker: Broker) -> None:
    broker.queue(WORK)
    broker.send("a", "b")
    first, _ = broker.receive(timeout_s=1)
    broker.pass_time(5)
    broker.restart()
    broker.delete(first)
    assert broker.bodies() == ["b"]
    broker.delete(first)


def test_one_receipt_twice_in_a_batch_counts_once(broker: Broker) -> None:
    broker.queue(WORK)
    broker.send("a", "b")
    first, _ = broker.receive(timeout_s=1)
    broker.pass_time(1)
    broker.delete(first, first)
    assert broker.counts() == (1, 0, 0)


def test_visibility_can_be_extended_and_ended(broker: Broker) -> None:
    broker.queue(WORK)
    broker.send("a")
    (held,) = broker.receive(timeout_s=10)
    assert broker.change(held, 100) is None
    broker.pass_time(99)
    assert broker.bodies() == []
    assert broker.change(held, 0) is None
    assert broker.bodies() == ["a"]


def test_visibility_ends_twelve_hours_after_the_receive_at_the_latest(broker: Broker) -> None:
    broker.queue(WORK)
    broker.send("a")
    (held,) = broker.receive(timeout_s=43_200)
    broker.pass_time(1)
    fault = broker.change(held, 43_200)
    assert fault is not None
    assert "Total VisibilityTimeout for the message is beyond the limit [43200 seconds]" in fault.message
    assert broker.change(held, 43_199) is None


def test_the_visibility_of_a_deleted_message_cannot_be_changed(broker: Broker) -> None:
    broker.queue(WORK)
    broker.send("a")
    (held,) = broker.receive()
    broker.delete(held)
    fault = broker.change(held, 10)
    assert fault is not None
    assert "Message does not exist or is not available for visibility timeout change." in fault.message


def test_at_the_in_flight_cap_short_polls_are_refused_and_long_ones_wait(broker: Broker) -> None:
    broker.queue(WORK)
    cap = AWS.in_flight_max
    for start in range(0, cap + 1000, 1000):
        broker.send(*map(str, range(start, start + 1000)))
    held = []
    while len(held) < cap:
        held += broker.receive(count=10)
    with pytest.raises(Fault, match="OverLimit"):
        broker.receive()
    ticket = broker.poll(count=1)
    assert ticket not in broker.answers
    broker.delete(held[0])
    assert [delivery.content.body for delivery in broker.outcome(ticket)] == [str(cap)]


def test_memory_holds_a_bounded_part_of_a_deep_queue(broker: Broker) -> None:
    broker.queue(WORK)
    for start in range(0, 20_000, 1000):
        broker.send(*map(str, range(start, start + 1000)))
    queue = broker.engine.queues.existing(WORK)
    assert broker.counts() == (20_000, 0, 0)
    received = []
    while batch := broker.receive():
        assert len(queue.window) <= queue.window.size.count
        received += [delivery.content.body for delivery in batch]
    assert received == [str(number) for number in range(20_000)]


def test_large_bodies_fill_the_window_by_their_bytes(broker: Broker) -> None:
    broker.queue(WORK)
    body = "x" * 1_000_000
    for _ in range(20):
        broker.send(body)
    assert len(broker.engine.queues.existing(WORK).window) <= 5
    received = 0
    while batch := broker.receive():
        received += len(batch)
    assert received == 20
