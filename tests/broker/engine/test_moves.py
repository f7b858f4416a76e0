"""The rules of message move tasks, one by one, on standard queues."""

import itertools
import sys
from pathlib import Path

import msgspec
import pytest

from amply.broker.engine.commands import DeleteQueue, Outgoing, PurgeQueue, Send, SetQueueAttributes
from amply.broker.engine.moves import SLICE
from amply.broker.engine.records import Content
from amply.broker.sqs.faults import Fault

sys.path.insert(0, str(Path(__file__).parent))

from moving import Movers, arn, movers, numbers
from settled import ACCOUNT, DAY_S, DEAD, OTHER, WORK, redrive


@pytest.fixture
def broker() -> Movers:
    return movers()


# Where messages go, and what becomes of them


def test_dead_letters_go_back_to_their_queue_oldest_first(broker: Movers) -> None:
    broker.fill(*numbers(25))
    broker.start()
    assert broker.task() == ("RUNNING", 0, 25)
    broker.settle()
    assert broker.task() == ("COMPLETED", 25, 25)
    assert broker.counts(DEAD) == (0, 0, 0)
    assert broker.drained(WORK) == numbers(25)


def test_dead_letters_go_to_the_destination_that_was_given(broker: Movers) -> None:
    broker.fill("a", "b")
    broker.start(to=OTHER)
    broker.settle()
    assert broker.drained(OTHER) == ["a", "b"]
    assert broker.counts(WORK) == broker.counts(DEAD) == (0, 0, 0)


def test_a_moved_message_is_a_new_one_with_the_old_content(broker: Movers) -> None:
    content = Content("old id", "body", "sender", {}, trace_header="trace", group_id="tenant")
    broker.run(Send(WORK, [Outgoing(content)]))
    broker.receive(timeout_s=0)
    broker.receive()
    broker.pass_time(100)
    (dead,) = broker.receive(DEAD, timeout_s=0)
    broker.start()
    broker.settle()
    (again,) = broker.receive()
    assert again.content.message_id != "old id"
    assert msgspec.structs.replace(again.content, message_id="old id") == content
    assert again.entry.seq > dead.entry.seq
    assert (again.entry.sent_ms, again.entry.first_received_ms) == (broker.now_ms, broker.now_ms)
    assert (again.entry.receive_count, again.entry.dead_letter_source_arn) == (1, None)


def test_the_retention_of_a_moved_message_begins_anew(broker: Movers) -> None:
    broker.fill("a")
    broker.pass_time(3 * DAY_S)
    broker.start()
    broker.settle()
    broker.pass_time(4 * DAY_S - 1)
    assert broker.bodies() == ["a"]


def test_a_message_past_its_retention_is_not_moved(broker: Movers) -> None:
    broker.fill("old")
    broker.pass_time(2 * DAY_S)
    broker.fill("new")
    broker.run(SetQueueAttributes(DEAD, {"MessageRetentionPeriod": str(DAY_S)}))
    broker.start()
    broker.settle()
    assert broker.drained(WORK) == ["new"]
    assert broker.counts(DEAD) == (0, 0, 0)
    assert broker.task()[0] == "COMPLETED"


def test_each_dead_letter_goes_to_its_own_source(broker: Movers) -> None:
    third = (ACCOUNT, "third")
    broker.queue(third, RedrivePolicy=redrive(DEAD, 1))
    for number in range(5):
        broker.fill(f"work {number}")
        broker.fill(f"third {number}", source=third)
    broker.start()
    broker.settle()
    assert broker.drained(WORK) == [f"work {number}" for number in range(5)]
    assert broker.drained(third) == [f"third {number}" for number in range(5)]


def test_a_delayed_destination_delays_moved_messages(broker: Movers) -> None:
    broker.queue((ACCOUNT, "slow"), DelaySeconds="10")
    broker.fill("a")
    broker.start(to=(ACCOUNT, "slow"))
    broker.settle()
    assert broker.counts((ACCOUNT, "slow")) == (0, 0, 1)
    broker.pass_time(10)
    assert broker.bodies((ACCOUNT, "slow")) == ["a"]


def test_a_poll_at_the_destination_wakes(broker: Movers) -> None:
    broker.fill("a")
    poll = broker.poll(WORK)
    broker.start()
    broker.settle()
    assert [delivery.content.body for delivery in broker.outcome(poll)] == ["a"]


def test_messages_in_flight_and_delayed_stay(broker: Movers) -> None:
    broker.fill("a", "b")
    (held,) = broker.receive(DEAD, count=1)
    broker.send("later", key=DEAD, delay_s=60)
    broker.start(to=OTHER)
    assert broker.task() == ("RUNNING", 0, 1)
    broker.settle()
    assert broker.task() == ("COMPLETED", 1, 1)
    assert broker.counts(DEAD) == (0, 1, 1)
    assert held.content.body == "a"
    assert broker.drained(OTHER) == ["b"]


def test_a_receipt_of_before_the_move_deletes_nothing(broker: Movers) -> None:
    broker.fill("a")
    (held,) = broker.receive(DEAD, timeout_s=0)
    broker.start()
    broker.settle()
    broker.delete(held, key=DEAD)
    assert broker.bodies() == ["a"]


# How a task runs and ends


def test_an_empty_queue_is_moved_at_once(broker: Movers) -> None:
    broker.start()
    broker.settle()
    assert broker.task() == ("COMPLETED", 0, 0)


def test_no_more_is_moved_than_was_there_at_the_start(broker: Movers) -> None:
    broker.fill("a", "b")
    broker.start(to=OTHER, rate=1)
    broker.step()
    broker.fill("c")
    for _ in range(5):
        broker.pass_time(1)
    assert broker.task() == ("COMPLETED", 2, 2)
    assert broker.bodies(DEAD) == ["c"]


def test_a_task_ends_when_others_took_what_it_was_to_move(broker: Movers) -> None:
    broker.fill("a", "b", "c")
    broker.start(rate=1)
    broker.step()
    broker.delete(*broker.receive(DEAD), key=DEAD)
    broker.pass_time(1)
    assert broker.task() == ("COMPLETED", 1, 3)


def test_a_backlog_far_beyond_memory_is_moved_in_order_and_in_slices(broker: Movers) -> None:
    count = 3 * 1000 + 10
    broker.fill(*numbers(count))
    broker.start(to=OTHER)
    progress = [0]
    while broker.task()[0] == "RUNNING":
        broker.step()
        progress.append(broker.task()[1])
    assert max(later - earlier for earlier, later in itertools.pairwise(progress)) == SLICE
    assert broker.task() == ("COMPLETED", count, count)
    assert broker.drained(OTHER) == numbers(count)


def test_messages_of_noisy_tenants_are_moved_too(broker: Movers) -> None:
    tenants = ["loud"] * 1500 + ["quiet"] * 5 + ["loud"] * 500
    broker.run(
        Send(
            DEAD,
            [Outgoing(Content(f"{n}", f"{n}", "sender", {}, group_id=tenant)) for n, tenant in enumerate(tenants)],
        )
    )
    held = {delivery.content.body for _ in range(5) for delivery in broker.receive(DEAD)}
    assert broker.engine.queues.existing(DEAD).window.lanes() == ["loud"]  # type: ignore[attr-defined]
    broker.start(to=OTHER)
    broker.settle()
    assert broker.task() == ("COMPLETED", len(tenants) - len(held), len(tenants) - len(held))
    moved = broker.drained(OTHER)
    assert sorted([*moved, *held], key=int) == numbers(len(tenants))


def test_tasks_take_turns(broker: Movers) -> None:
    dead = (ACCOUNT, "dead-2")
    work = (ACCOUNT, "work-2")
    broker.queue(dead)
    broker.queue(work, RedrivePolicy=redrive(dead, 1))
    broker.fill(*numbers(3 * SLICE))
    broker.fill(*numbers(3 * SLICE), source=work, dead=dead)
    broker.start()
    broker.start(dead)
    for _ in range(6):
        broker.step()
        assert abs(broker.task()[1] - broker.task(dead)[1]) <= SLICE
    assert broker.task()[0] == broker.task(dead)[0] == "COMPLETED"


@pytest.mark.parametrize(("rate", "largest"), [(1, 1), (15, 1), (100, 10), (500, 50)])
def test_a_rate_is_kept_and_spread_over_the_second(broker: Movers, rate: int, largest: int) -> None:
    broker.fill(*numbers(3 * rate))
    broker.start(rate=rate)
    moved_by_ms = []
    for _ in range(2000):
        broker.settle()
        moved_by_ms.append(broker.task()[1])
        broker.now_ms += 1
    assert moved_by_ms[0] == largest
    assert all(later - earlier <= largest for earlier, later in itertools.pairwise(moved_by_ms))
    assert 0.9 * rate <= moved_by_ms[999] <= rate
    assert 1.9 * rate <= moved_by_ms[1999] <= 2 * rate


def test_a_cancelled_task_stops_and_tells_how_many_were_moved(broker: Movers) -> None:
    broker.fill(*numbers(5))
    task_id = broker.start(rate=1)
    broker.step()
    broker.pass_time(1)
    assert broker.cancel(task_id) == 2
    broker.pass_time(100)
    assert broker.task() == ("CANCELLED", 2, 5)
    assert broker.drained(WORK) == ["0", "1"]
    assert broker.drained(DEAD) == ["2", "3", "4"]
    with pytest.raises(Fault, match="Only a running task"):
        broker.cancel(task_id)


def test_a_task_fails_when_its_destination_is_deleted(broker: Movers) -> None:
    broker.fill("a", "b")
    broker.start(to=OTHER, rate=1)
    broker.step()
    broker.run(DeleteQueue(OTHER))
    broker.pass_time(1)
    assert broker.task() == ("FAILED", 1, 2)
    assert broker.tasks()[0].failure_reason == "AWS.SimpleQueueService.NonExistentQueue"
    assert broker.bodies(DEAD) == ["b"]


def test_a_task_fails_when_the_queue_that_a_message_came_from_is_gone(broker: Movers) -> None:
    broker.queue((ACCOUNT, "still-here"), RedrivePolicy=redrive(DEAD, 1))
    broker.fill("a")
    broker.run(DeleteQueue(WORK))
    broker.start()
    broker.settle()
    assert broker.tasks()[0].failure_reason == "AWS.SimpleQueueService.NonExistentQueue"
    assert broker.bodies(DEAD) == ["a"]


def test_a_task_fails_at_a_message_that_came_from_nowhere(broker: Movers) -> None:
    broker.fill("a")
    broker.send("sent here", key=DEAD)
    broker.fill("b")
    broker.start()
    broker.settle()
    assert broker.task() == ("FAILED", 1, 3)
    assert broker.tasks()[0].failure_reason == "CouldNotDetermineMessageSource"
    assert broker.counts(DEAD) == (2, 0, 0)
    broker.start(to=OTHER)
    broker.settle()
    assert broker.drained(OTHER) == ["sent here", "b"]


def test_a_purge_of_the_source_ends_the_task(broker: Movers) -> None:
    broker.fill(*numbers(2000))
    broker.start()
    broker.step()
    broker.run(PurgeQueue(DEAD))
    broker.settle()
    assert broker.task() == ("COMPLETED", SLICE, 2000)
    assert broker.drained(WORK) == numbers(SLICE)


def test_a_deleted_source_takes_its_tasks_along(broker: Movers) -> None:
    broker.fill(*numbers(2000))
    broker.start()
    broker.step()
    broker.run(DeleteQueue(DEAD))
    broker.settle()
    assert broker.drained(WORK) == numbers(SLICE)
    broker.pass_time(61)
    broker.queue(DEAD)
    assert broker.tasks() == []
    broker.restart()
    assert broker.tasks() == []


def test_a_paused_task_waits(broker: Movers) -> None:
    broker.fill("a")
    broker.start()
    broker.engine.moves.is_paused = True
    broker.settle()
    broker.pass_time(1)
    assert broker.task() == ("RUNNING", 0, 1)
    broker.engine.moves.is_paused = False
    broker.settle()
    assert broker.task() == ("COMPLETED", 1, 1)


# Crashes


@pytest.mark.parametrize("rate", [None, 500])
def test_a_task_goes_on_after_a_restart_where_it_was(broker: Movers, rate: int | None) -> None:
    count = 2500
    broker.fill(*numbers(count))
    broker.start(to=OTHER, rate=rate)
    restarts = 0
    while broker.task()[0] == "RUNNING":
        broker.step()
        broker.now_ms += 40
        broker.restart()
        restarts += 1
        status, moved, _ = broker.task()
        assert broker.counts(OTHER)[0] == moved, status
        assert broker.counts(DEAD)[0] == count - moved
    assert restarts >= count // SLICE
    assert broker.task() == ("COMPLETED", count, count)
    assert broker.drained(OTHER) == numbers(count)


def test_ended_tasks_do_not_run_again_after_a_restart(broker: Movers) -> None:
    broker.fill("a", "b")
    broker.cancel(broker.start())
    broker.restart()
    broker.settle()
    assert broker.task() == ("CANCELLED", 0, 2)


def test_a_broker_that_was_given_another_region_does_not_run_the_tasks_of_the_old_one(broker: Movers) -> None:
    broker.fill("a")
    broker.start()
    task = broker.tasks()[0]
    broker.engine.moves.restore([msgspec.structs.replace(task, source_arn=task.source_arn.replace("central", "west"))])
    assert [task.source_arn for task in broker.engine.moves.running()] == [arn(DEAD)]
