"""What a killed broker still knows: receive counts, receipt handles, deadlines, and which queue a message is in."""

import json
import random
import time
from collections.abc import Callable
from typing import Any

import pytest
from broker_process import BrokerProcess, until
from json_client import JsonClient

Start = Callable[..., BrokerProcess]
DEAD_LETTER_ARN = "arn:aws:sqs:eu-central-1:000000000000:dead"


def receive(client: JsonClient, queue: str = "work", **members: Any) -> list[dict[str, Any]]:
    names = ["ApproximateReceiveCount", "ApproximateFirstReceiveTimestamp", "SentTimestamp"]
    answer = client.call("ReceiveMessage", QueueUrl=queue, MessageSystemAttributeNames=names, **members)
    return answer.get("Messages", [])


def count_of(message: dict[str, Any]) -> int:
    return int(message["Attributes"]["ApproximateReceiveCount"])


def test_the_receive_count_goes_on_rising_across_kills(start: Start) -> None:
    first_received = set()
    for count in range(1, 6):
        broker = start()
        with broker.client() as client:
            if count == 1:
                client.call("CreateQueue", QueueName="work")
                client.call("SendMessage", QueueUrl="work", MessageBody="poison")
            (message,) = receive(client, VisibilityTimeout=0)
            broker.kill()
        assert count_of(message) == count
        first_received.add(message["Attributes"]["ApproximateFirstReceiveTimestamp"])
    assert len(first_received) == 1


def test_a_message_in_flight_at_the_kill_becomes_visible_at_its_old_deadline(start: Start) -> None:
    broker = start()
    with broker.client() as client:
        client.call("CreateQueue", QueueName="work")
        client.call("SendMessage", QueueUrl="work", MessageBody="slow work")
        asked_s = time.monotonic()
        (message,) = receive(client, VisibilityTimeout=3)
        broker.kill()
    with start().client() as client:
        (again,) = receive(client, WaitTimeSeconds=20)
        waited_s = time.monotonic() - asked_s
    assert again["MessageId"] == message["MessageId"]
    assert count_of(again) == 2
    assert waited_s > 2.99, "visible too early"


def test_a_delayed_message_is_not_early_after_a_kill(start: Start) -> None:
    broker = start()
    with broker.client() as client:
        client.call("CreateQueue", QueueName="work")
        asked_s = time.monotonic()
        client.call("SendMessage", QueueUrl="work", MessageBody="later", DelaySeconds=3)
        broker.kill()
    with start().client() as client:
        assert len(receive(client, WaitTimeSeconds=20)) == 1
    assert time.monotonic() - asked_s > 2.99


def test_receipt_handles_of_before_a_kill_still_delete(start: Start) -> None:
    broker = start()
    with broker.client() as client:
        client.call("CreateQueue", QueueName="work")
        for number in range(20):
            client.call("SendMessage", QueueUrl="work", MessageBody=str(number))
        handles = [message["ReceiptHandle"] for _ in range(20) for message in receive(client, VisibilityTimeout=600)]
        broker.kill()
    broker = start()
    with broker.client() as client:
        for handle in handles:
            client.call("DeleteMessage", QueueUrl="work", ReceiptHandle=handle)
    view = broker.queue("work")
    assert (view["visible"], view["in_flight"]) == (0, 0)


def test_a_purge_a_deleted_queue_and_tags_survive_a_kill(start: Start) -> None:
    broker = start()
    with broker.client() as client:
        for queue in ("work", "gone"):
            client.call("CreateQueue", QueueName=queue, Attributes={"DelaySeconds": "0"}, tags={"team": "giving"})
            client.call("SendMessage", QueueUrl=queue, MessageBody="old")
        client.call("PurgeQueue", QueueUrl="work")
        client.call("DeleteQueue", QueueUrl="gone")
        client.call("SetQueueAttributes", QueueUrl="work", Attributes={"VisibilityTimeout": "77"})
        broker.kill()
    with start().client() as client:
        assert receive(client) == []
        urls = client.call("ListQueues")["QueueUrls"]
        assert not any(url.endswith("/gone") for url in urls)
        assert client.call("ListQueueTags", QueueUrl="work")["Tags"] == {"team": "giving"}
        attributes = client.call("GetQueueAttributes", QueueUrl="work", AttributeNames=["VisibilityTimeout"])
        assert attributes["Attributes"] == {"VisibilityTimeout": "77"}


@pytest.mark.parametrize("attempt", range(5))
def test_a_kill_on_the_way_to_the_dead_letter_queue_leaves_each_message_in_exactly_one(
    start: Start, attempt: int
) -> None:
    count = 300
    broker = start()
    with broker.client() as client:
        client.call("CreateQueue", QueueName="dead")
        policy = json.dumps({"deadLetterTargetArn": DEAD_LETTER_ARN, "maxReceiveCount": 1})
        client.call("CreateQueue", QueueName="work", Attributes={"RedrivePolicy": policy})
        for first in range(0, count, 10):
            entries = [{"Id": str(number), "MessageBody": str(first + number)} for number in range(10)]
            client.call("SendMessageBatch", QueueUrl="work", Entries=entries)
        for _ in range(count // 10):
            # They are visible again once all have their one receive.
            assert len(receive(client, MaxNumberOfMessages=10, VisibilityTimeout=1)) == 10
        with broker.client() as other:
            other.ask("ReceiveMessage", QueueUrl="work", WaitTimeSeconds=20, MaxNumberOfMessages=10)
            until(lambda: broker.queue("work")["in_flight"] < count, "the first message is visible again")
            time.sleep(random.uniform(0, 0.02))
            broker.kill()
    broker = start()
    with broker.client() as client:
        bodies = [message["Body"] for message in receive_all(client, "dead")]
        # Not one receive is left for any of them, so the first attempt sends the others after them.
        assert receive(client, WaitTimeSeconds=2) == []
        bodies += [message["Body"] for message in receive_all(client, "dead")]
    assert sorted(bodies, key=int) == [str(number) for number in range(count)]
    assert (broker.queue("work")["visible"], broker.queue("work")["in_flight"]) == (0, 0)


def receive_all(client: JsonClient, queue: str) -> list[dict[str, Any]]:
    received: list[dict[str, Any]] = []
    while messages := receive(client, queue, MaxNumberOfMessages=10, VisibilityTimeout=600):
        received += messages
    return received
