"""The topology that comes with amply is the brief's."""

import json

import pytest

from amply.topology import derive
from amply.topology.load import check, load

# The brief, word for word, where it states a value.
STATED = {
    "amply-celery": {
        "VisibilityTimeout": "1800",
        "MessageRetentionPeriod": "1209600",
        "MaximumMessageSize": "262144",
        "ReceiveMessageWaitTimeSeconds": "20",
        "DelaySeconds": "0",
    },
    "amply-celery-high": {"VisibilityTimeout": "600"},
    "amply-celery-low": {},
    "amply-celery-dlq": {"MessageRetentionPeriod": "1209600"},
}


def test_it_declares_the_four_queues_of_the_brief_and_one_for_telemetry():
    assert [queue.name for queue in load().queues] == [*STATED, "amply-telemetry"]
    assert load().telemetry_queue == "amply-telemetry"
    assert (load().region, load().account) == ("eu-central-1", "000000000000")


@pytest.mark.parametrize("name", STATED)
def test_every_attribute_that_the_brief_states_has_its_value(name):
    attributes = load().queue(name).attributes
    assert {key: attributes.get(key) for key in STATED[name]} == STATED[name]


@pytest.mark.parametrize("name", ["amply-celery", "amply-celery-dlq"])
def test_the_queues_that_the_brief_describes_in_full_have_no_other_attribute(name):
    assert load().queue(name).attributes == STATED[name]


def test_all_three_work_queues_have_the_same_redrive_policy():
    topology = load()
    policy = {"deadLetterTargetArn": "arn:aws:sqs:eu-central-1:000000000000:amply-celery-dlq", "maxReceiveCount": 5}
    for name in ("amply-celery", "amply-celery-high", "amply-celery-low"):
        assert json.loads(derive.queue_attributes(topology, topology.queue(name))["RedrivePolicy"]) == policy
    assert "RedrivePolicy" not in derive.queue_attributes(topology, topology.queue("amply-celery-dlq"))


def test_all_work_queues_are_long_polled():
    assert {queue.attributes["ReceiveMessageWaitTimeSeconds"] for queue in load().work_queues} == {"20"}


def test_celery_knows_the_work_queues_by_the_names_of_the_brief():
    names = {queue.celery_name: queue.name for queue in load().work_queues}
    assert names == {"celery": "amply-celery", "high": "amply-celery-high", "low": "amply-celery-low"}


def test_the_worker_commands_are_the_lines_of_the_brief():
    commands = {service.name: " ".join(derive.worker_command(service)) for service in load().workers}
    start = "celery -A amply.jobs.celery_app worker"
    assert commands == {
        "amply-worker-high": f"{start} -Q high,celery --concurrency=4 --loglevel=info",
        "amply-worker-low": f"{start} -Q low --concurrency=2 --loglevel=info",
    }


def test_its_only_surprise_is_the_retention_that_the_brief_states():
    topology, warnings = check()
    assert [warning.field for warning in warnings] == ["queues[0].Attributes.MessageRetentionPeriod"]
    assert topology.queues[0].name == "amply-celery"
