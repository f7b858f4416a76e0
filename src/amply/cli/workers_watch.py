"""Watching a fleet until somebody asks it to stop, telling what happens to its processes, and stopping it in order."""

import contextlib
import signal
import time
from collections.abc import Callable, Iterator
from types import FrameType

from amply import ids
from amply.cli import output
from amply.scaling.fleet import Fleet, Phase, ProcessState

LOOK_EVERY_S = 0.1


def jitter() -> float:
    """A random number from 0.0 to 1.0."""
    return int.from_bytes(ids.secret(4), "big") / 2**32


def tell(text: str) -> None:
    """Tell a person something, if one is still there: a closed terminal must not turn an orderly stop into a crash."""
    with contextlib.suppress(OSError):
        output.say(text)


class StopRequests:
    """How often somebody asked this process to stop: Ctrl-C, a supervisor, or a terminal that was closed."""

    def __init__(self) -> None:
        self.count = 0

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """Take the signals meanwhile; afterwards they mean again what they meant before."""

        def asked(_number: int, _frame: FrameType | None) -> None:
            self.count += 1

        numbers = [signal.SIGINT, signal.SIGTERM]
        # Under nohup, the terminal may go and this process stays.
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
            numbers.append(signal.SIGHUP)
        before = {number: signal.signal(number, asked) for number in numbers}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def drain(fleet: Fleet, asked: StopRequests, on_tick: Callable[[], None], *names: str, heard: int = 1) -> None:
    """Stop these services, all of them if none is named, warmly.

    `heard` requests to stop are what brought this about; every further one, now or before, hastens it by a step.
    """
    fleet.stop(*names)
    while not fleet.is_stopped(*names):
        if asked.count > heard:
            heard += 1
            fleet.hasten()
        time.sleep(LOOK_EVERY_S)
        fleet.tick()
        on_tick()


class News:
    """Tells what changed in a fleet since it was last asked."""

    def __init__(self) -> None:
        self._before: dict[str, ProcessState] = {}

    def of(self, states: list[ProcessState]) -> list[str]:
        """One sentence for each process that ended unasked or was killed for being slow to stop."""
        told = []
        for state in states:
            before = self._before.get(state.label)
            if before is not None:
                told += _change(before, state)
            self._before[state.label] = state
        return told


def _change(before: ProcessState, now: ProcessState) -> list[str]:
    if now.phase is Phase.WAITING and before.phase is not Phase.WAITING:
        return [f"{now.label} ended ({now.last_exit}); starting it again in {now.restart_in_s:.1f} s."]
    if before.phase is Phase.STOPPING and now.phase is Phase.STOPPED and now.last_exit == "SIGKILL":
        return [f"{now.label} did not stop when asked, and was killed."]
    return []
