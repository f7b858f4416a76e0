"""`amply dlq export`, `import` and `rm`: files that only their owner reads, letters that come back, none lost."""

import json
import re
import stat
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from graveyards import DLQ, REPORT, WEBHOOK, celery_body

HIGH, LOW = "amply-celery-high", "amply-celery-low"


@pytest.fixture
def letters(graveyard):
    """Two reports and a webhook; their ids."""
    reports = [graveyard.die(celery_body(job_id=f"job-{number}"), LOW) for number in range(2)]
    return [*reports, graveyard.die(celery_body(WEBHOOK, job_id="job-2"), HIGH)]


def lines(path):
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def test_letters_are_exported_and_stay(letters, graveyard, amply, amply_json, tmp_path):
    path = tmp_path / "letters.jsonl"
    code, out, err = amply("export", str(path))
    assert (code, out, err) == (0, "", f"3 letters exported to {path}.\n")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert {line["message_id"] for line in lines(path)} == set(letters)
    told = amply_json("export", str(tmp_path / "some.jsonl"), "--task", WEBHOOK)
    assert (told["letters"], told["queue"]) == (1, DLQ)
    assert graveyard.count() == 3


def test_a_file_that_is_there_is_not_written_over(letters, amply, tmp_path):
    path = tmp_path / "letters.jsonl"
    path.write_text("mine")
    assert amply("export", str(path))[0] == 4
    assert path.read_text() == "mine"


def test_letters_are_exported_to_stdout_as_lines_and_safely_to_a_terminal(letters, graveyard, start, on_terminal):
    graveyard.send("no job \x9b31m \u202e")
    process = start("export", "-", stdout=-1, stderr=-1)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, b"4 letters exported.\n")
    assert len([json.loads(line) for line in out.splitlines()]) == 4
    code, screen = on_terminal("export", "-")
    assert code == 0
    assert "no job \\x9b31m \\u202e" in screen
    assert "\x9b" not in screen


def test_stdout_is_either_lines_or_json(amply):
    assert amply("export", "-", "--json")[0] == 2


def test_what_was_exported_comes_back_once_and_knows_where_it_came_from(
    letters, graveyard, amply, amply_json, tmp_path
):
    path = tmp_path / "letters.jsonl"
    amply("export", str(path))
    graveyard.messages(DLQ)
    told = amply_json("import", str(path), "--yes")
    assert (told["sent"], told["already"], told["to"], told["refused"]) == (3, 0, DLQ, [])
    assert graveyard.count() == 6
    code, out, err = amply("import", str(path), "--yes")
    assert (code, out) == (0, f"To\tLetters\n{DLQ}\t0\n")
    assert f"3 letters had been imported from {path} before" in err
    assert graveyard.count() == 6
    copies = graveyard.messages(DLQ)
    assert {copy["MessageAttributes"]["AmplySource"]["StringValue"] for copy in copies} == {HIGH, LOW}


def test_letters_are_imported_to_a_work_queue(letters, graveyard, amply, tmp_path):
    path = tmp_path / "letters.jsonl"
    amply("export", str(path), "--task", REPORT)
    code, out, _ = amply("import", str(path), "--to", "amply-celery", "--yes")
    assert (code, out) == (0, "To\tLetters\namply-celery\t2\n")
    assert graveyard.count("amply-celery") == 2


@pytest.mark.parametrize("text", ["no json", "{}", '{"version": 2}', "\x1b[2J"])
def test_a_file_of_something_else_is_refused_whole(text, letters, graveyard, amply, tmp_path):
    path = tmp_path / "letters.jsonl"
    amply("export", str(path))
    path.write_text(path.read_text("utf-8") + text + "\n", "utf-8")
    code, _, err = amply("import", str(path), "--yes")
    assert code == 1
    assert f"{path}, line 4: " in err
    assert "\x1b" not in err
    assert graveyard.count() == 3


def test_a_file_that_is_not_there_is_told(graveyard, amply):
    code, _, err = amply("import", "/nonexistent.jsonl", "--yes")
    assert (code, "/nonexistent.jsonl cannot be read" in err) == (1, True)


def test_letters_are_removed_into_an_archive_whose_name_is_told(letters, graveyard, amply, data):
    code, out, err = amply("rm", "--task", REPORT, "--yes")
    assert code == 0
    path = Path(re.fullmatch(r"They are in (\S+)\.\n", err)[1])
    assert path.parent == data / "archive"
    assert re.fullmatch(rf"{DLQ}-\d{{8}}T\d{{6}}Z\.jsonl", path.name)
    assert out == f"To\tLetters\n{path}\t2\n"
    assert {line["message_id"] for line in lines(path)} == set(letters[:2])
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert graveyard.count() == 1


def test_an_archive_of_one_s_own_is_added_to_and_can_be_imported(letters, graveyard, amply_json, tmp_path):
    path = tmp_path / "gone.jsonl"
    for letter in letters:
        told = amply_json("rm", "--id", letter, "--archive", str(path), "--yes")
        assert (told["moved"], told["archive"]) == (1, str(path))
    assert {line["message_id"] for line in lines(path)} == set(letters)
    assert graveyard.count() == 0
    assert amply_json("import", str(path), "--yes")["sent"] == 3
    assert graveyard.count() == 3


def test_an_archive_that_cannot_be_written_keeps_every_letter(letters, graveyard, amply, tmp_path):
    (tmp_path / "file").write_text("no archive\n")
    for archive in (tmp_path, tmp_path / "file", tmp_path / "file" / "x"):
        assert amply("rm", "--all", "--archive", str(archive), "--yes")[0] != 0
    assert graveyard.count() == 3


@pytest.mark.parametrize(
    ("command", "told"),
    [
        (["rm", "--yes"], "Say which letters are meant"),
        (["rm", "--all", "--older", "1h", "--yes"], "--all is for all letters"),
        (["rm", "--all"], "add --yes"),
        (["import", "x.jsonl"], "add --yes"),
    ],
    ids=str,
)
def test_what_is_not_clear_is_wrong_usage(command, told, letters, graveyard, amply, monkeypatch):
    monkeypatch.setattr("sys.stdin.isatty", lambda: False)
    code, _, err = amply(*command)
    assert code == 2
    assert told in err
    assert graveyard.count() == 3


def test_on_a_terminal_rm_asks_and_no_is_no(letters, graveyard, on_terminal, data):
    code, screen = on_terminal("rm", "--all", answer="n\n")
    assert code == 1
    assert f"Delete 3 letters of {DLQ}, after they are written to {data}" in screen.replace("\r\n", "")
    assert graveyard.count() == 3
    assert not (data / "archive").exists() or not list((data / "archive").iterdir())


def test_on_a_terminal_import_asks_and_yes_sends(letters, graveyard, amply, on_terminal, tmp_path):
    path = tmp_path / "letters.jsonl"
    amply("export", str(path))
    code, screen = on_terminal("import", str(path), answer="y\n")
    assert code == 0
    assert f"Import 3 letters to {DLQ}? [y/N]: " in screen
    assert graveyard.count() == 6
