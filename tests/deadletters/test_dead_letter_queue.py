"""The one door: what died and why, and each way in which it leaves, on both kinds of SQS."""

import json
import sys
from pathlib import Path

import pytest

from amply.deadletters import DeadLetterQueue, Match
from amply.deadletters.gateway import NotFoundError, RefusedError

sys.path.insert(0, str(Path(__file__).parent))
from letter_samples import envelope

RECORD = {
    "type": "delivery-failed",
    "timestamp_ms": 1,
    "hostname": "one",
    "pid": 7,
    "queue": "jobs",
    "attempt": 5,
    "receive_count": 5,
    "reason": "raised",
    "exception": "ValueError",
    "message": "no",
    "traceback": 'Traceback\n  File "a/b.py", line 3, in f\nValueError: no',
    "again_in_s": None,
}


@pytest.fixture
def dlq(place, tmp_path):
    """Letters of two tasks: `mend` and `drop`."""
    place.sqs.create_queue(QueueName="telemetry")
    place.die(*(envelope("tasks.mend", f"mend-{n}") for n in range(13)))
    place.die(*(envelope("tasks.drop", f"drop-{n}") for n in range(4)), queue="mails")
    with DeadLetterQueue("dead", endpoint=place.endpoint, data=tmp_path, telemetry_queue="telemetry") as opened:
        yield opened


def tell(place, dlq):
    """What workers would have told of all letters."""
    url = place.sqs.get_queue_url(QueueName="telemetry")["QueueUrl"]
    for found in dlq.letters():
        record = RECORD | {"message_id": found.letter.message_id, "id": found.job.id, "task": found.job.task}
        place.sqs.send_message(QueueUrl=url, MessageBody=json.dumps(record))


def test_groups_letters_and_tracebacks_tell_what_workers_told(place, dlq):
    tell(place, dlq)
    assert dlq.collect().is_complete
    assert dlq.failures.counts()[0] == 17
    told = dlq.groups()
    assert [(one.task, one.count, one.death.text) for one in told.groups] == [
        ("tasks.mend", 13, "ValueError: no"),
        ("tasks.drop", 4, "ValueError: no"),
    ]
    assert dlq.traceback(told.groups[0].death.kind) == RECORD["traceback"]
    found = dlq.letter("mend-3")
    assert [one.attempt for one in dlq.history(found)] == [5]
    assert dlq.letter(found.letter.message_id[:12]).job.id == "mend-3"
    place.die(envelope("tasks.long", "a-long-name-1"), envelope("tasks.long", "a-long-name-2"))
    with pytest.raises(RefusedError):
        dlq.letter("a-long-name")
    assert dlq.groups(Match(group=told.groups[1].id)).letters == 4
    with pytest.raises(NotFoundError):
        dlq.letter("nobody")


def test_one_group_goes_back_to_work_and_the_other_stays(place, dlq):
    to = "jobs" if place.is_plain else None  # moto does not tell where a letter came from
    match = Match(task="tasks.mend")
    assert dlq.plan(match, to=to).destinations == {"jobs": 13}
    assert place.count() == (17, 0)
    outcome = dlq.redrive(match, to=to)
    assert (outcome.moved, outcome.destinations, outcome.stayed, outcome.doubtful) == (13, {"jobs": 13}, {}, 0)
    back = place.everything("jobs")
    assert sorted(json.loads(message["Body"])["headers"]["id"] for message in back) == sorted(
        f"mend-{n}" for n in range(13)
    )
    marks = back[0]["MessageAttributes"]
    assert marks["amply-redriven-from"]["StringValue"] == "dead"
    assert marks["amply-redriven-count"]["StringValue"] == "1"
    assert [found.job.task for found in dlq.letters()] == ["tasks.drop"] * 4
    assert dlq.interrupted() is None


def test_an_edited_letter_leaves_with_its_new_body(place, dlq):
    found = dlq.letter("drop-1")
    assert dlq.edit(found.letter.message_id, envelope("tasks.drop", "drop-1", args=[7]), to="jobs").moved == 1
    (back,) = place.everything("jobs")
    assert back["Body"] == envelope("tasks.drop", "drop-1", args=[7])
    assert place.count() == (16, 0)
    with pytest.raises(NotFoundError):
        dlq.edit(found.letter.message_id, "x", to="jobs")


def test_what_is_exported_and_removed_comes_back_and_finds_its_way(place, dlq, tmp_path):
    file, archive = tmp_path / "export.jsonl", tmp_path / "removed.jsonl"
    assert dlq.export(file, Match(task="tasks.drop")) == 4
    assert place.count() == (17, 0)
    assert dlq.remove(Match(task="tasks.drop"), archive).moved == 4
    assert place.count() == (13, 0)
    assert len(archive.read_text().splitlines()) == len(file.read_text().splitlines()) == 4
    imported = dlq.import_(archive)
    assert imported.sent == 4
    assert dlq.import_(archive).sent == 0, "a second time sends nothing"
    assert place.count() == (17, 0)
    if not place.is_plain:
        assert {found.letter.source for found in dlq.letters(Match(task="tasks.drop"))} == {"mails"}
        assert dlq.redrive(Match(task="tasks.drop")).destinations == {"mails": 4}


def test_an_import_to_a_work_queue_is_a_redrive(place, dlq, tmp_path):
    file = tmp_path / "export.jsonl"
    dlq.export(file, Match(task="tasks.drop"))
    assert dlq.import_(file, to="mails").sent == 4
    assert place.everything("mails")[0]["MessageAttributes"]["amply-redriven-from"]["StringValue"] == "dead"


def test_a_letter_whose_way_nobody_knows_stays_and_says_so(place, dlq):
    place.sqs.send_message(QueueUrl=place.urls["dead"], MessageBody="nobody's")
    outcome = dlq.redrive(Match(error="not a Celery job"))
    assert (outcome.moved, list(outcome.stayed.values())) == (0, [1])
    assert all("say --to" in reason for reason in outcome.stayed)
    assert place.count() == (18, 0)


def test_letters_do_not_go_round_in_a_circle(dlq):
    with pytest.raises(RefusedError):
        dlq.redrive(to="dead")


def test_one_run_at_a_time_and_any_number_of_looks(dlq):
    with dlq._journal() as journal:
        with pytest.raises(RefusedError):
            dlq.redrive(to="jobs")
        journal.start(dlq._redrive(Match(), to="jobs"))
        with pytest.raises(RefusedError):
            dlq.interrupted()
    assert dlq.interrupted().to == "jobs"
    assert dlq.groups().letters == 17
    assert dlq.resume().moved == 17


def test_without_a_telemetry_queue_nothing_is_collected(place, tmp_path):
    with DeadLetterQueue("dead", endpoint=place.endpoint, data=tmp_path) as dlq:
        assert dlq.collect() is None
        assert dlq.failures.counts() == (0, 0)


def test_nothing_to_go_on_with_is_said(dlq):
    with pytest.raises(NotFoundError):
        dlq.resume()
