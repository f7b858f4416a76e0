"""A fleet that is killed hard takes its processes with it."""

import io
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from amply.scaling.lifeline import Lifeline, end, listen

PATIENCE_S = 20.0

# A fleet with one polite process, one that ignores SIGTERM, and grandchildren of both.
FLEET = """
import sys, time
from amply.clock import SystemClock
from amply.scaling.fleet import Fleet, Service
from amply.scaling import lifeline
lifeline.GRACE_S = 0.5
child = (
    "import signal, subprocess, sys, time\\n"
    "if sys.argv[1] == 'stubborn': signal.signal(signal.SIGTERM, signal.SIG_IGN)\\n"
    "other = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\\n"
    "print(sys.argv[1], other.pid, flush=True)\\n"
    "time.sleep(600)\\n"
)
services = [Service(name=name, command=(sys.executable, "-c", child, name)) for name in ("polite", "stubborn")]
fleet = Fleet(services, clock=SystemClock(), jitter=lambda: 1.0, on_line=lambda _, line: print(line, flush=True))
fleet.start()
print("leaders", *[state.pid for state in fleet.states()], flush=True)
while True:
    fleet.tick()
    time.sleep(0.05)
"""


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return not Path("/proc").exists()


def wait_gone(*pids: int) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while any(alive(pid) for pid in pids):
        assert time.monotonic() < deadline, f"still there: {[pid for pid in pids if alive(pid)]}"
        time.sleep(0.02)


@contextmanager
def sleeper(*, ignores_sigterm: bool = False) -> Iterator[subprocess.Popen[bytes]]:
    ignore = "signal.signal(signal.SIGTERM, signal.SIG_IGN);" if ignores_sigterm else ""
    process = subprocess.Popen(
        [sys.executable, "-c", f"import signal, time; {ignore} print('ready', flush=True); time.sleep(600)"],
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    with process:
        assert process.stdout is not None
        process.stdout.readline()
        try:
            yield process
        finally:
            process.kill()


def test_killing_the_fleet_hard_ends_its_processes_and_theirs() -> None:
    with subprocess.Popen([sys.executable, "-c", FLEET], stdout=subprocess.PIPE, text=True) as fleet:
        assert fleet.stdout is not None
        pids: list[int] = []
        for _ in range(3):
            pids += [int(word) for word in fleet.stdout.readline().split()[1:]]
        assert len(pids) == 4
        assert all(alive(pid) for pid in pids)
        fleet.send_signal(signal.SIGKILL)
        fleet.wait()
        wait_gone(*pids)


def test_only_groups_that_are_still_held_are_left_to_end() -> None:
    assert listen(io.StringIO("+10\n+11\n-10\n+12\n")) == {11, 12}


def test_a_word_cut_short_by_the_death_of_the_fleet_names_nobody() -> None:
    assert listen(io.StringIO("+10\n+112")) == {10}


def test_a_leader_that_ignores_sigterm_is_killed_after_the_grace() -> None:
    with sleeper(ignores_sigterm=True) as stubborn, sleeper() as polite:
        end({stubborn.pid, polite.pid}, grace_s=0.3)
        assert polite.wait(PATIENCE_S) == -signal.SIGTERM
        assert stubborn.wait(PATIENCE_S) == -signal.SIGKILL


def test_a_listener_that_was_killed_is_replaced_and_knows_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    # Nobody reaps the two here before the listener looks, so it waits for all of its grace.
    monkeypatch.setattr("amply.scaling.lifeline.GRACE_S", 0.2)
    lifeline = Lifeline()
    with sleeper() as first, sleeper() as second:
        lifeline.hold(first.pid)
        listener = lifeline._process
        assert listener is not None
        listener.kill()
        listener.wait()
        lifeline.hold(second.pid)
        lifeline.close()
        assert first.wait(PATIENCE_S) == -signal.SIGTERM
        assert second.wait(PATIENCE_S) == -signal.SIGTERM


def test_a_released_group_outlives_the_fleet() -> None:
    lifeline = Lifeline()
    with sleeper() as process:
        lifeline.hold(process.pid)
        lifeline.release(process.pid)
        lifeline.close()
        assert process.poll() is None
