"""Workers and the broker die at random moments while jobs flow: every job is done or a dead letter in the end.

`--chaos-seconds` says for how long; ten minutes are a long form. A job may run twice, but only for a reason: its run or
that run's worker was killed, the lease had run out, or a worker was killed while it gave messages back, between sending
a copy and deleting the original.
"""

import contextlib
import os
import random
import signal
import sys
import threading
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import psutil
import pytest

# The equipment of the tests with real workers.
sys.path.insert(0, str(Path(__file__).parents[1] / "celery"))

from kombu.exceptions import OperationalError
from ledger_checks import Run, not_ended, of_numbers
from running import until
from system import DEAD_LETTERS, QUEUES
from transported import Transported

WORKERS = ("one", "two", "three")
LEASE_S = 5
RECEIVES_MAX = 5
# Unless a main process dies there are no half-done copies, and each repetition has a reason of its own.
MILD = ("kill_child", "end", "restart")
WILD = ("kill_worker", "kill_worker", "kill_child", "freeze", "end", "restart")


class Sender(threading.Thread):
    """Sends jobs of many kinds until it is told to stop. `sent` has the ids of confirmed ones by number."""

    def __init__(self, system: Transported) -> None:
        super().__init__(name="sender")
        self.system = system
        self.sent: dict[int, str] = {}
        self.sent_ns: dict[int, int] = {}
        self.doomed: set[int] = set()
        self._stopped = threading.Event()

    def run(self) -> None:
        number = 0
        while not self._stopped.wait(0.03):
            number += 1
            queue = "high" if number % 3 == 0 else "celery"
            self.sent_ns[number] = time.monotonic_ns()
            with contextlib.suppress(OperationalError):
                if number % 40 == 0:
                    self.sent[number] = self.system.send("break_down", number, queue=queue)
                    self.doomed.add(number)
                else:
                    # Now and then a job is longer than its lease.
                    seconds = 1.5 * LEASE_S if number % 97 == 0 else random.uniform(0, 0.1)
                    self.sent[number] = self.system.send("work", number, seconds, queue=queue)

    def stop(self) -> None:
        self._stopped.set()
        self.join()


class Chaos:
    """Does harm to a system, one deed at a time, and remembers what it did."""

    def __init__(self, system: Transported, kinds: tuple[str, ...]) -> None:
        self.system = system
        self.kinds = kinds
        self.deeds: list[str] = []
        self.killed_ns: dict[int, int] = {}
        self.workers_killed_ns: list[int] = []
        self._frozen: dict[int, float] = {}

    def do(self) -> None:
        """Any deed."""
        self._thaw(time.monotonic())
        kind = random.choice(self.kinds)
        self.deeds.append(kind)
        {
            "kill_worker": self.kill_worker,
            "kill_child": self.kill_child,
            "freeze": self.freeze,
            "end": self.end,
            "restart": self.restart,
        }[kind]()

    def kill_worker(self) -> None:
        """Kill a worker with its children, and start another."""
        name = self._any()
        worker = self.system.workers[name]
        self._note(worker.process.pid)
        worker.kill()
        self.workers_killed_ns.append(time.monotonic_ns())
        self.system.launch_worker(name)

    def kill_child(self) -> None:
        """Kill one child, as the kernel does when memory is short."""
        with contextlib.suppress(psutil.NoSuchProcess):
            children = psutil.Process(self.system.workers[self._any()].process.pid).children()
            if children:
                child = random.choice(children)
                self._note(child.pid)
                child.kill()

    def freeze(self) -> None:
        """Let a worker's main process stand still for longer than a lease; the others go on."""
        if self._frozen:
            return
        pid = self.system.workers[self._any()].process.pid
        os.kill(pid, signal.SIGSTOP)
        self._frozen[pid] = time.monotonic() + LEASE_S + 1

    def end(self) -> None:
        """Stop a worker in order, and start another beside it while it finishes its jobs."""
        name = self._any()
        worker = self.system.workers[name]
        worker.process.terminate()
        worker.process.wait(60)
        self.system.launch_worker(name)

    def restart(self) -> None:
        """Kill the broker, and start it again."""
        self.system.broker.kill()
        self.system.start_broker()

    def heal(self) -> None:
        """Everything runs again."""
        self._thaw(float("inf"))
        for worker in self.system.workers.values():
            worker.wait_until_says(" ready.")

    def _any(self) -> str:
        """A worker that does not stand still."""
        return random.choice([name for name in WORKERS if self.system.workers[name].process.pid not in self._frozen])

    def _note(self, pid: int) -> None:
        self.killed_ns[pid] = time.monotonic_ns()

    def _thaw(self, now_s: float) -> None:
        for pid in [pid for pid, until_s in self._frozen.items() if until_s <= now_s]:
            del self._frozen[pid]
            os.kill(pid, signal.SIGCONT)


@pytest.fixture
def system(tmp_path: Path) -> Iterator[Transported]:
    system = Transported(tmp_path / "system", lease_seconds=LEASE_S, backoff={"first_s": 0.2})
    try:
        system.start_broker()
        for name in WORKERS:
            system.launch_worker(name)
        yield system
    finally:
        for worker in system.workers.values():
            if worker.process.poll() is None:
                worker.process.send_signal(signal.SIGCONT)
        system.stop()


def is_explained(run: Run, again: Run, chaos: Chaos, sent_ns: int, said: str) -> bool:
    """Whether there is a reason for a run after this one."""
    was_killed = any(chaos.killed_ns.get(pid, 0) > run.started_ns for pid in (run.pid, run.parent))
    cut_short = any(sent_ns < killed_ns < again.started_ns for killed_ns in chaos.workers_killed_ns)
    is_copy = run.message != again.message
    return was_killed or (is_copy and cut_short) or f"[{run.job}]" in said


@pytest.mark.parametrize("kinds", [MILD, WILD], ids=["mild", "wild"])
def test_no_job_is_lost_and_none_repeated_without_a_cause_while_workers_and_broker_die(
    system: Transported, kinds: tuple[str, ...], request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]
) -> None:
    chaos, sender = Chaos(system, kinds), Sender(system)
    for worker in system.workers.values():
        worker.wait_until_says(" ready.")
    end = time.monotonic() + request.config.getoption("--chaos-seconds")
    sender.start()
    try:
        while time.monotonic() < end:
            time.sleep(random.uniform(0.2, 2.0))
            chaos.do()
    finally:
        sender.stop()
    chaos.heal()
    until(lambda: not any(system.waiting(name) for name in QUEUES.values()), system.said)
    # What is dead comes to the dead letter queue at a receive that nobody gets.
    dead = {letter["Body"] for letter in system.take_all(DEAD_LETTERS)}
    buried = {number for number, job in sender.sent.items() if any(job in body for body in dead)}
    found, by_number = system.found(), of_numbers(system.found(), sender.sent)
    logs = "\n".join(log.read_text() for log in system.folder.glob("worker-*.log"))
    said = "\n".join(line for line in logs.splitlines() if "lease" in line)
    repeated = {number: runs for number, runs in by_number.items() if len(runs) > 1 and number not in sender.doomed}
    causeless = [
        (run, again)
        for number, runs in repeated.items()
        for run, again in pairwise(runs)
        if not is_explained(run, again, chaos, sender.sent_ns[number], said)
    ]
    with capsys.disabled():
        sys.stdout.write(
            f"\n{len(chaos.deeds)} deeds ({', '.join(chaos.deeds)}): {len(sender.sent)} jobs, "
            f"{len(buried)} of them dead ({len(sender.doomed)} were doomed), {len(repeated)} ran more than once\n"
        )
    assert not_ended(found, sender.sent) - buried == set()
    assert sender.doomed - buried == set()
    assert not causeless, "\n".join(f"{run}\n{again}" for run, again in causeless)
    # A worker that was killed while it gave a message back leaves two, and each has its runs; a copy carries the count.
    assert all(run.attempt is not None and run.attempt <= RECEIVES_MAX for run in found)
    # A quiet run would prove nothing.
    assert len(chaos.deeds) >= 3
    assert len(found) > 100
