"""The engine against the model, over many random lives. `make sim` lives many more."""

import sys
from collections import Counter
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from life import Life
from lives import STEPS, block

from amply.broker.store.port import Store
from amply.broker.store.sqlite import SqliteStore

SEEDS = 2000
BLOCKS = 8  # a test each, so that no one takes minutes
SEEDS_ON_DISK = 6

MUST_BE_REACHED = {
    "a FIFO claim was lost to a claim",
    "a FIFO claim was lost to a receive",
    "a FIFO claim was won",
    "a FIFO message was shown again by who looked at it",
    "a change of visibility was refused: InvalidParameterValue",
    "a change of visibility was refused: MessageNotInflight",
    "a claim of a message that was on disk",
    "a claim of what is gone",
    "a claim of what was never received",
    "a claim was lost to a claim",
    "a claim was lost to a receive",
    "a claim was refused: InvalidParameterValue",
    "a claim was refused: MessageNotInflight",
    "a claim was refused: OverLimit",
    "a claim was won",
    "a claim was won after a restart",
    "a commit was refused",
    "a duplicate of a message long gone was recognised",
    "a duplicate was recognised",
    "a duplicate was recognised after a restart",
    "a lease past 12 hours was refused",
    "a message behind a locked group's backlog",
    "a message was looked up on disk",
    "a message was shown again by who looked at it",
    "a move task CANCELLED",
    "a move task COMPLETED",
    "a move task FAILED AWS.SimpleQueueService.NonExistentQueue",
    "a move task FAILED CouldNotDetermineMessageSource",
    "a move task RUNNING",
    "a parked poll was served",
    "a poll ended empty",
    "a queue was created anew",
    "a queue was looked at",
    "a queue was deleted while polls waited",
    "a queue was refused: InvalidParameterValueException",
    "a queue was refused: QueueDeletedRecently",
    "a receive was undone",
    "a send was refused: too many deduplication ids",
    "an attempt was answered again",
    "an attempt was answered again after a restart",
    "an empty answer at the cap of a FIFO queue",
    "an empty answer while locked groups have a backlog",
    "an expired receipt was refused",
    "contents were fetched from disk",
    "crashed",
    "crashed before a FIFO dead letter was durable",
    "crashed before a FIFO receive was durable",
    "crashed before a move was durable",
    "crashed in the middle of a move task",
    "expired",
    "moved to the FIFO dead letter queue",
    "moved to the dead letter queue",
    "purged",
    "purged with messages in flight",
    "quiet tenants' messages were looked for on disk",
    "refused at the in-flight cap",
    "several groups in one answer",
    "the clock jumped",
    "the delay changed while messages were delayed",
    "the scope of deduplication changed",
}


@pytest.mark.parametrize("number", range(BLOCKS))
def test_the_engine_does_what_the_model_says_whatever_happens(number: int) -> None:
    seeds = SEEDS // BLOCKS
    reached = block((number * seeds, seeds, STEPS))
    assert set(reached) >= MUST_BE_REACHED


@pytest.mark.parametrize("seed", range(SEEDS_ON_DISK))
def test_so_it_does_on_disk(seed: int, tmp_path: Path) -> None:
    stores: list[SqliteStore] = []

    def reopen() -> Store:
        if stores:
            stores[-1].close()
        stores.append(SqliteStore(tmp_path / "data", ballast_bytes=65_536))
        return stores[-1]

    try:
        Life(seed, reopen).live(STEPS)
    finally:
        stores[-1].close()


@pytest.mark.parametrize("seed", [1, 2])
def test_the_same_seed_lives_the_same_life(seed: int) -> None:
    lives: list[Life] = [Life(seed), Life(seed)]
    reached: list[Counter[str]] = []
    for life in lives:
        life.live(100)
        reached.append(life.reached)
    assert lives[0].model.messages == lives[1].model.messages
    assert reached[0] == reached[1]
