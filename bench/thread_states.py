"""What the threads of another process do, seen from outside (Linux only): run, wait for a core, or wait for what.

From /proc: `schedstat` counts the time on a core and the time ready but without one, exactly; `syscall` says what a
blocked thread waits for, sampled. Looking costs the watched process nothing. Knows Linux and CPython's locks; does not
know Amply.
"""

import platform
import time
from collections import Counter
from pathlib import Path

from msgspec import Struct

ON_A_CORE = "on a core"
NO_CORE = "ready, no core free"
GIL = "waiting for the GIL"
LOCK = "waiting for a lock or queue"
SYNC = "syncing the disk"
IDLE = "waiting for sockets"
OTHER = "other"
STATES = (ON_A_CORE, NO_CORE, GIL, LOCK, SYNC, IDLE, OTHER)

_NUMBERS = {
    "x86_64": {"futex": {202}, "sync": {74, 75}, "poll": {7, 232, 270, 281, 441}},
    "aarch64": {"futex": {98}, "sync": {82, 83}, "poll": {22, 72, 73, 441}},
}


class ThreadShares(Struct, frozen=True, kw_only=True):
    """One thread: the share of the time in each of STATES. Together about 1: blocked states are sampled."""

    name: str
    shares: dict[str, float]


def watch(pid: int, seconds: float, *, interval_s: float = 0.002) -> list[ThreadShares]:
    """Watch the threads of a process; those that do nothing are left out. Empty where there is no such /proc."""
    numbers = _NUMBERS.get(platform.machine())
    folder = Path(f"/proc/{pid}/task")
    if numbers is None or not folder.exists():
        return []
    tasks = {task: (task / "comm").read_text(encoding="utf-8").strip() for task in sorted(folder.iterdir())}
    blocked: dict[Path, Counter[str]] = {task: Counter() for task in tasks}
    before = {task: _schedule_s(task) for task in tasks}
    started, samples = time.perf_counter(), 0
    while time.perf_counter() - started < seconds:
        for task in tasks:
            blocked[task][_state((task / "syscall").read_text(encoding="ascii"), numbers)] += 1
        samples += 1
        time.sleep(interval_s)
    took_s = time.perf_counter() - started
    watched = []
    for number, (task, name) in enumerate(tasks.items()):
        on_core_s, waited_s = (after - was for after, was in zip(_schedule_s(task), before[task], strict=True))
        shares = {state: blocked[task][state] / samples for state in STATES}
        shares[ON_A_CORE], shares[NO_CORE] = on_core_s / took_s, waited_s / took_s
        if number == 0 or on_core_s > 0.01 * took_s:
            watched.append(ThreadShares(name="event loop" if number == 0 else name, shares=shares))
    return watched


def _schedule_s(task: Path) -> tuple[float, float]:
    on_core_ns, waited_ns, _ = (task / "schedstat").read_text(encoding="ascii").split()
    return int(on_core_ns) / 1e9, int(waited_ns) / 1e9


def _state(line: str, numbers: dict[str, set[int]]) -> str:
    words = line.split()
    if words[0] in {"running", "-1"}:
        return ON_A_CORE
    number = int(words[0])
    if number in numbers["futex"]:
        # CPython waits for its GIL with a time limit (the fourth argument), and for a lock or a SimpleQueue without.
        return LOCK if words[4] == "0x0" else GIL
    if number in numbers["sync"]:
        return SYNC
    return IDLE if number in numbers["poll"] else OTHER
