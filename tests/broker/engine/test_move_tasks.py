"""Which move tasks may be started, and what is remembered of them."""

import sys
from pathlib import Path

import pytest

from amply.broker.sqs.faults import Fault
from amply.broker.sqs.limits import AWS

sys.path.insert(0, str(Path(__file__).parent))

from moving import Movers, movers
from settled import ACCOUNT, DEAD, OTHER, redrive


@pytest.fixture
def broker() -> Movers:
    return movers()


def test_only_dead_letter_queues_can_be_moved(broker: Movers) -> None:
    with pytest.raises(Fault, match="SourceArn parameter doesn't exist"):
        broker.start((ACCOUNT, "nowhere"), to=(ACCOUNT, "nowhere"))
    with pytest.raises(Fault, match="must be configured as a Dead Letter Queue"):
        broker.start(OTHER, to=(ACCOUNT, "nowhere"))
    with pytest.raises(Fault, match="DestinationArn parameter doesn't exist"):
        broker.start(to=(ACCOUNT, "nowhere"))


def test_source_and_destination_differ_and_are_of_one_type(broker: Movers) -> None:
    fifo = (ACCOUNT, "other.fifo")
    broker.queue(fifo, FifoQueue="true")
    with pytest.raises(Fault, match="must be of one type"):
        broker.start(to=fifo)
    with pytest.raises(Fault, match="the queue that they are on"):
        broker.start(to=DEAD)
    assert broker.tasks() == []


def test_a_source_has_one_running_task(broker: Movers) -> None:
    broker.fill("a")
    task_id = broker.start()
    with pytest.raises(Fault, match="There is already a task running"):
        broker.start()
    broker.cancel(task_id)
    broker.start()
    with pytest.raises(Fault, match="There is already a task running"):
        broker.start()
    broker.settle()
    broker.start()


def test_at_most_a_hundred_tasks_are_active() -> None:
    broker = Movers()
    for number in range(AWS.move_tasks_active_max + 1):
        dead = (ACCOUNT, f"dead-{number}")
        broker.queue(dead)
        broker.queue((ACCOUNT, f"work-{number}"), RedrivePolicy=redrive(dead, 1))
        broker.send("x", key=dead)
    for number in range(AWS.move_tasks_active_max):
        broker.start((ACCOUNT, f"dead-{number}"), to=(ACCOUNT, "dead-100"))
    with pytest.raises(Fault, match="At most 100"):
        broker.start((ACCOUNT, "dead-100"))
    broker.settle()
    broker.start((ACCOUNT, "dead-100"))


def test_the_ten_newest_tasks_are_remembered_and_listed_newest_first(broker: Movers) -> None:
    started = []
    for number in range(13):
        broker.fill(str(number))
        started.append(broker.start())
        broker.settle()
        broker.pass_time(1)
    newest_first = started[:2:-1]
    assert [task.task_id for task in broker.tasks()] == newest_first
    assert [task.task_id for task in broker.tasks(count=2)] == newest_first[:2]
    broker.restart()
    assert [task.task_id for task in broker.tasks(count=100)] == newest_first
    with pytest.raises(Fault, match="Task does not exist"):
        broker.cancel(started[0])
