"""What the processes of `python -m bench jobs` tell each other: plans, outcomes, and the times at which jobs ran."""

import time
from pathlib import Path
from typing import Any, Final, Literal

from msgspec import Struct

PLAN_VARIABLE: Final = "AMPLY_BENCH_JOBS"
STAMP_BYTES: Final = 8

Way = Literal["single", "batch"]


class AppPlan(Struct, frozen=True):
    """Celery's settings, and the file that every run of the task adds its stamp to."""

    settings: dict[str, Any]
    stamps: str


class PublishPlan(Struct, frozen=True, kw_only=True):
    """First `warm_jobs` that do not count, then `jobs`; `queues` take turns. `way` "batch" is for our transport alone.

    `interval_s` is from one job to the next; with 0 they go as fast as they can.
    """

    warm_jobs: int
    jobs: int
    queues: list[str]
    way: Way = "single"
    interval_s: float = 0.0


class Published(Struct, frozen=True, kw_only=True):
    """`sent_s` says when the sending of each job began (monotonic clock), if they went at intervals."""

    jobs: int
    elapsed_s: float
    cpu_s: float
    sent_s: list[float]


def stamp() -> bytes:
    """Now, as STAMP_BYTES bytes."""
    return time.monotonic_ns().to_bytes(STAMP_BYTES, "little")


def stamps_s(path: Path) -> list[float]:
    """When the jobs ran, in order, in seconds of this machine's monotonic clock (the same one in every process)."""
    data = path.read_bytes()
    return sorted(
        int.from_bytes(data[at : at + STAMP_BYTES], "little") / 1e9
        for at in range(0, len(data) - STAMP_BYTES + 1, STAMP_BYTES)
    )
