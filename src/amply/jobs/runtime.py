"""What the tasks of this process work with: the clock, the store, the data folder, the name lookup. The seam of tests.

Tasks are called by Celery with their arguments only, so this module is where everything else is handed in.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Engine

from amply import settings
from amply.clock import Clock, SystemClock
from amply.jobs.posting import POST_LIMITS, Limits, Resolve, resolve_by_system
from amply.jobs.records import open_store


@dataclass(frozen=True)
class Runtime:
    """`data` is the folder that reports go into; `resolve` and `limits` bound what a webhook may reach and take."""

    clock: Clock
    engine: Engine
    data: Path
    resolve: Resolve = resolve_by_system
    limits: Limits = POST_LIMITS


_open: tuple[int, Runtime] | None = None


def current() -> Runtime:
    """This process's runtime, opened from the settings on first use.

    Made anew after a fork: a database connection must not be shared with the parent.
    """
    global _open  # noqa: PLW0603 - one per process is the point
    if _open is None or _open[0] != os.getpid():
        if _open is not None:
            _open[1].engine.dispose(close=False)
        _open = (os.getpid(), _from_settings())
    return _open[1]


@contextmanager
def replaced(runtime: Runtime) -> Iterator[Runtime]:
    """Let the tasks work with this runtime meanwhile."""
    global _open  # noqa: PLW0603
    before, _open = _open, (os.getpid(), runtime)
    try:
        yield runtime
    finally:
        _open = before


def _from_settings() -> Runtime:
    found = settings.read()
    return Runtime(clock=SystemClock(), engine=open_store(found.database_url), data=found.data)
