"""Clients that vanish while they wait: no message goes with them."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from broker_process import BrokerProcess, until
from json_client import JsonClient

# Parks polls at the queue `work` until it is killed: PORT COUNT.
POLLER = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from json_client import JsonClient
clients = [JsonClient(int(sys.argv[1])) for _ in range(int(sys.argv[2]))]
for client in clients:
    client.ask("ReceiveMessage", QueueUrl="work", WaitTimeSeconds=20, VisibilityTimeout=600)
sys.stdin.read()
"""


@pytest.fixture
def broker(start: Callable[..., BrokerProcess]) -> BrokerProcess:
    started = start()
    with started.client() as client:
        client.call("CreateQueue", QueueName="work")
    return started


def take(client: JsonClient, count: int) -> list[tuple[str, str]]:
    """Receive and delete so many messages: their bodies and receive counts."""
    taken: list[dict[str, Any]] = []
    while len(taken) < count:
        answer = client.call(
            "ReceiveMessage",
            QueueUrl="work",
            MaxNumberOfMessages=10,
            WaitTimeSeconds=5,
            MessageSystemAttributeNames=["ApproximateReceiveCount"],
        )
        assert "Messages" in answer, f"{count - len(taken)} messages are not to be had"
        taken += answer["Messages"]
    for message in taken:
        client.call("DeleteMessage", QueueUrl="work", ReceiptHandle=message["ReceiptHandle"])
    return sorted((message["Body"], message["Attributes"]["ApproximateReceiveCount"]) for message in taken)


@pytest.mark.parametrize("end", ["close", "reset"])
def test_a_poll_whose_client_hung_up_consumes_nothing(broker: BrokerProcess, end: str) -> None:
    with broker.client() as client:
        for number in range(50):
            poller = broker.client()
            poller.ask("ReceiveMessage", QueueUrl="work", WaitTimeSeconds=20, VisibilityTimeout=600)
            until(lambda: broker.queue("work")["parked_polls"] == 1, "the poll is parked")
            getattr(poller, end)()
            # The hang-up and this are at the broker together; it may well read this first.
            client.call("SendMessage", QueueUrl="work", MessageBody=str(number))
            assert take(client, 1) == [(str(number), "1")]


def test_polls_of_a_killed_client_process_consume_nothing(broker: BrokerProcess) -> None:
    polls = 20
    with broker.client() as client:
        for _ in range(3):
            command = [sys.executable, "-c", POLLER, str(broker.port), str(polls)]
            with subprocess.Popen(command, stdin=subprocess.PIPE) as process:
                until(lambda: broker.queue("work")["parked_polls"] == polls, "all polls are parked")
                process.kill()
                process.wait()
            names = [f"{number:02}" for number in range(polls)]
            for name in names:
                client.call("SendMessage", QueueUrl="work", MessageBody=name)
            assert take(client, polls) == [(name, "1") for name in names]
