"""What follows from a topology, and that the real Celery and kombu do with it what they should."""

import json

import pytest
from celery import Celery
from celery.exceptions import QueueNotFound
from kombu import pools
from kombu.transport.SQS import Channel

from amply.broker.sqs.attributes import redrive_policy, validate
from amply.jobs.celery_app import app as jobs_app
from amply.topology import derive
from amply.topology.load import load

ENDPOINT = "http://127.0.0.1:9324"
URL = f"{ENDPOINT}/000000000000/amply-celery"


class Calls:
    """An SQS client that records what kombu asks of it, as (action, queue URL)."""

    def __init__(self):
        self.made = []

    def get_queue_attributes(self, **asked):
        self.made.append(("GetQueueAttributes", asked["QueueUrl"]))
        return {"Attributes": {"ApproximateNumberOfMessages": "0"}}

    def send_message(self, **asked):
        self.made.append(("SendMessage", asked["QueueUrl"]))

    def purge_queue(self, **asked):
        self.made.append(("PurgeQueue", asked["QueueUrl"]))

    def receive_message(self, **asked):
        self.made.append(("ReceiveMessage", asked["QueueUrl"], asked["WaitTimeSeconds"]))
        return {"Messages": [{"Body": json.dumps({"body": "", "properties": {}}), "ReceiptHandle": "handle"}]}

    def delete_message(self, **asked):
        self.made.append(("DeleteMessage", asked["QueueUrl"], asked["ReceiptHandle"]))


@pytest.fixture
def app():
    celery = Celery("amply", set_as_current=False)
    settings = derive.celery_settings(load(), endpoint_url=ENDPOINT)
    # Our transport has tests of its own; stock kombu must be able to take its place.
    assert settings.pop("broker_transport") == "amply.transport:Transport"
    celery.conf.update(settings)
    yield celery
    celery.close()
    pools.reset()  # kombu keeps them by settings, not by app
    jobs_app.amqp._producer_pool = jobs_app._pool = None  # it has them from there


@pytest.fixture
def calls(monkeypatch):
    recorder = Calls()
    monkeypatch.setattr(Channel, "new_sqs_client", lambda *_, **__: recorder)
    return recorder


@pytest.mark.parametrize(
    ("task", "url"),
    [
        ("amply.jobs.webhooks.dispatch_webhook", f"{URL}-high"),
        ("amply.jobs.payments.any", f"{URL}-high"),
        ("amply.jobs.checkpoints.generate_checkpoint", URL),
        ("amply.jobs.donations.any", URL),
        ("amply.jobs.reports.generate_monthly_report", f"{URL}-low"),
        ("amply.jobs.cleanup.any", f"{URL}-low"),
        ("somebody.elses.task", URL),
    ],
)
def test_a_task_is_sent_to_the_queue_that_its_route_names(app, calls, task, url):
    app.send_task(task, ignore_result=True)
    assert [call[1] for call in calls.made if call[0] == "SendMessage"] == [url]


@pytest.mark.parametrize(("name", "url"), [("celery", URL), ("high", f"{URL}-high"), ("low", f"{URL}-low")])
def test_consuming_acknowledging_and_purging_reach_the_queue_too(app, calls, name, url):
    with app.connection_for_read() as connection:
        channel = connection.default_channel
        payload = channel._receive_message(name)["Messages"][0]
        message = channel.message_to_python(channel._message_to_python(payload, name, url))
        message.delivery_info["routing_key"] = name
        channel.qos.append(message, message.delivery_tag)
        channel.basic_ack(message.delivery_tag)
        # What the worker's polling loop looks up before its first ReceiveMessage.
        assert channel._new_queue(name) == url
        assert channel.canonical_queue_name(name) in channel.predefined_queues
    assert calls.made == [("ReceiveMessage", url, 20), ("DeleteMessage", url, "handle")]
    calls.made.clear()
    app.amqp.queues[name].bind(app.connection_for_write().default_channel).purge()
    assert ("PurgeQueue", url) in calls.made


def test_a_queue_that_is_not_declared_is_an_error_and_not_a_new_queue(app, calls):
    with pytest.raises(QueueNotFound):
        app.send_task("amply.jobs.webhooks.any", queue="hihg")
    assert calls.made == []


def test_a_failed_task_is_not_acknowledged(app):
    @app.task
    def fails():
        raise RuntimeError

    assert fails.acks_late is True
    assert fails.reject_on_worker_lost is True
    assert fails.acks_on_failure is False
    assert fails.acks_on_timeout is False
    assert fails.acks_on_failure_or_timeout is False  # what Celery 5.6 reads


def test_the_settings_of_the_brief_keep_their_values():
    settings = derive.celery_settings(load(), endpoint_url=None)
    stated = {
        "broker_url": "sqs://",
        "task_serializer": "json",
        "accept_content": ["json"],
        "task_acks_late": True,
        "task_reject_on_worker_lost": True,
        "worker_prefetch_multiplier": 1,
    }
    assert {name: settings[name] for name in stated} == stated
    options = settings["broker_transport_options"]
    assert (options["region"], options["visibility_timeout"], options["wait_time_seconds"]) == (
        "eu-central-1",
        1800,
        20,
    )
    assert options["queue_name_prefix"] == "amply-"
    assert options["predefined_queues"]["high"] == {
        "url": "https://sqs.eu-central-1.amazonaws.com/000000000000/amply-celery-high"
    }


def test_celery_knows_every_setting(app):
    assert set(derive.celery_settings(load(), endpoint_url=None)) <= set(app.conf.table(with_defaults=True))


def test_dead_letter_queues_are_created_before_the_queues_that_name_them():
    topology = load()
    order = [queue.name for queue in derive.queues_in_creation_order(topology)]
    assert order == ["amply-celery-dlq", "amply-celery", "amply-celery-high", "amply-celery-low", "amply-telemetry"]


def test_the_attributes_are_what_create_queue_takes():
    topology = load()
    for queue in topology.queues:
        attributes = derive.queue_attributes(topology, queue)
        assert validate(attributes, is_fifo=False, creating=True) == attributes
        if queue.redrive:
            target = redrive_policy(attributes["RedrivePolicy"]).dead_letter_target_arn
            assert target == derive.queue_arn(topology, queue.redrive.dead_letter_queue)


def test_a_queue_url_is_the_endpoint_s_or_amazon_s():
    topology = load()
    queue = topology.queue("amply-celery")
    assert derive.queue_url(topology, queue, ENDPOINT + "/") == URL
    aws = "https://sqs.eu-central-1.amazonaws.com/000000000000/amply-celery"
    assert derive.queue_url(topology, queue, None) == aws
