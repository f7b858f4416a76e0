"""Backends as Celery makes them, each with its own app; time stands still until a test moves it."""

import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from celery import Celery

from amply.clock import ManualClock
from amply.results.sqlite import SqliteBackend


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "results.sqlite"


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def make_backend(path: Path, clock: ManualClock) -> Callable[..., SqliteBackend]:
    """A backend on the file, of an app with these settings; it sleeps by moving the clock."""

    def make(**conf: Any) -> SqliteBackend:
        app = Celery("results", set_as_current=False)
        app.conf.update(result_backend=f"amply+sqlite:///{path}", **conf)
        backend = SqliteBackend(app, url=f"sqlite:///{path}", clock=clock)
        backend._sleep = clock.advance
        app._backend = backend
        return backend

    return make


@pytest.fixture
def backend(make_backend: Callable[..., SqliteBackend]) -> SqliteBackend:
    return make_backend()


@pytest.fixture
def start() -> Iterator[Callable[..., "subprocess.Popen[str]"]]:
    """Start a Python process that runs this code with these arguments; it has ended when the test has."""
    running = []

    def start_one(code: str, *arguments: object) -> "subprocess.Popen[str]":
        command = [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        running.append(process)
        return process

    yield start_one
    for process in running:
        process.kill()
        process.communicate()
