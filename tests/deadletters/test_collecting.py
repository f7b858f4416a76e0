"""Records of failures reach the file before they leave their queue, and nothing that is in the queue does harm."""

import json
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from amply.clock import ManualClock
from amply.deadletters import collecting
from amply.deadletters.collecting import Collected, collect, read_records
from amply.deadletters.failures import Failures
from amply.deadletters.gateway import NotFoundError
from amply.errors import AmplyError

sys.path.insert(0, str(Path(__file__).parent))
from causes_raised import NOW_MS, failure
from letter_samples import letter

PLACES = ("embedded", "moto")
EVENT = {"type": "task-succeeded", "uuid": "x", "timestamp": 1.5}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "failures.sqlite"


@pytest.fixture
def failures(path):
    opened = Failures(path)
    yield opened
    opened.close()


def text(record):
    return msgspec.json.encode(record).decode()


@pytest.fixture(params=PLACES)
def place(request, make_place, monkeypatch):
    """An SQS of either kind with a telemetry queue."""
    if request.param == "moto":
        # It gives a message to both of two who ask at the same moment.
        monkeypatch.setattr(collecting, "_RECEIVES_AT_ONCE", 1)
    return with_telemetry(make_place(request.param))


def with_telemetry(place):
    place.urls["telemetry"] = place.sqs.create_queue(QueueName="telemetry")["QueueUrl"]
    return place


def tell(place, *bodies):
    """Send these to the telemetry queue."""
    for start in range(0, len(bodies), 10):
        entries = [{"Id": str(at), "MessageBody": body} for at, body in enumerate(bodies[start : start + 10])]
        place.sqs.send_message_batch(QueueUrl=place.urls["telemetry"], Entries=entries)


def run(place, failures, *, source=None, **more):
    members = {"now_ms": NOW_MS, "limit_s": 60.0} | more
    return collect(source or place.gateway, "telemetry", failures, **members)


def test_every_record_is_kept_and_its_message_deleted(place, failures):
    tell(place, *(text(failure(number)) for number in range(95)))
    assert run(place, failures) == Collected(95, 0, is_complete=True)
    assert failures.counts() == (95, 1)
    assert failures.causes([("message-94", None)])[0].message == "no 94"
    assert place.count("telemetry") == (0, 0)
    assert run(place, failures) == Collected(0, 0, is_complete=True)


def test_events_and_whatever_else_is_there_are_deleted_and_counted(place, failures):
    tell(place, json.dumps([EVENT, EVENT]), json.dumps(EVENT), "no JSON", text(failure()))
    assert run(place, failures) == Collected(1, 4, is_complete=True)
    assert place.count("telemetry") == (0, 0)


def test_records_may_come_several_at_a_time(place, failures):
    several = [msgspec.to_builtins(failure(number)) for number in range(30)]
    tell(place, json.dumps([*several, EVENT]))
    assert run(place, failures) == Collected(30, 1, is_complete=True)
    assert failures.counts() == (30, 1)


def test_it_ends_when_its_time_is_over_and_goes_on_the_next_time(place, failures, monkeypatch):
    monkeypatch.setattr(collecting, "_RECEIVES_AT_ONCE", 1)
    tell(place, *(text(failure(number)) for number in range(30)))
    first = run(place, failures, limit_s=0, clock=ManualClock())
    assert first == Collected(10, 0, is_complete=False)
    assert failures.counts()[0] == 10
    assert place.count("telemetry") == (20, 0)
    assert run(place, failures) == Collected(20, 0, is_complete=True)
    assert failures.counts()[0] == 30


def test_without_such_a_queue_the_error_says_so(place, failures):
    with pytest.raises(NotFoundError):
        collect(place.gateway, "telemetry-2", failures, now_ms=NOW_MS, limit_s=1)


class Interrupted:
    """A gateway that fails at a verb."""

    def __init__(self, gateway, verb, error):
        self._gateway = gateway
        self._failing = {verb: error}

    def __getattr__(self, name):
        if name in self._failing:
            return self._fail
        return getattr(self._gateway, name)

    def _fail(self, *_):
        (error,) = self._failing.values()
        raise error


def test_what_cannot_be_deleted_is_kept_and_is_known_when_it_comes_again(make_place, broker, failures):
    place = with_telemetry(make_place("embedded"))
    tell(place, *(text(failure(number)) for number in range(5)))
    with pytest.raises(AmplyError, match="refused"):
        run(place, failures, source=Interrupted(place.gateway, "delete", AmplyError("refused")))
    assert failures.counts()[0] == 5
    assert place.count("telemetry") == (0, 5)
    broker.advance(60)
    assert run(place, failures) == Collected(5, 0, is_complete=True)
    assert failures.counts()[0] == 5
    assert place.count("telemetry") == (0, 0)


def test_what_cannot_be_kept_is_not_deleted(place, path):
    tell(place, text(failure()))
    path.write_bytes(b"no database " * 1000)
    with pytest.raises(AmplyError, match="is not a file of failures"):
        run(place, Failures(path))
    assert sum(place.count("telemetry")) == 1


KILLED = """
import os, signal, sys
from pathlib import Path
from amply.deadletters.collecting import collect
from amply.deadletters.failures import Failures
from amply.deadletters.gateway import Gateway
from amply.transport.endpoint import resolve

class Killed(Gateway):
    def delete(self, queue, letters):
        os.kill(os.getpid(), signal.SIGKILL)

endpoint = resolve(endpoint_url=sys.argv[1], region="eu-central-1", userid="test", password="test")
collect(Killed(endpoint), "telemetry", Failures(Path(sys.argv[2])), now_ms=int(sys.argv[3]), limit_s=60.0)
"""


def test_a_kill_between_keeping_and_deleting_only_repeats(make_place, broker, path, failures):
    place = with_telemetry(make_place("embedded"))
    tell(place, *(text(failure(number)) for number in range(10)))
    ran = subprocess.run([sys.executable, "-c", KILLED, place.url, str(path), str(NOW_MS)], check=False)
    assert ran.returncode == -9
    assert failures.counts()[0] == 10
    broker.advance(60)
    assert run(place, failures) == Collected(10, 0, is_complete=True)
    assert failures.counts()[0] == 10
    assert failures.causes([("message-3", None)])[0].failures == 1


WHOLE = {"type": "delivery-failed", "timestamp_ms": NOW_MS, "message_id": "m"}
ANYTHING = (None, True, -1, 1.5, 10**400, "text", "x" * 1_000_000, [], {}, [[[]]], {"a": {"b": []}})


@pytest.mark.parametrize("value", ANYTHING, ids=lambda value: repr(value)[:20])
@pytest.mark.parametrize("member", [*failure().__struct_fields__, "type", "other"])
def test_a_member_may_be_anything(failures, member, value):
    records, ignored = read_records([letter(json.dumps({**WHOLE, member: value}))])
    assert len(records) + ignored == 1
    failures.add(records, NOW_MS)
    assert failures.counts()[0] == len(records)


@pytest.mark.parametrize(
    "body",
    [
        *("", " ", "null", "5", "{}", "[", '{"type": "delivery-failed"', "\0", "\ud800", "[" * 1_000_000),
        *("[" * 50_000 + "]" * 50_000, '{"a":' * 50_000 + "1" + "}" * 50_000),
        json.dumps({**WHOLE, "message_id": ""}),
        json.dumps({**WHOLE, "type": "delivery-succeeded"}),
        json.dumps({**WHOLE, "timestamp_ms": 2**60}),
        json.dumps({**WHOLE, "message": "\ud800"}),
        json.dumps(WHOLE)[:-1] + ', "again_in_s": 1e999}',
        json.dumps(WHOLE)[:-1] + ', "again_in_s": NaN}',
        json.dumps(WHOLE)[:-1] + ', "deep": ' + "[" * 50_000 + "]" * 50_000 + "}",
    ],
    ids=lambda body: repr(body)[:20],
)
def test_what_is_no_record_is_ignored(body):
    assert read_records([letter(body), letter(json.dumps(WHOLE))])[1] == 1
    assert len(read_records([letter(body), letter(json.dumps(WHOLE))])[0]) == 1


def test_a_record_of_a_newer_worker_is_one_whatever_else_it_tells():
    records, ignored = read_records([letter(json.dumps({**WHOLE, "span": {"id": [1]}, "message": "no"}))])
    assert ([record.message for record in records], ignored) == (["no"], 0)
