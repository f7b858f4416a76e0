"""`amply dlq redrive`: what it asks, moves, leaves, tells and ends with; Ctrl-C, kills, and going on after them."""

import json
import os
import pty
import signal
import sys
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from graveyards import DLQ, REPORT, WEBHOOK, celery_body, read_all

HIGH, LOW = "amply-celery-high", "amply-celery-low"
PATIENCE_S = 30


@pytest.fixture
def letters(graveyard):
    """Two reports and a webhook; their ids."""
    reports = [graveyard.die(celery_body(job_id=f"job-{number}"), LOW) for number in range(2)]
    return [*reports, graveyard.die(celery_body(WEBHOOK, job_id="job-2"), HIGH)]


def many(graveyard, count):
    """Dead letters that came from the queue for reports."""
    source = {"AmplySource": {"DataType": "String", "StringValue": LOW}}
    url = graveyard.url(DLQ)
    for start in range(0, count, 10):
        entries = [
            {"Id": str(number), "MessageBody": celery_body(job_id=f"job-{number}"), "MessageAttributes": source}
            for number in range(start, start + 10)
        ]
        graveyard.sqs.send_message_batch(QueueUrl=url, Entries=entries)


def jobs(graveyard, queue):
    """The ids of the jobs that are in a queue."""
    return [json.loads(body)["headers"]["id"] for body in graveyard.bodies(queue)]


def test_all_letters_go_back_to_where_they_came_from(letters, graveyard, amply):
    code, out, err = amply("redrive", "--all", "--yes")
    assert (code, err) == (0, "")
    assert set(out.splitlines()) == {"To\tLetters", f"{LOW}\t2", f"{HIGH}\t1"}
    assert graveyard.count() == 0
    assert sorted(jobs(graveyard, LOW)) == ["job-0", "job-1"]
    (message,) = graveyard.messages(HIGH)
    assert message["MessageAttributes"]["amply-redriven-from"]["StringValue"] == DLQ


def test_only_what_is_meant_goes_to_the_queue_that_is_named(letters, graveyard, amply_json):
    told = amply_json("redrive", "--task", REPORT, "--to", "amply-celery", "--yes")
    assert told["destinations"] == [{"queue": "amply-celery", "letters": 2}]
    assert (told["moved"], told["stayed"], told["dry_run"], told["cancelled"]) == (2, [], False, False)
    assert (graveyard.count(), graveyard.count("amply-celery")) == (1, 2)


def test_one_letter_goes_by_its_id(letters, graveyard, amply_json):
    assert amply_json("redrive", "--id", letters[1], "--yes")["moved"] == 1
    assert jobs(graveyard, LOW) == ["job-1"]


def test_a_dry_run_counts_and_moves_nothing(letters, graveyard, amply, amply_json):
    stranger = graveyard.send("whose am I")
    code, out, err = amply("redrive", "--all", "--dry-run")
    assert code == 0
    assert set(out.splitlines()) == {"To\tLetters", f"{LOW}\t2", f"{HIGH}\t1"}
    assert err == "1 letter stays: nobody knows where it came from; say --to\n"
    told = amply_json("redrive", "--id", stranger, "--dry-run")
    assert (told["dry_run"], told["moved"], told["stayed"][0]["letters"]) == (True, 0, 1)
    assert graveyard.count() == 4


def test_what_cannot_go_stays_is_told_and_ends_with_1(letters, graveyard, amply):
    graveyard.send("whose am I")
    code, _, err = amply("redrive", "--all", "--yes")
    assert code == 1
    assert "1 letter stays: nobody knows where it came from; say --to" in err
    assert graveyard.count() == 1


def test_nothing_to_redrive_is_no_failure(graveyard, amply):
    assert amply("redrive", "--all", "--yes") == (0, "To\tLetters\n", "")


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ([], "Say which letters are meant"),
        (["--all", "--task", "x"], "--all is for all letters"),
        (["--resume", "--all"], "--resume goes on with what was asked then"),
        (["--resume", "--to", "q"], "--resume goes on with what was asked then"),
        (["--all", "--rate", "0", "--yes"], "0"),
        (["--all"], "add --yes"),
    ],
    ids=" ".join,
)
def test_a_redrive_that_is_not_clear_is_wrong_usage(options, told, letters, graveyard, amply, monkeypatch):
    monkeypatch.setattr("sys.stdin.isatty", lambda: False)
    code, _, err = amply("redrive", *options)
    assert code == 2
    assert told in err
    assert graveyard.count() == 3


def test_a_queue_that_is_not_there_ends_with_3(letters, graveyard, amply):
    assert amply("redrive", "--all", "--to", "nowhere", "--yes")[0] == 3
    assert graveyard.count() == 3


def test_to_the_dead_letter_queue_itself_is_refused(letters, graveyard, amply):
    assert amply("redrive", "--all", "--to", DLQ, "--yes")[0] == 4


def test_nothing_to_resume_ends_with_3(letters, amply):
    assert amply("redrive", "--resume")[0] == 3


def test_on_a_terminal_it_is_asked_and_no_is_no(letters, graveyard, on_terminal):
    code, screen = on_terminal("redrive", "--task", REPORT, answer="n\n")
    assert code == 1
    assert f"Redrive 2 letters to {LOW}? [y/N]: " in screen
    assert "Nothing was done." in screen
    assert graveyard.count() == 3


def test_on_a_terminal_yes_moves_with_a_bar_and_a_table(letters, graveyard, on_terminal):
    code, screen = on_terminal("redrive", "--all", answer="y\n")
    assert code == 0
    assert "Redrive 3 letters: " in screen
    assert "Redriving" in screen
    assert "3/3" in screen
    assert "│" in screen
    assert graveyard.count() == 0


def test_on_a_terminal_nothing_is_asked_where_nothing_can_go(graveyard, on_terminal):
    graveyard.send("whose am I")
    code, screen = on_terminal("redrive", "--all")
    assert code == 1
    assert "[y/N]" not in screen
    assert screen.count("1 letter stays: nobody knows where it came from; say --to") == 1


def wait_for(true):
    deadline = time.monotonic() + PATIENCE_S
    while not true():
        if time.monotonic() > deadline:
            raise TimeoutError
        time.sleep(0.02)


def test_ctrl_c_finishes_what_is_in_hand_and_tells_how_far_it_got(graveyard, start, amply):
    many(graveyard, 100)
    process = start("redrive", "--all", "--yes", "--rate", "20", "--json", stdout=-1, stderr=-1, text=True)
    wait_for(lambda: graveyard.count(LOW) > 0)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 130, err
    assert "Finishing what is in hand." in err
    told = json.loads(out)
    assert told["cancelled"]
    assert 0 < told["moved"] < 100
    assert graveyard.count(LOW) == told["moved"] == 100 - graveyard.count()
    assert "was interrupted" not in amply("ls")[2]


def test_a_killed_redrive_is_told_of_at_every_command_and_goes_on(graveyard, start, amply, amply_json):
    many(graveyard, 60)
    process = start("redrive", "--all", "--yes", "--rate", "20")
    wait_for(lambda: graveyard.count(LOW) > 0)
    process.kill()
    process.wait()
    before = graveyard.count(LOW)
    assert 0 < before < 60
    for command in (["ls"], ["groups"], ["redrive", "--all", "--dry-run"]):
        code, _, err = amply(*command)
        assert code == 0
        assert "A redrive of " in err
        assert " UTC was interrupted: amply dlq redrive --resume\n" in err
    told = amply_json("redrive", "--resume", "--rate", "100000")
    assert told["settled"]["verb"] == "redrive"
    assert graveyard.count() == 0
    named = {letter["job_id"] for letter in told["possible_duplicates"]}
    arrived = jobs(graveyard, LOW)
    assert set(arrived) == {f"job-{number}" for number in range(60)}
    assert {job for job in arrived if arrived.count(job) > 1} <= named
    assert "was interrupted" not in amply("ls")[2]


def test_while_one_redrives_another_is_refused_and_a_look_tells_of_it(graveyard, start, amply):
    many(graveyard, 60)
    process = start("redrive", "--all", "--yes", "--rate", "10")
    wait_for(lambda: graveyard.count(LOW) > 0)
    code, _, err = amply("redrive", "--all", "--yes")
    assert (code, f"(pid {process.pid})" in err) == (4, True)
    code, _, err = amply("ls")
    assert (code, f"(pid {process.pid})" in err) == (0, True)


def test_what_came_of_it_is_on_stdout_before_the_run_is_forgotten(letters, amply, data, monkeypatch):
    journal = data / "redrives" / f"{DLQ}.jsonl"
    written = []

    def write_json(told):
        written.append((told["moved"], journal.read_text()))

    monkeypatch.setattr("amply.cli.output.write_json", write_json)
    assert amply("redrive", "--all", "--yes", "--json")[0] == 0
    ((moved, kept),) = written
    assert moved == 3
    assert '"verb":"redrive"' in kept
    assert not journal.exists()


def test_json_goes_to_a_file_while_the_bar_is_on_the_terminal(letters, start, tmp_path):
    ours, theirs = pty.openpty()
    with (tmp_path / "out").open("w") as out:
        process = start("redrive", "--all", "--json", "--yes", stdin=theirs, stdout=out, stderr=theirs)
    os.close(theirs)
    screen = read_all(ours)
    assert process.wait() == 0, screen
    assert json.loads((tmp_path / "out").read_text())["moved"] == 3
    assert "Redriving" in screen
    assert '"moved"' not in screen
