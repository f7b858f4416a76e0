"""The checker of FIFO histories: a broker that breaks order or deduplication in any of these ways is caught."""

from pathlib import Path
from typing import Any

import pytest
from fifo_verdict import judge_fifo
from ledger import Ledger, make_body, read

S = 1_000_000_000


class History:
    """Makes up what clients saw; the sequence number of "a-7" is 7 unless said otherwise."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.ledger = Ledger(path)

    def sent(self, *names: str, message_id: str = "", sequence_number: str = "") -> "History":
        for name in names:
            self.ledger.attempted([name])
            numbers = {name: sequence_number or name.rpartition("-")[2]}
            self.ledger.acknowledged({name: message_id or f"id-{name}"}, numbers)
        return self

    def got(self, names: str, at_s: float, count: int = 1, message_id: str = "", **other: Any) -> "History":
        messages = [
            {
                "Body": make_body(name, 10),
                "MessageId": message_id or f"id-{name}",
                "Attributes": {"ApproximateReceiveCount": str(count), "SequenceNumber": name.rpartition("-")[2]},
            }
            for name in names.split()
        ]
        self.ledger.delivered(messages, "q", int(at_s * S), int(at_s * S) + 1000, 1, **other)
        return self

    def deleted(self, name: str, at_s: float) -> "History":
        self.ledger.deleting([name], int(at_s * S))
        self.ledger.deleted([name], int(at_s * S) + 1000)
        return self

    def kept(self, name: str, at_s: float) -> "History":
        self.ledger.deleting([name], int(at_s * S))
        self.ledger.kept([name], int(at_s * S))
        return self

    def verdict(self) -> Any:
        self.ledger.close()
        return judge_fifo(read([self.path]))

    def broken_promises(self) -> dict[str, Any]:
        return self.verdict().broken_promises


@pytest.fixture
def history(tmp_path: Path) -> History:
    return History(tmp_path / "client.ledger")


def test_an_honest_history_breaks_no_promise(history: History) -> None:
    history.sent("a-1", "a-2", "b-1", "a-1").got("a-1 a-2", 1).deleted("a-1", 1.5).got("b-1", 1.6).deleted("b-1", 1.7)
    verdict = history.got("a-2", 3, count=2, is_drain=True).verdict()
    assert verdict.broken_promises == {}
    assert verdict.repeated_sends == 1


def test_a_repeated_send_that_was_stored_twice_is_doubled(history: History) -> None:
    history.sent("a-1").sent("a-1", message_id="another").got("a-1", 1, message_id="another", is_drain=True)
    assert history.broken_promises() == {"doubled": {"a-1"}}


def test_a_repeated_send_with_another_sequence_number_is_doubled(history: History) -> None:
    assert history.sent("a-1").sent("a-1", sequence_number="9").got("a-1", 1, is_drain=True).broken_promises() == {
        "doubled": {"a-1"}
    }


def test_a_sequence_number_below_that_of_the_message_before_is_falling(history: History) -> None:
    history.sent("a-1", sequence_number="5").sent("a-2").deleted("a-1", 1).deleted("a-2", 1)
    assert history.broken_promises() == {"falling": {"a-2"}}


def test_a_message_delivered_while_the_one_before_was_never_delivered_overtakes(history: History) -> None:
    history.sent("a-1", "a-2").got("a-2", 1).got("a-1", 2, is_drain=True).got("a-2", 3, count=2, is_drain=True)
    assert history.broken_promises() == {"overtaking": {"a-2"}}


def test_a_message_delivered_while_the_one_before_is_in_flight_overtakes(history: History) -> None:
    history.sent("a-1", "a-2").got("a-1", 1).got("a-2", 1.5).deleted("a-1", 1.8).deleted("a-2", 1.9)
    assert history.broken_promises() == {"overtaking": {"a-2"}}


def test_one_answer_in_the_wrong_order_overtakes(history: History) -> None:
    history.sent("a-1", "a-2").got("a-2 a-1", 1).deleted("a-1", 2).deleted("a-2", 2)
    assert history.broken_promises() == {"overtaking": {"a-2"}}


def test_a_message_that_could_not_be_deleted_is_not_gone(history: History) -> None:
    history.sent("a-1", "a-2").got("a-1", 1).kept("a-1", 3).got("a-2", 4, is_drain=True)
    assert history.broken_promises() == {"lost": {"a-1"}, "overtaking": {"a-2"}}


def test_a_receive_that_is_repeated_in_time_gets_the_same(history: History) -> None:
    history.sent("a-1", "b-1").got("a-1", 1, attempt_id="x").got("a-1", 1.5, attempt_id="x").deleted("a-1", 2)
    verdict = history.got("b-1", 3, is_drain=True).verdict()
    assert verdict.broken_promises == {}
    assert verdict.repeated_receives == 1


def test_a_receive_that_is_repeated_in_time_and_gets_something_else_is_reported(history: History) -> None:
    history.sent("a-1", "b-1").got("a-1", 1, attempt_id="x").got("b-1", 1.5, attempt_id="x")
    history.deleted("a-1", 2).deleted("b-1", 2)
    assert history.broken_promises() == {"answered_otherwise": {"x"}}


def test_a_receive_that_is_repeated_too_late_may_get_something_else(history: History) -> None:
    history.sent("a-1", "b-1").got("a-1", 1, attempt_id="x").got("b-1", 2.5, attempt_id="x")
    assert history.deleted("a-1", 3).deleted("b-1", 3).broken_promises() == {}
