"""FIFO queues: order, groups, backlogs, delays, dead letters."""

import sys
from pathlib import Path

import pytest

from amply.broker.engine.commands import GiveBack, SetQueueAttributes
from amply.broker.engine.window import WindowSize
from amply.broker.sqs.faults import Fault

sys.path.insert(0, str(Path(__file__).parent))

from fifo import DEAD, FIFO, declare, delete, names, send
from settled import ACCOUNT, Broker, redrive


@pytest.fixture
def broker() -> Broker:
    broker = Broker()
    declare(broker)
    return broker


# Order and groups


def test_a_group_comes_in_the_order_of_sending_and_as_much_of_it_as_possible_before_the_next(broker: Broker) -> None:
    send(broker, "a1", "b1", "a2", "c1", "b2", "a3")
    assert names(broker, 4) == ["a1", "a2", "a3", "b1"]


def test_a_group_with_a_message_in_flight_gives_no_other(broker: Broker) -> None:
    send(broker, "a1", "a2", "b1")
    assert names(broker, 1) == ["a1"]
    assert names(broker) == ["b1"]
    send(broker, "a3", "c1")
    assert names(broker) == ["c1"]
    assert broker.counts(FIFO) == (2, 3, 0)


def test_a_group_is_free_when_all_its_messages_in_flight_are_deleted(broker: Broker) -> None:
    send(broker, "a1", "a2", "a3")
    one, two = broker.receive(FIFO, 2)
    delete(broker, one)
    assert names(broker) == []
    delete(broker, two)
    assert names(broker) == ["a3"]


def test_a_message_whose_timeout_ends_comes_again_before_those_behind_it(broker: Broker) -> None:
    send(broker, "a1", "a2", "a3")
    first, second = broker.receive(FIFO, 2)
    assert broker.change(second, 100, FIFO) is None
    broker.pass_time(31)
    assert names(broker) == [], "the second keeps the group"
    assert broker.change(first, 0, FIFO) is not None, "the first is not in flight any more"
    broker.pass_time(70)
    assert names(broker) == ["a1", "a2", "a3"]


def test_visibility_timeout_0_leaves_order_and_group_open(broker: Broker) -> None:
    send(broker, "a1", "a2")
    assert names(broker, timeout_s=0) == ["a1", "a2"]
    assert names(broker, timeout_s=0) == ["a1", "a2"]
    assert broker.counts(FIFO) == (2, 0, 0)


def test_a_message_shown_again_is_received_first(broker: Broker) -> None:
    send(broker, "a1", "a2")
    (delivery,) = broker.receive(FIFO, 1)
    assert broker.change(delivery, 0, FIFO) is None
    assert names(broker) == ["a1", "a2"]


def test_a_poll_is_woken_by_a_group_that_gets_free(broker: Broker) -> None:
    send(broker, "a1", "a2")
    (delivery,) = broker.receive(FIFO, 1)
    ticket = broker.poll(FIFO, wait_s=20)
    delete(broker, delivery)
    assert [one.content.body for one in broker.outcome(ticket)] == ["a2"]


def test_a_poll_is_woken_by_a_timeout(broker: Broker) -> None:
    send(broker, "a1")
    broker.receive(FIFO, timeout_s=5)
    ticket = broker.poll(FIFO, wait_s=20)
    broker.pass_time(5)
    assert [one.content.body for one in broker.outcome(ticket)] == ["a1"]


def test_a_receive_that_nobody_got_is_undone(broker: Broker) -> None:
    send(broker, "a1", "a2")
    (delivery,) = broker.receive(FIFO, 1)
    broker.run(GiveBack(FIFO, [delivery.entry]))
    again = broker.receive(FIFO)
    assert [(one.content.body, one.entry.receive_count) for one in again] == [("a1", 1), ("a2", 1)]


def test_locks_and_order_are_the_same_after_a_restart(broker: Broker) -> None:
    send(broker, "a1", "a2", "a3", "b1")
    (first,) = broker.receive(FIFO, 1)
    assert broker.change(first, 60, FIFO) is None
    broker.restart()
    assert names(broker) == ["b1"]
    assert broker.counts(FIFO) == (2, 2, 0)
    broker.pass_time(60)
    assert names(broker) == ["a1", "a2", "a3", "b1"]


def test_a_message_that_comes_back_after_a_restart_keeps_its_place(broker: Broker) -> None:
    send(broker, "a1", "a2", "a3")
    _, second = broker.receive(FIFO, 2)
    assert broker.change(second, 100, FIFO) is None
    broker.now_ms += 31_000
    broker.restart()  # a1 is visible, a2 is not
    assert names(broker) == []
    broker.pass_time(70)
    got: list[str] = []
    while deliveries := broker.receive(FIFO):
        got += [delivery.content.body for delivery in deliveries]
        broker.delete(*deliveries, key=FIFO)
    assert got == ["a1", "a2", "a3"]


# Backlogs beyond memory


@pytest.mark.parametrize("window", [1, 3, 1000])
def test_a_backlog_longer_than_memory_comes_in_order(broker: Broker, window: int) -> None:
    shrink(broker, window)
    sent = [f"{group}{number}" for number in range(20) for group in "abc"]
    for start in range(0, 60, 10):
        send(broker, *sent[start : start + 10])
    got: list[str] = []
    while deliveries := broker.receive(FIFO, 7):
        got += [delivery.content.body for delivery in deliveries]
        broker.delete(*deliveries, key=FIFO)
    assert sorted(got) == sorted(sent)
    for group in "abc":
        assert [name for name in got if name[0] == group] == [f"{group}{number}" for number in range(20)]


def test_a_free_group_is_found_behind_the_backlog_of_a_locked_one(broker: Broker) -> None:
    shrink(broker, 4)
    for start in range(0, 50, 10):
        send(broker, *[f"a{number}" for number in range(start, start + 10)])
    send(broker, "b1")
    broker.receive(FIFO, 1)
    assert names(broker) == ["b1"]


def test_no_further_than_the_in_flight_cap_is_looked_for_a_free_group(broker: Broker) -> None:
    queue = broker.engine.queues.existing(FIFO)
    queue.limits = type(queue.limits)(in_flight_max=5)
    shrink(broker, 2)
    send(broker, *[f"a{number}" for number in range(10)])
    send(broker, "b1")
    (first,) = broker.receive(FIFO, 1)
    assert names(broker) == []
    delete(broker, first)
    for _ in range(9):
        broker.delete(*broker.receive(FIFO, 1), key=FIFO)
    assert names(broker) == ["b1"]


def test_at_the_in_flight_cap_a_receive_is_empty_and_no_fault(broker: Broker) -> None:
    queue = broker.engine.queues.existing(FIFO)
    queue.limits = type(queue.limits)(in_flight_max=2)
    send(broker, "a1", "b1", "c1")
    assert names(broker) == ["a1", "b1"]
    assert names(broker) == []


def shrink(broker: Broker, window: int) -> None:
    queue = broker.engine.queues.existing(FIFO)
    queue.window_size = queue.line.contents.size = WindowSize(count=window)


# Delays


def test_a_queues_delay_holds_its_messages_back_and_counts_them(broker: Broker) -> None:
    broker.run(SetQueueAttributes(FIFO, {"DelaySeconds": "10"}))
    send(broker, "a1")
    broker.pass_time(5)
    send(broker, "a2")
    assert (names(broker), broker.counts(FIFO)) == ([], (0, 0, 2))
    broker.pass_time(5)
    assert (names(broker), broker.counts(FIFO)) == (["a1"], (0, 1, 1))
    broker.pass_time(5)
    assert broker.counts(FIFO) == (1, 1, 0)


@pytest.mark.parametrize(("delay_s", "visible_after_s"), [(0, 0), (5, 5), (20, 20)])
def test_a_changed_delay_holds_for_messages_that_are_delayed_still(
    broker: Broker, delay_s: int, visible_after_s: int
) -> None:
    send(broker, "b1")
    broker.run(SetQueueAttributes(FIFO, {"DelaySeconds": "10"}))
    send(broker, "a1")
    broker.run(SetQueueAttributes(FIFO, {"DelaySeconds": str(delay_s)}))
    assert names(broker, 1) == ["b1"], "what was visible stays so"
    if visible_after_s:
        broker.pass_time(visible_after_s - 1)
        assert names(broker) == []
        broker.pass_time(1.1)
    assert names(broker) == ["a1"]


def test_delays_go_on_after_a_restart(broker: Broker) -> None:
    broker.run(SetQueueAttributes(FIFO, {"DelaySeconds": "10"}))
    send(broker, "b1")
    broker.pass_time(6)
    send(broker, "a1")
    broker.pass_time(4)
    broker.restart()
    assert broker.counts(FIFO) == (1, 0, 1)
    assert names(broker) == ["b1"]
    ticket = broker.poll(FIFO, wait_s=20)
    broker.pass_time(6)
    assert [one.content.body for one in broker.outcome(ticket)] == ["a1"]


# Dead letters and retention


def with_dead_letters() -> Broker:
    broker = Broker()
    declare(broker, DEAD)
    declare(broker, RedrivePolicy=redrive(DEAD, 1))
    return broker


def test_a_message_received_too_often_is_a_dead_letter_and_frees_its_group() -> None:
    broker = with_dead_letters()
    (sent,) = send(broker, "a1")
    send(broker, "a2", "a1")
    names(broker, 1)
    broker.pass_time(31)
    assert names(broker, 1) == ["a2"]
    (dead,) = broker.receive(DEAD)
    assert (dead.content.message_id, dead.content.group_id) == (sent.message_id, "a")
    assert dead.content.deduplication_id == sent.message_id
    assert dead.entry.receive_count == 2
    assert dead.entry.dead_letter_source_arn == f"arn:aws:sqs:eu-central-1:{ACCOUNT}:work.fifo"
    assert dead.entry.sent_ms == broker.now_ms, "the time until its retention ends starts again"


def test_dead_letters_of_a_group_keep_their_order_and_survive_a_restart() -> None:
    broker = with_dead_letters()
    send(broker, "a1", "a2", "a3")
    names(broker)
    broker.pass_time(31)
    assert names(broker) == []
    broker.restart()
    assert broker.bodies(DEAD) == ["a1", "a2", "a3"]


def test_messages_go_after_their_retention_whatever_their_state(broker: Broker) -> None:
    broker.run(SetQueueAttributes(FIFO, {"MessageRetentionPeriod": "60"}))
    send(broker, "a1", "a2", "b1")
    names(broker, 1, timeout_s=600)
    broker.pass_time(61)
    assert broker.counts(FIFO) == (0, 0, 0)
    send(broker, "a4")
    assert names(broker) == ["a4"], "the lock went with the message"


def test_the_dead_letter_queue_of_a_fifo_queue_must_be_one_too() -> None:
    broker = Broker()
    broker.queue((ACCOUNT, "standard"))
    with pytest.raises(Fault, match="must be same type of queue"):
        declare(broker, RedrivePolicy=redrive((ACCOUNT, "standard"), 3))
