"""More connections than the process may have files: the store and whoever was there before keep theirs."""

import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from broker_process import BrokerProcess, until

FILES_MAX = 320
FILES_LEFT_MIN = 32
CROWD = 400


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="only Linux shows a process's open files")
def test_a_crowd_of_connections_takes_no_files_from_the_store(start: Callable[..., BrokerProcess]) -> None:
    broker = start(within=("sh", "-c", f'ulimit -n {FILES_MAX}; exec "$@"', "-"))
    files = Path(f"/proc/{broker.process.pid}/fd")
    with broker.client() as client:
        client.call("CreateQueue", QueueName="work")
        crowd = [socket.create_connection(("127.0.0.1", broker.port)) for _ in range(CROWD)]
        until(lambda: len(list(files.iterdir())) > FILES_MAX // 3, "the crowd is let in as far as there are seats")
        for number in range(20):
            client.call("SendMessage", QueueUrl="work", MessageBody=str(number))
        assert len(list(files.iterdir())) <= FILES_MAX - FILES_LEFT_MIN
        for connection in crowd:
            connection.close()
    with broker.client() as client:
        assert broker.queue("work")["visible"] == 20
        assert client.call("ReceiveMessage", QueueUrl="work")["Messages"][0]["Body"] == "0"
    returncode, errors = broker.terminate()
    assert returncode == 0
    assert "connections at most" in errors
    assert "Traceback" not in errors
