"""`amply dlq edit`: by options, by a file, by an editor; and nothing where nothing is changed."""

import json
import sys
from pathlib import Path

import pytest

from amply.deadletters.jobs import told

sys.path.insert(0, str(Path(__file__).parent))
from graveyards import DLQ, REPORT, WEBHOOK, celery_body

LOW = "amply-celery-low"


@pytest.fixture
def letter(graveyard):
    """A dead report; its id."""
    return graveyard.die(celery_body(args=["org-1"], kwargs={"month": "ü\u202e"}, job_id="job-1"))


@pytest.fixture
def editor(tmp_path, monkeypatch):
    """An editor that replaces one text by another in what it is given, and keeps what it was given in `seen`."""

    def make(old, new):
        script = tmp_path / "editor.py"
        script.write_text(
            "import pathlib, sys, os\n"
            "file = pathlib.Path(sys.argv[-1])\n"
            "text = file.read_text('utf-8')\n"
            f"with open({str(tmp_path / 'seen')!r}, 'a') as seen: seen.write(text)\n"
            f"file.write_text(text.replace({old!r}, {new!r}, 1), 'utf-8')\n"
            "os.utime(file, (2_000_000_000, 2_000_000_000))\n"
        )
        monkeypatch.setenv("VISUAL", f"{sys.executable} {script}")
        return tmp_path / "seen"

    return make


def arrived(graveyard, queue=LOW):
    """The only job that is in a queue."""
    (body,) = graveyard.bodies(queue)
    return told(body).job


def test_other_arguments_are_sent_to_where_it_came_from(letter, graveyard, amply, amply_json):
    told_json = amply_json("edit", letter, "--args", '["org-2"]', "--kwargs", "{}", "--yes")
    assert (told_json["id"], told_json["moved"]) == (letter, 1)
    assert told_json["destinations"] == [{"queue": LOW, "letters": 1}]
    job = arrived(graveyard)
    assert (job.task, job.id, job.args, job.kwargs) == (REPORT, "job-1", ["org-2"], {})
    assert graveyard.count() == 0


def test_another_task_is_sent_to_another_queue_by_the_job_s_id(letter, graveyard, amply):
    code, out, _ = amply("edit", "job-1", "--task", WEBHOOK, "--to", "amply-celery-high", "--yes")
    assert (code, out) == (0, "To\tLetters\namply-celery-high\t1\n")
    assert arrived(graveyard, "amply-celery-high").task == WEBHOOK


def test_the_whole_body_may_come_from_a_file_or_stdin(graveyard, amply, start, tmp_path):
    first, second = (graveyard.die("{broken", LOW) for _ in range(2))
    body = celery_body(args=["ü"])
    (tmp_path / "body").write_text(body)
    assert amply("edit", first, "--body", str(tmp_path / "body"), "--yes")[0] == 0
    process = start("edit", second, "--body", "-", "--yes", stdin=-1, stdout=-1, stderr=-1)
    _, err = process.communicate(body.encode(), timeout=60)
    assert process.returncode == 0, err
    assert graveyard.bodies(LOW) == [body, body]


def test_what_is_not_changed_is_not_sent(letter, graveyard, start, amply):
    process = start("show", letter, "--body", stdout=-1)
    (body, _) = process.communicate(timeout=60)
    process = start("edit", letter, "--body", "-", "--yes", stdin=-1, stdout=-1, stderr=-1)
    _, err = process.communicate(body, timeout=60)
    assert (process.returncode, err) == (0, b"Nothing was changed, and nothing sent.\n")
    assert graveyard.count() == 1


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        (["--args", "{}", "--yes"], 2, "not an array"),
        (["--args", "[", "--yes"], 2, "is not JSON"),
        (["--task", "x", "--body", "file", "--yes"], 2, "--body is the whole message"),
        (["--task", "x"], 2, "add --yes"),
        (["--yes"], 2, "say what to change"),
        (["--body", "/nonexistent", "--yes"], 1, "cannot be read"),
        (["--task", "x\x1b[2J", "--yes"], 4, "SQS"),
    ],
    ids=str,
)
def test_an_edit_that_cannot_be_is_refused(options, code, said, letter, graveyard, amply, monkeypatch):
    monkeypatch.setattr("sys.stdin.isatty", lambda: False)
    ended, out, err = amply("edit", letter, *options)
    assert (ended, out) == (code, "")
    assert said in err or code == 4
    assert graveyard.count() == 1


def test_a_body_that_sqs_does_not_take_is_refused(letter, graveyard, amply, tmp_path):
    for name, data in (("binary", b"\xff\xfe"), ("huge", b"x" * 1_048_577), ("steering", b"\x1b[2J"), ("empty", b"")):
        (tmp_path / name).write_bytes(data)
        assert amply("edit", letter, "--body", str(tmp_path / name), "--yes")[0] in {1, 4}, name
    assert graveyard.count() == 1


def test_a_letter_that_is_not_there_ends_with_3(graveyard, amply):
    assert amply("edit", "nobody-knows-me", "--task", "x", "--yes")[0] == 3


def test_an_editor_opens_on_task_args_and_kwargs_without_what_deceives(letter, graveyard, editor, on_terminal):
    seen = editor("org-1", "org-9")
    code, screen = on_terminal("edit", letter, answer="y\n")
    assert code == 0, screen
    assert f"Send letter {letter} ({REPORT}) to {LOW}? [y/N]: " in screen
    shown = seen.read_text()
    assert json.loads(shown) == {"task": REPORT, "args": ["org-1"], "kwargs": {"month": "ü\u202e"}}
    assert "ü\\u202e" in shown
    job = arrived(graveyard)
    assert (job.args, job.kwargs, job.id) == (["org-9"], {"month": "ü\u202e"}, "job-1")


def test_an_editor_that_changes_nothing_sends_nothing(letter, graveyard, editor, on_terminal):
    editor("nothing", "to see")
    code, screen = on_terminal("edit", letter)
    assert code == 0
    assert "Nothing was changed, and nothing sent." in screen
    assert graveyard.count() == 1


def test_what_is_no_job_after_the_editor_may_be_edited_again(letter, graveyard, editor, on_terminal):
    seen = editor('"args"', '"arguments"')
    code, screen = on_terminal("edit", letter, answer="n\n")
    assert code == 0
    assert "This is no job: " in screen
    assert "Edit it again? [Y/n]: " in screen
    assert seen.read_text().count('"args"') == 1
    assert graveyard.count() == 1


def test_an_editor_opens_on_the_body_of_what_is_no_job(graveyard, editor, on_terminal):
    message_id = graveyard.send('{"event": "order.created"}')
    editor("created", "paid")
    assert on_terminal("edit", message_id, "--to", LOW, answer="y\n")[0] == 0
    assert graveyard.bodies(LOW) == ['{"event": "order.paid"}']
    assert graveyard.count(DLQ) == 0
