"""FIFO queues while look-ups are on their way: what the simulation found, each as small as it gets."""

import sys
from pathlib import Path

import pytest

from amply.broker.engine.commands import (
    ChangeVisibility,
    Outgoing,
    Receive,
    Send,
    SetQueueAttributes,
    Tick,
    VisibilityChange,
)
from amply.broker.engine.decision import UNSETTLED, Decision, Delivery
from amply.broker.engine.records import Content
from amply.broker.sqs.faults import Fault

sys.path.insert(0, str(Path(__file__).parent))

from settled import ACCOUNT, Broker, receipt

FIFO = (ACCOUNT, "work.fifo")


@pytest.fixture
def broker() -> Broker:
    broker = Broker()
    broker.queue(FIFO, FifoQueue="true")
    return broker


def send(broker: Broker, *names: str) -> None:
    """Messages named after their group: `a1` is of group `a`."""
    contents = [Content(name, name, "sender", {}, None, name[0], name) for name in names]
    broker.run(Send(FIFO, [Outgoing(content) for content in contents]))


def change(broker: Broker, **attributes: int) -> None:
    broker.run(SetQueueAttributes(FIFO, {name: str(value) for name, value in attributes.items()}))


def names(broker: Broker, count: int = 10) -> list[str]:
    return broker.bodies(FIFO, count)


def poll(broker: Broker, ticket: int, attempt_id: str | None = None, wait_s: int = 0) -> Decision:
    """A receive whose look-ups have not come back."""
    return broker.engine.decide(Receive(FIFO, ticket, 10, None, wait_s, attempt_id), broker.now_ms)


def show(broker: Broker, delivery: Delivery) -> None:
    broker.run(ChangeVisibility(FIFO, [VisibilityChange(receipt(delivery), "handle", 0)]))


@pytest.mark.parametrize("delay_s", [0, 900])
def test_messages_reach_their_retention_on_disk(broker: Broker, delay_s: int) -> None:
    change(broker, MessageRetentionPeriod=60)
    send(broker, "a1", "b1")
    broker.restart()
    if delay_s:
        change(broker, DelaySeconds=delay_s)
    broker.pass_time(60)
    assert broker.counts(FIFO) == (0, 0, 0)


def test_a_message_in_flight_that_is_delayed_after_a_restart_is_not_lost(broker: Broker) -> None:
    send(broker, "a1", "a2")
    assert names(broker, 1) == ["a1"]
    change(broker, DelaySeconds=60)
    broker.restart()
    broker.pass_time(31)
    assert (names(broker), broker.counts(FIFO)) == ([], (0, 0, 2))
    broker.pass_time(30)
    assert names(broker) == ["a1", "a2"]


def test_a_delay_that_ended_while_nobody_looked_has_ended(broker: Broker) -> None:
    change(broker, DelaySeconds=5)
    send(broker, "a1")
    broker.now_ms += 6_000
    change(broker, DelaySeconds=900)
    assert names(broker) == ["a1"]


def test_a_longer_retention_holds_for_what_is_being_looked_for(broker: Broker) -> None:
    change(broker, MessageRetentionPeriod=60)
    send(broker, "a1")
    broker.now_ms += 60_000
    looking = broker.engine.decide(Tick(), broker.now_ms)
    change(broker, MessageRetentionPeriod=120)
    broker._settle(looking)
    assert broker.counts(FIFO) == (1, 0, 0)
    broker.pass_time(60)
    assert broker.counts(FIFO) == (0, 0, 0)


def test_a_new_delay_holds_for_messages_that_are_being_read(broker: Broker) -> None:
    send(broker, "a1")
    broker.restart()
    reading = poll(broker, 99)
    change(broker, DelaySeconds=10)
    send(broker, "b1")
    broker._settle(reading)
    assert [delivery.content.body for delivery in broker.answers[99]] == ["a1"]
    assert broker.counts(FIFO) == (0, 1, 1)
    broker.pass_time(10.1)
    assert names(broker) == ["b1"]


def test_a_message_shown_again_while_its_group_is_being_read_comes_first(broker: Broker) -> None:
    send(broker, "a1", "a2", "b1")
    (first,) = broker.receive(FIFO, 1)
    broker.restart()
    reading = poll(broker, 99)
    show(broker, first)
    broker._settle(reading)
    assert [delivery.content.body for delivery in broker.answers[99]] == ["a1", "a2", "b1"]


def test_an_attempt_answered_to_another_while_it_is_repeated_is_answered_once(broker: Broker) -> None:
    send(broker, "a1", "b1")
    broker.run(Receive(FIFO, 97, 1, 1, 0, "one"))
    repeated = poll(broker, 98, "one", wait_s=20)
    assert repeated.answer is UNSETTLED
    broker.pass_time(2)
    send(broker, "c1")
    broker.run(Receive(FIFO, 99, 10, None, 0, "one"))
    other = broker.answers[99]
    assert [delivery.content.body for delivery in other] == ["a1", "b1", "c1"]
    broker._settle(repeated)
    assert [receipt(delivery) for delivery in broker.answers[98]] == [receipt(delivery) for delivery in other]
    assert broker.engine.queues.existing(FIFO).unpark(98) is False


def test_a_refused_send_leaves_the_look_for_messages_past_their_retention_alone(
    broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("amply.broker.engine.deduplication.KEYS_MAX", 1)
    change(broker, MessageRetentionPeriod=60)
    send(broker, "a1")
    broker.now_ms += 60_000
    with pytest.raises(Fault):
        send(broker, "a2")
    broker.pass_time(0)
    assert broker.counts(FIFO) == (0, 0, 0)
