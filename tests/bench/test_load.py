"""The load generator against servers that answer in awkward ways."""

import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 15\r\n\r\n" + b'{"MessageId":1}'

Serve = Callable[[socket.socket], None]


@contextmanager
def server(serve: Serve) -> Iterator[str]:
    """Takes connections one after the other, each in a thread, until the end; gives "address:port"."""
    listening = socket.create_server(("127.0.0.1", 0))
    threads: list[threading.Thread] = []

    def accept() -> None:
        while True:
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            threads.append(threading.Thread(target=serve_and_close, args=(connection,)))
            threads[-1].start()

    def serve_and_close(connection: socket.socket) -> None:
        with connection:
            serve(connection)

    accepting = threading.Thread(target=accept)
    accepting.start()
    try:
        yield f"127.0.0.1:{listening.getsockname()[1]}"
    finally:
        listening.shutdown(socket.SHUT_RDWR)
        listening.close()
        accepting.join()
        for thread in threads:
            thread.join()


def load(host: str, **plan: Any) -> dict[str, Any]:
    """Carry out a plan and give its outcome."""
    whole = {"host": host, "queue_url": f"http://{host}/000000000000/bench", "work": "send", "connections": 1, **plan}
    command = [sys.executable, "-m", "bench.load"]
    ended = subprocess.run(command, input=json.dumps(whole).encode(), cwd=ROOT, stdout=subprocess.PIPE, check=True)
    return dict(json.loads(ended.stdout))


def request(connection: socket.socket) -> bytes:
    """One whole request, b"" at the end."""
    data = b""
    while b"\r\n\r\n" not in data:
        piece = connection.recv(65536)
        if not piece:
            return b""
        data += piece
    head, _, body = data.partition(b"\r\n\r\n")
    length = int(head.rpartition(b"Content-Length: ")[2])
    while len(body) < length:
        body += connection.recv(65536)
    return head + b"\r\n\r\n" + body


def test_an_answer_that_comes_in_pieces_is_one_answer() -> None:
    def serve(connection: socket.socket) -> None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while request(connection):
            for at in range(len(ANSWER)):
                connection.send(ANSWER[at : at + 1])

    with server(serve) as host:
        outcome = load(host, messages=5, connections=2)

    assert outcome["errors"] == 0
    assert outcome["messages"] == outcome["requests"]
    assert outcome["messages"] >= 5


def test_an_answer_that_is_not_200_is_an_error_that_is_shown() -> None:
    def serve(connection: socket.socket) -> None:
        while request(connection):
            connection.send(b"HTTP/1.1 503 Busy\r\ncontent-length: 4\r\n\r\nfull")

    with server(serve) as host:
        outcome = load(host, messages=3)

    assert outcome["errors"] == 3
    assert "503 Busy" in outcome["faults"][0]


def test_a_server_that_hangs_up_is_an_error_and_not_a_wait() -> None:
    def serve(connection: socket.socket) -> None:
        request(connection)

    with server(serve) as host:
        outcome = load(host, messages=3)

    assert outcome["errors"] == 1
    assert outcome["requests"] == 0


def test_what_is_received_is_deleted_and_an_empty_receive_is_the_end() -> None:
    asked: list[bytes] = []
    waiting = [b"first", b"second"]

    def serve(connection: socket.socket) -> None:
        while data := request(connection):
            asked.append(data)
            body = b"{}"
            if b"ReceiveMessage" in data and waiting:
                body = b'{"Messages":[{"MessageId":"1","ReceiptHandle":"%b"}]}' % waiting.pop(0)
            connection.send(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body))

    with server(serve) as host:
        outcome = load(host, work="receive")

    actions = [data.partition(b"X-Amz-Target: AmazonSQS.")[2].partition(b"\r")[0] for data in asked]
    assert actions == [b"ReceiveMessage", b"DeleteMessage", b"ReceiveMessage", b"DeleteMessage", b"ReceiveMessage"]
    assert asked[1].endswith(b'"ReceiptHandle":"first"}')
    assert asked[3].endswith(b'"ReceiptHandle":"second"}')
    assert outcome["messages"] == 2


def test_an_entry_of_a_batch_that_failed_is_an_error_though_the_status_is_200() -> None:
    body = b'{"Successful":[],"Failed":[{"Id":"0","Code":"InternalError"}]}'

    def serve(connection: socket.socket) -> None:
        while request(connection):
            connection.send(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body))

    with server(serve) as host:
        outcome = load(host, work="send-batch", messages=10)

    assert outcome["errors"] == 1
    assert "InternalError" in outcome["faults"][0]


def test_at_a_given_rate_a_request_that_had_to_wait_for_a_connection_counts_from_when_it_was_due() -> None:
    def serve(connection: socket.socket) -> None:
        if request(connection):
            due_meanwhile = time.monotonic() + 0.5  # the next twenty-five requests
            while time.monotonic() < due_meanwhile:
                time.sleep(0.05)
            connection.send(ANSWER)
        while request(connection):
            connection.send(ANSWER)

    with server(serve) as host:
        outcome = load(host, rate=50, seconds=1.0)

    assert outcome["errors"] == 0
    assert outcome["requests"] <= 50
    # In a closed loop only one request would have waited; here those due meanwhile have all waited too.
    assert outcome["p95_ms"] >= 300
