"""Which job it is: quickly and the same as by reading it whole, for every kind of body."""

import base64
import json
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amply.deadletters.jobs import Headline, headline, told

sys.path.insert(0, str(Path(__file__).parent))
from letter_samples import envelope, protocol_1

HOSTILE = {
    "empty": "",
    "text": "not a job",
    "json": '{"task": "x"}',
    "list": "[1, 2]",
    "number": "7",
    "deep": "[" * 5000,
    "deep headers": '{"body": "x", "headers": {"task": "t", "x": ' + "[" * 50_000 + "]" * 50_000 + "}}",
    "headers of another type": '{"headers": 5, "body": "x"}',
    "task of another type": '{"headers": {"task": 5, "id": []}, "body": "x"}',
    "binary in base64": base64.b64encode(bytes(range(256))).decode(),
    "base64 that is cut": base64.b64encode(envelope().encode()).decode()[:-3],
    "surrogate": '{"headers": {"task": "\\ud800", "id": "x"}}',
    "terminal": "\x1b]0;owned\x07\x1b[2J",
    "bidi": "\u202eevil\u2066",
}


@pytest.mark.parametrize("body", [envelope(), base64.b64encode(envelope().encode()).decode()], ids=["plain", "base64"])
def test_a_celery_message_names_its_job(body):
    assert headline(body) == Headline("tasks.add", "job-1")
    whole = told(body)
    assert (whole.job.task, whole.job.args, whole.unreadable) == ("tasks.add", [1, 2], None)


def test_a_message_of_protocol_1_names_its_job():
    assert headline(protocol_1()) == Headline("tasks.add", "job-1")


@pytest.mark.parametrize("body", HOSTILE.values(), ids=HOSTILE)
def test_what_is_no_job_is_none_and_says_why(body):
    assert headline(body).task is None or isinstance(headline(body).task, str)
    assert told(body).unreadable


def test_names_have_an_end():
    found = headline(envelope(task="t" * 100_000, job_id="i" * 100_000))
    assert found.task is None or len(found.task) <= 1024
    assert found.id is None or len(found.id) <= 1024


@given(st.text() | st.binary().map(lambda data: base64.b64encode(data).decode()) | st.text().map(json.dumps))
def test_no_body_at_all_is_too_much(body):
    headline(body)
    told(body)
