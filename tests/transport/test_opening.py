"""Every message has a verdict, whatever is in it."""

import base64
import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amply import envelope
from amply.clock import ManualClock
from amply.transport.opening import Opening
from amply.transport.options import Options
from amply.transport.queues import Queue

NOW_MS = 1_800_000_000_000
QUEUE = Queue("jobs", "jobs", "http://here/jobs")
FIFO = Queue("jobs.fifo", "jobs.fifo", "http://here/jobs.fifo")


def opened(message, *, queue=QUEUE, receives=5, options=None, elapsed_ms=0):
    opening = Opening(options or Options(), ManualClock(elapsed_ms), None, wall_ms=lambda: NOW_MS)
    return opening.open(queue, message, receives)


def message(*, receive_count=1, attributes=None, **headers):
    payload = {
        "body": base64.b64encode(b"[[], {}, {}]").decode(),
        "content-type": "application/json",
        "content-encoding": "utf-8",
        "headers": {"task": "tasks.add", "id": "1", "eta": None} | headers,
        "properties": {"body_encoding": "base64"},
    }
    return {
        "MessageId": "m",
        "ReceiptHandle": "r",
        "Body": envelope.write(payload, "brief"),
        "Attributes": {"ApproximateReceiveCount": str(receive_count)},
        "MessageAttributes": attributes or {},
    }


def eta(in_s):
    return datetime.fromtimestamp(NOW_MS / 1000 + in_s, UTC).isoformat()


def carrying(attempts):
    return {"AmplyAttempts": {"DataType": "Number", "StringValue": str(attempts)}}


def test_a_job_for_now_is_good_and_knows_its_run():
    verdict = opened(message(receive_count=2, attributes=carrying(2)))
    assert verdict.is_good
    headers = verdict.delivery.payload["headers"]
    assert (headers["attempt"], headers["receive_count"]) == (4, 2)
    assert (verdict.delivery.task, verdict.delivery.task_id) == ("tasks.add", "1")


@pytest.mark.parametrize(("in_s", "due_in_s"), [(1.001, 2), (60, 60), (60.2, 61), (86_400 * 20, 86_400 * 20)])
def test_a_job_for_later_is_put_off_by_the_walls_clock(in_s, due_in_s):
    verdict = opened(message(eta=eta(in_s)), elapsed_ms=99)
    assert (verdict.is_good, verdict.due_in_s, verdict.cause) == (False, due_in_s, None)


def test_a_job_due_within_a_second_is_celerys_to_wait_for():
    assert "eta" in opened(message(eta=eta(0.9))).delivery.payload["headers"]
    assert "eta" not in opened(message(eta=eta(0))).delivery.payload["headers"]


def test_a_job_of_the_first_protocol_has_its_time_in_its_body():
    body = {"task": "tasks.add", "id": "1", "args": [], "kwargs": {}, "eta": eta(60)}
    payload = {
        "body": base64.b64encode(json.dumps(body).encode()).decode(),
        "content-type": "application/json",
        "content-encoding": "utf-8",
        "headers": {},
        "properties": {"body_encoding": "base64"},
    }
    assert opened(message() | {"Body": envelope.write(payload, "brief")}).due_in_s == 60


def test_on_a_fifo_queue_celery_waits_itself_from_the_last_receive_on():
    assert opened(message(eta=eta(60), receive_count=4), queue=FIFO).due_in_s == 60
    last = opened(message(eta=eta(60), receive_count=5), queue=FIFO)
    assert last.is_good
    assert last.delivery.payload["headers"]["eta"] == eta(60)
    assert opened(message(eta=eta(60), receive_count=50), queue=FIFO, receives=None).due_in_s == 60


@pytest.mark.parametrize(
    ("receive_count", "attempts", "runs"),
    [(5, 0, True), (6, 0, False), (2, 3, True), (3, 3, False), (1, 9, True), (2, 9, False)],
)
def test_what_has_used_up_its_runs_does_not_run(receive_count, attempts, runs):
    verdict = opened(message(receive_count=receive_count, attributes=carrying(attempts)))
    assert (verdict.is_good, verdict.cause, verdict.due_in_s) == (runs, None, 0)


def test_a_body_that_is_no_job_has_its_reason():
    verdict = opened({"MessageId": "m", "ReceiptHandle": "r", "Body": "hello"})
    assert verdict.cause.reason == "unreadable message"
    assert "hello" not in verdict.cause.message


def test_another_systems_body_is_an_argument_of_the_declared_task():
    options = Options.read({"foreign_tasks": {"jobs": "tasks.arrived"}})
    verdict = opened({"MessageId": "m", "ReceiptHandle": "r", "Body": '{"order": 42}'}, options=options)
    assert verdict.is_good
    assert (verdict.delivery.task, verdict.delivery.task_id) == ("tasks.arrived", "m")


def test_a_pointer_without_a_store_has_its_reason():
    pointer = '["software.amazon.payloadoffloading.PayloadS3Pointer",{"s3BucketName":"b","s3Key":"k"}]'
    attributes = {"ExtendedPayloadSize": {"DataType": "Number", "StringValue": "300000"}}
    verdict = opened({"MessageId": "m", "ReceiptHandle": "r", "Body": pointer, "MessageAttributes": attributes})
    assert "payload_store" in verdict.cause.message


@pytest.mark.parametrize(
    "strange",
    [
        {"Attributes": None},
        {"Attributes": []},
        {"Attributes": {"ApproximateReceiveCount": None}},
        {"Attributes": {"ApproximateReceiveCount": "many"}},
        {"Attributes": {"ApproximateReceiveCount": 3}},
        {"MessageAttributes": None},
        {"MessageAttributes": "x"},
        {"MessageAttributes": ["AmplyAttempts"]},
        {"MessageAttributes": {"AmplyAttempts": None}},
        {"MessageAttributes": {"AmplyAttempts": "3"}},
        {"MessageAttributes": {"AmplyAttempts": {"StringValue": 3}}},
        {"MessageAttributes": {"AmplyAttempts": {"StringValue": "-1"}}},
        {"MessageAttributes": {"AmplyAttempts": {"StringValue": "1e9"}}},
        {"MessageAttributes": {"AmplyAttempts": {"StringValue": "1000000000"}}},
        {"MessageAttributes": {"AmplyAttempts": {"StringValue": "x"}}},
        {"MessageAttributes": {"AmplyAttempts": {"StringValue": "٣"}}},
        {"MessageAttributes": {"AmplyAttempts": {"DataType": "Binary", "BinaryValue": "AA=="}}},
        {"ReceiptHandle": None},
        {"MessageId": None},
    ],
)
def test_what_sqs_would_never_say_is_a_first_run(strange):
    verdict = opened(message() | strange)
    assert verdict.is_good
    assert verdict.delivery.attempt == verdict.delivery.receive_count == 1


def test_a_message_without_anything_has_its_reason():
    verdict = opened({})
    assert verdict.cause.reason == "unreadable message"
    assert verdict.delivery.receipt_handle == ""


@given(
    st.dictionaries(
        st.sampled_from(["MessageId", "ReceiptHandle", "Body", "Attributes", "MessageAttributes"]),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.text(max_size=20),
            lambda inner: (
                st.lists(inner, max_size=3)
                | st.dictionaries(st.sampled_from(["AmplyAttempts", "StringValue", "x"]), inner, max_size=3)
            ),
            max_leaves=6,
        ),
    )
)
def test_opening_never_raises(strange):
    assert opened(strange).delivery is not None
