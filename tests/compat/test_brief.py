"""The dead letter script of the brief, word for word, against the broker that AWS_ENDPOINT_URL_SQS names."""

import json
import logging

import boto3
import pytest

logger = logging.getLogger(__name__)
dlq_url = "https://sqs.eu-central-1.amazonaws.com/xxxx/amply-celery-dlq"
main_queue_url = "https://sqs.eu-central-1.amazonaws.com/xxxx/amply-celery"


def process_dlq():
    """Process messages in dead letter queue."""
    while True:
        response = sqs.receive_message(QueueUrl=dlq_url, MaxNumberOfMessages=10, WaitTimeSeconds=5)

        messages = response.get("Messages", [])
        if not messages:
            break

        for msg in messages:
            body = json.loads(msg["Body"])

            # Log for investigation
            logger.error(
                "DLQ message",
                extra={
                    "task": body.get("headers", {}).get("task"),
                    "task_id": body.get("headers", {}).get("id"),
                    "receive_count": msg.get("Attributes", {}).get("ApproximateReceiveCount"),
                },
            )

            # Option 1: Retry to main queue
            sqs.send_message(QueueUrl=main_queue_url, MessageBody=msg["Body"])

            # Option 2: Delete after logging
            sqs.delete_message(QueueUrl=dlq_url, ReceiptHandle=msg["ReceiptHandle"])


@pytest.fixture
def environment(broker, monkeypatch):
    """What a person sets before running the script; any credentials will do."""
    global sqs  # noqa: PLW0603 - the script's own global
    monkeypatch.setenv("AWS_ENDPOINT_URL_SQS", broker.endpoint_url)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "any")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "any")
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)
    sqs = boto3.client("sqs")
    yield
    sqs.close()


def test_the_dead_letter_script_empties_the_queue_and_stops(broker, environment, in_background, caplog):
    for number in range(25):
        task = {"headers": {"task": "amply.jobs.webhooks.dispatch_webhook", "id": str(number)}}
        sqs.send_message(QueueUrl=dlq_url, MessageBody=json.dumps(task))
    running = in_background(process_dlq)
    broker.wait_for_polls("amply-celery-dlq")
    broker.advance(5)
    running.result(10)
    assert [record.task_id for record in caplog.records] == [str(number) for number in range(25)]
    names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
    dead = sqs.get_queue_attributes(QueueUrl=dlq_url, AttributeNames=names)["Attributes"]
    again = sqs.get_queue_attributes(QueueUrl=main_queue_url, AttributeNames=names)["Attributes"]
    assert list(dead.values()) == ["0", "0"]
    assert list(again.values()) == ["25", "0"]


def test_a_task_that_fails_five_times_is_a_dead_letter_and_its_count_is_shown(broker, environment):
    sqs.send_message(QueueUrl=main_queue_url, MessageBody="poison")
    for _ in range(5):
        assert len(sqs.receive_message(QueueUrl=main_queue_url, WaitTimeSeconds=0)["Messages"]) == 1
        broker.advance(1800)
    assert "Messages" not in sqs.receive_message(QueueUrl=main_queue_url, WaitTimeSeconds=0)
    (message,) = sqs.receive_message(QueueUrl=dlq_url, AttributeNames=["All"])["Messages"]
    assert message["Attributes"]["ApproximateReceiveCount"] == "6"
    assert message["Attributes"]["DeadLetterQueueSourceArn"].endswith(":amply-celery")


def test_the_queues_of_the_brief_have_its_attributes(broker, environment):
    attributes = sqs.get_queue_attributes(QueueUrl=main_queue_url, AttributeNames=["All"])["Attributes"]
    expected = {
        "VisibilityTimeout": "1800",
        "MessageRetentionPeriod": "1209600",
        "MaximumMessageSize": "262144",
        "ReceiveMessageWaitTimeSeconds": "20",
        "DelaySeconds": "0",
    }
    assert {name: attributes[name] for name in expected} == expected
    policy = json.loads(attributes["RedrivePolicy"])
    assert policy["deadLetterTargetArn"].endswith(":amply-celery-dlq")
    assert int(policy["maxReceiveCount"]) == 5
    high = sqs.get_queue_attributes(QueueUrl=f"{main_queue_url}-high", AttributeNames=["VisibilityTimeout"])
    assert high["Attributes"] == {"VisibilityTimeout": "600"}
    dead = sqs.get_queue_attributes(QueueUrl=dlq_url, AttributeNames=["MessageRetentionPeriod"])
    assert dead["Attributes"] == {"MessageRetentionPeriod": "1209600"}
