"""Claims: whoever looked at a message takes exactly that one, unless somebody was faster."""

import sys
from pathlib import Path

import pytest

from amply.broker.engine.commands import ChangeVisibility, Delete, Deletion, VisibilityChange
from amply.broker.sqs.faults import Fault
from amply.broker.sqs.receipts import Receipt

sys.path.insert(0, str(Path(__file__).parent))

import fifo as on_fifo
from fifo import FIFO
from settled import WORK, Broker, receipt


@pytest.fixture
def broker() -> Broker:
    broker = Broker()
    broker.queue(WORK)
    on_fifo.declare(broker)
    return broker


def looks(broker: Broker, key: tuple[str, str] = WORK) -> dict[str, Receipt]:
    """The receipts of a look, by body."""
    record = broker.engine.queues.existing(key).record
    seen = broker.store.peek(record.shelf, (0, 0), 10_000, 1 << 30).messages
    return {
        content.body: Receipt(record.queue_id, entry.seq, entry.receive_count, broker.now_ms, is_peeked=True)
        for entry, content in seen
    }


def change(broker: Broker, *changes: tuple[Receipt, int], key: tuple[str, str] = WORK) -> list[str | None]:
    """The shapes of the faults."""
    asked = [VisibilityChange(one, "handle", timeout_s) for one, timeout_s in changes]
    return [fault and fault.row.shape for fault in broker.run(ChangeVisibility(key, asked))]


def delete(broker: Broker, one: Receipt, key: tuple[str, str]) -> Fault | None:
    (fault,) = broker.run(Delete(key, [Deletion(one, "handle")]))
    return fault


def test_a_message_of_a_long_backlog_is_claimed_from_disk(broker: Broker) -> None:
    broker.send(*map(str, range(1500)))
    seen = looks(broker)["1400"]
    assert change(broker, (seen, 30)) == [None]
    assert broker.counts() == (1499, 1, 0)
    assert change(broker, (seen, 30)) == ["MessageNotInflight"]
    broker.pass_time(30)
    assert broker.counts() == (1500, 0, 0)


def test_a_message_whose_content_is_not_at_hand_is_claimed_too(broker: Broker) -> None:
    on_fifo.send(broker, *(f"a{number}" for number in range(1500)))
    seen = looks(broker, FIFO)["a1400"]
    assert change(broker, (seen, 30), key=FIFO) == [None]
    assert on_fifo.names(broker) == []
    broker.pass_time(30)
    assert on_fifo.names(broker, 1) == ["a0"]


def test_in_one_command_a_message_is_claimed_once_and_can_be_given_up_and_claimed_again(broker: Broker) -> None:
    broker.send("a")
    on_fifo.send(broker, "a1")
    for key in (WORK, FIFO):
        (seen,) = looks(broker, key).values()
        assert change(broker, (seen, 30), (seen, 30), (seen, 0), (seen, 60), key=key) == [
            None,
            "MessageNotInflight",
            None,
            None,
        ]


def test_a_claim_is_no_receive(broker: Broker) -> None:
    broker.send("a")
    queue = broker.engine.queues.existing(WORK)
    change(broker, (looks(broker)["a"], 30))
    assert queue.totals.received == 0
    assert looks(broker)["a"].receive_count == 0


def test_a_claim_wakes_nobody_and_its_end_does(broker: Broker) -> None:
    broker.send("a")
    change(broker, (looks(broker)["a"], 10))
    ticket = broker.poll(wait_s=20)
    assert ticket not in broker.answers
    broker.pass_time(10)
    assert [one.content.body for one in broker.outcome(ticket)] == ["a"]


def test_the_claim_of_what_was_looked_at_twelve_hours_ago_is_refused(broker: Broker) -> None:
    broker.send("a")
    seen = looks(broker)["a"]
    broker.pass_time(43_200)
    assert change(broker, (seen, 1)) == ["InvalidParameterValueException"]
    assert change(broker, (looks(broker)["a"], 43_200)) == [None]


def test_a_claim_cannot_be_told_from_a_delay_by_its_receive_count_alone(broker: Broker) -> None:
    """Never received and hidden: on disk only the claim's mark tells them apart."""
    broker.send("a")
    broker.send("b", delay_s=60)
    change(broker, (looks(broker)["a"], 30))
    for _ in range(2):
        assert broker.counts() == (0, 1, 1)
        assert change(broker, (looks(broker)["b"], 0)) == ["MessageNotInflight"]
        broker.restart()
    assert change(broker, (looks(broker)["a"], 0)) == [None]
    assert broker.bodies() == ["a"]


def test_on_a_standard_queue_old_receipts_change_what_is_claimed_as_they_change_anything(broker: Broker) -> None:
    broker.send("a")
    (received,) = broker.receive(timeout_s=1)
    broker.pass_time(1)
    seen = looks(broker)["a"]
    change(broker, (seen, 30))
    assert broker.change(received, 60) is None
    broker.pass_time(30)
    assert broker.counts() == (0, 1, 0)
    assert change(broker, (seen, 0)) == [None], "it is claimed still"
    (again,) = broker.receive(timeout_s=30)
    assert change(broker, (seen, 0), (looks(broker)["a"], 0)) == ["MessageNotInflight"] * 2, "it is received now"
    assert broker.change(again, 0) is None


def test_the_mark_of_a_claim_whose_time_is_up_means_nothing(broker: Broker) -> None:
    broker.send("a")
    (received,) = broker.receive(timeout_s=1)
    broker.pass_time(1)
    seen = looks(broker)["a"]
    change(broker, (seen, 30))
    broker.pass_time(30)
    assert broker.change(received, 60) is None
    assert change(broker, (seen, 0)) == ["MessageNotInflight"], "hidden by a receipt of a receive"


def test_the_group_of_a_claimed_message_is_free_when_it_is_shown_deleted_or_its_time_is_up(broker: Broker) -> None:
    on_fifo.send(broker, "a1", "a2")
    seen = looks(broker, FIFO)
    for end in (
        lambda: change(broker, (seen["a2"], 0), key=FIFO),
        lambda: broker.pass_time(30),
        lambda: delete(broker, seen["a2"], FIFO),
    ):
        assert change(broker, (seen["a2"], 30), key=FIFO) == [None]
        assert on_fifo.names(broker, timeout_s=0) == []
        end()
        assert on_fifo.names(broker, 1, timeout_s=0) == ["a1"]


def test_a_group_stays_locked_by_a_claim_over_a_restart(broker: Broker) -> None:
    on_fifo.send(broker, "a1", "a2", "b1")
    change(broker, (looks(broker, FIFO)["a2"], 60), key=FIFO)
    broker.restart()
    assert broker.counts(FIFO) == (2, 1, 0)
    assert on_fifo.names(broker, timeout_s=1) == ["b1"]
    broker.pass_time(60)
    assert on_fifo.names(broker, 1) == ["a1"]


def test_a_receive_and_a_claim_of_the_same_count_are_not_the_same_receipt(broker: Broker) -> None:
    on_fifo.send(broker, "a1")
    (received,) = broker.receive(FIFO, timeout_s=30)
    seen = looks(broker, FIFO)["a1"]
    assert seen.receive_count == receipt(received).receive_count == 1
    assert delete(broker, seen, FIFO) is not None
    assert change(broker, (seen, 0), key=FIFO) == ["MessageNotInflight"]
    broker.pass_time(30)
    assert change(broker, (seen, 30), key=FIFO) == [None]
    assert delete(broker, receipt(received), FIFO) is not None
    assert delete(broker, seen, FIFO) is None
