"""An import sends each line once, whatever kills it and however often it is repeated, or names what it doubled."""

import sys
from collections import Counter
from pathlib import Path
from threading import Event

import pytest

from amply.clock import ManualClock, SystemClock
from amply.deadletters import importing
from amply.deadletters.archive import line
from amply.deadletters.deaths import found
from amply.deadletters.importing import _ImportJournal, import_letters
from amply.deadletters.letters import SOURCE
from amply.deadletters.redriving import COUNT, FROM
from amply.errors import AmplyError

sys.path.insert(0, str(Path(__file__).parent))
from letter_samples import letter
from pretend import Killed, Life, NoCauses, PretendGateway, PretendSqs

LETTERS = 25
TEXT = {"DataType": "String", "StringValue": "x"}


def file_of(folder, *letters):
    """A file whose letters are on the lines 1, 3, 5 and so on."""
    folder.mkdir(exist_ok=True)
    path = folder / "letters.jsonl"
    (known,) = found([list(letters)], NoCauses())
    path.write_bytes(b"\n".join(line("dead", one) for one in known))
    return path


def numbered(count=LETTERS):
    return [letter(str(number), message_id=f"old-{number}", source="jobs") for number in range(count)]


def sqs_of(is_fifo=False):
    return PretendSqs(ManualClock(), is_fifo=is_fifo, peeks=True)


def run(sqs, path, life=None, answer=None, **more):
    gateway = PretendGateway(sqs, life, answer)
    queue = gateway.queue(f"dead{sqs.suffix}")
    try:
        return import_letters(gateway, path, queue, path.parent, clock=sqs.clock, **more)
    except Killed:
        return None


@pytest.fixture
def mortal(monkeypatch):
    """Import journals of a process that can be killed before, within and after each line."""
    monkeypatch.setattr("os.fsync", lambda _: None)

    class Mortal(_ImportJournal):
        life = Life()

        def _append(self, encoded):
            self.life.step("line")
            try:
                self.life.step("half a line")
            except Killed:
                super()._append(encoded[: len(encoded) // 2])
                raise
            super()._append(encoded)
            self.life.step("line written")

        def _write_anew(self):
            self.life.step("anew")
            super()._write_anew()

    monkeypatch.setattr(importing, "_ImportJournal", Mortal)
    return Mortal


@pytest.mark.parametrize("is_fifo", [False, True], ids=["standard", "FIFO"])
def test_an_import_killed_at_any_step_and_repeated_sends_every_line_and_names_what_it_doubles(
    tmp_path, mortal, is_fifo
):
    def live(sqs, path, life):
        mortal.life = life
        return run(sqs, path, life)

    whole = Life()
    outcome = live(sqs_of(is_fifo), file_of(tmp_path / "whole", *numbered()), whole)
    assert (outcome.sent, outcome.doubtful) == (LETTERS, [])
    was_doubled = False
    for first in range(len(whole.taken)):
        for second in {first % 4, first % 9 + 3, len(whole.taken) - first}:
            sqs, path = sqs_of(is_fifo), file_of(tmp_path / f"{first}-{second}", *numbered())
            assert live(sqs, path, Life(first)) is None
            outcomes = [live(sqs, path, Life(second)), live(sqs, path, Life()), live(sqs, path, Life())]
            there = Counter(sqs.bodies("dead"))
            assert set(there) == set(map(str, range(LETTERS)))
            doubled = {2 * int(body) + 1 for body, count in there.items() if count > 1}
            was_doubled = was_doubled or bool(doubled)
            assert doubled <= {number for outcome in outcomes if outcome for number in outcome.doubtful}
            assert (outcomes[-1].sent, outcomes[-1].already) == (0, LETTERS)
    assert was_doubled != is_fifo, "FIFO queues drop what comes twice within five minutes"


@pytest.mark.parametrize("answer", ["lost", "nothing"])
def test_what_was_not_answered_is_sent_once_more_and_named(tmp_path, answer):
    sqs, path = sqs_of(), file_of(tmp_path, *numbered())
    outcome = run(sqs, path, answer=lambda n, _: answer if n in {0, 12} else "stored")
    assert (outcome.sent, outcome.doubtful, outcome.unsure) == (LETTERS, [1, 25], [])
    assert set(sqs.bodies("dead")) == set(map(str, range(LETTERS)))


def test_what_is_never_answered_or_refused_is_told_and_tried_again_by_the_next_import(tmp_path):
    sqs, path = sqs_of(), file_of(tmp_path, *numbered())
    fates = {"3": "nothing", "7": "refused"}
    outcome = run(sqs, path, answer=lambda _, message: fates.get(message.body, "stored"))
    assert (outcome.sent, outcome.unsure) == (LETTERS - 2, [7])
    assert outcome.refused == {15: "InvalidMessageContents: no"}
    following = run(sqs, path)
    assert (following.sent, following.already, following.doubtful) == (2, LETTERS - 2, [7])
    assert Counter(sqs.bodies("dead")) == Counter(map(str, range(LETTERS)))


def test_a_cancelled_import_goes_on_when_it_is_repeated(tmp_path):
    sqs, path, cancel = sqs_of(), file_of(tmp_path, *numbered()), Event()
    told = []

    def progress(*now):
        told.append(now)
        cancel.set()

    outcome = run(sqs, path, cancel=cancel, progress=progress)
    assert (outcome.sent, outcome.is_cancelled) == (10, True)
    assert told[0][:2] == (10, LETTERS)
    assert run(sqs, path).sent == LETTERS - 10
    assert Counter(sqs.bodies("dead")) == Counter(map(str, range(LETTERS)))


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        (letter("", message_id="m"), "line 51: SQS does not take the body: it is empty"),
        (letter("\x00", message_id="m"), r"line 51: .*U\+0000"),
        (letter("\ud800", message_id="m"), r"line 51: .*U\+D800"),
        (letter("x" * (1 << 20) + "x", message_id="m"), "line 51: .*1048577 bytes"),
        (letter(message_id="m", attributes={f"a{n}": TEXT for n in range(11)}), "line 51: SQS takes 10 attributes"),
        (letter(message_id="m", attributes={"a": {"DataType": "Image", "StringValue": "x"}}), "line 51: .*DataType"),
    ],
)
def test_one_bad_line_refuses_the_file_before_anything_is_sent(tmp_path, bad, why):
    sqs, path = sqs_of(), file_of(tmp_path, *numbered(), bad)
    with pytest.raises(AmplyError, match=why):
        run(sqs, path)
    assert sqs.bodies("dead") == []


def test_another_file_or_another_queue_is_another_import(tmp_path):
    sqs, path = sqs_of(), file_of(tmp_path, *numbered())
    assert run(sqs, path).sent == LETTERS
    gateway = PretendGateway(sqs)
    other = import_letters(gateway, path, gateway.queue("mails"), tmp_path, clock=sqs.clock)
    assert other.sent == LETTERS
    assert run(sqs, file_of(tmp_path, *numbered(LETTERS + 1))).sent == LETTERS + 1
    again = run(sqs, file_of(tmp_path, *numbered()))
    assert (again.sent, again.already) == (0, LETTERS), "whatever the file is called, and whenever"
    Path(again.journal).unlink()
    assert run(sqs, path).sent == LETTERS


def test_letters_in_a_dead_letter_queue_say_where_they_came_from(place, tmp_path):
    binary = {"DataType": "Binary", "BinaryValue": "AP8="}
    whole = letter("7", message_id="old", source="jobs", attributes={"Key": binary, "AmplyAttempts": TEXT})
    full = letter("8", message_id="full", source="jobs", attributes={f"a{n}": TEXT for n in range(10)})
    nowhere = letter("9", message_id="none")
    path = file_of(tmp_path, whole, full, nowhere)
    outcome = import_letters(place.gateway, path, place.queue, tmp_path, clock=SystemClock())
    assert outcome.sent == 3
    first, second, third = sorted(place.everything("dead"), key=lambda message: message["Body"])
    assert {name: value.get("StringValue") for name, value in first["MessageAttributes"].items()} == {
        "Key": None,
        "AmplyAttempts": "x",
        SOURCE: "jobs",
    }
    assert first["MessageAttributes"]["Key"]["BinaryValue"] == b"\x00\xff"
    assert len(second["MessageAttributes"]) == 10
    assert "MessageAttributes" not in third


def test_letters_for_work_are_redriven_ones(place, tmp_path):
    path = file_of(tmp_path, letter("7", message_id="old", attributes={"AmplyAttempts": TEXT, SOURCE: TEXT}))
    jobs = place.gateway.queue("jobs")
    import_letters(place.gateway, path, jobs, tmp_path, clock=SystemClock(), is_redrive=True)
    (message,) = place.everything("jobs")
    assert {FROM, COUNT} < set(message["MessageAttributes"])
    assert not {SOURCE, "AmplyAttempts"} & set(message["MessageAttributes"])
