"""What FIFO queues remember: what they took in, who holds what, and who got what."""

import sys
from pathlib import Path

import pytest

from amply.broker.engine.commands import (
    ChangeVisibility,
    DeleteQueue,
    Outgoing,
    PurgeQueue,
    Receive,
    Send,
    Sent,
    Unpark,
    UnparkAll,
    VisibilityChange,
)
from amply.broker.engine.decision import UNSETTLED
from amply.broker.engine.deduplication import Deduplication
from amply.broker.engine.records import Content
from amply.broker.sqs.faults import Fault

sys.path.insert(0, str(Path(__file__).parent))

from fifo import FIFO, attempt, declare, delete, names, send
from settled import Broker, receipt


@pytest.fixture
def broker() -> Broker:
    broker = Broker()
    declare(broker)
    return broker


# Deduplication


def test_the_same_id_within_five_minutes_is_the_same_message(broker: Broker) -> None:
    (first,) = send(broker, "a1")
    assert send(broker, "a1", "a1") == [first, first]
    assert names(broker) == ["a1"]
    broker.pass_time(299)
    assert send(broker, "a1") == [first]
    broker.pass_time(1)
    (again,) = send(broker, "a1")
    assert again.seq > first.seq


def test_a_deleted_message_is_still_known(broker: Broker) -> None:
    (first,) = send(broker, "a1")
    broker.delete(*broker.receive(FIFO), key=FIFO)
    assert send(broker, "a1") == [first]
    assert names(broker) == []


def test_ids_are_remembered_across_a_restart_and_forgotten_by_a_purge(broker: Broker) -> None:
    (first,) = send(broker, "a1")
    broker.restart()
    assert send(broker, "a1") == [first]
    broker.run(PurgeQueue(FIFO))
    assert send(broker, "a1") != [first]


def test_with_group_scope_another_group_may_use_the_same_id() -> None:
    broker = Broker()
    declare(broker, DeduplicationScope="messageGroup")
    for group in "ab":
        broker.run(Send(FIFO, [Outgoing(Content(f"id {group}", group, "sender", {}, None, group, "same"))]))
    assert names(broker) == ["a", "b"]
    broker.run(Send(FIFO, [Outgoing(Content("again", "a", "sender", {}, None, "a", "same"))]))
    assert broker.counts(FIFO) == (0, 2, 0)


def test_sequence_numbers_rise_across_a_restart(broker: Broker) -> None:
    sent = send(broker, "a1", "b1")
    broker.restart()
    sent += send(broker, "a2")
    assert [one.seq for one in sent] == sorted({one.seq for one in sent})


def test_a_queue_that_remembers_too_much_refuses_and_keeps_what_it_has(
    broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("amply.broker.engine.deduplication.KEYS_MAX", 2)
    send(broker, "a1", "a2")
    with pytest.raises(Fault, match="RequestThrottled"):
        send(broker, "a3")
    broker.pass_time(400)
    send(broker, "a3")
    assert names(broker) == ["a1", "a2", "a3"]


def test_what_is_remembered_takes_no_room_for_ever() -> None:
    remembered = Deduplication(300)
    for second in range(1000):
        remembered.forget(second * 1000)
        remembered.remember(b"%d" % second, Sent("id", second), second * 1000)
    assert len(remembered) <= 320


# Receipts


def test_an_expired_receipt_deletes_nothing(broker: Broker) -> None:
    send(broker, "a1")
    (old,) = broker.receive(FIFO)
    broker.pass_time(31)
    fault = delete(broker, old)
    assert fault is not None
    assert "The receipt handle has expired." in fault.message
    (new,) = broker.receive(FIFO)
    assert delete(broker, old) is not None
    assert delete(broker, new) is None
    assert delete(broker, new) is None, "a message that is gone may be deleted again"
    assert delete(broker, old) is None


def test_an_expired_receipt_of_a_message_on_disk_is_known_as_such(broker: Broker) -> None:
    send(broker, "a1")
    (old,) = broker.receive(FIFO)
    broker.now_ms += 31_000
    broker.restart()
    assert delete(broker, old) is not None
    assert names(broker) == ["a1"]


def test_the_visibility_of_a_message_not_in_flight_cannot_be_changed(broker: Broker) -> None:
    send(broker, "a1")
    (old,) = broker.receive(FIFO)
    broker.pass_time(31)
    assert code(broker.change(old, 5, FIFO)) == "MessageNotInflight"
    (new,) = broker.receive(FIFO)
    assert code(broker.change(old, 5, FIFO)) == "InvalidParameterValueException"
    assert broker.change(new, 5, FIFO) is None
    delete(broker, new)
    fault = broker.change(new, 5, FIFO)
    assert fault is not None
    assert "does not exist" in fault.message


def code(fault: Fault | None) -> str | None:
    return fault and fault.row.shape


# Receive attempts


def test_the_same_attempt_gets_the_same_messages_under_the_same_receipts(broker: Broker) -> None:
    send(broker, "a1", "a2", "b1")
    first = attempt(broker, "one", 2)
    broker.pass_time(20)
    again = attempt(broker, "one", 2)
    assert [receipt(one) for one in again] == [receipt(one) for one in first]
    assert [one.content.body for one in again] == ["a1", "a2"]
    broker.pass_time(20)
    assert broker.counts(FIFO) == (1, 2, 0), "they are hidden anew"
    assert [one.content.body for one in attempt(broker, "two")] == ["b1"]


def test_an_attempt_is_remembered_across_a_restart(broker: Broker) -> None:
    send(broker, "a1")
    first = attempt(broker, "one")
    broker.restart()
    assert [receipt(one) for one in attempt(broker, "one")] == [receipt(one) for one in first]


@pytest.mark.parametrize("what", ["delete", "change", "time", "window"])
def test_an_attempt_whose_messages_changed_is_a_new_one(broker: Broker, what: str) -> None:
    send(broker, "a1", "b1")
    (first, _) = attempt(broker, "one", timeout_s=600)
    if what == "delete":
        delete(broker, first)
    elif what == "change":
        broker.run(ChangeVisibility(FIFO, [VisibilityChange(receipt(first), "handle", 0)]))
    broker.pass_time({"time": 601, "window": 301}.get(what, 0))
    expected = {"delete": [], "change": ["a1"], "time": ["a1", "b1"], "window": []}[what]
    assert [one.content.body for one in attempt(broker, "one")] == expected


def test_an_empty_answer_is_not_remembered(broker: Broker) -> None:
    assert attempt(broker, "one") == []
    send(broker, "a1")
    assert [one.content.body for one in attempt(broker, "one")] == ["a1"]


@pytest.mark.parametrize("end", ["unpark", "stop", "purge", "delete"])
def test_a_repeated_attempt_ends_whatever_happens_before_its_messages_are_there(broker: Broker, end: str) -> None:
    send(broker, "a1")
    attempt(broker, "one")
    decision = broker.engine.decide(Receive(FIFO, 99, 10, None, 0, "one"), broker.now_ms)
    assert decision.answer is UNSETTLED
    commands = {
        "unpark": Unpark(FIFO, 99),
        "stop": UnparkAll(),
        "purge": PurgeQueue(FIFO),
        "delete": DeleteQueue(FIFO),
    }
    broker.run(commands[end])
    broker._settle(decision)
    assert broker.answers.get(99) == (None if end == "unpark" else [])
