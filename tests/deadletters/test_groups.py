"""Letters of the same failure are one group, and no queue makes more groups than fit."""

import sys
from pathlib import Path

from amply.deadletters import groups
from amply.deadletters.deaths import NO_JOB, NOT_MOVED, UNREPORTED, Found, explain, found
from amply.deadletters.failures import Cause
from amply.deadletters.jobs import headline

sys.path.insert(0, str(Path(__file__).parent))
from letter_samples import envelope, letter

DAY_S = 86_400


class Known:
    """Causes by the message's id."""

    def __init__(self, **causes):
        self._causes = causes

    def causes(self, keys):
        return [self._causes.get(message_id) for message_id, _ in keys]


def cause(**more):
    told = {
        "kind": "k1",
        "reason": "raised",
        "exception": "ValueError",
        "message": "no",
        "worker": "celery@a",
        "attempt": 5,
        "receive_count": 5,
        "at_ms": 1_000_500,
        "is_last": True,
        "failures": 5,
    }
    return Cause(**told | more)


def grouped(letters, **causes):
    pages = found([letters], Known(**causes))
    return groups.group(pages, retention_s=14 * DAY_S, now_ms=1_000_000)


def test_letters_of_one_task_and_failure_are_one_group():
    letters = [letter(envelope(), message_id=name, source="jobs") for name in ("a", "b")]
    letters.append(letter(envelope("tasks.mail"), message_id="c", source="mails"))
    told = grouped(letters, a=cause(), b=cause(at_ms=1_000_900, message="later"), c=cause())
    first, second = told.groups
    assert (first.task, first.count, first.death.message, first.example_id) == ("tasks.add", 2, "later", "b")
    assert (first.first_ms, first.last_ms) == (1_000_500, 1_000_900)
    assert dict(first.sources) == {"jobs": 2}
    assert (second.task, second.count) == ("tasks.mail", 1)
    assert (told.letters, told.others) == (3, 0)


def test_letters_of_one_task_that_failed_differently_are_two_groups():
    letters = [letter(envelope(), message_id=name, source="jobs") for name in ("a", "b")]
    assert len(grouped(letters, a=cause(), b=cause(kind="k2")).groups) == 2


def test_a_letter_without_a_report_says_so():
    (one,) = grouped([letter(envelope(), source="jobs")]).groups
    assert one.death.reason == UNREPORTED


def test_a_letter_that_was_sent_here_says_so():
    (one,) = grouped([letter(envelope())]).groups
    assert one.death.reason == NOT_MOVED


def test_what_is_no_job_says_so_and_why():
    (one,) = grouped([letter("hello", source="jobs")]).groups
    assert one.death.reason == NO_JOB
    assert one.death.message


def test_groups_tell_what_expires_within_a_day():
    now_ms = 1_000_000 + 13 * DAY_S * 1000 + 1
    letters = [letter(envelope(), source="jobs"), letter(envelope(), source="jobs", sent_ms=now_ms)]
    told = groups.group(found([letters], Known()), retention_s=14 * DAY_S, now_ms=now_ms)
    assert (told.expiring, told.groups[0].expiring) == (1, 1)
    assert told.soonest_ms == 1_000_000 + 14 * DAY_S * 1000


def test_no_queue_makes_more_groups_than_fit():
    letters = [letter(envelope(f"tasks.{n}"), source="jobs") for n in range(groups.GROUPS_MAX + 5)]
    told = grouped(letters)
    assert (len(told.groups), told.others, told.letters) == (groups.GROUPS_MAX, 5, groups.GROUPS_MAX + 5)


def test_a_cause_of_before_the_redrive_is_not_why_it_died_again():
    redriven = {"amply-redriven-at": {"DataType": "Number", "StringValue": "1000600"}}
    one = letter(envelope(), source="jobs", attributes=redriven)
    job = headline(one.body)
    assert explain(one, job, cause(at_ms=1_000_500)).reason == UNREPORTED
    assert explain(one, job, cause(at_ms=1_000_700)).reason == "raised"


def test_a_last_known_failure_that_was_not_the_last_run_says_so():
    one = letter(envelope(), source="jobs")
    death = explain(one, headline(one.body), cause(attempt=3, is_last=False))
    assert "run 3" in death.text
    assert "no" in death.text
    assert explain(one, headline(one.body), cause()).text == "ValueError: no"


def test_a_found_letter_is_what_it_says():
    ((one,),) = found([[letter(envelope(), message_id="a")]], Known(a=cause()))
    assert isinstance(one, Found)
    assert (one.job.task, one.death.worker, one.letter.message_id) == ("tasks.add", "celery@a", "a")
