"""What is known of failures survives, is found by message and by job, and stays within its bounds."""

import stat
import subprocess
import sys
import threading
from pathlib import Path

import apsw
import pytest

from amply.deadletters import failures as room
from amply.deadletters.failures import KEPT_MS, TOLD_MAX, Failures, FailuresFault

sys.path.insert(0, str(Path(__file__).parent))
from causes_raised import NOW_MS, failure

HERE = Path(__file__).parent
DAY_MS = 86_400_000


@pytest.fixture
def path(tmp_path):
    return tmp_path / "data" / "failures.sqlite"


@pytest.fixture
def failures(path):
    opened = Failures(path)
    yield opened
    opened.close()


def cause(failures, message_id="message-1", job_id=None):
    return failures.causes([(message_id, job_id)])[0]


def test_a_file_that_is_missing_is_an_empty_one_and_looking_does_not_make_it(failures, path):
    assert failures.causes([("message-1", "job-1"), ("", None)]) == [None, None]
    assert failures.history("message-1", "job-1") == []
    assert failures.traceback("0" * 12) is None
    assert failures.counts() == (0, 0)
    assert not path.parent.exists()


def test_the_last_failure_of_a_message_is_its_cause_whatever_came_last(failures):
    last = failure(attempt=5, again_in_s=None, message="the end")
    failures.add([failure(attempt=4), last, failure(attempt=3)], NOW_MS)
    failures.add([failure(attempt=1), failure(attempt=2), failure(2)], NOW_MS)
    found = cause(failures)
    assert (found.reason, found.exception, found.message) == ("raised", "ValueError", "the end")
    assert (found.worker, found.attempt, found.receive_count) == ("high@host-a 42", 5, 5)
    assert (found.at_ms, found.is_last, found.failures) == (last.timestamp_ms, True, 5)
    assert failures.traceback(found.kind) == last.traceback


def test_a_message_of_which_nothing_is_known_has_the_cause_of_its_job(failures):
    failures.add([failure(attempt=1), failure(attempt=2, message_id="before", message="of the job")], NOW_MS)
    assert cause(failures, "after", "job-1").message == "of the job"
    assert cause(failures, "after", "job-1").failures == 2
    assert cause(failures, "message-1", "job-1").message == "no 1"
    assert [cause(failures, "after", job) for job in ("job-2", "message-1", "", None)] == [None] * 4


def test_causes_come_in_the_order_of_their_keys(failures):
    failures.add([failure(number) for number in range(50)], NOW_MS)
    keys = [(f"message-{number}", None) for number in (7, 99, 3, 7)]
    assert [found and found.message for found in failures.causes(keys)] == ["no 7", None, "no 3", "no 7"]


def test_a_record_that_names_no_message_or_no_job_has_nothing_in_common_with_others(failures):
    failures.add([failure(message_id="", message="of a job"), failure(id="", message="of a message")], NOW_MS)
    assert failures.history("", None) == failures.history("", "") == []
    assert [cause(failures, "", job) for job in ("", None)] == [None, None]
    assert cause(failures, "", "job-1").message == "of a job"
    assert cause(failures, "message-1").message == "of a message"


def test_a_worker_that_names_no_node_is_called_by_its_machine(failures):
    failures.add([failure(nodename="")], NOW_MS)
    assert cause(failures).worker == "host-a 42"


def test_what_is_known_already_changes_nothing(failures):
    records = [failure(attempt=attempt) for attempt in (1, 2, 3)]
    for _ in range(3):
        failures.add(records, NOW_MS)
    assert failures.counts() == (3, 1)
    assert cause(failures).failures == 3
    assert failures.history("message-1", "job-1") == records


def test_a_history_is_of_the_message_and_its_job_and_begins_with_the_oldest(failures):
    mine = [failure(attempt=attempt, message_id=f"copy-{attempt}") for attempt in (1, 2, 3)]
    jobless = failure(attempt=4, message_id="copy-3", id="")
    failures.add([jobless, failure(2), *reversed(mine)], NOW_MS)
    assert failures.history("copy-3", "job-1") == [*mine, jobless]
    assert failures.history("copy-3", None) == [mine[2], jobless]


def test_a_history_ends_with_the_last_and_has_a_bound(failures):
    failures.add([failure(attempt=attempt) for attempt in range(1, TOLD_MAX + 6)], NOW_MS)
    assert [told.attempt for told in failures.history("message-1", "job-1")] == list(range(6, TOLD_MAX + 6))
    assert cause(failures).failures == TOLD_MAX + 5


def test_a_traceback_is_kept_once_for_each_kind(failures):
    same = [failure(number, traceback=f"the one of {number}") for number in (1, 2, 3)]
    failures.add([*same, failure(4, exception="KeyError", traceback="another")], NOW_MS)
    assert failures.counts() == (4, 2)
    assert [told.traceback for told in failures.history("message-3", None)] == ["the one of 1"]
    assert failures.traceback(cause(failures, "message-4").kind) == "another"


def test_what_was_added_outlives_a_kill(path):
    program = """
import os, signal, sys
from pathlib import Path
from causes_raised import NOW_MS, failure
from amply.deadletters.failures import Failures
Failures(Path(sys.argv[1])).add([failure(number) for number in range(10)], NOW_MS)
os.kill(os.getpid(), signal.SIGKILL)
"""
    ran = subprocess.run([sys.executable, "-c", program, str(path)], cwd=HERE, check=False)
    assert ran.returncode == -9
    assert Failures(path).counts() == (10, 1)


def test_only_its_owner_may_read_what_jobs_said(failures, path):
    failures.add([failure()], NOW_MS)
    modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}
    assert modes == {f"failures.sqlite{suffix}": 0o600 for suffix in ("", "-wal", "-shm")}
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_processes_and_threads_write_and_read_at_once(path, failures):
    program = """
import sys
from pathlib import Path
from causes_raised import NOW_MS, failure
from amply.deadletters.failures import Failures
failures, first = Failures(Path(sys.argv[1])), int(sys.argv[2])
for number in range(first, first + 50):
    failures.add([failure(number), failure(0)], NOW_MS)
    assert failures.causes([(f"message-{number}", None)])[0].failures == 1
"""
    command = [sys.executable, "-c", program, str(path)]
    processes = [subprocess.Popen([*command, str(first)], cwd=HERE) for first in (1000, 2000)]

    def write(first):
        for number in range(first, first + 50):
            failures.add([failure(number)], NOW_MS)

    threads = [threading.Thread(target=write, args=[first]) for first in (3000, 4000)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [process.wait(60) for process in processes] == [0, 0]
    assert failures.counts() == (201, 1)


def test_the_oldest_go_when_their_dead_letters_are_gone(failures):
    failures.add([failure(number) for number in (1, 2, 3)], NOW_MS)
    failures.add([failure(4, exception="KeyError")], NOW_MS + DAY_MS)
    failures.add([failure(5, exception="KeyError")], NOW_MS + KEPT_MS + 1)
    assert failures.causes([(f"message-{number}", f"job-{number}") for number in (1, 2, 3)]) == [None] * 3
    assert failures.counts() == (2, 1)
    assert cause(failures, "message-4").exception == "KeyError"


def test_the_oldest_go_when_there_are_too_many(failures, monkeypatch):
    monkeypatch.setattr(room, "FAILURES_MAX", 10)
    monkeypatch.setattr(room, "KINDS_MAX", 3)
    for number in range(30):
        failures.add([failure(number, exception=f"Error{number}")], NOW_MS + number)
    assert failures.counts() == (10, 3)
    assert cause(failures, "message-19", "job-19") is None
    assert failures.traceback(cause(failures, "message-20").kind) is None
    assert failures.traceback(cause(failures, "message-29").kind) is not None
    assert [told.traceback for told in failures.history("message-20", None)] == [""]


def test_a_kind_that_still_happens_outlives_those_that_do_not(failures, monkeypatch):
    monkeypatch.setattr(room, "KINDS_MAX", 2)
    for number in range(1, 6):
        now_ms = NOW_MS + number * DAY_MS
        other = failure(number + 10, exception=f"Error{number}")
        failures.add([failure(number, traceback=f"the one of {number}"), other], now_ms)
    assert failures.traceback(cause(failures, "message-5").kind) == "the one of 1"


def test_the_file_does_not_grow_once_its_bound_is_reached(failures, path, monkeypatch):
    monkeypatch.setattr(room, "FAILURES_MAX", 200)
    sizes = []
    for start in range(0, 2000, 100):
        failures.add([failure(number) for number in range(start, start + 100)], NOW_MS)
        failures.close()
        sizes.append(path.stat().st_size)
    assert max(sizes) <= 1.3 * sizes[3]


def test_texts_that_are_too_long_are_cut_and_found_all_the_same(failures, path):
    long = "ä" * 1_000_000
    names = dict.fromkeys(("hostname", "nodename", "queue", "message_id", "id", "task", "reason", "exception"), long)
    failures.add([failure(**names, message=long, traceback=f"{long}the end")], NOW_MS)
    found = cause(failures, long)
    assert found == cause(failures, "other", long)
    assert len(found.message) == 1_000
    assert failures.traceback(found.kind).endswith("the end")
    assert len(failures.history(long, long)[0].traceback) == 4_000
    failures.close()
    assert path.stat().st_size < 200_000


@pytest.mark.parametrize("text", ["a\0b", "\ud800", "\x1b[2J", "'; DROP TABLE failure; --", "\u202e"])
def test_no_text_is_too_strange_to_be_kept(failures, text):
    failures.add([failure(message_id=text, id=text, message=text, traceback=text, exception=text)], NOW_MS)
    assert cause(failures, text).message == text.replace("\ud800", "?")
    assert cause(failures, "a") is None
    assert len(failures.history("other", text)) == 1


def test_a_file_that_is_none_of_ours_says_so_and_what_to_do(path):
    path.parent.mkdir()
    path.write_bytes(b"no database " * 1000)
    with pytest.raises(FailuresFault, match="is not a file of failures") as raised:
        cause(Failures(path))
    assert "delete it" in str(raised.value.hint)


def test_a_file_that_is_damaged_says_so_and_what_to_do(failures, path):
    failures.add([failure(number) for number in range(1000)], NOW_MS)
    failures.close()
    content = path.read_bytes()
    path.write_bytes(content[:4096] + b"\xff" * (len(content) - 4096))
    with pytest.raises(FailuresFault, match="is damaged") as raised:
        cause(failures)
    assert "delete it" in str(raised.value.hint)


def test_a_file_of_a_newer_amply_says_so(failures, path):
    failures.add([failure()], NOW_MS)
    failures.close()
    with apsw.Connection(str(path)) as connection:
        connection.pragma("user_version", 2)
    for use in (lambda: cause(failures), lambda: failures.add([failure()], NOW_MS)):
        with pytest.raises(FailuresFault, match="has format 2; this Amply knows formats up to 1"):
            use()


def test_a_folder_that_cannot_be_made_says_so(tmp_path):
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(FailuresFault, match="could not be made"):
        Failures(tmp_path / "taken" / "failures.sqlite").add([failure()], NOW_MS)


def test_a_file_that_another_process_keeps_locked_says_so(failures, path, monkeypatch):
    failures.add([failure()], NOW_MS)
    failures.close()
    monkeypatch.setattr(room, "_BUSY_TIMEOUT_S", 0)
    other = apsw.Connection(str(path))
    try:
        other.execute("BEGIN IMMEDIATE")
        assert cause(failures).message == "no 1"
        with pytest.raises(FailuresFault, match="is kept locked by another process"):
            failures.add([failure(2)], NOW_MS)
    finally:
        other.close()
    failures.add([failure(2)], NOW_MS)
    assert failures.counts() == (2, 1)
