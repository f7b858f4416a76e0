"""Jobs that died of five causes: five groups, one brought back without a touch of the others, and none ever missing.

On the embedded broker, and on moto, which knows nothing of Amply. `--dead-letters 10000` takes a while.
"""

import json

import pytest
from five_causes import CAUSES, WORK, Jobs, Sampler, Shop
from running import until
from system import DEAD_LETTERS
from transported import TELEMETRY

from amply.deadletters.dead_letter_queue import DeadLetterQueue
from amply.deadletters.matching import Match
from amply.topology.load import load
from amply.transport.endpoint import resolve


class Story:
    """A shop in which jobs have died, with all that looks at it."""

    def __init__(self, shop, jobs):
        self.shop = shop
        self.jobs = jobs
        self.letters = DeadLetterQueue(
            DEAD_LETTERS,
            endpoint=resolve(endpoint_url=shop.endpoint_url, region="eu-central-1", userid="any", password="any"),
            data=shop.folder / "data",
            telemetry_queue=TELEMETRY,
            topology=load(shop.topology),
        )
        self.sampler = Sampler(shop, jobs)
        self.dying = jobs.of(*CAUSES)

    def wait_until_dead(self):
        self.wait_until(lambda: self.counts()[2:] == (0, len(self.dying)))

    def wait_until_done(self, numbers):
        self.wait_until(lambda: numbers <= self.shop.done().keys() and not self.shop.count(WORK))

    def wait_until(self, happened):
        """However many jobs there are, as long as they go on."""

        def is_over():
            return happened() or self.sampler.faults

        while not is_over():
            self.wait_for_change(is_over)
        assert not self.sampler.faults

    def wait_for_change(self, is_over):
        before = self.counts()
        until(
            lambda: is_over() or self.counts() != before,
            lambda: f"sent, done, queued, dead stay {before}; {self.shop.said()}",
        )

    def collect(self):
        """Every failure has been told, once each."""

        def are_all_told():
            self.letters.collect()
            return self.letters.failures.counts()[0] >= len(self.dying)

        until(are_all_told, lambda: f"causes are known: {self.letters.failures.counts()}; {self.shop.said()}")

    def counts(self):
        return len(self.jobs.sent), self.shop.done().total(), self.shop.count(WORK), self.shop.count(DEAD_LETTERS)

    def letters_of(self, *reasons):
        """The dead letters of jobs, by message id: what of each must stay as it is."""
        wanted = self.jobs.of(*reasons)
        found = [one.letter for one in self.letters.letters() if int(one.job.id) in wanted]
        return {
            letter.message_id: (letter.body, letter.attributes, None if self.shop.is_plain else letter.receive_count)
            for letter in found
        }


def class_name(exception):
    return exception.rpartition(".")[2]


@pytest.fixture(params=["embedded", "moto"])
def story(request, tmp_path):
    is_plain = request.param == "moto"
    # Moto takes longer for each message the more there are.
    asked = request.config.getoption("--dead-letters")
    if is_plain and not asked:
        pytest.skip("moto takes longer for each message the more there are: give --dead-letters")
    count = asked or 400
    shop = Shop(tmp_path / "shop", is_plain=is_plain)
    story = Story(shop, Jobs(count))
    try:
        shop.start_broker()
        story.sampler.start()
        shop.start_shop()
        yield story
    finally:
        story.sampler.stop()
        story.letters.close()
        shop.stop()


def test_jobs_that_die_of_five_causes_are_five_groups_and_each_is_somewhere_at_every_moment(story):
    shop, jobs, sampler = story.shop, story.jobs, story.sampler
    expected = sorted((exception, len(jobs.of(reason))) for reason, exception in CAUSES.items())

    jobs.send(shop)
    story.wait_until_dead()
    fine = jobs.of("fine")
    assert story.counts() == (len(fine) + len(story.dying), len(fine), 0, len(story.dying))
    story.collect()

    # Exactly five groups, as the library and as the command tell them.
    groups = story.letters.groups()
    assert groups.letters == len(story.dying)
    assert sorted((class_name(group.death.exception), group.count) for group in groups.groups) == expected
    told = shop.amply("dlq", "groups", "--json")
    assert told.returncode == 0, told.stderr
    groups_told = json.loads(told.stdout)["groups"]
    assert sorted((class_name(group["exception"]), group["count"]) for group in groups_told) == expected
    assert {group["task"] for group in groups_told} == {"shop.charge", "shop.refund"}

    # One group is brought back, and it alone is touched.
    (group,) = (group for group in groups.groups if group.death.exception.endswith("ValueError"))
    others = [reason for reason in CAUSES if reason != "amount"]
    before = story.letters_of(*others)
    sampler.wait_for_look()
    sampler.staying = jobs.of(*others)
    sampler.is_returning = True
    sampler.wait_for_look()
    shop.fix("amount")
    outcome = story.letters.redrive(Match(group=group.id))
    assert (outcome.moved, outcome.doubtful, outcome.destinations) == (group.count, 0, {WORK: group.count})
    story.wait_until_done(jobs.of("amount"))
    assert shop.done() == dict.fromkeys(fine | jobs.of("amount"), 1)
    assert story.counts() == (len(jobs.sent), len(fine) + group.count, 0, len(story.dying) - group.count)
    assert story.letters_of(*others) == before
    assert len(before) == len(story.dying) - group.count
    assert {one.id: one.count for one in story.letters.groups().groups} == {
        one.id: one.count for one in groups.groups if one.id != group.id
    }

    # Then the rest, when nothing is wrong any more.
    for reason in CAUSES:
        shop.fix(reason)
    shop.stop_worker("shop")
    shop.start_shop(KNOWS_REFUND="yes")
    sampler.wait_for_look()
    sampler.staying = set()
    told = shop.amply("dlq", "redrive", "--all", "--yes", "--json")
    assert told.returncode == 0, told.stderr
    story.wait_until_done(set(jobs.reasons))
    assert shop.done() == dict.fromkeys(jobs.reasons, 1)
    assert story.counts() == (len(jobs.sent), len(jobs.sent), 0, 0)
    sampler.wait_for_look()
    assert not sampler.faults
    assert sampler.looks > 10
