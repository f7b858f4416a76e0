"""The ends of a broker process that are not crashes: a second one on the same folder, and SIGTERM."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from broker_process import PATIENCE_S, BrokerProcess, until
from json_client import JsonClient

Start = Callable[..., BrokerProcess]


def test_a_second_broker_on_the_same_folder_refuses_and_leaves_the_first_alone(start: Start, tmp_path: Path) -> None:
    first = start()
    second = subprocess.run(
        BrokerProcess(tmp_path / "data").command, capture_output=True, text=True, timeout=PATIENCE_S, check=False
    )
    assert second.returncode == 4
    assert f"another amply broker (pid {first.process.pid}) owns" in second.stderr
    assert str(tmp_path / "data") in second.stderr
    assert "Stop that broker first, or choose another data folder." in second.stderr
    assert "Traceback" not in second.stderr
    with first.client() as client:
        client.call("CreateQueue", QueueName="still-here")


def test_a_stop_answers_parked_polls_empty_and_keeps_everything(start: Start) -> None:
    broker = start()
    with broker.client() as client:
        client.call("CreateQueue", QueueName="work")
        client.call("CreateQueue", QueueName="empty")
        for number in range(100):
            client.call("SendMessage", QueueUrl="work", MessageBody=str(number))
        handle = client.call("ReceiveMessage", QueueUrl="work")["Messages"][0]["ReceiptHandle"]
        client.call("DeleteMessage", QueueUrl="work", ReceiptHandle=handle)
        pollers = [broker.client() for _ in range(20)]
        for poller in pollers:
            poller.ask("ReceiveMessage", QueueUrl="empty", WaitTimeSeconds=20)
        until(lambda: broker.queue("empty")["parked_polls"] == 20, "all polls are parked")
        exit_code, errors = broker.terminate()
        assert [poller.answer() for poller in pollers] == [{}] * 20
        for poller in pollers:
            poller.close()
    assert exit_code == 0
    assert "Traceback" not in errors
    assert start().queue("work")["visible"] == 99


def test_a_stop_amid_sends_loses_none_that_was_acknowledged(start: Start) -> None:
    broker = start()
    with broker.client() as client:
        client.call("CreateQueue", QueueName="work")
    pipelined = broker.client()
    for number in range(200):
        pipelined.ask("SendMessage", QueueUrl="work", MessageBody=str(number))
    exit_code, _ = broker.terminate()
    acknowledged = count_answers(pipelined)
    pipelined.close()
    assert exit_code == 0
    assert start().queue("work")["visible"] >= acknowledged


def count_answers(client: JsonClient) -> int:
    for count in range(1000):
        try:
            client.answer()
        except ConnectionResetError:
            return count
    pytest.fail("more answers than requests")
