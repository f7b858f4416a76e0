"""What every kill loop does: put client processes to work, say where the broker is, kill it, and drain the queues.

Knows a broker process, its clients and their ledgers. Does not know what is sent, nor what the verdict is.
"""

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from broker_process import PATIENCE_S, BrokerProcess
from json_client import JsonClient
from ledger import Ledger

DRAIN_S = 120
# A commit of this takes long enough to be caught in the middle.
LONG_BYTES = 1_000_000


@contextmanager
def load(folder: Path, script: str, roles: dict[str, str]) -> Iterator[None]:
    """Several processes of a client script beside this file at work, by name and role."""
    path = str(Path(__file__).with_name(script))
    clients = [
        subprocess.Popen([sys.executable, path, role, str(folder), name], stderr=subprocess.PIPE, text=True)
        for name, role in roles.items()
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


def kill_at_the_answer(broker: BrokerProcess, client: JsonClient, action: str, **members: object) -> dict[str, Any]:
    """Kill the broker as soon as the first byte of an answer is here: what it says must be on the disk by then."""
    client.ask(action, **members)
    client.socket.recv(1, socket.MSG_PEEK)
    broker.kill()
    return client.answer()


def drain(client: JsonClient, ledger: Ledger, *queues: str) -> None:
    """Receive and delete until all queues say that nothing is left, in whatever state."""
    deadline_s = time.monotonic() + DRAIN_S
    while waiting := sum(messages_in(client, queue) for queue in queues):
        if time.monotonic() > deadline_s:
            pytest.fail(f"{waiting} messages are counted, and {DRAIN_S} s were not enough to receive them")
        for queue in queues:
            asked_ns = time.monotonic_ns()
            answer = client.call(
                "ReceiveMessage",
                QueueUrl=queue,
                MaxNumberOfMessages=10,
                VisibilityTimeout=600,
                WaitTimeSeconds=0 if waiting > 10 else 1,
                MessageSystemAttributeNames=["All"],
            )
            messages = answer.get("Messages", [])
            ledger.delivered(messages, queue, asked_ns, time.monotonic_ns(), 600, is_drain=True)
            for message in messages:
                client.call("DeleteMessage", QueueUrl=queue, ReceiptHandle=message["ReceiptHandle"])


def messages_in(client: JsonClient, queue: str) -> int:
    attributes = client.call("GetQueueAttributes", QueueUrl=queue, AttributeNames=["All"])["Attributes"]
    return sum(int(value) for name, value in attributes.items() if name.startswith("ApproximateNumberOfMessages"))
