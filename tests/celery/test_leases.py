"""A received job is its worker's for a short time only, and for longer as long as the worker lives and holds it."""

import os
import signal

import pytest
from ledger_checks import not_ended, of_numbers
from running import until
from system import QUEUES
from transported import Transported

LEASE_S = 2
CELERY = QUEUES["celery"]


@pytest.fixture
def start(tmp_path):
    """Start a system without workers."""
    systems = []

    def start_system(lease_s):
        systems.append(Transported(tmp_path, lease_seconds=lease_s))
        systems[-1].start_broker()
        return systems[-1]

    yield start_system
    for system in systems:
        (system.folder / "gate").touch()
        for worker in system.workers.values():
            # One that stands still would not hear that it is to stop.
            if worker.process.poll() is None:
                worker.process.send_signal(signal.SIGCONT)
        system.stop()


@pytest.fixture
def leased(start):
    """A system whose leases are short."""
    return start(LEASE_S)


def runs_of(system, number):
    return of_numbers(system.found(), [number])[number]


def wait_until_done(system, numbers):
    until(lambda: not not_ended(system.found(), numbers), system.said)


def test_a_job_of_ten_times_the_lease_runs_once(leased):
    for name in ("one", "two"):
        leased.start_worker(name, concurrency=2)
    for number in range(2):
        leased.send("work", number, 10.0 * LEASE_S)
    wait_until_done(leased, range(2))
    leased.wait_until_idle()
    assert [len(runs_of(leased, number)) for number in range(2)] == [1, 1]


def test_the_jobs_of_a_killed_worker_are_back_within_the_lease(leased):
    gate = leased.folder / "gate"
    killed = leased.start_worker("killed", concurrency=2)
    for number in range(4):
        leased.send("wait", number, str(gate))
    leased.wait_until_running(2)
    killed.kill()
    until(lambda: leased.visible_and_in_flight(CELERY) == (4, 0), lambda: f"all are back: {leased.queue(CELERY)}")
    gate.touch()
    del leased.workers["killed"]
    leased.start_worker("other", concurrency=2)
    wait_until_done(leased, range(4))
    leased.wait_until_idle()
    # Two were cut off, so they ran twice; their runs are the only ones that the kill repeated.
    assert sorted(len(runs_of(leased, number)) for number in range(4)) == [1, 1, 2, 2]


def test_a_stopped_worker_gives_back_at_once_what_it_has_not_started(start):
    # The lease is ten minutes: what is visible before was given back.
    system = start(600)
    gate = system.folder / "gate"
    worker = system.start_worker("stopped", "--prefetch-multiplier=10", concurrency=2)
    for number in range(20):
        system.send("wait", number, str(gate))
    system.wait_until_running(2)
    until(lambda: system.visible_and_in_flight(CELERY)[1] > 5, lambda: f"some are held: {system.said()}")
    worker.process.send_signal(signal.SIGTERM)
    until(lambda: system.visible_and_in_flight(CELERY) == (18, 2), lambda: f"18 are back: {system.said()}")
    assert worker.process.poll() is None
    gate.touch()
    assert system.stop_worker("stopped") == 0
    assert system.waiting(CELERY) == 18
    assert len(system.found()) == 2
    system.start_worker("next", concurrency=2)
    wait_until_done(system, range(20))
    system.wait_until_idle()
    assert all(len(runs_of(system, number)) == 1 for number in range(20))
    # What was given back without a run does not count as an attempt.
    assert {run.attempt for run in system.found()} == {1}


def test_a_worker_that_stood_still_does_not_acknowledge_a_job_that_is_somebody_elses_by_now(leased):
    workers = {leased.start_worker(name, concurrency=1).process.pid: name for name in ("one", "two")}
    gate = leased.folder / "gate"
    leased.send("wait", 1, str(gate))
    leased.wait_until_running(1)
    still = leased.workers[workers[runs_of(leased, 1)[0].parent]]
    os.kill(still.process.pid, signal.SIGSTOP)
    until(lambda: len(runs_of(leased, 1)) == 2, leased.said)
    first, second = runs_of(leased, 1)
    assert second.parent != first.parent
    # The child was not stopped: it ends the job, and its worker learns of that when it wakes up.
    gate.with_name(f"gate.{first.pid}").touch()
    until(lambda: runs_of(leased, 1)[0].ended_ns, leased.said)
    os.kill(still.process.pid, signal.SIGCONT)
    until(lambda: "lease" in still.said().partition(" ready.")[2], leased.said)
    assert leased.visible_and_in_flight(CELERY) == (0, 1)
    assert leased.queue(CELERY)["deleted"] == 0
    gate.with_name(f"gate.{second.pid}").touch()
    leased.wait_until_idle()
    assert leased.queue(CELERY)["deleted"] == 1
    # The worker that stood still is as good as before.
    other = leased.workers[workers[second.parent]]
    assert other.stop() == 0
    leased.send("work", 2)
    wait_until_done(leased, [2])
    assert runs_of(leased, 2)[0].parent == still.process.pid
