"""`amply workers`: the two commands and the scheduler, and a worker that was killed is there again."""

import signal

import psutil
import pytest
from running import Running, until
from system import BIN, WORKER_COMMANDS, System


@pytest.fixture
def alone(tmp_path):
    """A system without workers."""
    system = System(tmp_path)
    try:
        system.start()
        yield system
    finally:
        system.stop()


@pytest.fixture
def workers(alone):
    """`amply workers`, running."""
    running = Running([str(BIN / "amply"), "workers"], alone.environment, alone.folder / "workers.log")
    yield running
    running.stop()
    running.kill()


def leaders(workers):
    """The processes that the command itself started, by what follows `celery` on their command line."""
    found = {}
    for child in psutil.Process(workers.process.pid).children():
        command = child.cmdline()
        program = next((number for number, word in enumerate(command) if word.endswith("/celery")), None)
        if program is not None:
            found[" ".join(["celery", *command[program + 1 :]])] = child
    return found


def test_a_killed_worker_is_started_again_and_its_jobs_are_done(alone, workers):
    until(lambda: workers.said().count(" ready.") == 2, workers.said)
    started = leaders(workers)
    assert set(WORKER_COMMANDS.values()) < set(started)
    assert sum(command.startswith("celery -A amply.jobs.celery_app beat") for command in started) == 1
    killed = started[WORKER_COMMANDS["low"]]
    killed.kill()
    until(lambda: workers.said().count(" ready.") == 3, workers.said)
    assert leaders(workers)[WORKER_COMMANDS["low"]].pid != killed.pid
    assert "amply-worker-low ended (SIGKILL); starting it again" in workers.said()
    assert alone.app.send_task("ledger.count", [4], queue="low").get(timeout=60) == 8
    family = workers.family()
    assert workers.stop(signal.SIGTERM) == 0
    assert psutil.wait_procs(family, timeout=30)[1] == []
