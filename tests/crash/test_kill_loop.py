"""The broker is killed again and again under load, and keeps every promise that it made before."""

import random
import sys
import time
from pathlib import Path

import pytest
from broker_process import BrokerProcess
from json_client import JsonClient
from kill_loop import LONG_BYTES, announce, drain, kill_at_the_answer, load
from ledger import Ledger, judge, make_body, name_in, read
from load_client import QUEUE

CLIENTS = {"sender-1": "send", "sender-2": "send", "receiver-1": "receive", "receiver-2": "receive"}
DEAD_LETTERS = "load-dead"
MAX_RECEIVE_COUNT = 4


def declare_queues(client: JsonClient) -> None:
    client.call("CreateQueue", QueueName=DEAD_LETTERS)
    policy = (
        f'{{"deadLetterTargetArn":"arn:aws:sqs:eu-central-1:000000000000:{DEAD_LETTERS}",'
        f'"maxReceiveCount":{MAX_RECEIVE_COUNT}}}'
    )
    client.call("CreateQueue", QueueName=QUEUE, Attributes={"RedrivePolicy": policy})


def kill_at_a_send(broker: BrokerProcess, ledger: Ledger, name: str) -> None:
    with broker.client() as client:
        ledger.attempted([name])
        answer = kill_at_the_answer(
            broker, client, "SendMessage", QueueUrl=QUEUE, MessageBody=make_body(name, LONG_BYTES)
        )
        ledger.acknowledged({name: answer["MessageId"]})


def kill_at_a_delete(broker: BrokerProcess, ledger: Ledger, name: str) -> None:
    with broker.client() as client, broker.client() as sender:
        asked_ns = time.monotonic_ns()
        received = client.call(
            "ReceiveMessage",
            QueueUrl=QUEUE,
            VisibilityTimeout=1,
            WaitTimeSeconds=5,
            MessageSystemAttributeNames=["ApproximateReceiveCount"],
        )
        messages = received.get("Messages", [])
        ledger.delivered(messages, QUEUE, asked_ns, time.monotonic_ns(), 1)
        if not messages:  # another client was quicker
            broker.kill()
            return
        deleting = str(name_in(messages[0]["Body"]))
        ledger.deleting([deleting])
        ledger.attempted([name])
        sender.ask("SendMessage", QueueUrl=QUEUE, MessageBody=make_body(name, LONG_BYTES))
        kill_at_the_answer(broker, client, "DeleteMessage", QueueUrl=QUEUE, ReceiptHandle=messages[0]["ReceiptHandle"])
        ledger.deleted([deleting], time.monotonic_ns())


def kill_at_any_moment(broker: BrokerProcess, ledger: Ledger, name: str) -> None:
    broker.kill()


# A kill at any moment seldom meets the few microseconds in which a broker that answers too early can be caught.
KILLS = kill_at_any_moment, kill_at_a_send, kill_at_a_delete


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
        ledger = Ledger(tmp_path / "killer.ledger")
        with load(tmp_path, "load_client.py", CLIENTS):
            for number in range(kills):
                announce(tmp_path, broker.port)
                time.sleep(moments.uniform(0.05, 0.35))
                (tmp_path / "port").unlink()
                KILLS[number % len(KILLS)](broker, ledger, f"killer-{number}")
                broker.start()
            announce(tmp_path, broker.port)
        with broker.client() as client:
            drain(client, ledger, QUEUE, DEAD_LETTERS)
        ledger.close()
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
