"""`amply dlq show`: everything that is known of a letter, for people and for programs."""

import base64
import json
import pickle
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from graveyards import DLQ, REPORT, celery_body

PICKLED = json.dumps(
    {
        "body": base64.b64encode(pickle.dumps([[1], {}, {}])).decode(),
        "content-type": "application/x-python-serialize",
        "content-encoding": "binary",
        "headers": {"task": "pickled", "id": "p-1", "argsrepr": "[\x1b]0;owned]"},
        "properties": {"body_encoding": "base64"},
    }
)


@pytest.fixture
def letter(graveyard):
    """A report that failed three times, with attributes; its id."""
    message_id = graveyard.die(
        celery_body(args=["org-1"], kwargs={"month": "ü"}, job_id="job-1"),
        MessageAttributes={"tenant": {"DataType": "String", "StringValue": "acme"}},
        MessageSystemAttributes={"AWSTraceHeader": {"DataType": "String", "StringValue": "Root=1-5759e988"}},
    )
    for attempt in (1, 2, 3):
        graveyard.fail(
            message_id,
            "KeyError",
            f"'org-{attempt}'",
            attempt=attempt,
            timestamp_ms=1_750_000_000_000 + attempt * 1000,
            again_in_s=None if attempt == 3 else 90.5,
            nodename="celery@worker-1",
        )
    return message_id


def test_all_of_a_letter_is_shown(letter, amply):
    code, out, err = amply("show", letter)
    assert (code, err) == (0, "")
    for text in (
        f"  Id: {letter}\n",
        f"  Task: {REPORT}\n  Id: job-1\n",
        '  Arguments: ["org-1"]\n  Keyword arguments: {"month": "ü"}\n',
        "  From: amply-celery-low\n",
        "  Reason: raised\n  Error: KeyError: 'org-3'\n  Run: 3\n  Worker: celery@worker-1 77\n",
        "  When: 2025-06-15 15:06:43 UTC\n",
        '      File "/app/jobs.py", line 3, in run\n',
        "1\t2025-06-15 15:06:41 UTC\tcelery@worker-1 77\tKeyError: 'org-1'\t1m\n",
        "3\t2025-06-15 15:06:43 UTC\tcelery@worker-1 77\tKeyError: 'org-3'\t\n",
        "  Receives: ",
        "(in 13d)\n",
        "  tenant: String acme\n",
        "  AWSTraceHeader: Root=1-5759e988\n",
        '\n  {"body":"',
    ):
        assert text in out, text


def test_all_of_a_letter_is_there_for_programs(letter, graveyard, amply_json):
    told = amply_json("show", letter)
    assert (told["id"], told["queue"], told["job_id"], told["source"]) == (letter, DLQ, "job-1", "amply-celery-low")
    assert (told["job"]["args"], told["job"]["kwargs"], told["unreadable"]) == (["org-1"], {"month": "ü"}, None)
    assert (told["exception"], told["attempt"], told["is_last"]) == ("KeyError", 3, True)
    assert 'File "/app/jobs.py"' in told["traceback"]
    assert [run["attempt"] for run in told["history"]] == [1, 2, 3]
    assert told["history"][0]["again_in_s"] == 90.5
    assert told["attributes"] == {"tenant": {"DataType": "String", "StringValue": "acme"}}
    assert told["trace_header"] == "Root=1-5759e988"
    assert told["expires_ms"] - told["sent_ms"] == 14 * 86_400_000
    assert json.loads(told["body"])["headers"]["task"] == REPORT


def test_runs_after_the_last_that_was_told_of_are_told_of(graveyard, amply, amply_json):
    message_id = graveyard.die(celery_body())
    graveyard.fail(message_id, attempt=2, again_in_s=30.0)
    assert (
        "  Later runs: reported nothing: their workers were killed, or their leases ended\n"
        in amply("show", message_id)[1]
    )
    told = amply_json("show", message_id)
    assert (told["attempt"], told["is_last"]) == (2, False)


def test_a_letter_is_found_by_its_job_and_by_the_beginning_of_its_id(letter, amply_json):
    assert amply_json("show", "job-1")["id"] == letter
    assert amply_json("show", letter[:8])["id"] == letter


def test_a_letter_that_is_not_there_ends_with_3(letter, amply):
    code, out, err = amply("show", "nobody-knows-me")
    assert (code, out) == (3, "")
    assert "there is no letter nobody-knows-me in amply-celery-dlq" in err


def test_what_is_no_job_says_why_and_shows_its_body(graveyard, amply, amply_json):
    message_id = graveyard.send('{"event": "order.created"}')
    _, out, _ = amply("show", message_id)
    assert "Not a Celery job: " in out
    assert '  {"event": "order.created"}\n' in out
    told = amply_json("show", message_id)
    assert (told["task"], told["job"]["args"], told["body"]) == (None, None, '{"event": "order.created"}')
    assert told["unreadable"]


def test_arguments_that_only_a_worker_can_read_are_shown_as_the_sender_wrote_them(graveyard, amply):
    message_id = graveyard.send(PICKLED)
    _, out, _ = amply("show", message_id)
    assert "  Arguments: the content is not application/json\n" in out
    assert "  As its sender wrote them: [\\x1b]0;owned" in out


def test_values_without_a_json_type_are_in_kombu_s_marks_and_no_number_is_a_text(graveyard, amply_json):
    typed = amply_json(
        "show", graveyard.send(celery_body(args=[{"__type__": "datetime", "__value__": "2026-01-01T00:00:00"}]))
    )
    assert typed["job"]["args"] == [{"__type__": "datetime", "__value__": "2026-01-01T00:00:00"}]
    assert amply_json("show", graveyard.send(celery_body(args=[float("nan"), float("inf")])))["job"]["args"] == [
        "NaN",
        "Infinity",
    ]


def test_the_body_and_json_are_not_asked_for_at_once(amply):
    assert amply("show", "x", "--body", "--json")[0] == 2
