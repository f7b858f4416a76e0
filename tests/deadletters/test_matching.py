"""Which letters a filter means."""

import sys
from pathlib import Path

import msgspec
import pytest

from amply.deadletters.deaths import Found, group_id
from amply.deadletters.failures import Cause
from amply.deadletters.jobs import headline
from amply.deadletters.matching import Match

sys.path.insert(0, str(Path(__file__).parent))
from letter_samples import envelope, letter

NOW_MS = 1_000_000 + 3_600_000


def found(body=None, *, death=None, **more):
    body = envelope(args=["Anna", 7], kwargs={"amount": 12.5, "currency": "EUR"}) if body is None else body
    job = headline(body)
    death = death or Cause("abc", "raised", "ValueError", "Amount is negative")
    return Found(letter(body, source="jobs", **more), job, death, group_id(job.task, death.kind))


@pytest.mark.parametrize(
    "match",
    [
        Match(),
        Match(task="tasks.add"),
        Match(task="tasks.*"),
        Match(error="valueerror"),
        Match(error="AMOUNT is"),
        Match(error="raised"),
        Match(argument="Anna"),
        Match(argument="7"),
        Match(argument="amount=12.5"),
        Match(argument="currency=EUR"),
        Match(older_s=3599),
        Match(newer_s=3601),
        Match(source="jobs"),
        Match(group=group_id("tasks.add", "abc")),
        Match(ids=("m-1",)),
        Match(ids=("nobody", "job-1")),
        Match(task="tasks.*", error="negative", argument="Anna", older_s=60, source="jobs"),
    ],
)
def test_a_letter_fits(match):
    assert match.fits(found(), NOW_MS)
    assert msgspec.json.decode(msgspec.json.encode(match), type=Match) == match


@pytest.mark.parametrize(
    "match",
    [
        Match(task="tasks"),
        Match(task="TASKS.*"),
        Match(error="KeyError"),
        Match(argument="Berta"),
        Match(argument="amount=12"),
        Match(argument="currency=USD"),
        Match(older_s=3601),
        Match(newer_s=3599),
        Match(source="mails"),
        Match(group="0000"),
        Match(group=group_id("tasks.add", "abc")[:7]),
        Match(ids=("m",)),
        Match(task="tasks.*", error="KeyError"),
    ],
)
def test_a_letter_does_not_fit(match):
    assert not match.fits(found(), NOW_MS)


def test_arguments_that_cannot_be_decoded_are_looked_for_as_their_sender_showed_them():
    body = (
        envelope().replace('"retries": 0', '"argsrepr": "(\'Anna\',)", "retries": 0').replace("application/json", "x/y")
    )
    assert Match(argument="Anna").fits(found(body), NOW_MS)
    assert not Match(argument="Berta").fits(found(body), NOW_MS)


@pytest.mark.parametrize("body", ["", "no job", "[" * 2000])
def test_what_is_no_job_has_no_arguments(body):
    assert not Match(argument="a").fits(found(body), NOW_MS)
    assert not Match(task="*").fits(found(body), NOW_MS) or found(body).job.task is None
