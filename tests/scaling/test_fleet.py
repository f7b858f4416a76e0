"""The fleet with real processes; the times that it decides by are moved by hand."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from amply.clock import ManualClock
from amply.scaling.fleet import COLD_STOP_MS, Fleet, Phase, Service
from amply.scaling.restarts import FIRST_DELAY_MS, STABLE_MS

# A bound against hanging, far above what anything here takes.
PATIENCE_S = 20.0

READY = "print('ready', flush=True)"
SLEEP = "import time; time.sleep(600)"


class Lines:
    """What the processes wrote, as it arrives."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, str]] = []
        self._changed = threading.Condition()

    def __call__(self, label: str, line: str) -> None:
        with self._changed:
            self.seen.append((label, line))
            self._changed.notify_all()

    def wait_for(self, label: str, line: str, times: int = 1) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: self.seen.count((label, line)) >= times, PATIENCE_S), self.seen

    def first(self, label: str, prefix: str) -> str:
        with self._changed:
            found: list[str] = []
            assert self._changed.wait_for(
                lambda: bool(found.extend(t for who, t in self.seen if who == label and t.startswith(prefix)) or found),
                PATIENCE_S,
            ), self.seen
            return found[0].removeprefix(prefix)


def python(*statements: str) -> tuple[str, ...]:
    return (sys.executable, "-c", "\n".join(statements))


def until(condition: Callable[[], bool], fleet: Fleet | None = None) -> None:
    """Let real processes get to where the test wants them; the fleet's own times do not move."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        if fleet is not None:
            fleet.tick()
        if condition():
            return
        assert time.monotonic() < deadline, "it never came to be"
        time.sleep(0.01)


def exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    # A killed grandchild stays a zombie until whoever adopted it looks.
    status = Path(f"/proc/{pid}/stat")
    try:
        return status.read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return not status.parent.parent.exists()


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def lines() -> Lines:
    return Lines()


@pytest.fixture
def start(clock: ManualClock, lines: Lines) -> Iterator[Callable[..., Fleet]]:
    started: list[Fleet] = []

    def _start(*services: Service) -> Fleet:
        fleet = Fleet(services, clock=clock, jitter=lambda: 1.0, on_line=lines)
        started.append(fleet)
        fleet.start()
        return fleet

    yield _start
    for fleet in started:
        fleet.close()


def test_a_service_runs_as_many_processes_as_declared_each_with_its_label(
    start: Callable[..., Fleet], lines: Lines
) -> None:
    fleet = start(
        Service(name="amply-worker-high", command=python(READY, SLEEP), count=2),
        Service(name="beat", command=python(READY, SLEEP)),
    )
    for label in ("amply-worker-high.1", "amply-worker-high.2", "beat"):
        lines.wait_for(label, "ready")
    states = fleet.states()
    assert [state.label for state in states] == ["amply-worker-high.1", "amply-worker-high.2", "beat"]
    assert {state.phase for state in states} == {Phase.RUNNING}
    assert len({state.pid for state in states}) == 3


def test_a_dead_process_is_started_again_after_its_delay_and_not_before(
    start: Callable[..., Fleet], lines: Lines, clock: ManualClock
) -> None:
    fleet = start(Service(name="w", command=python("print('hello')", "raise SystemExit(7)")))
    until(lambda: fleet.states()[0].phase is Phase.WAITING, fleet)
    state = fleet.states()[0]
    assert (state.last_exit_code, state.last_exit, state.last_words) == (7, "exit 7", ("hello",))
    assert state.restart_in_s == FIRST_DELAY_MS / 1000
    clock.advance(FIRST_DELAY_MS / 1000 - 0.001)
    fleet.tick()
    assert fleet.states()[0].starts == 1
    clock.advance(0.001)
    fleet.tick()
    assert fleet.states()[0].starts == 2
    lines.wait_for("w", "hello", times=2)


def test_a_crash_loop_slows_down_and_a_stable_minute_makes_it_quick_again(
    start: Callable[..., Fleet], lines: Lines, clock: ManualClock
) -> None:
    fleet = start(Service(name="w", command=python("import sys", READY, "sys.stdout.flush()", SLEEP)))
    delays = []
    for ran_s in (0, 1, 1, STABLE_MS / 1000):
        lines.wait_for("w", "ready", times=fleet.states()[0].starts)
        clock.advance(ran_s)
        pid = fleet.states()[0].pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        until(lambda: fleet.states()[0].phase is Phase.WAITING, fleet)
        delay_s = fleet.states()[0].restart_in_s
        assert delay_s is not None
        delays.append(delay_s)
        clock.advance(delay_s)
        fleet.tick()
    assert delays == [0.5, 1.0, 2.0, 0.5]
    assert fleet.states()[0].last_exit == "SIGKILL"


def test_a_command_that_does_not_exist_is_an_end_like_any_other(start: Callable[..., Fleet]) -> None:
    fleet = start(Service(name="w", command=("/nowhere/celery",)))
    state = fleet.states()[0]
    assert state.phase is Phase.WAITING
    assert state.last_exit_code == 127
    assert state.last_words == ("cannot start /nowhere/celery: No such file or directory",)


def test_a_stop_is_warm_first_and_reaches_the_leader_alone(
    start: Callable[..., Fleet], lines: Lines, tmp_path: Path
) -> None:
    child = (
        "import signal,time; signal.signal(15, lambda *_: print('child was signalled', flush=True)); time.sleep(600)"
    )
    fleet = start(
        Service(
            name="w",
            command=python(
                "import signal, subprocess, sys",
                f"child = subprocess.Popen([sys.executable, '-c', {child!r}])",
                "def warm(*_):",
                "    print('finishing', flush=True); child.kill(); child.wait(); raise SystemExit(0)",
                "signal.signal(signal.SIGTERM, warm)",
                READY,
                "signal.pause()",
            ),
        )
    )
    lines.wait_for("w", "ready")
    fleet.stop()
    until(fleet.is_stopped, fleet)
    assert fleet.states()[0].last_exit == "exit 0"
    assert [line for _, line in lines.seen] == ["ready", "finishing"]


def test_a_process_that_ignores_the_warm_stop_gets_the_cold_one_after_its_grace(
    start: Callable[..., Fleet], lines: Lines, clock: ManualClock
) -> None:
    fleet = start(
        Service(
            name="w",
            grace_s=30,
            command=python(
                "import signal, time",
                "signal.signal(signal.SIGTERM, lambda *_: print('not now', flush=True))",
                "signal.signal(signal.SIGQUIT, lambda *_: print('nor now', flush=True))",
                READY,
                "while True: time.sleep(1)",
            ),
        )
    )
    lines.wait_for("w", "ready")
    fleet.stop()
    lines.wait_for("w", "not now")
    clock.advance(29.999)
    fleet.tick()
    assert not fleet.is_stopped()
    clock.advance(0.001)
    fleet.tick()
    lines.wait_for("w", "nor now")
    assert fleet.states()[0].phase is Phase.STOPPING
    clock.advance(COLD_STOP_MS / 1000)
    until(fleet.is_stopped, fleet)
    assert fleet.states()[0].last_exit == "SIGKILL"


def test_a_second_interrupt_hastens_the_stop(start: Callable[..., Fleet], lines: Lines) -> None:
    fleet = start(
        Service(
            name="w",
            command=python(
                "import signal, time",
                "signal.signal(signal.SIGTERM, signal.SIG_IGN)",
                "signal.signal(signal.SIGQUIT, signal.SIG_IGN)",
                READY,
                "while True: time.sleep(1)",
            ),
        )
    )
    lines.wait_for("w", "ready")
    fleet.stop()
    fleet.hasten()
    assert not fleet.is_stopped()
    fleet.hasten()
    until(fleet.is_stopped, fleet)
    assert fleet.states()[0].last_exit == "SIGKILL"


def test_services_stop_one_by_one_while_the_others_are_still_watched(
    start: Callable[..., Fleet], lines: Lines, clock: ManualClock
) -> None:
    fleet = start(
        Service(name="worker", command=python(READY, SLEEP)), Service(name="broker", command=python(READY, SLEEP))
    )
    lines.wait_for("worker", "ready")
    lines.wait_for("broker", "ready")
    fleet.stop("worker")
    until(lambda: fleet.is_stopped("worker"), fleet)
    assert not fleet.is_stopped("broker")
    broker_pid = fleet.states()[1].pid
    assert broker_pid is not None
    os.kill(broker_pid, signal.SIGKILL)
    until(lambda: fleet.states()[1].phase is Phase.WAITING, fleet)
    clock.advance(FIRST_DELAY_MS / 1000)
    fleet.tick()
    lines.wait_for("broker", "ready", times=2)


def test_stopping_a_process_that_waits_for_its_restart_leaves_it_down(
    start: Callable[..., Fleet], clock: ManualClock
) -> None:
    fleet = start(Service(name="w", command=python("raise SystemExit(1)")))
    until(lambda: fleet.states()[0].phase is Phase.WAITING, fleet)
    fleet.stop()
    assert fleet.is_stopped()
    clock.advance(60)
    fleet.tick()
    assert fleet.states()[0].starts == 1


def test_what_a_dead_process_left_in_its_group_is_killed(start: Callable[..., Fleet], lines: Lines) -> None:
    fleet = start(
        Service(
            name="w",
            command=python(
                "import subprocess, sys, os, signal",
                f"child = subprocess.Popen([sys.executable, '-c', {SLEEP!r}])",
                "print('child', child.pid, flush=True)",
                "os.kill(os.getpid(), signal.SIGKILL)",
            ),
        )
    )
    child = int(lines.first("w", "child "))
    until(lambda: fleet.states()[0].phase is Phase.WAITING, fleet)
    until(lambda: not exists(child))


def test_nothing_that_the_fleet_did_not_start_is_signalled(start: Callable[..., Fleet], lines: Lines) -> None:
    stranger = subprocess.Popen([sys.executable, "-c", SLEEP])
    try:
        fleet = start(
            Service(
                name="w",
                command=python(
                    "import subprocess, sys",
                    f"child = subprocess.Popen([sys.executable, '-c', {SLEEP!r}], start_new_session=True)",
                    "print('own session', child.pid, flush=True)",
                    SLEEP,
                ),
            )
        )
        daemon = int(lines.first("w", "own session "))
        fleet.close()
        assert fleet.is_stopped()
        assert stranger.poll() is None
        # It left the group of its own accord: that is its author's business.
        assert exists(daemon)
        os.kill(daemon, signal.SIGKILL)
    finally:
        stranger.kill()
        stranger.wait()


def test_a_line_sink_that_fails_does_not_block_the_process(clock: ManualClock) -> None:
    def full_disk(label: str, line: str) -> None:
        raise OSError(28, "No space left on device")

    noisy = Service(name="w", command=python("for n in range(100_000): print('x' * 20, n)", "raise SystemExit(3)"))
    with Fleet([noisy], clock=clock, jitter=lambda: 1.0, on_line=full_disk) as fleet:
        fleet.start()
        until(lambda: fleet.states()[0].phase is Phase.WAITING, fleet)
        assert fleet.states()[0].last_exit_code == 3
        assert fleet.states()[0].last_words[-1].endswith(" 99999")


def test_an_endless_line_arrives_in_pieces(start: Callable[..., Fleet], lines: Lines) -> None:
    fleet = start(Service(name="w", command=python("import sys", "sys.stdout.write('y' * 40_000)")))
    until(lambda: fleet.states()[0].phase is Phase.WAITING, fleet)
    assert [len(line) for _, line in lines.seen] == [16_384, 16_384, 7_232]


def test_a_service_gets_the_environment_declared_for_it(start: Callable[..., Fleet], lines: Lines) -> None:
    start(Service(name="w", command=python("import os; print(os.environ['COLOUR'])"), environment={"COLOUR": "teal"}))
    lines.wait_for("w", "teal")
