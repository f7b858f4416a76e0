"""What the figures were measured on: the machine, its disk, and the state of the code."""

import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path

import apsw
from msgspec import Struct

from bench import ROOT

_RECORD = b"x" * 512
_datasync = getattr(os, "fdatasync", os.fsync)  # macOS has none


class Spread(Struct, frozen=True):
    """Several rounds in three figures."""

    median: float
    least: float
    most: float


class Machine(Struct, frozen=True, kw_only=True):
    """`commit` ends with "+" if files differ from it."""

    cores: int
    cpu: str
    kernel: str
    python: str
    sqlite: str
    commit: str
    load_average: float


def spread(figures: Iterable[float]) -> Spread:
    """The median, smallest and largest."""
    ordered = sorted(figures)
    return Spread(statistics.median(ordered), ordered[0], ordered[-1])


def describe() -> Machine:
    """This machine, now."""
    return Machine(
        cores=os.cpu_count() or 0,
        cpu=_cpu(),
        kernel=f"{platform.system()} {platform.release()}",
        python=platform.python_version(),
        sqlite=apsw.sqlite_lib_version(),
        commit=_commit(),
        load_average=os.getloadavg()[0],
    )


def fsync_rate(folder: Path, seconds: float = 1.0) -> float:
    """How many times a second this disk keeps 512 more bytes for good: append, fdatasync, again."""
    path = folder / "fsync"
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    try:
        count, started = 0, time.perf_counter()
        while time.perf_counter() - started < seconds:
            os.write(descriptor, _RECORD)
            _datasync(descriptor)
            count += 1
        return count / (time.perf_counter() - started)
    finally:
        os.close(descriptor)
        path.unlink()


def python_start_s() -> float:
    """How long Python alone takes to start and end; the median of five."""
    return statistics.median(_timed([sys.executable, "-c", "pass"]) for _ in range(5))


def _timed(command: list[str]) -> float:
    started = time.perf_counter()
    subprocess.run(command, check=True)
    return time.perf_counter() - started


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")


def _commit() -> str:
    def git(*arguments: str) -> str:
        ended = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
        return ended.stdout.strip()

    return git("rev-parse", "--short=12", "HEAD") + ("+" if git("status", "--porcelain", "--", "src", "bench") else "")
