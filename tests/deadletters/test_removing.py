"""Nothing is deleted that is not in the archive, whatever is killed and when."""

import sys
from pathlib import Path

import pytest

from amply.clock import ManualClock, SystemClock
from amply.deadletters.archive import Archive, read
from amply.deadletters.journal import Asked, Journal
from amply.deadletters.matching import Match
from amply.deadletters.moving import Moving
from amply.deadletters.removing import Removing

sys.path.insert(0, str(Path(__file__).parent))
from pretend import Killed, Life, NoCauses, PretendGateway, PretendJournal, PretendSqs

LETTERS = 12


def asked(path):
    return Asked(verb="rm", match=Match(), started_ms=0, archive=str(path))


class PretendArchive(Archive):
    """An archive whose process can be killed before, within and after it adds letters."""

    def __init__(self, *where, life):
        super().__init__(*where)
        self._life = life

    def add(self, letters):
        self._life.step("add")
        try:
            self._life.step("half of them")
        except Killed:
            super().add(letters[: len(letters) // 2])
            raise
        super().add(letters)
        self._life.step("added")


def remove(sqs, folder, life):
    gateway = PretendGateway(sqs, life)
    queue = gateway.queue(f"dead{sqs.suffix}")
    path = folder / "archive.jsonl"
    try:
        with (
            PretendJournal(folder, queue.name, life=life) as journal,
            PretendArchive(path, queue.name, life=life) as archive,
        ):
            target = Removing(archive)
            moving = Moving(gateway, queue, journal, target, clock=sqs.clock, threads=1)
            return moving.run(asked(path), NoCauses())
    except Killed:
        return None


def kept(path):
    return [one.body for _, one in read(path)] if path.exists() else []


@pytest.mark.parametrize("is_fifo", [False, True], ids=["standard", "FIFO"])
@pytest.mark.parametrize("peeks", [True, False], ids=["looked at", "received"])
def test_a_letter_is_in_the_queue_or_in_the_archive_at_every_step(tmp_path, monkeypatch, is_fifo, peeks):
    monkeypatch.setattr("os.fsync", lambda _: None)

    def letters():
        sqs = PretendSqs(ManualClock(), is_fifo=is_fifo, peeks=peeks)
        sqs.die(LETTERS)
        return sqs

    whole = Life()
    outcome = remove(letters(), tmp_path, whole)
    assert (outcome.moved, outcome.possible_duplicates) == (LETTERS, [])
    everything = set(map(str, range(LETTERS)))
    for steps in range(len(whole.taken)):
        sqs, folder = letters(), tmp_path / str(steps)
        folder.mkdir()
        assert remove(sqs, folder, Life(steps)) is None
        path = folder / "archive.jsonl"
        assert set(kept(path)) | set(sqs.bodies("dead")) == everything
        remove(sqs, folder, Life())
        sqs.clock.advance(301)
        outcome = remove(sqs, folder, Life())
        assert outcome.doubtful == 0
        assert sqs.bodies("dead") == []
        assert sorted(kept(path)) == sorted(everything), "and each once"


def test_an_archive_that_cannot_be_written_keeps_every_letter(tmp_path, monkeypatch):
    sqs = PretendSqs(ManualClock(), is_fifo=False, peeks=True)
    sqs.die(3)
    gateway = PretendGateway(sqs)

    def full(_):
        raise OSError(28, "No space left on device")

    with (
        Journal(tmp_path, "dead") as journal,
        Archive(tmp_path / "a.jsonl", "dead") as archive,
        monkeypatch.context() as patch,
    ):
        run = Moving(gateway, gateway.queue("dead"), journal, Removing(archive), clock=sqs.clock)
        patch.setattr(archive._lines, "sync", lambda: full(None))
        with pytest.raises(OSError, match="No space"):
            run.run(asked(archive.path), NoCauses())
    assert len(sqs.bodies("dead")) == 3


def test_real_letters_are_removed(place, tmp_path):
    place.die(*map(str, range(23)))
    path = tmp_path / "a.jsonl"
    with Journal(tmp_path, "dead") as journal, Archive(path, "dead") as archive:
        run = Moving(place.gateway, place.queue, journal, Removing(archive), clock=SystemClock())
        outcome = run.run(asked(path), NoCauses())
    assert (outcome.moved, outcome.destinations) == (23, {str(path): 23})
    assert place.count() == (0, 0)
    assert sorted(kept(path), key=int) == list(map(str, range(23)))
