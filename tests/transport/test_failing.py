"""How long a failed job waits, when it is given up, and what is recorded of it."""

import json
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amply.transport.delivery import ATTEMPTS, Cause, received
from amply.transport.failing import again_in_s, is_given_up, is_last, record
from amply.transport.options import Options
from amply.transport.queues import Queue

QUEUE = Queue("jobs", "prefix-jobs", "http://here/jobs")
STEADY = {"jitter": 0}


def delivery(receive_count=1, carried=0, task="tasks.add"):
    message = {
        "MessageId": "m",
        "ReceiptHandle": "r",
        "Attributes": {"ApproximateReceiveCount": str(receive_count)},
        "MessageAttributes": {ATTEMPTS: {"StringValue": str(carried)}},
    }
    made = received(QUEUE, message, now_ms=0, lease_s=120)
    made.payload = {"headers": {"task": task, "id": "job-1"}}
    return made


def waits(options, counts, most=None, **message):
    return [again_in_s(delivery(count, **message), options, most, Random(1)) for count in counts]


def test_waits_grow_up_to_the_longest():
    options = Options.read({"backoff": {"first_s": 5, "factor": 2, "most_s": 30, **STEADY}})
    assert waits(options, range(1, 6)) == [5, 10, 20, 30, 30]


def test_waits_go_on_growing_over_a_fresh_copy():
    options = Options.read({"backoff": {"first_s": 5, "factor": 2, "most_s": 900, **STEADY}})
    assert waits(options, [1, 2], carried=2) == [20, 40]


def test_a_tasks_backoff_goes_before_its_queues_and_that_before_the_others():
    told = {"backoff": {"first_s": 1, **STEADY}, "queue_backoff": {"jobs": {"first_s": 2, **STEADY}}}
    assert waits(Options.read(told), [1]) == [2]
    assert waits(Options.read(told | {"task_backoff": {"tasks.add": {"first_s": 3, **STEADY}}}), [1]) == [3]
    assert waits(Options.read(told | {"task_backoff": {"tasks.other": {"first_s": 3, **STEADY}}}), [1]) == [2]


@given(st.integers(0, 2**32), st.integers(1, 1000))
def test_with_the_default_backoff_each_wait_is_longer_than_the_one_before(seed, most):
    random = Random(seed)
    found = [again_in_s(delivery(count), Options(), 2000, random) for count in range(1, 7)]
    assert found == sorted(found)
    assert 4 <= found[0] <= 6


@pytest.mark.parametrize("carried", [0, 999_999])
def test_no_wait_is_longer_than_sqs_hides_a_message(carried):
    options = Options.read({"backoff": {"first_s": 43_200, "most_s": 43_200, "factor": 100, "jitter": 0.3}})
    assert all(wait <= 43_200 for wait in waits(options, [1, 2, 900], carried=carried))


@pytest.mark.parametrize(
    ("receive_count", "carried", "most", "last", "given_up"),
    [
        (4, 0, 5, False, False),
        (5, 0, 5, True, False),
        (6, 0, 5, True, True),
        (2, 3, 5, True, False),
        (3, 3, 5, True, True),
        (1, 5, 5, True, False),
        (1, 99, 5, True, False),
        (2, 99, 5, True, True),
        (1, 0, 1, True, False),
        (999, 99, None, False, False),
    ],
)
def test_runs_are_counted_over_all_copies_and_each_copy_may_run_once(receive_count, carried, most, last, given_up):
    one = delivery(receive_count, carried)
    assert is_last(one, most) is last
    assert is_given_up(one, most) is given_up
    assert (again_in_s(one, Options(), most, Random(1)) is None) is last


def test_the_record_of_a_failure_names_the_job_and_its_cause():
    cause = Cause("raised", "ValueError", "no " + "x" * 5000, "top" + "y" * 9000 + "the line that raised")
    told = json.loads(record(delivery(2, 1), cause, again_in_s=10.5, now_ms=1234).to_json())
    assert told["type"] == "delivery-failed"
    assert (told["task"], told["id"], told["message_id"], told["queue"]) == ("tasks.add", "job-1", "m", "prefix-jobs")
    assert (told["attempt"], told["receive_count"], told["again_in_s"]) == (3, 2, 10.5)
    assert (told["reason"], told["exception"], told["timestamp_ms"]) == ("raised", "ValueError", 1234)
    assert len(told["message"]) == 1000
    assert len(told["traceback"]) == 4000
    assert told["traceback"].endswith("the line that raised")


def test_the_record_of_the_last_failure_has_no_next_run():
    assert json.loads(record(delivery(5), Cause("raised"), again_in_s=None, now_ms=0).to_json())["again_in_s"] is None


def test_the_record_names_the_worker_as_celery_does():
    told = json.loads(record(delivery(), Cause("raised"), again_in_s=1, now_ms=0, nodename="high@here").to_json())
    assert told["nodename"] == "high@here"


def test_a_long_message_leaves_the_stack_its_room():
    text = "no " + "x" * 5000
    cause = Cause("raised", "ValueError", text, f"Traceback\n  the line that raised\nValueError: {text}\n")
    told = record(delivery(), cause, again_in_s=None, now_ms=0).traceback
    assert told == f"Traceback\n  the line that raised\nValueError: {text[:1000]}"
