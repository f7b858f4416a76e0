"""Dead letters go back where they belong and stay what they were, on the embedded broker and on plain SQS."""

import re
import sys
from pathlib import Path

import pytest

from amply.clock import ManualClock, SystemClock
from amply.deadletters.deaths import found
from amply.deadletters.gateway import NotFoundError, RefusedError
from amply.deadletters.journal import Asked, Journal
from amply.deadletters.letters import SOURCE
from amply.deadletters.matching import Match
from amply.deadletters.moving import Moving, Stays, count
from amply.deadletters.redriving import AT, ATTEMPTS, COUNT, FROM, Redriving, redriven, refusal
from amply.deadletters.walks import walk
from amply.topology.load import load

sys.path.insert(0, str(Path(__file__).parent))
from letter_samples import envelope, letter
from pretend import NoCauses, PretendGateway, PretendSqs

TEXT = {"DataType": "String", "StringValue": "x"}


def redrive(place, folder, match=Match(), to=None, **more):  # noqa: B008
    asked = Asked(verb="redrive", match=match, started_ms=0, to=to, rate=more.pop("rate", None))
    target = Redriving(place.gateway, place.queue, clock=SystemClock(), to=to)
    with Journal(folder, place.queue.name) as journal:
        run = Moving(place.gateway, place.queue, journal, target, clock=SystemClock(), **more)
        return run.run(asked, NoCauses())


def planned(place, match=Match(), to=None):  # noqa: B008
    target = Redriving(place.gateway, place.queue, clock=SystemClock(), to=to)
    with walk(place.gateway, place.queue, takes=False) as steps:
        asked = Asked(verb="redrive", match=match, started_ms=0)
        return count(found(steps.pages(), NoCauses()), asked, target, SystemClock().now_ms())


def test_letters_go_back_to_the_queues_they_came_from(place, tmp_path):
    place.die(*map(str, range(25)))
    place.die("mail")
    if place.is_plain:  # moto does not say where a letter came from
        outcome = redrive(place, tmp_path)
        assert outcome.stayed == {"nobody knows where it came from; say --to": 26}
        assert place.count() == (26, 0)
        return
    assert planned(place).destinations == {"jobs": 26}
    outcome = redrive(place, tmp_path)
    assert (outcome.moved, outcome.destinations) == (26, {"jobs": 26})
    assert (place.count(), place.count("jobs")) == ((0, 0), (26, 0))


def test_letters_go_to_another_queue_and_carry_all_they_had(place, tmp_path):
    body = envelope(job_id="job-7")
    trace = {"AWSTraceHeader": {"DataType": "String", "StringValue": "Root=1-5759e988-bd862e3fe1be46a994272793"}}
    binary = {"DataType": "Binary", "BinaryValue": b"\x00\xff"}
    place.die(body, MessageAttributes={"Customer": TEXT, "Key": binary, ATTEMPTS: TEXT}, MessageSystemAttributes=trace)
    place.die("another")
    plan = planned(place, Match(ids=("job-7",)), to="mails")
    assert (plan.destinations, plan.stayed) == ({"mails": 1}, {})
    told = []
    outcome = redrive(
        place, tmp_path, Match(ids=("job-7",)), to="mails", progress=lambda *now: told.append(now), total=1
    )
    assert (outcome.moved, outcome.destinations) == (1, {"mails": 1})
    assert [done for done, _, _ in told] == [1]
    (message,) = place.everything("mails")
    assert message["Body"] == body
    if not place.is_plain:  # moto forgets it
        assert message["Attributes"]["AWSTraceHeader"] == trace["AWSTraceHeader"]["StringValue"]
    attributes = message["MessageAttributes"]
    assert set(attributes) == {"Customer", "Key", FROM, AT, COUNT}
    assert attributes["Key"]["BinaryValue"] == b"\x00\xff"
    assert attributes[FROM]["StringValue"] == "dead"
    assert attributes[COUNT]["StringValue"] == "1"
    assert place.count() == (1, 0), "nothing else was touched, and nothing stays hidden"


def test_what_a_look_finds_to_be_refused_is_told_by_the_plan_too(place):
    place.die("1")
    with pytest.raises(NotFoundError):
        planned(place, to="nowhere")
    with pytest.raises(RefusedError, match="circle"):
        planned(place, to="dead")


@pytest.mark.parametrize("kind", ["embedded", "moto"])
def test_fifo_letters_keep_their_groups(make_place, tmp_path, kind):
    place = make_place(kind, ".fifo")
    for number in range(7):
        place.sqs.send_message(
            QueueUrl=place.urls["dead"],
            MessageBody=str(number),
            MessageGroupId=f"g{number % 2}",
            MessageDeduplicationId=str(number),
        )
    outcome = redrive(place, tmp_path, to="mails.fifo")
    assert outcome.moved == 7
    place.urls["mails.fifo"] = place.urls["mails"]
    messages = []
    while some := place.receive("mails"):
        messages += some
        for message in some:
            place.sqs.delete_message(QueueUrl=place.urls["mails"], ReceiptHandle=message["ReceiptHandle"])
    for group, bodies in (("g0", "0246"), ("g1", "135")):
        assert "".join(one["Body"] for one in messages if one["Attributes"]["MessageGroupId"] == group) == bodies


def test_a_rate_is_kept_to(tmp_path):
    clock = ManualClock()
    sqs = PretendSqs(clock, is_fifo=False, peeks=True)
    sqs.die(12)
    gateway, waits = PretendGateway(sqs), []

    class Passing:
        """A cancel that is never set, and lets time pass when it is waited for."""

        def wait(self, seconds):
            waits.append(seconds)
            clock.advance(seconds)

        def is_set(self):
            return False

    asked = Asked(verb="redrive", match=Match(), started_ms=0, rate=4)
    with Journal(tmp_path, "dead") as journal:
        target = Redriving(gateway, gateway.queue("dead"), clock=clock, to="jobs")
        run = Moving(gateway, gateway.queue("dead"), journal, target, clock=clock, cancel=Passing())
        assert run.run(asked, NoCauses()).moved == 12
    assert sum(waits) == pytest.approx(2)
    assert max(waits) <= 2


class Queues:
    """A gateway that knows some queues, and which of them send their dead letters here."""

    def __init__(self, *names, sources=()):
        self._names = names
        self._sources = list(sources)

    def queue(self, name):
        if name not in self._names:
            raise NotFoundError(f"no queue {name}")
        return PretendGateway(PretendSqs(ManualClock(), is_fifo=False, peeks=True)).queue("dead")

    def sources(self, queue):
        return self._sources


def place_of(one, gateway, **more):
    queue = PretendGateway(PretendSqs(ManualClock(), is_fifo=False, peeks=True)).queue("dead")
    target = Redriving(gateway, queue, clock=ManualClock(), **more)
    ((known,),) = found([[one]], NoCauses())
    return target.of(known)


def test_where_a_letter_belongs_is_known_from_the_surest_source_there_is():
    topology = load(None)
    work = topology.work_queues[0]
    routed = envelope().replace('"celery"', f'"{work.celery_name}"')
    every = Queues("jobs", "mails", work.name, sources=["mails"])
    assert place_of(letter(routed, source="jobs"), every, to="mails", topology=topology) == "mails"
    assert place_of(letter(routed, source="jobs"), every, topology=topology) == "jobs"
    assert place_of(letter(routed), every, topology=topology) == "mails"
    several = Queues("jobs", "mails", work.name, sources=["mails", "jobs"])
    assert place_of(letter(routed), several, topology=topology) == work.name
    assert place_of(letter(routed), several) == Stays("nobody knows where it came from; say --to")
    assert place_of(letter("no job"), several, topology=topology) == Stays("nobody knows where it came from; say --to")
    assert "not to be had" in place_of(letter(source="gone"), several).reason
    assert place_of(letter(source="dead"), several) == Stays("it came from this queue itself; say --to")


def test_a_redriven_letter_counts_on_and_has_all_its_runs_again():
    before = letter(
        attributes={COUNT: {"DataType": "Number", "StringValue": "2"}, ATTEMPTS: TEXT, SOURCE: TEXT, FROM: TEXT}
    )
    message = redriven(before, "dead", 5, is_fifo=False)
    assert {name: value["StringValue"] for name, value in message.attributes.items()} == {
        FROM: "dead",
        AT: "5",
        COUNT: "3",
    }
    for hostile in ("", "-1", "1e9", "9" * 400, "٣"):
        before = letter(attributes={COUNT: {"DataType": "Number", "StringValue": hostile}})
        assert redriven(before, "dead", 5, is_fifo=False).attributes[COUNT]["StringValue"] == "1"
    binary = letter(attributes={COUNT: {"DataType": "Binary", "BinaryValue": "AA=="}})
    assert redriven(binary, "dead", 5, is_fifo=False).attributes[COUNT]["StringValue"] == "1"


@pytest.mark.parametrize(("others", "marks"), [(7, {FROM, AT, COUNT}), (8, {AT, COUNT}), (9, {COUNT}), (10, set())])
def test_marks_that_do_not_fit_are_left_out(others, marks):
    full = {f"a{number}": TEXT for number in range(others)}
    assert set(redriven(letter(attributes=full), "dead", 5, is_fifo=False).attributes) == set(full) | marks


def test_a_body_as_large_as_can_be_leaves_out_the_marks():
    message = redriven(letter("x" * (1 << 20)), "dead", 5, is_fifo=False)
    assert message.attributes == {}
    message = redriven(letter("x" * ((1 << 20) - 40)), "dead", 5, is_fifo=False)
    assert set(message.attributes) == {COUNT}


def test_on_a_fifo_queue_a_repeat_of_the_same_redrive_is_one_message():
    once, twice = (redriven(letter(), "dead", now, is_fifo=True) for now in (5, 6))
    assert once.deduplication_id == twice.deduplication_id == "m-1-r1"
    assert once.group_id == "m-1", "which has no group has its own"
    edited = redriven(letter(), "dead", 5, is_fifo=True, body="new")
    assert edited.body == "new"
    assert edited.deduplication_id not in {
        once.deduplication_id,
        redriven(letter(), "dead", 5, is_fifo=True, body="b").deduplication_id,
    }


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ("", "empty"),
        ("a\x00", r"U\+0000 \(at 1\)"),
        ("\ud800", r"U\+D800"),
        ("\uffff", r"U\+FFFF"),
        ("x" * (1 << 20) + "y", "1048577 bytes"),
    ],
)
def test_a_body_that_sqs_does_not_take_is_known_before_it_is_sent(body, why):
    assert re.search(why, refusal(body))


@pytest.mark.parametrize("body", ["x", "\t\r\n", "\u202e\x7f\U0001f600", "x" * (1 << 20)])
def test_a_body_that_sqs_takes(body):
    assert refusal(body) is None
