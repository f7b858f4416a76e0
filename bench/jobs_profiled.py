"""`python -m bench.jobs_profiled FILE CELERY-ARGUMENTS`: Celery's command line, watched from a thread of its own.

The thread looks every two milliseconds at which function each thread of the main process stands in, and books there the
CPU time that the thread has used since. It needs the GIL to look, so that what gives the GIL away, sockets above all,
is seen a little too often. What comes before Celery's event loop does not count. The pool's children are not watched:
a fork takes only the thread that forks.
"""

import sys
import threading
import time
from collections import Counter, defaultdict
from pathlib import Path
from types import FrameType
from typing import Final

import msgspec
from celery.__main__ import main as celery
from msgspec import Struct

_INTERVAL_S: Final = 0.002
_SWITCH_S: Final = 0.0005
_LOOP: Final = "worker/loops.py asynloop"


class ThreadTimes(Struct, frozen=True, kw_only=True):
    """CPU seconds of a thread: all, by function, by function with what it called."""

    name: str
    cpu_s: float
    own_s: dict[str, float]
    with_callees_s: dict[str, float]


class JobsProfile(Struct, frozen=True):
    """The threads of one contender's main process, the busiest first."""

    name: str
    threads: list[ThreadTimes]


class _Watch(threading.Thread):
    def __init__(self) -> None:
        super().__init__(name="watch", daemon=True)
        self._ended = threading.Event()
        self._has_started = False
        self._used_ns: dict[int, int] = {}
        self._own: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self._with_callees: defaultdict[str, Counter[str]] = defaultdict(Counter)

    def run(self) -> None:
        while not self._ended.wait(_INTERVAL_S):
            self._look()

    def stop(self) -> list[ThreadTimes]:
        """What was seen."""
        self._ended.set()
        self.join()
        return [
            ThreadTimes(
                name=name,
                cpu_s=own.total() / 1e9,
                own_s=_seconds(own),
                with_callees_s=_seconds(self._with_callees[name]),
            )
            for name, own in sorted(self._own.items(), key=lambda pair: -pair[1].total())
        ]

    def _look(self) -> None:
        names = {thread.ident or 0: thread.name for thread in threading.enumerate() if thread is not self}
        frames = sys._current_frames()  # noqa: SLF001 - there is no other way to see them
        self._has_started = self._has_started or _LOOP in _stack(frames[threading.main_thread().ident or 0])
        for ident in names.keys() & frames.keys():
            used_ns = time.clock_gettime_ns(time.pthread_getcpuclockid(ident))
            spent_ns, self._used_ns[ident] = used_ns - self._used_ns.get(ident, used_ns), used_ns
            if spent_ns > 0 and self._has_started:
                stack = _stack(frames[ident])
                self._own[names[ident]][stack[0]] += spent_ns
                for function in dict.fromkeys(stack):
                    self._with_callees[names[ident]][function] += spent_ns


def _stack(frame: FrameType) -> list[str]:
    """The function, its caller and so on, up to Celery's loop or to the thread's beginning."""
    names: list[str] = []
    above: FrameType | None = frame
    while above is not None and (not names or names[-1] != _LOOP):
        path = Path(above.f_code.co_filename)
        names.append(f"{path.parent.name}/{path.name} {above.f_code.co_qualname}")
        above = above.f_back
    return names


def _seconds(counted_ns: Counter[str]) -> dict[str, float]:
    return {name: spent_ns / 1e9 for name, spent_ns in counted_ns.items()}


def main() -> None:
    """The times go to FILE as JSON when the worker ends."""
    path = Path(sys.argv.pop(1))
    sys.argv[0] = "celery"
    sys.setswitchinterval(_SWITCH_S)
    watch = _Watch()
    watch.start()
    try:
        celery()
    finally:
        path.write_bytes(msgspec.json.encode(watch.stop()))


if __name__ == "__main__":
    main()
