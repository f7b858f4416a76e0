"""An open broker answers to names of its own machine, so that no page of a stranger's can call it by another."""

import http.client
import json
from urllib.parse import urlsplit

import pytest

from amply.broker.server.hosts import HostCheck
from amply.broker.store.memory import MemoryStore
from amply.broker.wire.http import Request, Response

FINE = Response(200, b"text/plain", b"fine")


@pytest.fixture
def check():
    return HostCheck(lambda _, respond: respond(FINE) and None, ["Amply", "10.1.2.3"])


def ask(check, host, target="/"):
    answers = []
    headers = {} if host is None else {b"host": host}
    check(Request("GET", target, headers, b""), lambda response: answers.append(response) is None)
    (answer,) = answers
    return answer


@pytest.mark.parametrize(
    "host",
    [
        b"localhost",
        b"LOCALHOST:9324",
        b"127.0.0.1",
        b"127.0.0.1:9324",
        b"127.9.9.9:1",
        b"[::1]",
        b"[::1]:9324",
        b"[0:0:0:0:0:0:0:1]:80",
        b"amply:9324",
        b"AMPLY",
        b"10.1.2.3:9324",
        None,
    ],
)
def test_names_of_this_machine_and_allowed_ones_are_answered(check, host):
    assert ask(check, host) is FINE
    assert ask(check, host) is FINE


@pytest.mark.parametrize(
    "host",
    [
        b"evil.example",
        b"evil.example:9324",
        b"localhost.evil.example",
        b"127.0.0.1.evil.example",
        b"evil.example#localhost",
        b"localhost@evil.example",
        b"localhost, evil.example",
        b"10.1.2.4",
        b"[::2]",
        b"[::ffff:10.0.0.1]",
        b"0.0.0.0",
        b"",
        b":9324",
        b"\xff\xfe",
        b"localhost:9324:9324",
    ],
)
@pytest.mark.parametrize("target", ["/", "/health", "/ready", "/?Action=ListQueues"])
def test_any_other_name_is_misdirected_and_told_how_to_allow_it(check, host, target):
    answer = ask(check, host, target)
    assert answer.status == 421
    told = json.loads(answer.body)
    assert told["__type"] == "MisdirectedRequest"
    assert "--allow-host" in told["message"]


def test_what_is_remembered_is_bounded(check):
    for number in range(1000):
        assert ask(check, b"localhost:%d" % number) is FINE
    assert len(check._passed) <= 256
    assert ask(check, b"localhost:999") is FINE


@pytest.mark.parametrize("target", ["/health", "/ready", "/?Action=ListQueues"])
def test_a_running_open_broker_is_called_by_allowed_names_and_by_no_strangers(start_broker, target):
    broker = start_broker(MemoryStore(), allowed_hosts=("amply",))
    connection = http.client.HTTPConnection(urlsplit(broker.endpoint_url).netloc, timeout=10)
    try:
        for host, status in (("evil.example", 421), ("amply:9324", 200), ("localhost", 200)):
            connection.request("GET", target, headers={"Host": host})
            response = connection.getresponse()
            response.read()
            assert response.status == status
    finally:
        connection.close()
