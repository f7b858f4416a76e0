"""`python -m bench.profiled FILE broker ...`: the amply command line with a sampling profiler of its event loop.

A timer of CPU time interrupts the process; where the main thread then stands is one sample. CPython handles a signal
between two instructions, so that the time in C code counts for the line that called it, and the time in uvloop for
"uvloop and the kernel" or for the first line that it calls next. Costs about 1 % where a tracing profiler doubles the
price of a call and so shows small functions too large.
"""

import signal
import sys
import time
from collections import Counter
from pathlib import Path
from types import FrameType

import msgspec
from msgspec import Struct

from amply.cli.main import run

_INTERVAL_S = 0.001  # of CPU time; the kernel makes it at least one of its ticks
_LOOP = "uvloop and the kernel"


class Samples(Struct, frozen=True):
    """How often the event loop's thread was seen in a function, on a line, and in a function or what it called."""

    total: int
    own: dict[str, int]
    lines: dict[str, int]
    with_callees: dict[str, int]


class _Sampler:
    def __init__(self) -> None:
        self._own: Counter[str] = Counter()
        self._lines: Counter[str] = Counter()
        self._with_callees: Counter[str] = Counter()
        self._seen_s = 0.0

    def start(self) -> None:
        signal.signal(signal.SIGPROF, self._sample)
        signal.setitimer(signal.ITIMER_PROF, _INTERVAL_S, _INTERVAL_S)

    def stop(self) -> Samples:
        signal.setitimer(signal.ITIMER_PROF, 0)
        return Samples(self._own.total(), dict(self._own), dict(self._lines), dict(self._with_callees))

    def _sample(self, _: int, frame: FrameType | None) -> None:
        # The timer counts all threads. This one is meant only if it has itself used the CPU since the last time.
        now_s = time.thread_time()
        used_s, self._seen_s = now_s - self._seen_s, now_s
        if frame is None or used_s < _INTERVAL_S / 2:
            return
        name = _name(frame)
        names, above = {name}, frame.f_back
        while above is not None:
            names.add(_name(above))
            above = above.f_back
        if _LOOP not in names:  # still starting
            return
        self._own[name] += 1
        self._lines[f"{name}:{frame.f_lineno}"] += 1
        self._with_callees.update(names)


def _name(frame: FrameType) -> str:
    code = frame.f_code
    path = Path(code.co_filename)
    if "uvloop" in path.parts or path.name == "runners.py":
        return _LOOP
    return f"{path.parent.name}/{path.name} {code.co_qualname}"


def main() -> int:
    """The samples go to FILE as JSON when the command ends."""
    sampler = _Sampler()
    sampler.start()
    try:
        return run(sys.argv[2:])
    finally:
        Path(sys.argv[1]).write_bytes(msgspec.json.encode(sampler.stop()))


if __name__ == "__main__":
    sys.exit(main())
