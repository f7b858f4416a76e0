"""The parts of the demonstration: its story, its account, its receiver."""

import itertools
import threading
from collections import Counter

import httpx
import pytest

from amply.cli.demo_arrivals import BURST_EVERY_S, Kind, arrivals
from amply.cli.demo_ledger import Ledger, load
from amply.cli.demo_receiver import TIMESTAMP_TOLERANCE_S, Receiver, is_authentic
from amply.clock import wall_ms
from amply.jobs.signatures import headers, new_secret

SECRET = new_secret()


def test_the_story_is_the_same_on_every_run_and_never_goes_back():
    first = list(itertools.islice(arrivals(7), 500))
    assert first == list(itertools.islice(arrivals(7), 500))
    assert first != list(itertools.islice(arrivals(8), 500))
    moments = [at_s for at_s, _ in first]
    assert moments == sorted(moments)


def test_the_story_begins_with_a_burst_and_brings_every_kind_within_a_minute():
    minute = list(itertools.takewhile(lambda moment: moment[0] < 60, arrivals(9324)))
    at_once = Counter(kind for at_s, kind in minute if at_s == 0)
    assert at_once[Kind.DONATION] >= 10
    assert at_once[Kind.REPORT] >= 10
    assert {kind for _, kind in minute} == set(Kind)
    assert sum(at_s == BURST_EVERY_S for at_s, _ in minute) == sum(at_once.values())


def test_the_account_knows_what_was_sent_and_what_is_done(tmp_path):
    ledger = Ledger()
    for number in range(4):
        ledger.note_sent("high" if number % 2 else "low", f"id-{number}")
    ledger.check({"id-0", "id-1"}.__contains__, limit=2)
    ledger.check({"id-2"}.__contains__, limit=100)
    assert (ledger.sent, ledger.done) == ({"low": 2, "high": 2}, {"low": 2, "high": 1})
    ledger.save(tmp_path / "ledger.json")
    again = load(tmp_path / "ledger.json")
    assert again.open == [("high", "id-3")]
    assert again == ledger


def test_an_account_that_was_never_written_is_empty(tmp_path):
    assert load(tmp_path / "ledger.json") == Ledger()


def test_open_jobs_are_asked_after_in_turn():
    ledger = Ledger()
    for number in range(3):
        ledger.note_sent("low", str(number))
    asked = []
    for _ in range(3):
        ledger.check(lambda task_id: bool(asked.append(task_id)), limit=2)
    assert asked == ["0", "1", "2", "0", "1", "2"]


@pytest.mark.parametrize(
    ("changes", "body", "is_right"),
    [
        ({}, b"{}", True),
        ({"webhook-signature": f"v1,AAAA {headers([SECRET], 'm', 1000, b'{}')['webhook-signature']}"}, b"{}", True),
        ({}, b"{ }", False),
        ({"webhook-id": "other"}, b"{}", False),
        ({"webhook-timestamp": "1001"}, b"{}", False),
        ({"webhook-timestamp": "x"}, b"{}", False),
        ({"webhook-signature": ""}, b"{}", False),
        ({"webhook-signature": "ü"}, b"{}", False),
    ],
)
def test_only_what_the_secret_signed_is_authentic(changes, body, is_right):
    received = {**headers([SECRET], "m", 1000, b"{}"), **changes}
    assert is_authentic(SECRET, received, body, now_s=1000) is is_right


def test_an_old_webhook_is_refused_even_with_its_right_signature():
    received = headers([SECRET], "m", 1000, b"{}")
    assert is_authentic(SECRET, received, b"{}", now_s=1000 + TIMESTAMP_TOLERANCE_S)
    assert not is_authentic(SECRET, received, b"{}", now_s=1001 + TIMESTAMP_TOLERANCE_S)


@pytest.fixture
def receiver():
    with Receiver(seed=9324) as listening:
        listening.secrets["/hook"] = SECRET
        serving = threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.01})
        serving.start()
        yield listening
        listening.shutdown()
        serving.join()


def test_the_receiver_takes_signed_webhooks_fails_now_and_then_and_refuses_the_rest(receiver):
    body, statuses = b'{"type":"x"}', Counter()
    for number in range(60):
        signed = headers([SECRET], f"m{number}", wall_ms() // 1000, body)
        statuses[httpx.post(f"{receiver.url}/hook", content=body, headers=signed).status_code] += 1
    assert statuses[204] > 40
    assert statuses[500] >= 1
    assert set(statuses) <= {204, 500, 503}
    signed = headers([SECRET], "m", wall_ms() // 1000, body)
    assert httpx.post(f"{receiver.url}/hook", content=b"other", headers=signed).status_code == 401
    assert httpx.post(f"{receiver.url}/elsewhere", content=body, headers=signed).status_code == 401
