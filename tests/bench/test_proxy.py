"""The proxy before a real broker: it passes requests on, counts them, is slow, and fails in each of its ways."""

import http.client
import json
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from botocore.exceptions import ClientError

from bench import proxy as proxies
from bench.proxy import Proxy

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_S = 20
HIGH = "amply-celery-high"
NO_ACTION = b"GET /ready HTTP/1.1\r\nHost: localhost\r\n\r\n"


@pytest.fixture
def proxy(broker: Any) -> Iterator[Proxy]:
    with Proxy(broker.endpoint_url) as running:
        yield running


@pytest.fixture
def through(proxy: Proxy, make_client: Callable[..., Any]) -> Any:
    """boto3's client of the broker, through the proxy."""
    return make_client(proxy.endpoint_url)


def url(sqs: Any) -> str:
    return str(sqs.get_queue_url(QueueName=HIGH)["QueueUrl"])


def ask(endpoint_url: str, action: str, **members: Any) -> tuple[int, bytes]:
    """One request on a connection of its own."""
    connection = http.client.HTTPConnection(urlsplit(endpoint_url).netloc, timeout=PATIENCE_S)
    try:
        headers = {"Content-Type": "application/x-amz-json-1.0", "X-Amz-Target": f"AmazonSQS.{action}"}
        connection.request("POST", "/", json.dumps(members), headers)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def opened(proxy: Proxy, request: bytes) -> socket.socket:
    """A connection on which a request was sent."""
    connection = socket.create_connection(("127.0.0.1", proxy.port), PATIENCE_S)
    connection.sendall(request)
    return connection


def sending(body: str, queue_url: str) -> bytes:
    content = json.dumps({"QueueUrl": queue_url, "MessageBody": body}).encode()
    head = (
        "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-amz-json-1.0\r\n"
        f"X-Amz-Target: AmazonSQS.SendMessage\r\nContent-Length: {len(content)}\r\n\r\n"
    )
    return head.encode() + content


def read_all(connection: socket.socket) -> bytes:
    """Everything up to the end of the connection."""
    with connection, connection.makefile("rb") as stream:
        return stream.read()


def test_requests_of_both_protocols_are_passed_on_and_counted_by_action(proxy, through, sqs):
    through.send_message(QueueUrl=url(through), MessageBody="through")
    query = http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=PATIENCE_S)
    body = f"Action=ReceiveMessage&Version=2012-11-05&QueueUrl={url(sqs)}"
    query.request("POST", "/", body, {"Content-Type": "application/x-www-form-urlencoded"})
    assert b"through" in query.getresponse().read()
    query.close()
    assert proxy.counts == {"GetQueueUrl": 1, "SendMessage": 1, "ReceiveMessage": 1}


def test_a_poll_whose_client_left_is_not_parked_at_the_broker_any_longer(proxy, broker, sqs):
    content = json.dumps({"QueueUrl": url(sqs), "WaitTimeSeconds": 20})
    head = (
        "POST / HTTP/1.1\r\nHost: localhost\r\nX-Amz-Target: AmazonSQS.ReceiveMessage\r\n"
        f"Content-Length: {len(content)}\r\n"
    )
    poll = opened(proxy, f"{head}Content-Type: application/x-amz-json-1.0\r\n\r\n{content}".encode())
    broker.wait_for_polls(HIGH, 1)
    poll.close()
    broker.wait_for_polls(HIGH, 0)


def test_a_delay_is_added_to_each_request(broker):
    with Proxy(broker.endpoint_url, delay_ms=1e6) as proxy:
        connection = opened(proxy, NO_ACTION)
        connection.settimeout(0.2)
        with connection, pytest.raises(TimeoutError):
            connection.recv(1)


@pytest.mark.parametrize(
    ("fault", "status", "code"),
    [
        (proxies.INTERNAL_ERROR, 500, "com.amazonaws.sqs#InternalError"),
        (proxies.THROTTLED, 400, "com.amazonaws.sqs#ThrottlingException"),
        (proxies.EXPIRED_TOKEN, 403, "com.amazonaws.sqs#ExpiredToken"),
        (proxies.ACCESS_DENIED, 403, "com.amazonaws.sqs#AccessDenied"),
    ],
)
def test_an_action_is_answered_with_an_error_of_sqs_and_the_others_are_not(proxy, through, sqs, fault, status, code):
    with proxy.failing(fault, "SendMessage", "DeleteMessage"):
        assert ask(proxy.endpoint_url, "SendMessage") == (
            status,
            json.dumps({"__type": code, "message": code}).encode(),
        )
        assert through.list_queues()["QueueUrls"]
    through.send_message(QueueUrl=url(through), MessageBody="again")
    assert proxy.met == {fault.name: 1}
    assert len(sqs.receive_message(QueueUrl=url(sqs), MaxNumberOfMessages=10)["Messages"]) == 1


@pytest.mark.parametrize(
    ("fault", "status", "body"),
    [
        (proxies.UNAVAILABLE, 503, b"<html>"),
        (proxies.TORN_JSON, 200, b'{"Messages": ['),
        (proxies.WRONG_JSON, 200, b'{"Messages": 7'),
    ],
)
def test_an_answer_that_sqs_would_not_give_is_given_to_every_action(proxy, fault, status, body):
    with proxy.failing(fault):
        for action in ("ReceiveMessage", "ListQueues"):
            got, content = ask(proxy.endpoint_url, action)
            assert (got, content[: len(body)]) == (status, body)


@pytest.mark.parametrize(("fault", "arrived"), [(proxies.RESET, 0), (proxies.RESET_AFTER, 1)])
def test_a_connection_is_reset_before_or_after_the_broker_got_the_request(proxy, sqs, fault, arrived):
    queue_url = url(sqs)
    with (
        proxy.failing(fault),
        opened(proxy, sending("a", queue_url)) as connection,
        pytest.raises(ConnectionResetError),
    ):
        connection.recv(1)
    assert len(sqs.receive_message(QueueUrl=queue_url, WaitTimeSeconds=0).get("Messages", [])) == arrived


def test_half_an_answer_and_garbage_end_the_connection(proxy, sqs):
    queue_url = url(sqs)
    with proxy.failing(proxies.HALF):
        half = read_all(opened(proxy, sending("a", queue_url)))
        assert half.startswith(b"HTTP/1.1 200 OK\r\n")
        assert not half.endswith(b"}")
    with proxy.failing(proxies.GARBAGE):
        assert read_all(opened(proxy, sending("b", queue_url))) == proxies.GARBAGE.answer
    assert len(sqs.receive_message(QueueUrl=queue_url, MaxNumberOfMessages=10)["Messages"]) == 1


@pytest.mark.parametrize(("fault", "said"), [(proxies.HANG, b""), (proxies.HANG_AFTER, b""), (proxies.DRIP, b"H")])
def test_what_hangs_or_drips_goes_on_so_after_the_fault_and_others_are_answered(proxy, sqs, fault, said):
    with proxy.failing(fault):
        connection = opened(proxy, NO_ACTION)
        while not proxy.met:
            time.sleep(0.01)
    with connection:
        if said:
            assert connection.recv(1) == said
        assert ask(proxy.endpoint_url, "ListQueues")[0] == 200
        connection.settimeout(0.1)
        with pytest.raises(TimeoutError):
            connection.recv(1)


def test_nobody_listens_while_it_refuses_and_the_port_is_the_same_afterwards(proxy, sqs):
    idle = opened(proxy, NO_ACTION)
    assert idle.recv(12) == b"HTTP/1.1 200"
    port = proxy.port
    with proxy.refusing():
        with pytest.raises(ConnectionResetError):
            read_all(idle)
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port), PATIENCE_S)
    assert ask(f"http://127.0.0.1:{port}", "ListQueues")[0] == 200


def test_a_broker_that_is_not_there_resets_the_client_and_is_found_again(start_broker, make_client):
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        port = nobody.getsockname()[1]
    with Proxy(f"http://127.0.0.1:{port}") as proxy:
        with opened(proxy, NO_ACTION) as connection, pytest.raises(ConnectionResetError):
            connection.recv(1)
        with socket.create_server(("127.0.0.1", port)) as listener:
            answering = threading.Thread(target=answer_one, args=(listener,))
            answering.start()
            assert ask(proxy.endpoint_url, "ListQueues") == (200, b"{}")
            answering.join()


def answer_one(listener: socket.socket) -> None:
    connection, _ = listener.accept()
    with connection:
        connection.recv(65536)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")


def test_errors_of_the_broker_are_passed_on_as_they_are(proxy, through):
    with pytest.raises(ClientError, match="NonExistentQueue"):
        through.get_queue_url(QueueName="nowhere")


def test_an_endpoint_that_is_not_plain_http_is_refused():
    with pytest.raises(ValueError, match="plain HTTP"):
        Proxy("https://sqs.eu-central-1.amazonaws.com")


def test_the_command_says_where_it_listens_and_in_the_end_what_it_counted(broker):
    command = [sys.executable, "-m", "bench.proxy", "--to", broker.endpoint_url, "--delay-ms", "1"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as running:
        try:
            where = running.stdout.readline().split()[0]
            assert ask(where, "ListQueues")[0] == 200
            running.send_signal(signal.SIGTERM)
            said, _ = running.communicate(timeout=PATIENCE_S)
        finally:
            running.kill()
    assert running.returncode == 0
    assert json.loads(said) == {"ListQueues": 1}
