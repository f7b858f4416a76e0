"""The engine against the model, over many random lives."""

import sys
from collections import Counter
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from simulation import Simulation

from amply.broker.engine.window import Window

SEEDS = 250
STEPS = 300

MUST_BE_REACHED = {
    "a message was looked up on disk",
    "a parked poll was served",
    "a poll ended empty",
    "a receive was undone",
    "crashed",
    "expired",
    "moved to the dead letter queue",
    "purged",
    "refused at the in-flight cap",
    "the clock jumped",
}


@pytest.fixture(autouse=True)
def no_second_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    """In production, a window whose cursor and count disagree is read again from the start. It never has to be."""

    def start_again(window: Window) -> None:
        raise AssertionError("a ready message was left behind the cursor")

    monkeypatch.setattr(Window, "start_again", start_again)


def test_the_engine_does_what_the_model_says_whatever_happens() -> None:
    reached: Counter[str] = Counter()
    for seed in range(SEEDS):
        simulation = Simulation(seed)
        simulation.live(STEPS)
        reached += simulation.reached
    assert set(reached) >= MUST_BE_REACHED


@pytest.mark.parametrize("seed", [1, 2])
def test_the_same_seed_lives_the_same_life(seed: int) -> None:
    one, other = Simulation(seed), Simulation(seed)
    one.live(100)
    other.live(100)
    assert one.model.messages == other.model.messages
    assert one.reached == other.reached
