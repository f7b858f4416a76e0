"""The broker is killed again and again under load on a FIFO queue: order, locks and deduplication outlive it."""

import random
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from broker_process import BrokerProcess
from fifo_client import QUEUE, sending
from fifo_verdict import judge_fifo
from json_client import JsonClient
from kill_loop import LONG_BYTES, announce, drain, kill_at_the_answer, load
from ledger import Ledger, name_in, read

CLIENTS = {f"sender{number}": "send" for number in range(3)} | {f"receiver{number}": "receive" for number in range(3)}


def send_again(client: JsonClient, ledger: Ledger, name: str) -> None:
    answer = client.call("SendMessage", QueueUrl=QUEUE, **sending(name, LONG_BYTES))
    ledger.acknowledged({name: answer["MessageId"]}, {name: answer["SequenceNumber"]})


# Each of these kills the broker, leaves it to its body to start it again, and repeats then what had no answer.


@contextmanager
def kill_at_any_moment(broker: BrokerProcess, ledger: Ledger, name: str) -> Iterator[None]:
    broker.kill()
    yield


@contextmanager
def kill_at_a_send(broker: BrokerProcess, ledger: Ledger, name: str) -> Iterator[None]:
    with broker.client() as client:
        ledger.attempted([name])
        answer = kill_at_the_answer(broker, client, "SendMessage", QueueUrl=QUEUE, **sending(name, LONG_BYTES))
        ledger.acknowledged({name: answer["MessageId"]}, {name: answer["SequenceNumber"]})
    yield
    with broker.client() as client:
        ledger.attempted([name])
        send_again(client, ledger, name)


@contextmanager
def kill_at_a_receive(broker: BrokerProcess, ledger: Ledger, name: str) -> Iterator[None]:
    asked = {
        "QueueUrl": QUEUE,
        "MaxNumberOfMessages": 10,
        "VisibilityTimeout": 5,
        "WaitTimeSeconds": 1,
        "MessageSystemAttributeNames": ["All"],
        "ReceiveRequestAttemptId": name,
    }
    with broker.client() as client:
        asked_ns = time.monotonic_ns()
        try:
            answer = kill_at_the_answer(broker, client, "ReceiveMessage", **asked)
        except OSError:  # the rest of a long answer was lost
            pass
        else:
            messages = answer.get("Messages", [])
            ledger.delivered(messages, QUEUE, asked_ns, time.monotonic_ns(), 5, attempt_id=name)
    yield
    with broker.client() as client:
        asked_ns = time.monotonic_ns()
        messages = client.call("ReceiveMessage", **asked).get("Messages", [])
        ledger.delivered(messages, QUEUE, asked_ns, time.monotonic_ns(), 5, attempt_id=name)


@contextmanager
def kill_at_a_delete(broker: BrokerProcess, ledger: Ledger, name: str) -> Iterator[None]:
    with broker.client() as client, broker.client() as sender:
        asked_ns = time.monotonic_ns()
        received = client.call(
            "ReceiveMessage",
            QueueUrl=QUEUE,
            VisibilityTimeout=5,
            WaitTimeSeconds=5,
            MessageSystemAttributeNames=["All"],
        )
        messages = received.get("Messages", [])
        ledger.delivered(messages, QUEUE, asked_ns, time.monotonic_ns(), 5)
        ledger.attempted([name])
        sender.ask("SendMessage", QueueUrl=QUEUE, **sending(name, LONG_BYTES))
        if messages:
            deleting, asked_ns = str(name_in(messages[0]["Body"])), time.monotonic_ns()
            ledger.deleting([deleting], asked_ns)
            kill_at_the_answer(
                broker, client, "DeleteMessage", QueueUrl=QUEUE, ReceiptHandle=messages[0]["ReceiptHandle"]
            )
            ledger.deleted([deleting], time.monotonic_ns())
        else:
            broker.kill()
    yield
    with broker.client() as client:
        ledger.attempted([name])
        send_again(client, ledger, name)


KILLS = kill_at_any_moment, kill_at_a_send, kill_at_a_receive, kill_at_a_delete


@pytest.fixture
def kills(request: pytest.FixtureRequest) -> int:
    return int(request.config.getoption("--fifo-kills"))


def test_no_kill_of_the_broker_breaks_a_promise_of_a_fifo_queue(
    tmp_path: Path, kills: int, capsys: pytest.CaptureFixture[str]
) -> None:
    moments = random.Random()
    broker = BrokerProcess(tmp_path / "data").start()
    try:
        with broker.client() as client:
            client.call("CreateQueue", QueueName=QUEUE, Attributes={"FifoQueue": "true"})
        ledger = Ledger(tmp_path / "killer.ledger")
        with load(tmp_path, "fifo_client.py", CLIENTS):
            announce(tmp_path, broker.port)
            for number in range(kills):
                time.sleep(moments.uniform(0.1, 0.4))
                (tmp_path / "port").unlink()
                with KILLS[number % len(KILLS)](broker, ledger, f"killer-{number}"):
                    announce(tmp_path, broker.start().port)
        with broker.client() as client:
            drain(client, ledger, QUEUE)
        ledger.close()
    finally:
        broker.kill()

    verdict = judge_fifo(read(tmp_path.glob("*.ledger")))
    messages = verdict.messages
    with capsys.disabled():
        sys.stdout.write(
            f"\n{kills} kills, FIFO: {messages.acknowledged} sends acknowledged, {verdict.repeated_sends} repeated, "
            f"{messages.deleted} deletes acknowledged, {messages.duplicates} duplicates, {verdict.repeated_receives} "
            f"receives repeated; lost {len(messages.lost)}, resurrected {len(messages.resurrected)}, "
            f"doubled {len(verdict.doubled)}, out of order {len(verdict.overtaking)}\n"
        )
    assert verdict.broken_promises == {}
    assert messages.indeterminate == 0
    # A quiet run would prove nothing.
    assert messages.acknowledged > 20 * kills
    assert messages.deleted > 5 * kills
    assert verdict.repeated_sends > kills
    assert verdict.repeated_receives > kills // 4
    assert messages.duplicates > 0
