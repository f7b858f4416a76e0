"""Whatever dies, and whenever: no letter is lost, and those that may be doubled are named."""

import sys
import time
from collections import Counter
from pathlib import Path
from threading import Event

import pytest

from amply.clock import ManualClock
from amply.deadletters.journal import Asked, Journal
from amply.deadletters.matching import Match
from amply.deadletters.moving import Moving
from amply.deadletters.redriving import Redriving

sys.path.insert(0, str(Path(__file__).parent))
from pretend import Killed, Life, NoCauses, PretendGateway, PretendJournal, PretendSqs

LETTERS = 12
EVERYTHING = Asked(verb="redrive", match=Match(), started_ms=0)
KINDS = [
    pytest.param(is_fifo, peeks, id=f"{'FIFO' if is_fifo else 'standard'}, {'looked at' if peeks else 'received'}")
    for is_fifo in (False, True)
    for peeks in (True, False)
]


@pytest.fixture(autouse=True)
def quick_disk(monkeypatch):
    """The journal under test knows itself what was synced; no disk has to be waited for."""
    monkeypatch.setattr("os.fsync", lambda _: None)


def dead_letters(is_fifo, peeks, count=LETTERS):
    sqs = PretendSqs(ManualClock(), is_fifo=is_fifo, peeks=peeks)
    sqs.die(count)
    return sqs


def run(sqs, folder, *, life=None, power_cut=False, asked=EVERYTHING, **more):
    """One process's run; its outcome, and what it named as perhaps doubled, or None when it was killed."""
    life = life or Life()
    gateway = PretendGateway(sqs, life, more.pop("answer", None), more.pop("undeletable", 0))
    queue = gateway.queue(f"dead{sqs.suffix}")
    target = Redriving(gateway, queue, clock=sqs.clock, to=asked.to)
    try:
        with PretendJournal(folder, queue.name, life=life, power_cut=power_cut) as journal:
            moving = Moving(gateway, queue, journal, target, clock=sqs.clock, threads=1, **more)
            outcome = moving.run(asked, NoCauses())
            life.step("told")
            return outcome
    except Killed:
        return None


def doubled(sqs):
    """The numbers of letters that there are twice, wherever; and that nothing is lost."""
    there = Counter(sqs.bodies("dead") + sqs.bodies("jobs") + sqs.bodies("mails"))
    assert set(there) == set(map(str, range(LETTERS)))
    return {body for body, count in there.items() if count > 1}


def numbers(outcome):
    """The letters that a run names: the id of letter 0 is m-1."""
    return {str(int(message_id[2:]) - 1) for message_id, _ in outcome.possible_duplicates} if outcome else set()


def settled_down(sqs, folder, **more):
    """Runs until there is nothing more to do; what they named."""
    named = set()
    for _ in range(2):
        named |= numbers(run(sqs, folder, **more))
        sqs.clock.advance(301)
    return named


@pytest.mark.parametrize(("is_fifo", "peeks"), KINDS)
@pytest.mark.parametrize("power_cut", [False, True], ids=["killed", "power cut"])
def test_a_run_killed_at_any_step_loses_nothing_and_names_what_it_doubles(tmp_path, is_fifo, peeks, power_cut):
    whole = Life()
    run(dead_letters(is_fifo, peeks), tmp_path / "whole", life=whole)
    assert len(whole.taken) > 30
    was_unsure = False
    for steps in range(len(whole.taken)):
        sqs = dead_letters(is_fifo, peeks)
        folder = tmp_path / str(steps)
        assert run(sqs, folder, life=Life(steps), power_cut=power_cut) is None
        assert doubled(sqs) <= set(map(str, range(LETTERS)))
        named = numbers(run(sqs, folder))
        if peeks and not power_cut:
            assert sqs.bodies("dead") == [], "nothing that the killed run had taken stays hidden"
        sqs.clock.advance(301)
        named |= settled_down(sqs, folder)
        was_unsure = was_unsure or bool(named)
        assert doubled(sqs) <= named, f"killed after {whole.taken[:steps][-1:]}"
        assert sqs.bodies("dead") == []
        assert not list((folder / "redrives").glob("*.jsonl")), "and nothing is left to resume"
    assert was_unsure


@pytest.mark.parametrize(("is_fifo", "peeks"), KINDS)
def test_what_somebody_else_received_after_a_kill_is_not_sent_again(tmp_path, is_fifo, peeks):
    whole = Life()
    run(dead_letters(is_fifo, peeks), tmp_path / "whole", life=whole)
    for steps in range(len(whole.taken)):
        sqs = dead_letters(is_fifo, peeks)
        folder = tmp_path / str(steps)
        run(sqs, folder, life=Life(steps))
        sqs.clock.advance(301)
        gateway = PretendGateway(sqs)
        while gateway.receive(gateway.queue(f"dead{sqs.suffix}"), 60, 0):
            pass
        sqs.clock.advance(61)
        named = settled_down(sqs, folder)
        assert doubled(sqs) <= named, f"killed after {whole.taken[:steps][-1:]}"
        assert sqs.bodies("dead") == []


@pytest.mark.parametrize(("is_fifo", "peeks"), KINDS)
def test_a_run_killed_and_its_resumption_killed_too_at_any_steps(tmp_path, is_fifo, peeks):
    whole = Life()
    run(dead_letters(is_fifo, peeks), tmp_path / "whole", life=whole)
    for first in range(len(whole.taken)):
        for second in range(first % 11, len(whole.taken) + 6, 11):
            sqs = dead_letters(is_fifo, peeks)
            folder = tmp_path / f"{first}-{second}"
            run(sqs, folder, life=Life(first))
            sqs.clock.advance(0 if second % 2 else 301)
            named = numbers(run(sqs, folder, life=Life(second)))
            named |= settled_down(sqs, folder)
            assert doubled(sqs) <= named, (first, second)
            assert sqs.bodies("dead") == []


@pytest.mark.parametrize(("is_fifo", "peeks"), KINDS)
@pytest.mark.parametrize("answer", ["lost", "nothing"])
def test_a_send_whose_answer_never_came_is_tried_once_more_and_named(tmp_path, is_fifo, peeks, answer):
    sqs = dead_letters(is_fifo, peeks)
    outcome = run(sqs, tmp_path, answer=lambda n, _: answer if n in {0, 5} else "stored")
    assert outcome.moved == LETTERS
    assert outcome.stayed == {}
    assert len(numbers(outcome)) == outcome.doubtful == 2
    # FIFO queues drop what comes twice within five minutes.
    assert doubled(sqs) == (numbers(outcome) if answer == "lost" and not is_fifo else set())
    assert sqs.bodies("dead") == []


@pytest.mark.parametrize(("is_fifo", "peeks"), KINDS)
def test_a_send_that_is_never_answered_leaves_the_letter_and_names_it(tmp_path, is_fifo, peeks):
    sqs = dead_letters(is_fifo, peeks)
    outcome = run(sqs, tmp_path, answer=lambda _, message: "lost" if message.body == "3" else "stored")
    assert outcome.moved == LETTERS - 1
    assert list(outcome.stayed.values()) == [1]
    assert numbers(outcome) == {"3"} >= doubled(sqs)
    assert sqs.bodies("dead") == ["3"]
    assert not any(map(sqs.is_hidden, sqs.queues[f"dead{sqs.suffix}"])), "and it is shown again"


@pytest.mark.parametrize(("is_fifo", "peeks"), KINDS)
def test_what_sqs_refuses_stays_with_its_reason(tmp_path, is_fifo, peeks):
    sqs = dead_letters(is_fifo, peeks)
    outcome = run(sqs, tmp_path, answer=lambda _, message: "refused" if message.body in "37" else "stored")
    # SQS shows nobody what waits behind a letter of its group.
    stay = ["10", "3", "7"] if is_fifo and not peeks else ["3", "7"]
    assert (outcome.moved, outcome.stayed) == (LETTERS - len(stay), {"InvalidMessageContents: no": 2})
    assert sorted(sqs.bodies("dead")) == stay
    assert not any(map(sqs.is_hidden, sqs.queues[f"dead{sqs.suffix}"]))
    assert outcome.possible_duplicates == []


def test_a_batch_that_is_refused_whole_is_sent_one_by_one(tmp_path):
    sqs = dead_letters(is_fifo=False, peeks=True, count=3)
    outcome = run(sqs, tmp_path, answer=lambda n, message: "refused" if n < 3 or message.body == "1" else "stored")
    assert (outcome.moved, outcome.stayed) == (2, {"InvalidMessageContents: no": 1})


@pytest.mark.parametrize(("is_fifo", "peeks"), KINDS)
def test_a_delete_that_fails_is_tried_again_and_then_left_to_the_next_run(tmp_path, is_fifo, peeks):
    sqs = dead_letters(is_fifo, peeks)
    outcome = run(sqs, tmp_path / "once", undeletable=1)
    assert (outcome.moved, outcome.waiting) == (LETTERS, 0)

    sqs = dead_letters(is_fifo, peeks)
    outcome = run(sqs, tmp_path, undeletable=2 * LETTERS)
    behind = 2 if is_fifo and not peeks else 0  # SQS shows ten, and no more while they are there
    assert (outcome.moved, outcome.waiting) == (0, LETTERS - behind)
    sqs.clock.advance(301)
    following = run(sqs, tmp_path)
    assert following.settled.asked.verb == "redrive"
    assert (following.moved, following.waiting, following.doubtful) == (behind, 0, 0)
    assert sqs.bodies("dead") == []
    assert doubled(sqs) == set()


@pytest.mark.parametrize("somebody", [False, True])
def test_a_letter_that_waited_for_its_turn_is_sent_only_if_it_is_still_ours(tmp_path, somebody):
    sqs = dead_letters(is_fifo=False, peeks=False)
    gateway = PretendGateway(sqs)

    def wait(*_):
        if somebody:
            sqs.clock.advance(301)
            gateway.receive(gateway.queue("dead"), 60, 0)
        else:
            sqs.clock.advance(200)

    outcome = run(sqs, tmp_path, progress=wait)
    assert outcome.moved + outcome.skipped == LETTERS
    assert outcome.moved == (10 if somebody else LETTERS)
    assert doubled(sqs) == set()


def test_a_letter_that_somebody_else_has_is_skipped(tmp_path):
    sqs = dead_letters(is_fifo=False, peeks=True)
    PretendGateway(sqs).receive(PretendGateway(sqs).queue("dead"), 60, 0)
    outcome = run(sqs, tmp_path)
    assert (outcome.moved, outcome.skipped) == (2, 10)
    assert len(sqs.bodies("dead")) == 10


def test_a_cancelled_run_finishes_what_is_in_hand_and_leaves_nothing_open(tmp_path):
    sqs = dead_letters(is_fifo=False, peeks=True, count=1500)
    cancel = Event()
    outcome = run(sqs, tmp_path, cancel=cancel, progress=lambda *_: cancel.set())
    assert outcome.is_cancelled
    assert 0 < outcome.moved < 1500
    assert len(sqs.bodies("dead")) == 1500 - outcome.moved
    assert not list((tmp_path / "redrives").glob("*.jsonl"))


def test_after_a_send_without_an_answer_the_rest_is_not_sent_and_not_named(tmp_path):
    """Of those that are taken together ten travel at a time, and twice at most."""
    sqs = dead_letters(is_fifo=False, peeks=True, count=95)
    outcome = run(sqs, tmp_path, answer=lambda number, _: "nothing" if number >= 20 else "stored")
    assert (outcome.moved, outcome.doubtful, sum(outcome.stayed.values())) == (20, 20, 75)
    assert outcome.stayed.keys() > {"it was not sent: no answer came to those before it"}
    assert len(sqs.bodies("dead")) == 75
    assert not any(stored.hidden_until_ms > sqs.clock.now_ms() for stored in sqs.queues["dead"])


def test_only_what_is_meant_is_touched(tmp_path):
    sqs = dead_letters(is_fifo=False, peeks=True)
    outcome = run(
        sqs, tmp_path, asked=Asked(verb="redrive", match=Match(ids=("m-3", "m-12")), started_ms=0, to="mails")
    )
    assert outcome.destinations == {"mails": 2}
    assert sorted(sqs.bodies("mails")) == ["11", "2"]
    assert all(stored.receive_count == 1 and not stored.hidden_until_ms for stored in sqs.queues["dead"])


def test_a_fifo_queues_letters_keep_the_order_of_their_groups(tmp_path):
    sqs = dead_letters(is_fifo=True, peeks=True, count=300)

    def give_way(*_):
        time.sleep(0)
        return "stored"

    gateway = PretendGateway(sqs, answer=give_way)
    queue = gateway.queue("dead.fifo")
    with Journal(tmp_path, queue.name) as journal:
        target = Redriving(gateway, queue, clock=sqs.clock)
        Moving(gateway, queue, journal, target, clock=sqs.clock, threads=4).run(EVERYTHING, NoCauses())
    for group in range(3):
        assert [body for body in sqs.bodies("jobs") if int(body) % 3 == group] == list(map(str, range(group, 300, 3)))
