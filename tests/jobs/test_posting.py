import contextlib
import gzip
import socket
import ssl
import threading
from ipaddress import ip_address
from pathlib import Path

import httpcore
import pytest

from amply.jobs import posting
from amply.jobs.addresses import Target
from amply.jobs.posting import BROKEN, POST_LIMITS, TIMED_OUT, UNREACHABLE, Limits, post, resolve_by_system

PATIENT = Limits(total_s=5, connect_s=2, answer_bytes=64 * 1024)
HASTY = Limits(total_s=0.3, connect_s=0.3, answer_bytes=64 * 1024)
CERTIFICATE = Path(__file__).with_name("hooks_test.pem")

# Where no webhook may go, in every form that leads there.
INSIDE = [
    *("127.0.0.1", "127.0.0.2", "127.1.2.3", "127.255.255.255", "0.0.0.0", "0.1.2.3", "::1", "::"),
    *("10.0.0.1", "10.255.255.255", "172.16.0.1", "172.31.255.255", "192.168.0.1", "192.168.255.255"),
    *("169.254.0.1", "169.254.169.254", "169.254.170.2", "100.64.0.1", "100.100.100.200", "100.127.255.255"),
    *("168.63.129.16", "192.0.0.1", "192.0.0.170", "192.0.2.1", "192.88.99.1", "198.18.0.1", "198.19.255.255"),
    *("198.51.100.1", "203.0.113.1", "224.0.0.1", "239.255.255.250", "240.0.0.1", "255.255.255.255"),
    *("fe80::1", "febf::1", "fc00::1", "fd00:ec2::254", "fdff::1", "fec0::1", "feff::1", "ff02::1", "ff0e::1"),
    *("::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254", "::ffff:0.0.0.0", "::ffff:100.64.0.1"),
    *("::127.0.0.1", "::169.254.169.254", "::8.8.8.8", "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "64:ff9b::808:808"),
    *("64:ff9b:1::1", "2002:7f00:1::", "2002:a9fe:a9fe::", "2002:808:808::", "2001::1", "2001:0:4136:e378::1"),
    *("2001:2::1", "2001:10::1", "2001:20::1", "2001:db8::1", "100::1", "3fff::1", "5f00::1", "4000::1"),
]


def send(target, *, resolve=resolve_by_system, allow_private=False, limits=PATIENT):
    return post(target, {"X-Test": "1"}, b"{}", allow_private=allow_private, resolve=resolve, limits=limits)


def to(receiver, host="127.0.0.1", scheme="http"):
    return Target(scheme, host, receiver.port, "/hook?a=b")


@pytest.fixture
def connects(monkeypatch):
    """Every attempt to open a connection, none of which is made."""
    seen = []

    def connect_tcp(self, host, port, *_):
        seen.append((host, port))
        raise httpcore.ConnectError("not in a test")

    monkeypatch.setattr(httpcore.SyncBackend, "connect_tcp", connect_tcp)
    return seen


def test_there_are_more_than_sixty_forms_of_inside_addresses():
    assert len(set(INSIDE)) >= 60


@pytest.mark.parametrize("inside", INSIDE)
def test_no_connection_is_opened_to_an_inside_address_however_it_is_named(inside, connects, canary):
    resolutions = {
        "literal": resolve_by_system,
        "name": lambda *_: [ip_address(inside)],
        "second of two": lambda *_: [ip_address("8.8.8.8"), ip_address(inside)],
        "first of two": lambda *_: [ip_address(inside), ip_address("8.8.8.8")],
    }
    for trick, resolve in resolutions.items():
        host = inside if trick == "literal" else "hooks.example"
        answer = send(Target("http", host, canary.port, "/"), resolve=resolve)
        assert answer == (None, UNREACHABLE, None, b""), trick
    assert connects == []


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "localhost", "127.1", "2130706433", "0x7f000001", "0177.0.0.1", "0", "::1", "::ffff:127.0.0.1"],
)
def test_a_listener_on_this_machine_hears_nothing(host, canary):
    assert send(Target("http", host, canary.port, "/")).problem == UNREACHABLE
    assert canary.count() == 0


def test_a_name_is_looked_up_once_and_the_checked_address_is_the_one_connected_to(connects):
    answers = [[ip_address("93.184.215.14")], [ip_address("127.0.0.1")]]
    send(Target("http", "rebinding.example", 80, "/"), resolve=lambda *_: answers.pop(0))
    assert connects == [("93.184.215.14", 80)]
    assert answers == [[ip_address("127.0.0.1")]]


def test_when_one_address_does_not_answer_the_next_is_tried(connects):
    addresses = [ip_address(f"93.184.215.{last}") for last in range(9)]
    send(Target("http", "hooks.example", 80, "/"), resolve=lambda *_: addresses)
    assert connects == [(f"93.184.215.{last}", 80) for last in range(4)]


def test_a_connection_that_ended_up_elsewhere_is_closed_unused(monkeypatch, receiver):
    honest = httpcore.SyncBackend.connect_tcp

    def connect_tcp(self, host, port, *rest):
        return honest(self, "127.0.0.1", receiver.port, *rest)

    monkeypatch.setattr(httpcore.SyncBackend, "connect_tcp", connect_tcp)
    answer = send(Target("http", "hooks.example", 80, "/"), resolve=lambda *_: [ip_address("93.184.215.14")])
    assert answer.problem == UNREACHABLE
    assert receiver.requests == []


def test_a_name_without_addresses_reads_like_a_closed_port(canary):
    def nobody(*_):
        raise OSError

    with socket.create_server(("127.0.0.1", 0)) as taken:
        closed_port = taken.getsockname()[1]
    closed = send(Target("http", "127.0.0.1", closed_port, "/"), allow_private=True)
    assert closed == send(Target("http", "hooks.example", canary.port, "/"), resolve=nobody)
    assert closed == send(Target("http", "hooks.example", canary.port, "/"), resolve=lambda *_: [])
    assert closed == send(Target("http", "127.0.0.1", canary.port, "/"))


def test_the_systems_lookup_that_takes_too_long_is_no_address(monkeypatch):
    given_up = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: [] if given_up.wait(30) else None)
    with pytest.raises(OSError, match="no address"):
        resolve_by_system("hooks.example", 80, 0.05)
    given_up.set()


def test_a_name_that_cannot_be_looked_up_has_no_address():
    with pytest.raises(OSError, match="no address"):
        resolve_by_system("a" * 64 + ".example", 80, 5)


def test_the_request_arrives_as_it_was_meant(receiver):
    answer = send(to(receiver), allow_private=True)
    assert answer == (200, None, None, b"")
    (request,) = receiver.requests
    assert request.line == "POST /hook?a=b HTTP/1.1"
    assert request.headers["host"] == f"127.0.0.1:{receiver.port}"
    assert request.headers["x-test"] == "1"
    assert request.body == b"{}"


def test_no_proxy_of_the_environment_is_used(receiver, canary, monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{canary.port}")
    assert send(to(receiver), allow_private=True).status == 200
    assert canary.count() == 0


def test_a_redirect_is_not_followed(receiver, canary):
    receiver.script = [receiver.answer(302, f"Location: http://127.0.0.1:{canary.port}/")]
    assert send(to(receiver), allow_private=True).status == 302
    assert len(receiver.requests) == 1
    assert canary.count() == 0


def test_a_receiver_that_never_answers_is_given_up(receiver):
    receiver.script = [lambda connection, running: running.closing.wait(30)]
    assert send(to(receiver), allow_private=True, limits=HASTY).problem == TIMED_OUT


def drip(connection, running):
    for byte in b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX: " + b"x" * 10_000:
        connection.sendall(bytes([byte]))
        if running.closing.wait(0.02):
            return


def test_an_answer_that_drips_in_is_given_up_at_the_deadline(receiver):
    receiver.script = [drip]
    assert send(to(receiver), allow_private=True, limits=HASTY).problem == TIMED_OUT


def test_a_receiver_that_does_not_read_is_given_up(receiver):
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        target = Target("http", "127.0.0.1", deaf.getsockname()[1], "/")
        body = b"x" * 50_000_000
        answer = post(target, {}, body, allow_private=True, resolve=resolve_by_system, limits=HASTY)
    assert answer.problem == TIMED_OUT


def test_a_body_that_breaks_off_or_drips_leaves_the_status_standing(receiver):
    def break_off(connection, _):
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")

    def drip_body(connection, running):
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
        running.closing.wait(30)

    receiver.script = [break_off, drip_body]
    for _ in range(2):
        assert send(to(receiver), allow_private=True, limits=HASTY) == (200, None, None, b"half")


def test_a_compressed_bomb_is_never_unpacked(receiver):
    bomb = gzip.compress(b"\0" * 20_000_000)
    receiver.script = [receiver.answer(200, "Content-Encoding: gzip", body=bomb)]
    answer = send(to(receiver), allow_private=True)
    assert answer.status == 200
    assert answer.start == bomb[: len(answer.start)]
    assert len(answer.start) <= PATIENT.answer_bytes


def test_an_endless_answer_is_read_up_to_a_bound(receiver):
    def flood(connection, _):
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            connection.sendall(b"x" * 65536)

    receiver.script = [flood]
    answer = send(to(receiver), allow_private=True)
    assert (answer.status, len(answer.start)) == (200, PATIENT.answer_bytes)


@pytest.mark.parametrize(
    "sent",
    [b"", b"SSH-2.0-x\r\n", b"HTTP/1.1 banana\r\n\r\n", b"HTTP/1.1 200 OK\r\nX: " + b"x" * 300_000, b"\x00" * 100],
)
def test_what_is_not_http_is_a_broken_answer(receiver, sent):
    receiver.script = [lambda connection, _: connection.sendall(sent)]
    assert send(to(receiver), allow_private=True).problem == BROKEN


def test_a_unix_socket_is_never_opened():
    backend = posting._PinnedBackend(resolve_by_system, allow_private=True, deadline=posting._Deadline(1), connect_s=1)
    with pytest.raises(httpcore.ConnectError):
        backend.connect_unix_socket("/run/docker.sock")


@contextlib.contextmanager
def tls_receiver():
    """A receiver at https://hooks.test that answers 204; yields its port."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATE)

    def serve():
        with contextlib.suppress(OSError):
            while True:
                raw, _ = listener.accept()
                with raw, contextlib.suppress(OSError), context.wrap_socket(raw, server_side=True) as connection:
                    request = b""
                    while not request.endswith(b"{}"):
                        request += connection.recv(65536)
                    connection.sendall(b"HTTP/1.1 204 No Content\r\n\r\n")

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(10)


def test_the_limits_are_those_of_the_specification():
    assert Limits(total_s=20, connect_s=5, answer_bytes=65536) == POST_LIMITS


def test_the_certificate_is_checked_against_the_name_and_not_the_address(monkeypatch):
    trusting = ssl.create_default_context(cafile=CERTIFICATE)
    monkeypatch.setattr(posting, "_tls", lambda: trusting)
    with tls_receiver() as port:
        here = {"resolve": lambda *_: [ip_address("127.0.0.1")], "allow_private": True}
        found = {host: send(Target("https", host, port, "/"), **here) for host in ("hooks.test", "other.test")}
        found["address"] = send(Target("https", "127.0.0.1", port, "/"), allow_private=True)
    assert found["hooks.test"].status == 204
    assert found["other.test"].problem == UNREACHABLE
    assert found["address"].problem == UNREACHABLE
