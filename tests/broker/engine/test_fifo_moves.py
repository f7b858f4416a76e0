"""The rules of message move tasks on FIFO queues: order, groups and their locks."""

import sys
from pathlib import Path

import pytest

from amply.broker.engine.commands import Outgoing, Send

sys.path.insert(0, str(Path(__file__).parent))

from fifo import DEAD, FIFO, declare, send
from moving import Movers
from settled import ACCOUNT, redrive

OTHER = (ACCOUNT, "other.fifo")


@pytest.fixture
def broker() -> Movers:
    """A FIFO queue with a dead letter queue, and another queue."""
    broker = Movers()
    declare(broker, DEAD)
    declare(broker, RedrivePolicy=redrive(DEAD, 1))
    declare(broker, OTHER)
    return broker


def fill(broker: Movers, *names: str) -> None:
    """Bury messages; each is received once, and fails."""
    send(broker, *names)
    while broker.receive(FIFO, count=1000, timeout_s=0):
        pass


def test_fifo_dead_letters_go_back_in_order_under_new_numbers_with_their_groups(broker: Movers) -> None:
    bodies = ["a1", "b1", "a2", "b2", "a3"]
    fill(broker, *bodies)
    broker.pass_time(1)
    dead = broker.receive(DEAD, timeout_s=0)
    broker.start(DEAD)
    broker.settle()
    assert broker.task(DEAD) == ("COMPLETED", 5, 5)
    again = broker.drain(FIFO)
    for group in "ab":
        assert [one.content.body for one in again if one.content.group_id == group] == [
            body for body in bodies if body[0] == group
        ]
    assert min(one.entry.seq for one in again) > max(one.entry.seq for one in dead)
    assert {one.content.deduplication_id for one in again} == {one.content.deduplication_id for one in dead}
    assert {one.entry.sent_ms for one in again} == {broker.now_ms}


def test_a_move_is_no_duplicate_and_makes_none(broker: Movers) -> None:
    fill(broker, "a1")
    (dead,) = broker.receive(DEAD, timeout_s=0)
    broker.run(Send(OTHER, [Outgoing(dead.content)]))
    broker.start(DEAD, to=OTHER)
    broker.settle()
    assert broker.drained(OTHER) == ["a1", "a1"]


def test_a_locked_group_waits_until_it_is_free(broker: Movers) -> None:
    fill(broker, "a1", "a2", "b1", "a3")
    (held,) = broker.receive(DEAD, count=1, timeout_s=30)
    assert held.content.body == "a1"
    broker.start(DEAD)
    broker.settle()
    assert broker.task(DEAD) == ("RUNNING", 1, 3)
    assert broker.drained(FIFO) == ["b1"]
    broker.delete(held, key=DEAD)
    broker.settle()
    assert broker.task(DEAD) == ("COMPLETED", 3, 3)
    assert broker.drained(FIFO) == ["a2", "a3"]


def test_a_message_that_comes_back_is_moved_before_those_behind_it(broker: Movers) -> None:
    fill(broker, "a1", "a2", "a3")
    broker.receive(DEAD, count=1, timeout_s=30)
    broker.start(DEAD)
    broker.settle()
    assert broker.task(DEAD) == ("RUNNING", 0, 2)
    next_ms = broker.engine.next_ms()
    assert next_ms is not None
    assert next_ms <= broker.now_ms + 30_000, "nobody would look when the group is free again"
    broker.pass_time(30)
    broker.settle()
    assert broker.task(DEAD) == ("COMPLETED", 2, 2)
    assert broker.drained(FIFO) == ["a1", "a2"]
    assert broker.drained(DEAD) == ["a3"]
    assert not broker.engine.queues.existing(DEAD).has_mover, "the queue would wake for nobody"


def test_a_fifo_backlog_behind_a_locked_group_is_found_on_disk(broker: Movers) -> None:
    fill(broker, *(f"a{number}" for number in range(1500)), *(f"b{number}" for number in range(1500)))
    broker.restart()
    (held,) = broker.receive(DEAD, count=1, timeout_s=600)
    broker.start(DEAD)
    broker.settle()
    assert broker.task(DEAD) == ("RUNNING", 1500, 2999)
    broker.restart()
    broker.settle()
    broker.delete(held, key=DEAD)
    broker.settle()
    assert broker.task(DEAD) == ("COMPLETED", 2999, 2999)
    moved = broker.drained(FIFO)
    assert moved == [f"b{number}" for number in range(1500)] + [f"a{number}" for number in range(1, 1500)]


def test_fifo_moves_survive_restarts_in_order(broker: Movers) -> None:
    bodies = [f"{'abcdefgh'[number % 8]}{number}" for number in range(2500)]
    fill(broker, *bodies)
    broker.start(DEAD)
    while broker.task(DEAD)[0] == "RUNNING":
        broker.step()
        broker.restart()
    assert broker.task(DEAD) == ("COMPLETED", 2500, 2500)
    moved = broker.drained(FIFO)
    for group in "abcdefgh":
        assert [body for body in moved if body[0] == group] == [body for body in bodies if body[0] == group]
    assert len(moved) == 2500
