"""A real broker process that can be killed and started again, and what watches it from outside."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

# The load clients are processes of their own and import the same modules.
sys.path.insert(0, str(Path(__file__).parent))

from broker_process import BrokerProcess


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., BrokerProcess]]:
    """Start a broker, by default on this test's own data folder; all are stopped in the end."""
    started: list[BrokerProcess] = []

    def start_broker(folder: Path = tmp_path / "data", within: tuple[str, ...] = ()) -> BrokerProcess:
        started.append(BrokerProcess(folder, within=within))
        return started[-1].start()

    yield start_broker
    for process in started:
        process.kill()
