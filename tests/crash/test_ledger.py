"""The checker itself: a broker that cheats in any of these ways is caught."""

from pathlib import Path
from typing import Any

import pytest
from ledger import Ledger, judge, make_body, name_in, read

S = 1_000_000_000


class History:
    """Makes up what clients saw."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.ledger = Ledger(path)

    def sent(self, *names: str) -> "History":
        self.ledger.attempted(names)
        self.ledger.acknowledged({name: f"id-{name}" for name in names})
        return self

    def got(self, name: str, at_s: float, count: int = 1, timeout_s: int = 1, **other: Any) -> "History":
        message = {
            "Body": make_body(name, 10),
            "MessageId": f"id-{name}",
            "Attributes": {"ApproximateReceiveCount": str(count)},
            **other.pop("message", {}),
        }
        self.ledger.delivered([message], "q", int(at_s * S), int(at_s * S) + 1000, timeout_s, **other)
        return self

    def deleted(self, name: str, at_s: float) -> "History":
        self.ledger.deleting([name])
        self.ledger.deleted([name], int(at_s * S))
        return self

    def broken_promises(self) -> dict[str, Any]:
        return self.verdict().broken_promises

    def verdict(self) -> Any:
        self.ledger.close()
        return judge(read([self.path]))


@pytest.fixture
def history(tmp_path: Path) -> History:
    return History(tmp_path / "client.ledger")


def test_an_honest_history_breaks_no_promise(history: History) -> None:
    history.sent("a", "b", "c").got("a", 1).deleted("a", 1.5).got("b", 2).got("b", 4, count=2, is_drain=True)
    history.got("c", 5, is_drain=True).deleted("c", 6)
    verdict = history.verdict()
    assert verdict.broken_promises == {}
    assert (verdict.acknowledged, verdict.deleted, verdict.duplicates) == (3, 2, 1)


def test_a_send_without_an_answer_may_or_may_not_arrive(history: History) -> None:
    history.ledger.attempted(["a", "b"])
    verdict = history.got("a", 1, is_drain=True).verdict()
    assert verdict.broken_promises == {}
    assert (verdict.indeterminate, verdict.recovered) == (2, 1)


def test_an_acknowledged_send_that_never_arrives_is_lost(history: History) -> None:
    assert history.sent("a").broken_promises() == {"lost": {"a"}}


def test_a_message_that_was_delivered_once_and_not_deleted_must_come_again(history: History) -> None:
    assert history.sent("a").got("a", 1).broken_promises() == {"lost": {"a"}}


def test_a_delete_without_an_answer_may_or_may_not_have_happened(history: History) -> None:
    history.sent("a").got("a", 1).ledger.deleting(["a"])
    assert history.broken_promises() == {}


def test_a_delivery_after_an_acknowledged_delete_is_a_resurrection(history: History) -> None:
    history.sent("a").got("a", 1).deleted("a", 2).got("a", 3, count=2)
    assert history.broken_promises() == {"resurrected": {"a"}}


def test_a_delivery_that_was_asked_for_before_the_delete_was_acknowledged_is_none(history: History) -> None:
    history.sent("a").got("a", 1).got("a", 3, count=2).deleted("a", 4)
    assert history.broken_promises() == {}


@pytest.mark.parametrize(
    "message",
    [
        {"Body": make_body("never-sent", 10)},
        {"Body": make_body("a", 10).replace("x", "y", 1)},
        {"Body": ""},
        {"MessageId": "another"},
    ],
    ids=["nobody sent it", "another body", "empty", "another id"],
)
def test_what_nobody_sent_is_unexpected(history: History, message: dict[str, str]) -> None:
    history.sent("a").got("a", 1, is_drain=True).got("a", 5, count=2, message=message)
    assert list(history.broken_promises()) == ["unexpected"]


def test_a_message_that_drains_twice_was_in_two_places(history: History) -> None:
    history.sent("a").got("a", 1, is_drain=True).got("a", 3, count=2, is_drain=True)
    assert history.broken_promises() == {"in_two_places": {"a"}}


def test_a_second_receiver_within_the_visibility_timeout_overlaps(history: History) -> None:
    history.sent("a").got("a", 1, timeout_s=10).got("a", 2, count=2, is_drain=True)
    assert history.broken_promises() == {"overlapping": {"a"}}


def test_a_receive_count_that_does_not_rise_is_reported(history: History) -> None:
    history.sent("a").got("a", 1, count=2).got("a", 3, count=2, is_drain=True)
    assert history.broken_promises() == {"counts_fell": {"a"}}


def test_an_error_that_no_client_expected_is_reported(history: History) -> None:
    history.ledger.refused("500 InternalFailure")
    assert history.broken_promises() == {"refused": ["500 InternalFailure"]}


def test_a_body_with_one_character_changed_has_no_name() -> None:
    body = make_body("a-1", 100)
    assert name_in(body) == "a-1"
    assert name_in(body[:50] + "X" + body[51:]) is None
