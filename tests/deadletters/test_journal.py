"""A journal tells after a kill how far each letter was."""

import os
import stat
from contextlib import contextmanager

import pytest

from amply.deadletters import journal as journals
from amply.deadletters.gateway import RefusedError
from amply.deadletters.journal import Asked, Journal
from amply.deadletters.matching import Match
from amply.errors import AmplyError

ASKED = Asked(verb="redrive", match=Match(task="mails.*", ids=("a",)), started_ms=7, to="jobs", rate=2.5)


@contextmanager
def killed(folder):
    """A journal whose process is killed at the end of the block."""
    journal = Journal(folder, "dead").__enter__()
    yield journal
    journal.__exit__(KeyboardInterrupt, None, None)


def begun(folder):
    """The journal of a run that was killed with a letter in each stage."""
    with killed(folder) as journal:
        journal.start(ASKED)
        journal.take([(message_id, f"handle of {message_id}") for message_id in "abcd"])
        journal.begin([("b", "job b"), ("c", None), ("d", None)])
        journal.send([("c", "new c"), ("d", "new d")])
        journal.finish(["d"])
    return folder / "redrives" / "dead.jsonl"


def test_after_a_kill_it_tells_what_was_asked_and_how_far_each_letter_was(tmp_path):
    begun(tmp_path)
    with Journal(tmp_path, "dead") as journal:
        assert journal.asked == ASKED
        assert {stage: list(journal.of(stage)) for stage in ("taken", "begun", "sent")} == {
            "taken": ["a"],
            "begun": ["b"],
            "sent": ["c"],
        }
        assert journal.entries["b"].handle == "handle of b"
        assert journal.entries["b"].job_id == "job b"


def test_every_cut_of_the_file_can_be_read_and_is_mended(tmp_path, monkeypatch):
    monkeypatch.setattr("os.fsync", lambda _: None)
    path = begun(tmp_path)
    whole = path.read_bytes()
    for size in range(len(whole)):
        path.write_bytes(whole[:size])
        with Journal(tmp_path, "dead") as journal:
            lines = whole[:size].count(b"\n")
            assert (journal.asked is None) == (lines == 0)
            assert len(journal.entries) == [0, 0, 4, 4, 4, 3][lines]
            if lines:
                journal.leave(["a"])
        with Journal(tmp_path, "dead") as journal:
            assert "a" not in journal.entries


def test_a_damaged_line_in_the_middle_is_named(tmp_path):
    path = begun(tmp_path)
    lines = path.read_bytes().splitlines(keepends=True)
    for damage in (b"{}}\n", b'{"begun":[["unknown",null]]}\n', b"\xff\n"):
        path.write_bytes(b"".join([lines[0], damage, *lines[2:]]))
        with pytest.raises(AmplyError, match=r"dead\.jsonl is damaged in line 2"), Journal(tmp_path, "dead"):
            pass
    path.write_bytes(b"".join(lines))
    with Journal(tmp_path, "dead") as journal:
        assert journal.asked == ASKED, "and nothing of it is kept locked, or lost"


def test_only_one_process_has_it_and_the_other_names_that_one(tmp_path):
    with (
        Journal(tmp_path, "dead"),
        pytest.raises(RefusedError, match=rf"queue dead is being worked on by another amply \(pid {os.getpid()}\)"),
        Journal(tmp_path, "dead"),
    ):
        pass
    with Journal(tmp_path, "dead"), Journal(tmp_path, "other"):
        pass


def test_after_a_run_that_ended_nothing_is_left_but_what_is_still_to_be_deleted(tmp_path):
    begun(tmp_path)
    with Journal(tmp_path, "dead") as journal:
        journal.start(ASKED)
        journal.leave(["a", "b"], doubtful=[("b", "job b")])
        journal.end()
    with Journal(tmp_path, "dead") as journal:
        assert (list(journal.entries), journal.doubtful) == (["c"], {})
        journal.finish(["c"])
        journal.end()
    assert not (tmp_path / "redrives" / "dead.jsonl").exists()


def test_a_letter_that_is_begun_twice_is_doubtful_until_that_was_told(tmp_path):
    with killed(tmp_path) as journal:
        journal.start(ASKED)
        journal.take([("a", "h")])
        journal.begin([("a", "job")])
        assert journal.doubtful == {}
        journal.begin([("a", "job")])
        journal.send([("a", "new")])
        journal.finish(["a"])
    with Journal(tmp_path, "dead") as journal:
        assert journal.doubtful == {"a": "job"}
        journal.start(ASKED)
        journal.end()
    with Journal(tmp_path, "dead") as journal:
        assert (journal.asked, journal.doubtful) == (None, {})


def test_it_stays_small_however_long_a_run_is(tmp_path, monkeypatch):
    monkeypatch.setattr(journals, "COMPACT_BYTES", 2000)
    with Journal(tmp_path, "dead") as journal:
        journal.start(ASKED)
        journal.take([("open", "h"), ("twice", "h")])
        journal.begin([("open", None), ("twice", None)])
        journal.begin([("twice", None)])
        for number in range(200):
            journal.take([(f"m-{number}", "h" * 100)])
            journal.begin([(f"m-{number}", None)])
            journal.send([(f"m-{number}", "new")])
            journal.finish([f"m-{number}"])
            assert (tmp_path / "redrives" / "dead.jsonl").stat().st_size < 4000
        assert list(journal.of("begun")) == ["open", "twice"]
        assert journal.doubtful == {"twice": None}


def test_what_is_about_to_be_sent_is_on_the_disk_first(tmp_path, monkeypatch):
    synced = []
    with Journal(tmp_path, "dead") as journal:
        journal.start(ASKED)
        path = tmp_path / "redrives" / "dead.jsonl"
        monkeypatch.setattr("os.fsync", lambda _: synced.append(path.read_bytes().count(b"\n")))
        journal.take([("a", "h")])
        assert synced == []
        journal.begin([("a", None)])
        assert synced == [3]


def test_only_its_owner_can_read_it(tmp_path):
    path = begun(tmp_path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_disk_that_is_full_is_told_and_nothing_of_the_line_stays(tmp_path, monkeypatch):
    def full(descriptor, data, offset):
        os.write(descriptor, b"half")
        raise OSError(28, "No space left on device")

    path = begun(tmp_path)
    with killed(tmp_path) as journal, monkeypatch.context() as patch:
        patch.setattr("os.pwrite", full)
        with pytest.raises(AmplyError, match="No space left"):
            journal.leave(["a"])
    assert path.read_bytes().endswith(b"\n")
    with Journal(tmp_path, "dead") as journal:
        assert set(journal.entries) == {"a", "b", "c"}


@pytest.mark.parametrize("name", ["../dead", "", "a/b", "dead.fifo.fifo", "a" * 81])
def test_what_is_no_queues_name_is_no_files_name(tmp_path, name):
    with pytest.raises(AmplyError, match="no queue of SQS"):
        Journal(tmp_path, name)
