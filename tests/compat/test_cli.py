"""The AWS command line: every action that the broker has, as a person types it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

AWS = Path(sys.executable).with_name("aws")
TIMEOUT_S = 60


@pytest.fixture
def aws(broker, tmp_path):
    """Run `aws sqs ...`; returns its JSON, or its words on stderr if it is to fail."""
    environment = {
        **os.environ,
        "AWS_ACCESS_KEY_ID": "any",
        "AWS_SECRET_ACCESS_KEY": "any",
        "AWS_DEFAULT_REGION": "eu-central-1",
        "AWS_CONFIG_FILE": str(tmp_path / "none"),
        "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "none"),
        "AWS_PAGER": "",
    }

    def run(*arguments, fails=False):
        command = [AWS, "--endpoint-url", broker.endpoint_url, "--output", "json", "sqs", *arguments]
        ended = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=TIMEOUT_S, check=False)
        assert bool(ended.returncode) == fails, ended.stderr
        if fails:
            return ended.stderr
        return json.loads(ended.stdout) if ended.stdout else None

    return run


@pytest.fixture
def url(sqs):
    return sqs.create_queue(QueueName="work")["QueueUrl"]


def test_queues(aws):
    policy = '{"VisibilityTimeout": "60"}'
    url = aws("create-queue", "--queue-name", "work", "--attributes", policy, "--tags", "team=giving")["QueueUrl"]
    assert aws("get-queue-url", "--queue-name", "work") == {"QueueUrl": url}
    pages = aws("list-queues", "--page-size", "2")["QueueUrls"]
    assert [page.rpartition("/")[2] for page in pages] == [
        "amply-celery",
        "amply-celery-dlq",
        "amply-celery-high",
        "amply-celery-low",
        "amply-telemetry",
        "work",
    ]
    assert aws("set-queue-attributes", "--queue-url", url, "--attributes", "DelaySeconds=0") is None
    attributes = aws("get-queue-attributes", "--queue-url", url, "--attribute-names", "All")["Attributes"]
    assert (attributes["VisibilityTimeout"], attributes["DelaySeconds"]) == ("60", "0")
    assert aws("tag-queue", "--queue-url", url, "--tags", "tier=1") is None
    assert aws("untag-queue", "--queue-url", url, "--tag-keys", "team") is None
    assert aws("list-queue-tags", "--queue-url", url) == {"Tags": {"tier": "1"}}
    assert aws("purge-queue", "--queue-url", url) is None
    assert aws("delete-queue", "--queue-url", url) is None
    error = aws("get-queue-url", "--queue-name", "work", fails=True)
    assert "(AWS.SimpleQueueService.NonExistentQueue)" in error
    assert "The specified queue does not exist." in error


def test_messages(aws, url, broker):
    attributes = '{"kind": {"DataType": "String", "StringValue": "gift"}}'
    sent = aws("send-message", "--queue-url", url, "--message-body", "Grüße", "--message-attributes", attributes)
    asked = "--attribute-names", "All", "--message-attribute-names", "All"
    (message,) = aws("receive-message", "--queue-url", url, *asked)["Messages"]
    assert message["MessageId"] == sent["MessageId"]
    assert message["Body"] == "Grüße"
    assert message["MD5OfBody"] == sent["MD5OfMessageBody"]
    assert message["MD5OfMessageAttributes"] == sent["MD5OfMessageAttributes"]
    assert message["MessageAttributes"] == json.loads(attributes)
    assert message["Attributes"]["ApproximateReceiveCount"] == "1"
    handle = "--queue-url", url, "--receipt-handle", message["ReceiptHandle"]
    assert aws("change-message-visibility", *handle, "--visibility-timeout", "0") is None
    assert len(aws("receive-message", "--queue-url", url)["Messages"]) == 1
    assert aws("delete-message", *handle) is None
    broker.advance(31)
    assert aws("receive-message", "--queue-url", url) is None


def test_batches(aws, url):
    entries = json.dumps([{"Id": "a", "MessageBody": "A"}, {"Id": "b", "MessageBody": "B"}])
    sent = aws("send-message-batch", "--queue-url", url, "--entries", entries)
    assert [entry["Id"] for entry in sent["Successful"]] == ["a", "b"]
    received = aws("receive-message", "--queue-url", url, "--max-number-of-messages", "10")["Messages"]
    entries = [{"Id": str(n), "ReceiptHandle": one["ReceiptHandle"]} for n, one in enumerate(received)]
    changes = json.dumps([entry | {"VisibilityTimeout": 100} for entry in entries])
    changed = aws("change-message-visibility-batch", "--queue-url", url, "--entries", changes)
    assert [entry["Id"] for entry in changed["Successful"]] == ["0", "1"]
    deleted = aws("delete-message-batch", "--queue-url", url, "--entries", json.dumps(entries))
    assert [entry["Id"] for entry in deleted["Successful"]] == ["0", "1"]


def test_message_move_tasks(aws, sqs):
    dead, work = (f"arn:aws:sqs:eu-central-1:000000000000:{name}" for name in ("dead", "work"))
    url = sqs.create_queue(QueueName="dead")["QueueUrl"]
    policy = json.dumps({"deadLetterTargetArn": dead, "maxReceiveCount": 1})
    sqs.create_queue(QueueName="work", Attributes={"RedrivePolicy": policy})
    for body in ("a", "b", "c"):
        sqs.send_message(QueueUrl=url, MessageBody=body)
    slowly = "--destination-arn", work, "--max-number-of-messages-per-second", "1"
    handle = aws("start-message-move-task", "--source-arn", dead, *slowly)["TaskHandle"]
    again = aws("start-message-move-task", "--source-arn", dead, fails=True)
    assert "(InvalidParameterValue)" in again
    assert "There is already a task running. Only one active task is allowed for a source queue arn" in again
    (task,) = aws("list-message-move-tasks", "--source-arn", dead, "--max-results", "10")["Results"]
    assert (task["Status"], task["TaskHandle"]) == ("RUNNING", handle)
    cancelled = aws("cancel-message-move-task", "--task-handle", handle)
    assert cancelled == {"ApproximateNumberOfMessagesMoved": task["ApproximateNumberOfMessagesMoved"]}
    refused = aws("start-message-move-task", "--source-arn", work, fails=True)
    assert "(InvalidParameterValue)" in refused
    assert "Source queue must be configured as a Dead Letter Queue." in refused
    missing = aws("start-message-move-task", "--source-arn", work + "-2", fails=True)
    assert "(ResourceNotFoundException)" in missing
    assert "The resource that you specified for the SourceArn parameter doesn't exist." in missing
