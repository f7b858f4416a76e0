"""`-Q high,celery` is an order: while a `high` job is ready, no `celery` job starts; and no more is taken than can run.

The worker is the one of the deployment's description: four children, a prefetch multiplier of 1.
"""

import time

import pytest
from ledger_checks import not_ended, of_numbers
from running import until
from system import QUEUES
from transported import Transported

CHILDREN = 4
LOW_JOBS = range(1000, 1500)
HIGH_JOBS = range(50)


@pytest.fixture
def ordered(tmp_path):
    """A system without workers whose `celery` queue has 500 jobs."""
    system = Transported(tmp_path)
    try:
        system.start_broker()
        yield system
    finally:
        system.stop()


def send_all(system, numbers, queue, seconds):
    """Send them; the moment when the last was acknowledged."""
    with system.app.connection_for_write() as connection, system.app.amqp.Producer(connection) as producer:
        for number in numbers:
            system.send("work", number, seconds, queue=queue, producer=producer)
    return time.monotonic_ns()


def wait_until_done(system, numbers):
    until(lambda: not not_ended(system.found(), numbers), system.said)


def unfinished(system):
    """How many messages were received whose jobs had not ended a moment later."""
    views = [system.queue(QUEUES[name]) for name in ("high", "celery")]
    return sum(view["received"] for view in views) - sum(run.ended_ns is not None for run in system.found())


def low_starts(found, since_ns, until_ns):
    return [run for run in found if run.queue == "celery" and since_ns < run.started_ns < until_ns]


def test_with_all_children_busy_every_high_job_starts_before_any_celery_job(ordered):
    gate = ordered.folder / "gate"
    for number in range(-CHILDREN, 0):
        ordered.send("wait", number, str(gate))
    ordered.start_worker("high")
    ordered.wait_until_running(CHILDREN)
    send_all(ordered, LOW_JOBS[:100], "celery", 0.0)
    send_all(ordered, HIGH_JOBS, "high", 0.0)
    gate.touch()
    wait_until_done(ordered, [*LOW_JOBS[:100], *HIGH_JOBS])
    started = [run.queue for run in ordered.found() if run.number >= 0]
    # The children were full when the `celery` jobs came, so none of them was received before. Jobs that were handed to
    # different children one right after the other may note their starts in either order.
    certain = len(HIGH_JOBS) - (CHILDREN - 1)
    assert started[:certain] == ["high"] * certain
    assert started[: len(HIGH_JOBS) + CHILDREN - 1].count("high") == len(HIGH_JOBS)


def test_high_jobs_that_arrive_among_500_celery_jobs_are_next(ordered):
    send_all(ordered, LOW_JOBS, "celery", 0.02)
    ordered.start_worker("high")
    until(lambda: len(ordered.found()) > 50, ordered.said)
    acknowledged_ns = send_all(ordered, HIGH_JOBS, "high", 0.02)
    wait_until_done(ordered, [*LOW_JOBS, *HIGH_JOBS])
    found = ordered.found()
    last_ns = max(run.started_ns for run in found if run.queue == "high")
    # What was received when the last `high` job arrived may still start: no more than the children can hold.
    assert len(low_starts(found, acknowledged_ns, last_ns)) <= CHILDREN
    assert len(low_starts(found, last_ns, time.monotonic_ns())) > 100
    assert all(len(runs) == 1 for runs in of_numbers(found, [*LOW_JOBS, *HIGH_JOBS]).values())


def test_never_more_messages_are_taken_than_children_can_run(ordered):
    send_all(ordered, LOW_JOBS[:200], "celery", 0.05)
    send_all(ordered, HIGH_JOBS, "high", 0.05)
    ordered.start_worker("high")
    numbers = [*LOW_JOBS[:200], *HIGH_JOBS]
    most = 0
    while not_ended(ordered.found(), numbers):
        most = max(most, unfinished(ordered))
        time.sleep(0.005)
    assert most == CHILDREN


def test_jobs_of_one_queue_are_shared_by_two_workers(ordered):
    """Fair distribution: a worker takes no stock that another could work on."""
    workers = [ordered.start_worker(name) for name in ("one", "two")]
    send_all(ordered, LOW_JOBS[:40], "celery", 0.2)
    wait_until_done(ordered, LOW_JOBS[:40])
    done = [sum(run.parent == worker.process.pid for run in ordered.found()) for worker in workers]
    assert min(done) >= 12
