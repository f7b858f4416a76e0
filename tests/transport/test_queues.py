"""Celery's word for a queue turned into SQS's, and what is asked of SQS for it."""

import json

import pytest

from amply.transport.faults import SqsFault, Unreachable
from amply.transport.options import Options
from amply.transport.queues import Limits, Queue, Queues, UndefinedQueue

MISSING = SqsFault("GetQueueUrl", 400, "QueueDoesNotExist", "no such queue")
FOUND = {"QueueUrl": "http://here/000000000000/jobs"}
QUEUE = Queue("jobs", "jobs", "http://here/jobs")


def queues(client, **told):
    return Queues(client, Options.read(told))


@pytest.mark.parametrize(
    ("prefix", "name", "sqs_name"),
    [
        ("", "celery", "celery"),
        ("app-", "celery", "app-celery"),
        ("app-", "app-celery", "app-celery"),
        ("", "a.b/c@d é", "a-b-c-d--"),
        ("", "orders.fifo", "orders.fifo"),
        ("x.", "orders.fifo", "x-orders.fifo"),
        ("", "x" * 90, "x" * 80),
        ("", "x" * 90 + ".fifo", "x" * 75 + ".fifo"),
    ],
)
def test_a_name_is_made_as_sqs_takes_it(recorded, prefix, name, sqs_name):
    assert queues(recorded, queue_name_prefix=prefix).sqs_name(name) == sqs_name


@pytest.mark.parametrize("asked", ["jobs", "app-jobs"])
def test_a_predefined_queue_is_found_with_and_without_the_prefix_and_nobody_is_asked(recorded, asked):
    predefined = {"app-jobs": {"url": "http://here/000000000000/app-jobs"}}
    found = queues(recorded, queue_name_prefix="app-", predefined_queues=predefined).get(asked)
    assert found == Queue(asked, "app-jobs", "http://here/000000000000/app-jobs")
    assert recorded.asked == []


def test_where_queues_are_predefined_no_other_is_looked_for(recorded):
    with pytest.raises(UndefinedQueue, match="'other' is not among predefined_queues: jobs"):
        queues(recorded, predefined_queues={"jobs": {"url": "http://here/jobs"}}).get("other")
    with pytest.raises(UndefinedQueue, match="none"):
        queues(recorded, predefined_queues={}).get("other")
    assert recorded.asked == []


def test_a_queue_that_is_there_is_asked_for_once(recorded):
    recorded.answers = [FOUND]
    found = queues(recorded)
    assert found.get("jobs") is found.get("jobs")
    assert recorded.asked == [("GetQueueUrl", {"QueueName": "jobs"})]


def test_a_queue_that_is_not_there_is_made(recorded):
    recorded.answers = [MISSING, FOUND]
    assert queues(recorded, visibility_timeout=60).get("jobs").url == FOUND["QueueUrl"]
    assert recorded.asked[1] == ("CreateQueue", {"QueueName": "jobs", "Attributes": {"VisibilityTimeout": "60"}})


def test_a_fifo_queue_that_is_not_there_is_made_as_one(recorded):
    recorded.answers = [MISSING, {"QueueUrl": "http://here/jobs.fifo"}]
    assert queues(recorded).get("jobs.fifo").is_fifo
    assert recorded.asked[1][1]["Attributes"]["FifoQueue"] == "true"


def test_a_refusal_makes_no_queue(recorded):
    recorded.answers = [SqsFault("GetQueueUrl", 403, "AccessDenied", "no")]
    with pytest.raises(SqsFault):
        queues(recorded).get("jobs")
    assert len(recorded.asked) == 1


def test_limits_are_asked_for_once(recorded):
    policy = json.dumps({"deadLetterTargetArn": "arn", "maxReceiveCount": "5"})
    recorded.answers = [{"Attributes": {"RedrivePolicy": policy, "MaximumMessageSize": "262144"}}]
    found = queues(recorded)
    assert found.limits(QUEUE) == found.limits(QUEUE) == Limits(5, 262_144)
    assert len(recorded.asked) == 1


def test_a_queue_without_a_redrive_policy_has_no_count(recorded):
    recorded.answers = [{}]
    assert queues(recorded).limits(QUEUE) == Limits(None, 1_048_576)


def test_a_role_that_may_not_see_attributes_knows_no_limits(recorded):
    recorded.answers = [SqsFault("GetQueueAttributes", 403, "AccessDenied", "no")]
    assert queues(recorded).limits(QUEUE) == Limits()


def test_limits_that_could_not_be_asked_for_are_asked_for_again(recorded):
    recorded.answers = [Unreachable("gone"), {"Attributes": {"MaximumMessageSize": "1024"}}]
    found = queues(recorded)
    with pytest.raises(Unreachable):
        found.limits(QUEUE)
    assert found.limits(QUEUE).maximum_message_bytes == 1024


def test_a_queue_that_was_deleted_is_looked_for_again(recorded):
    recorded.answers = [FOUND, FOUND]
    found = queues(recorded)
    found.get("jobs")
    found.forget("jobs")
    found.get("jobs")
    assert len(recorded.asked) == 2
