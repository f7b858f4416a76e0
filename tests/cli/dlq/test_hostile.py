"""What hostile letters do to the commands on dead letters, on terminals, in lines and in JSON: nothing."""

import base64
import json
import pickle
import sys
import unicodedata
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from graveyards import celery_body

STEERS = "\x1b]0;owned\x07\x1b[2J\x9b31m"
DECEIVES = "user\u202egnp.exe\u2066\u200b"
HOSTILE_TASK = f"evil{STEERS}{DECEIVES}\n\t"
HOSTILE = {
    "escapes in a job": celery_body(HOSTILE_TASK, [STEERS, DECEIVES], {HOSTILE_TASK: STEERS}, job_id=STEERS),
    "escapes in text": celery_body(HOSTILE_TASK, [STEERS, DECEIVES], form="text"),
    "stock base64": celery_body(HOSTILE_TASK, [STEERS], form="stock"),
    "bidi in a raw body": f"no job {DECEIVES} \x9b31m \u2028 next",
    "lone surrogates": '{"body": "W1tdLHt9LHt9XQ==", "headers": {"task": "\\ud800x", "id": "\\udfff"}}',
    "surrogates in arguments": celery_body("t", ["\ud800"], {"\udfff": "\ud800"}, form="text"),
    "not a job": '{"event": "order.created", "id": 7}',
    "no JSON": "<xml/>",
    "broken base64": "eyJib2R5IjogImV5",
    "binary": base64.b64encode(bytes(range(256))).decode(),
    "pickle": json.dumps(
        {
            "body": base64.b64encode(pickle.dumps([[1], {}, {}])).decode(),
            "content-type": "application/x-python-serialize",
            "content-encoding": "binary",
            "headers": {"task": "pickled", "id": "p-1", "argsrepr": f"[{STEERS}]"},
            "properties": {"body_encoding": "base64"},
        }
    ),
    "no numbers": celery_body("numbers", [float("nan"), float("inf")]),
    "values without a JSON type": celery_body("typed", [{"__type__": "datetime", "__value__": "2026-01-01T00:00:00"}]),
    "huge": "x" * 1_040_000,
    "huge job": celery_body("huge", ["y" * 400_000]),
    "huge names": celery_body("t" * 300_000, job_id="i" * 300_000),
    "many lines": "\n" * 100_000,
    "deep": '{"body": "x", "headers": {"task": "deep", "x": ' + "[" * 50_000 + "]" * 50_000 + "}}",
}


@pytest.fixture(params=HOSTILE, ids=str)
def hostile(request, graveyard):
    """A letter that wants to do harm, with a cause that does too; its id."""
    message_id = graveyard.send(
        HOSTILE[request.param],
        MessageAttributes={
            "AmplySource": {"DataType": "String", "StringValue": f"q{DECEIVES}"},
            "blob": {"DataType": "Binary", "BinaryValue": bytes(range(256))},
        },
    )
    texts = {name: f"{STEERS}{DECEIVES}\n{name}" for name in ("exception", "message", "traceback", "nodename", "task")}
    graveyard.fail(message_id, **texts)
    return message_id


def unsafe(text):
    """Characters that could steer a terminal or deceive a reader, but for the ends of lines."""
    return {
        character
        for character in text
        if character not in "\n\t" and unicodedata.category(character) in {"Cc", "Cf", "Cs", "Zl", "Zp"}
    }


def test_a_hostile_letter_is_shown_safely_and_briefly(hostile, amply):
    for command in (["ls"], ["groups"], ["groups", "--tracebacks"], ["show", hostile]):
        code, out, err = amply(*command)
        assert code == 0, err
        assert unsafe(out + err) == set()
        assert "\\x1b]0;owned\\x07" in out
        assert "user\\u202egnp.exe" in out
        assert len(out) < 60_000
        if command in (["ls"], ["groups"]):
            assert len(out.splitlines()) == 2


def test_a_hostile_letter_is_sound_ascii_json(hostile, amply):
    def refuse(constant):
        raise ValueError(constant)

    for command in (["ls"], ["groups", "--tracebacks"], ["show", hostile]):
        code, out, err = amply(*command, "--json")
        assert (code, out.isascii(), unsafe(out)) == (0, True, set()), err
        assert json.loads(out, parse_constant=refuse)["version"] == 1


def test_hostile_letters_are_shown_safely_on_a_terminal(graveyard, on_terminal):
    sent = {name: graveyard.send(body) for name, body in HOSTILE.items()}
    for message_id in sent.values():
        graveyard.fail(message_id, STEERS, DECEIVES, traceback=f"{STEERS}\n{DECEIVES}\n", nodename=STEERS)
    shown = ["escapes in a job", "bidi in a raw body", "surrogates in arguments", "huge"]
    for command in (["ls"], ["groups", "--tracebacks"], *(["show", sent[name]] for name in shown)):
        code, screen = on_terminal(*command)
        assert code == 0, screen
        assert "\x1b]0" not in screen
        assert "\x1b[2J" not in screen
        assert "\x9b" not in screen
        assert not unsafe(screen) & set("\u202e\u2066\u200b\u2028\x07")


@pytest.mark.parametrize("name", ["escapes in a job", "bidi in a raw body", "lone surrogates", "binary", "huge"])
def test_the_body_is_written_as_it_is_to_a_file_and_safely_to_a_terminal(name, graveyard, amply, start, on_terminal):
    message_id = graveyard.send(HOSTILE[name])
    process = start("show", message_id, "--body", stdout=-1, stderr=-1)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (0, HOSTILE[name].encode()), err
    if name in {"bidi in a raw body", "escapes in a job"}:
        code, screen = on_terminal("show", message_id, "--body")
        assert code == 0
        assert not unsafe(screen.replace("\r", ""))


def safely(out, err):
    """Nothing in it could steer or deceive, and no line of it is endless."""
    return unsafe(out + err) == set() and max(map(len, (out + err).splitlines()), default=0) < 20_000


def test_hostile_letters_are_moved_named_and_put_away_safely(graveyard, amply, tmp_path):
    source = {"AmplySource": {"DataType": "String", "StringValue": f"q{DECEIVES}"}}
    for body in HOSTILE.values():
        if len(body) < 500_000:
            graveyard.send(body, MessageAttributes=source)
    letters = graveyard.count()
    code, out, err = amply("redrive", "--all", "--dry-run")
    assert (code, safely(out, err)) == (0, True)
    assert "user\\u202egnp.exe" in err
    code, out, err = amply("redrive", "--all", "--yes")
    assert (code, safely(out, err)) == (1, True)
    code, out, err = amply("redrive", "--all", "--yes", "--json")
    assert (code, out.isascii(), safely("", err)) == (1, True, True)
    assert graveyard.count() == letters
    code, out, err = amply("rm", "--all", "--archive", str(tmp_path / "gone.jsonl"), "--yes")
    assert (code, safely(out, err), graveyard.count()) == (0, True, 0)
    code, out, err = amply("import", str(tmp_path / "gone.jsonl"), "--yes")
    assert (code, safely(out, err), graveyard.count()) == (0, True, letters)
    code, out, err = amply("redrive", "--all", "--to", "amply-celery", "--yes")
    assert (code, safely(out, err), graveyard.count("amply-celery")) == (0, True, letters)
    assert sorted(graveyard.bodies("amply-celery")) == sorted(body for body in HOSTILE.values() if len(body) < 500_000)


def test_a_question_about_a_hostile_letter_is_safe(graveyard, on_terminal, tmp_path):
    source = {"AmplySource": {"DataType": "String", "StringValue": f"q{DECEIVES}"}}
    message_id = graveyard.send(HOSTILE["escapes in a job"], MessageAttributes=source)
    (tmp_path / "body").write_text("other")
    code, screen = on_terminal("edit", message_id, "--body", str(tmp_path / "body"), answer="n\n")
    assert code == 1
    assert "q" + "user\\u202egnp.exe" in screen.replace("\r\n", "")
    assert not unsafe(screen.replace("\r", ""))
