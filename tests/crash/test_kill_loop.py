"""The broker is killed again and again under load, and keeps every promise that it made before."""

import random
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from broker_process import PATIENCE_S, BrokerProcess
from json_client import JsonClient
from ledger import Ledger, judge, read
from load_client import QUEUE

CLIENTS = {"sender-1": "send", "sender-2": "send", "receiver-1": "receive", "receiver-2": "receive"}
DEAD_LETTERS = "load-dead"
MAX_RECEIVE_COUNT = 4


@contextmanager
def load(folder: Path) -> Iterator[None]:
    """Several client processes at work."""
    script = str(Path(__file__).with_name("load_client.py"))
    clients = [
        subprocess.Popen([sys.executable, script, role, str(folder), name], stderr=subprocess.PIPE, text=True)
        for name, role in CLIENTS.items()
    ]
    try:
        yield
        for client in clients:
            client.terminate()
        for client in clients:
            _, errors = client.communicate(timeout=PATIENCE_S)
            assert client.returncode == 0, errors
    finally:
        for client in clients:
            client.kill()
            client.communicate()


def announce(folder: Path, port: int) -> None:
    """Tell the clients where the broker is, in one step."""
    (folder / "port.new").write_text(str(port))
    (folder / "port.new").rename(folder / "port")


def declare_queues(client: JsonClient) -> None:
    client.call("CreateQueue", QueueName=DEAD_LETTERS)
    policy = (
        f'{{"deadLetterTargetArn":"arn:aws:sqs:eu-central-1:000000000000:{DEAD_LETTERS}",'
        f'"maxReceiveCount":{MAX_RECEIVE_COUNT}}}'
    )
    client.call("CreateQueue", QueueName=QUEUE, Attributes={"RedrivePolicy": policy})


def drain(client: JsonClient, ledger: Ledger) -> None:
    """Receive and delete until both queues say that nothing is left, in whatever state."""
    while waiting := sum(messages_in(client, queue) for queue in (QUEUE, DEAD_LETTERS)):
        for queue in (QUEUE, DEAD_LETTERS):
            asked_ns = time.monotonic_ns()
            answer = client.call(
                "ReceiveMessage",
                QueueUrl=queue,
                MaxNumberOfMessages=10,
                VisibilityTimeout=600,
                WaitTimeSeconds=0 if waiting > 10 else 1,
                MessageSystemAttributeNames=["ApproximateReceiveCount"],
            )
            messages = answer.get("Messages", [])
            ledger.delivered(messages, queue, asked_ns, time.monotonic_ns(), 600, is_drain=True)
            for message in messages:
                client.call("DeleteMessage", QueueUrl=queue, ReceiptHandle=message["ReceiptHandle"])


def messages_in(client: JsonClient, queue: str) -> int:
    attributes = client.call("GetQueueAttributes", QueueUrl=queue, AttributeNames=["All"])["Attributes"]
    return sum(int(value) for name, value in attributes.items() if name.startswith("ApproximateNumberOfMessages"))


@pytest.fixture
def kills(request: pytest.FixtureRequest) -> int:
    return int(request.config.getoption("--kills"))


def test_no_kill_of_the_broker_under_load_breaks_a_promise(
    tmp_path: Path, kills: int, capsys: pytest.CaptureFixture[str]
) -> None:
    moments = random.Random()
    broker = BrokerProcess(tmp_path / "data").start()
    try:
        with broker.client() as client:
            declare_queues(client)
        with load(tmp_path):
            for _ in range(kills):
                announce(tmp_path, broker.port)
                time.sleep(moments.uniform(0.05, 0.35))
                (tmp_path / "port").unlink()
                broker.kill()
                broker.start()
            announce(tmp_path, broker.port)
        final = Ledger(tmp_path / "final.ledger")
        with broker.client() as client:
            drain(client, final)
        final.close()
    finally:
        broker.kill()

    verdict = judge(read(tmp_path.glob("*.ledger")))
    with capsys.disabled():
        sys.stdout.write(
            f"\n{kills} kills: {verdict.acknowledged} sends acknowledged, {verdict.indeterminate} without an answer "
            f"({verdict.recovered} of them delivered), {verdict.deleted} deletes acknowledged, "
            f"{verdict.duplicates} duplicates; lost {len(verdict.lost)}, resurrected {len(verdict.resurrected)}, "
            f"unexpected {len(verdict.unexpected)}\n"
        )
    assert verdict.broken_promises == {}
    # A quiet run would prove nothing.
    assert verdict.acknowledged > 20 * kills
    assert verdict.deleted > 5 * kills
    assert verdict.indeterminate > 0
    assert verdict.duplicates > 0
