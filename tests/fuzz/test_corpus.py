"""The stored inputs, and some made at random from them, without the fuzzer: what it found stays found."""

import random
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from targets import TARGETS
from world import check_caches

STORED = Path(__file__).parent / "corpus"
RANDOM_INPUTS = 800
CHANGES_MAX = 4


@pytest.mark.parametrize("target", TARGETS)
def test_every_stored_input_ends_well(target: str) -> None:
    inputs = sorted((STORED / target).iterdir())
    assert len(inputs) >= 3
    for path in inputs:
        try:
            TARGETS[target](path.read_bytes())
        except Exception as error:
            raise AssertionError(f"{path} fails") from error
    check_caches()


@pytest.mark.parametrize("target", TARGETS)
def test_inputs_changed_at_random_end_well(target: str) -> None:
    dice = random.Random(f"1 {target}")
    stored = [path.read_bytes() for path in sorted((STORED / target).iterdir())]
    words = _words()
    for _ in range(RANDOM_INPUTS):
        data = _changed(dice, stored, words)
        try:
            TARGETS[target](data)
        except Exception as error:
            raise AssertionError(f"{data!r} fails") from error
    check_caches()


def _words() -> list[bytes]:
    lines = (STORED.parent / "words.dict").read_text().splitlines()
    return [line[1:-1].encode().decode("unicode_escape").encode("latin-1") for line in lines if line.startswith('"')]


def _changed(dice: random.Random, stored: list[bytes], words: list[bytes]) -> bytes:
    """A stored input with bytes replaced, words put in, parts taken out, or another input's end."""
    data = dice.choice(stored)
    changes: list[Callable[[int, int], bytes]] = [
        lambda start, end: data[:start] + dice.choice(words) + data[start:],
        lambda start, end: data[:start] + dice.choice(words) + data[end:],
        lambda start, end: data[:start] + data[end:],
        lambda start, end: data[:start] + dice.randbytes(min(end - start, 3)) + data[start + 1 :],
        lambda start, end: data[:end] + data[start:],
        lambda start, end: data[:start] + dice.choice(stored)[start:],
    ]
    for _ in range(dice.randint(1, CHANGES_MAX)):
        start, end = sorted((dice.randint(0, len(data)), dice.randint(0, len(data))))
        data = dice.choice(changes)(start, end)
    return data
