"""What the contract's tests share. Celery 5.6's environment imports it too, so it needs only that and Celery."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from celery import _state

# The second has what starts processes.
sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(1, str(Path(__file__).parents[1] / "celery"))

from recording import Consuming


@pytest.fixture(autouse=True)
def _not_in_a_worker() -> Iterator[None]:
    """A worker's pool notes for its whole process that results must not be waited for."""
    yield
    _state._set_task_join_will_block(False)


@pytest.fixture
def consuming() -> Iterator[Consuming]:
    """A worker's consumer. Declare the tasks on its `app`, then `start` it."""
    consuming = Consuming()
    yield consuming
    consuming.stop()
