"""A broker killed in the middle of a message move task: nothing is lost, nothing is doubled, and the task goes on."""

import json
import random
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from broker_process import BrokerProcess, until
from json_client import JsonClient
from ledger import make_body, name_in

Start = Callable[..., BrokerProcess]
COUNT = 3000
KILLS = 5


def arn(queue: str) -> str:
    return f"arn:aws:sqs:eu-central-1:000000000000:{queue}"


def fill(client: JsonClient, work: str, dead: str) -> set[str]:
    """Bury messages of twenty groups; each is received once, and fails. Their MessageIds."""
    is_fifo = work.endswith(".fifo")
    kind = {"FifoQueue": "true"} if is_fifo else {}
    policy = json.dumps({"deadLetterTargetArn": arn(dead), "maxReceiveCount": 1})
    client.call("CreateQueue", QueueName=dead, Attributes=kind)
    client.call("CreateQueue", QueueName=work, Attributes={**kind, "RedrivePolicy": policy})
    message_ids = set()
    for first in range(0, COUNT, 10):
        entries: list[dict[str, Any]] = [
            {"Id": str(number), "MessageBody": make_body(str(number), 200)} for number in range(first, first + 10)
        ]
        if is_fifo:
            for number, entry in enumerate(entries, first):
                entry |= {"MessageGroupId": str(number % 20), "MessageDeduplicationId": str(number)}
        sent = client.call("SendMessageBatch", QueueUrl=work, Entries=entries)["Successful"]
        message_ids |= {one["MessageId"] for one in sent}
    empty = 0
    while empty < 2:
        answer = client.call("ReceiveMessage", QueueUrl=work, MaxNumberOfMessages=10, VisibilityTimeout=0)
        empty = 0 if answer.get("Messages") else empty + 1
    return message_ids


def task(client: JsonClient, dead: str) -> dict[str, Any]:
    (newest,) = client.call("ListMessageMoveTasks", SourceArn=arn(dead))["Results"]
    return dict(newest)


def moved_count(client: JsonClient, dead: str) -> int:
    return int(task(client, dead)["ApproximateNumberOfMessagesMoved"])


def wait_for_more_than(told: int, client: JsonClient, dead: str) -> None:
    until(lambda: moved_count(client, dead) > told, "the task goes on")


def drain(client: JsonClient, queue: str) -> list[dict[str, Any]]:
    drained: list[dict[str, Any]] = []
    while messages := client.call(
        "ReceiveMessage", QueueUrl=queue, MaxNumberOfMessages=10, VisibilityTimeout=600, WaitTimeSeconds=1
    ).get("Messages"):
        drained += messages
        entries = [{"Id": str(number), "ReceiptHandle": one["ReceiptHandle"]} for number, one in enumerate(messages)]
        client.call("DeleteMessageBatch", QueueUrl=queue, Entries=entries)
    return drained


@pytest.mark.parametrize(("work", "dead"), [("work", "dead"), ("work.fifo", "dead.fifo")])
def test_kills_in_the_middle_of_a_move_lose_and_double_nothing(start: Start, work: str, dead: str) -> None:
    broker = start()
    with broker.client() as client:
        old_ids = fill(client, work, dead)
        assert broker.queue(dead)["visible"] == COUNT
        # Five hundred a second is slow enough that every kill finds it at work.
        handle = client.call("StartMessageMoveTask", SourceArn=arn(dead), MaxNumberOfMessagesPerSecond=500)[
            "TaskHandle"
        ]
    told = 0
    for kill in range(KILLS):
        with broker.client() as client:
            wait_for_more_than(told, client, dead)
            time.sleep(random.uniform(0, 0.2))
            told = moved_count(client, dead)
        broker.kill()
        broker = start()
        with broker.client() as client:
            now = task(client, dead)
        assert now["TaskHandle"] == handle, "the task does not go on"
        assert now["Status"] == "RUNNING", f"kill {kill} came too late"
        assert now["ApproximateNumberOfMessagesMoved"] >= told, "what was told before the kill was not on the disk"
    with broker.client() as client:
        until(lambda: task(client, dead)["Status"] != "RUNNING", "the task ends")
        ended = task(client, dead)
        assert (ended["Status"], ended["ApproximateNumberOfMessagesMoved"]) == ("COMPLETED", COUNT)
        assert drain(client, dead) == []
        moved = drain(client, work)
    names = [name_in(message["Body"]) for message in moved]
    assert Counter(names) == Counter(map(str, range(COUNT)))
    new_ids = {message["MessageId"] for message in moved}
    assert len(new_ids) == COUNT
    assert not new_ids & old_ids
    if work.endswith(".fifo"):
        for group in range(20):
            numbers = [int(name) for name in names if name is not None and int(name) % 20 == group]
            assert numbers == sorted(numbers), "a group lost its order"


def test_kills_in_the_middle_of_a_move_without_a_rate_lose_and_double_nothing(start: Start) -> None:
    broker = start()
    with broker.client() as client:
        fill(client, "work", "dead")
        client.call("StartMessageMoveTask", SourceArn=arn("dead"))
    while True:
        time.sleep(random.uniform(0.02, 0.1))
        broker.kill()
        broker = start()
        with broker.client() as client:
            now = task(client, "dead")
        if now["Status"] != "RUNNING":
            break
    assert (now["Status"], now["ApproximateNumberOfMessagesMoved"]) == ("COMPLETED", COUNT)
    with broker.client() as client:
        names = [name_in(message["Body"]) for message in drain(client, "work") + drain(client, "dead")]
    assert Counter(names) == Counter(map(str, range(COUNT)))
