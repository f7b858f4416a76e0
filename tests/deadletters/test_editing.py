"""An edited job is the same job with other arguments, in the form that it came in."""

import base64
import bz2
import json
import lzma
import sys
import zlib
from datetime import UTC, datetime
from pathlib import Path

import pytest
from kombu.compression import compress

from amply.clock import SystemClock
from amply.deadletters.editing import edit, edited_body
from amply.deadletters.gateway import NotFoundError, RefusedError
from amply.deadletters.journal import Journal
from amply.envelope import job, read, write

sys.path.insert(0, str(Path(__file__).parent))
from letter_samples import envelope, protocol_1
from pretend import NoCauses

FORMS = ("brief", "readable", "stock")
UNPACK = {
    "application/x-gzip": zlib.decompress,
    "application/x-bz2": bz2.decompress,
    "application/x-lzma": lzma.decompress,
}


def payload(compression=None, **headers):
    """A job with all that a job can carry."""
    embedded = {"callbacks": [{"task": "then", "args": [{"__type__": "uuid", "__value__": {"hex": "0" * 32}}]}]}
    plain = json.dumps([[1, {"__type__": "date", "__value__": "2026-01-01"}], {"mail": "a@b"}, embedded]).encode()
    if compression:
        plain, headers["compression"] = compress(plain, compression)
    told = {"task": "mails.send", "id": "job-7", "argsrepr": "(1,)", "kwargsrepr": "{}", "retries": 3, "trace": "t-1"}
    return {
        "body": base64.b64encode(plain).decode(),
        "content-type": "application/json",
        "content-encoding": "utf-8",
        "headers": told | headers,
        "properties": {
            "delivery_info": {"exchange": "", "routing_key": "celery"},
            "body_encoding": "base64",
            "priority": 4,
        },
    }


@pytest.mark.parametrize("compression", [None, "zlib", "bzip2", "lzma"])
@pytest.mark.parametrize("form", FORMS)
def test_args_kwargs_and_task_are_replaced_and_all_else_stays(form, compression):
    body = write(payload(compression), form)
    edited = edited_body(body, task="mails.post", args=[2, "ü"], kwargs={"mail": "c@d"})
    before, after = read(body), read(edited)
    told = job(after)
    assert (told.task, told.id, told.args, told.kwargs) == ("mails.post", "job-7", [2, "ü"], {"mail": "c@d"})
    assert (told.argsrepr, told.kwargsrepr) == ("[2, 'ü']", "{'mail': 'c@d'}")
    changed = {"task", "argsrepr", "kwargsrepr"}
    assert {name: value for name, value in after["headers"].items() if name not in changed} == {
        name: value for name, value in before["headers"].items() if name not in changed
    }
    assert after["properties"] == before["properties"]
    assert edited.startswith("{") == (form != "stock"), "in the form that it came in"
    assert embedded_of(edited) == embedded_of(body), "with its callbacks, as they were written"


def embedded_of(body):
    envelope_ = json.loads(body if body.startswith("{") else base64.b64decode(body))
    data = envelope_["body"].encode()
    if envelope_["properties"]["body_encoding"] == "base64":
        data = base64.b64decode(data)
    compression = envelope_["headers"].get("compression")
    return json.loads(UNPACK[compression](data) if compression else data)[2]


def test_what_is_not_named_stays_as_it_was_written():
    body = write(payload(), "readable")
    edited = edited_body(body, kwargs={})
    assert json.loads(json.loads(edited)["body"])[0] == [1, {"__type__": "date", "__value__": "2026-01-01"}]
    assert read(edited)["headers"]["argsrepr"] == "(1,)"
    assert job(read(edited_body(body))) == job(read(body))


def test_values_that_json_has_no_type_for_are_marked_as_celery_does():
    when = datetime(2026, 1, 1, tzinfo=UTC)
    assert job(read(edited_body(envelope(), args=[when]))).args == [when]


def test_a_job_of_protocol_1_is_edited_in_its_body():
    edited = edited_body(protocol_1(), task="tasks.sub", args=[3], kwargs={"a": 1})
    told = job(read(edited))
    assert (told.task, told.id, told.args, told.kwargs) == ("tasks.sub", "job-1", [3], {"a": 1})
    assert "task" not in json.loads(edited)["headers"]


def test_a_long_argument_is_shown_short():
    body = write(payload(), "brief")
    assert len(read(edited_body(body, args=["x" * 5000]))["headers"]["argsrepr"]) == 1024


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ("hello", "neither a JSON object nor base64"),
        ("{}", "no body"),
        (json.dumps(payload() | {"content-type": "application/x-python-serialize"}), "content is not application/json"),
        (json.dumps(payload() | {"body": "%%%"}), "not JSON"),
        (json.dumps(payload() | {"headers": {"task": "a", "id": "b", "compression": "zstd"}}), "compressed as zstd"),
    ],
)
def test_what_is_no_celery_job_in_json_is_refused(body, why):
    with pytest.raises(RefusedError, match=why):
        edited_body(body, args=[])


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"args": [object()]}, "cannot be written as JSON"),
        ({"task": ""}, "headers.task"),
        ({"task": "a\nb"}, "headers.task"),
        ({"args": {"a": 1}}, "args in the body must be a list"),
        ({"kwargs": [1]}, "kwargs in the body must be an object"),
        ({"args": ["x" * (1 << 20)]}, "bytes, SQS takes 1048576"),
    ],
)
def test_what_would_be_no_job_or_too_large_is_refused(change, why):
    with pytest.raises(RefusedError, match=why):
        edited_body(envelope(), **change)


def run_edit(place, folder, message_id, body, **more):
    with Journal(folder, place.queue.name) as journal:
        return edit(
            place.gateway,
            place.queue,
            journal,
            NoCauses(),
            message_id=message_id,
            body=body,
            clock=SystemClock(),
            **more,
        )


def test_one_letter_is_edited_and_sent_and_no_other_is_touched(place, tmp_path):
    place.die(*(envelope(job_id=f"job-{number}", args=[number]) for number in range(12)))
    (letter,) = [one for one in place.receive("dead", VisibilityTimeout=0) if '"job-1"' in one["Body"]]
    new = edited_body(letter["Body"], args=["mended"])
    outcome = run_edit(place, tmp_path, letter["MessageId"], new, to="mails")
    assert (outcome.moved, outcome.destinations) == (1, {"mails": 1})
    (message,) = place.everything("mails")
    assert job(read(message["Body"])).args == ["mended"]
    assert message["MessageAttributes"]["amply-redriven-from"]["StringValue"] == "dead"
    assert place.count() == (11, 0)


def test_a_letter_that_is_not_there_and_a_body_that_cannot_be_are_told(place, tmp_path):
    place.die("1")
    with pytest.raises(NotFoundError, match="no letter m-0 in dead"):
        run_edit(place, tmp_path, "m-0", "new", to="mails")
    with pytest.raises(RefusedError, match=r"U\+0000"):
        run_edit(place, tmp_path, "m-0", "\x00", to="mails")
    assert place.count() == (1, 0)
    assert not list((tmp_path / "redrives").glob("*.jsonl"))
