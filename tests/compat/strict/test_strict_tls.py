"""TLS: real clients over it, URLs that say so, and connections that try something else."""

import socket
import ssl
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from amply.cli.broker_access import AccessError, tls_context

CERTIFICATE = Path(__file__).with_name("localhost_test.pem")


@pytest.fixture
def secure(start_strict):
    return start_strict(tls=tls_context(CERTIFICATE, None))


@pytest.fixture
def connect(secure):
    """A TLS connection to the broker."""
    opened = []

    def make(version=None):
        context = ssl.create_default_context(cafile=CERTIFICATE)
        if version is not None:
            context.maximum_version = version
        plain = socket.create_connection(("127.0.0.1", urlsplit(secure.endpoint_url).port), timeout=10)
        opened.append(plain)
        opened.append(context.wrap_socket(plain, server_hostname="localhost"))
        return opened[-1]

    yield make
    for one in opened:
        one.close()


def test_boto3_speaks_tls_and_gets_urls_that_do_too(secure):
    client = secure.client(secure.key("admin"), verify=str(CERTIFICATE))
    assert secure.endpoint_url.startswith("https://")
    url = client.create_queue(QueueName="work")["QueueUrl"]
    assert url == f"{secure.endpoint_url}/000000000000/work"
    client.send_message(QueueUrl=url, MessageBody="x" * 300_000)
    (message,) = client.receive_message(QueueUrl=url)["Messages"]
    assert len(message["Body"]) == 300_000


def test_a_condition_can_ask_for_tls(secure):
    client = secure.client(secure.key("admin"), verify=str(CERTIFICATE))
    url = client.create_queue(QueueName="work")["QueueUrl"]
    arn = "arn:aws:sqs:eu-central-1:000000000000:work"
    policy = (
        '{"Statement": [{"Effect": "Deny", "Principal": "*", "Action": "sqs:*", "Resource": "' + arn + '", '
        '"Condition": {"Bool": {"aws:SecureTransport": "false"}}}]}'
    )
    client.set_queue_attributes(QueueUrl=url, Attributes={"Policy": policy})
    client.send_message(QueueUrl=url, MessageBody="x")


def test_a_refusal_arrives_before_the_connection_ends(connect):
    connection = connect()
    connection.sendall(b"PUT / HTTP/1.1\r\nHost: localhost\r\n\r\n")
    answer = b""
    while data := connection.recv(4096):
        answer += data
    assert answer.startswith(b"HTTP/1.1 405 ")


def test_plain_http_is_not_answered(secure):
    with socket.create_connection(("127.0.0.1", urlsplit(secure.endpoint_url).port), timeout=10) as plain:
        plain.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
        answer = b""
        try:
            while data := plain.recv(4096):
                answer += data
        except ConnectionResetError:
            pass
    assert b"HTTP" not in answer


def test_old_versions_of_tls_are_not_spoken(secure):
    context = tls_context(CERTIFICATE, None)
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2


def test_tls_1_2_is_spoken(connect):
    assert connect(ssl.TLSVersion.TLSv1_2).version() == "TLSv1.2"


def test_a_long_poll_over_tls_is_answered_when_a_message_comes(secure, clock):
    from concurrent.futures import ThreadPoolExecutor

    client = secure.client(secure.key("worker"), verify=str(CERTIFICATE))
    other = secure.client(secure.key("producer"), verify=str(CERTIFICATE))
    url = secure.url("amply-celery")
    with ThreadPoolExecutor() as pool:
        poll = pool.submit(client.receive_message, QueueUrl=url, WaitTimeSeconds=20)
        secure.running.wait_for_polls("amply-celery")
        other.send_message(QueueUrl=url, MessageBody="x")
        assert poll.result(10)["Messages"][0]["Body"] == "x"


@pytest.mark.parametrize("content", ["", "no certificate", None])
def test_a_certificate_that_cannot_be_used_is_told_with_its_file(tmp_path, content):
    path = tmp_path / "cert.pem"
    if content is not None:
        path.write_text(content)
    with pytest.raises(AccessError, match=r"TLS cannot be spoken with .*cert\.pem"):
        tls_context(path, None)
