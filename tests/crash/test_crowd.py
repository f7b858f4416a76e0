"""More connections than the process may have files: nobody who was there before notices, least of all the store."""

import socket
from collections.abc import Callable

from broker_process import BrokerProcess

FILES_MAX = 320
CROWD = 400


def test_a_crowd_of_connections_takes_no_files_from_the_store(start: Callable[..., BrokerProcess]) -> None:
    broker = start(within=("sh", "-c", f'ulimit -n {FILES_MAX}; exec "$@"', "-"))
    with broker.client() as client:
        client.call("CreateQueue", QueueName="work")
        crowd = [socket.create_connection(("127.0.0.1", broker.port)) for _ in range(CROWD)]
        for number in range(20):
            client.call("SendMessage", QueueUrl="work", MessageBody=str(number))
        for connection in crowd:
            connection.close()
    with broker.client() as client:
        assert broker.queue("work")["visible"] == 20
        assert client.call("ReceiveMessage", QueueUrl="work")["Messages"][0]["Body"] == "0"
    returncode, errors = broker.terminate()
    assert returncode == 0
    assert "connections at most" in errors
    assert "Traceback" not in errors
    assert "Too many open files" not in errors
