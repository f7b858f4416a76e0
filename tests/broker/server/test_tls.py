"""TLS: handshakes take seats and end, what fails harms nobody, and nothing that follows one at once is lost."""

import asyncio
import contextlib
import os
import resource
import socket
import ssl
from pathlib import Path

import pytest

from amply.broker.server import handshake

CERTIFICATE = Path(__file__).parents[2] / "compat" / "strict" / "localhost_test.pem"


@pytest.fixture(scope="module")
def tls():
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATE)
    return context


@pytest.fixture(scope="module")
def trust():
    return ssl.create_default_context(cafile=CERTIFICATE)


@pytest.fixture
def secure(serve, tls):
    with serve(tls=tls, max_connections=3, max_per_address=2) as running:
        yield running


@pytest.fixture
def shaken(trust):
    """The client, once both sides have agreed on TLS; then it speaks as over any socket."""

    def shake(client):
        client.file.close()
        client.socket = trust.wrap_socket(client.socket, server_hostname="localhost")
        client.file = client.socket.makefile("rb")
        return client

    return shake


def hello(trust):
    """The first bytes of a client's handshake."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    with contextlib.suppress(ssl.SSLWantReadError):
        trust.wrap_bio(incoming, outgoing, server_hostname="localhost").do_handshake()
    return outgoing.read()


def ends(client):
    """Whether the server closes, whatever it says before: an alert, or its part of a handshake."""
    try:
        while data := client.socket.recv(4096):
            assert b"HTTP" not in data
    except ConnectionResetError:
        pass
    return True


def test_requests_over_tls_are_answered_with_the_clients_address(secure, shaken):
    with secure.client(source="127.0.0.7") as client:
        shaken(client).ask("/one")
        assert client.answer()[2] == b"POST /one"
        client.ask("/two").ask("/three")
        assert [client.answer()[2], client.answer()[2]] == [b"POST /two", b"POST /three"]
    assert [request.peer for request in secure.desk.requests] == ["127.0.0.7"] * 3
    secure.until_empty()


def test_many_clients_that_ask_at_once_after_the_handshake_lose_no_byte(secure, shaken):
    for number in range(50):
        with secure.client() as client:
            assert shaken(client).ask(f"/{number}", body=b"x" * number).answer()[2] == b"POST /%d" % number
        secure.until_empty()
    assert [len(request.body) for request in secure.desk.requests] == list(range(50))


def test_a_request_in_the_same_packet_as_the_end_of_the_handshake_is_answered(secure, trust):
    with secure.client() as client:
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        agreed = trust.wrap_bio(incoming, outgoing, server_hostname="localhost")
        while True:
            try:
                agreed.do_handshake()
                break
            except ssl.SSLWantReadError:
                client.send(outgoing.read())
                incoming.write(client.socket.recv(65536))
        agreed.write(b"GET /early HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        client.send(outgoing.read())
        answer = b""
        while not answer.endswith(b"GET /early"):
            incoming.write(client.socket.recv(65536))
            with contextlib.suppress(ssl.SSLWantReadError):
                answer += agreed.read(65536)
    secure.until_empty()


def test_a_client_that_hangs_up_during_a_long_poll_is_noticed(secure, shaken):
    with secure.client() as client:
        shaken(client).ask("/park")
        secure.desk.parked.get(timeout=10)
        client.vanish()
        assert secure.desk.cancelled.get(timeout=10) == "/park"
    secure.until_empty()


def test_handshakes_that_never_end_fill_the_seats_of_their_address_and_no_others(secure, shaken):
    with secure.client(), secure.client() as second:
        secure.until(lambda: secure.listener.connections == 2)
        with secure.client() as third:
            assert third.is_closed()
        with secure.client(source="127.0.0.2") as other:
            assert shaken(other).ask("/").answer()[0] == 200
        secure.until(lambda: secure.listener.connections == 2)
        second.vanish()
        secure.until(lambda: secure.listener.connections == 1)
        with secure.client() as third:
            assert shaken(third).ask("/").answer()[0] == 200
    secure.until_empty()


def test_handshakes_that_never_end_fill_all_seats_and_no_more(secure):
    with contextlib.ExitStack() as opened:
        for number in range(1, 4):
            opened.enter_context(secure.client(source=f"127.0.0.{number}"))
        secure.until(lambda: secure.listener.connections == 3)
        with secure.client(source="127.0.0.4") as fourth:
            assert fourth.is_closed()
        assert secure.listener.connections == 3
    secure.until_empty()


def test_a_connection_has_the_seat_of_its_handshake_and_takes_no_second_one(secure, shaken):
    for _ in range(5):
        with secure.client() as first, secure.client() as second:
            for client in (first, second):
                assert shaken(client).ask("/").answer()[0] == 200
            assert secure.listener.connections == 2
            with secure.client() as third:
                assert third.is_closed()
        secure.until_empty()
    assert not secure.listener._hall._seated
    assert not secure.listener._hall._seated_from


def test_a_handshake_that_takes_too_long_is_ended(serve, tls, monkeypatch, trust):
    monkeypatch.setattr(handshake, "HEADER_DEADLINE_S", 0.05)
    with serve(tls=tls) as running, running.client() as silent, running.client() as half:
        half.send(hello(trust)[:100])
        assert silent.is_closed()
        assert ends(half)
        running.until_empty()


@pytest.mark.parametrize(
    "garbage", [b"POST / HTTP/1.1\r\nHost: localhost\r\n\r\n", b"\x16\x03\x01\xff\xff" * 5000, b"\0"]
)
def test_what_is_no_handshake_gives_the_seat_back_and_harms_nobody(secure, shaken, garbage):
    with secure.client() as neighbour:
        shaken(neighbour).ask("/a").answer()
        for _ in range(3):
            with secure.client() as client:
                with contextlib.suppress(ConnectionError):  # refused at its first bytes
                    client.send(garbage)
                    client.socket.shutdown(socket.SHUT_WR)
                assert ends(client)
            secure.until(lambda: secure.listener.connections == 1)
        assert neighbour.ask("/b").answer()[0] == 200
    assert [request.target for request in secure.desk.requests] == ["/a", "/b"]
    secure.until_empty()


def test_a_client_that_goes_in_the_middle_of_its_handshake_gives_the_seat_back(secure, trust):
    for length in (1, 100, 10_000):
        with secure.client() as client:
            client.send(hello(trust)[:length])
            secure.until(lambda: secure.listener.connections == 1)
            client.vanish()
        secure.until_empty()


def test_stopping_ends_handshakes_under_way_at_once(serve, tls, trust):
    with serve(tls=tls) as running, contextlib.ExitStack() as opened:
        silent, half, late = [opened.enter_context(running.client()) for _ in range(3)]
        half.send(hello(trust))
        assert half.socket.recv(1)
        running.until(lambda: running.listener.connections == 3)

        async def stop():
            await running.listener.stop(60)
            return running.listener.connections, len(asyncio.all_tasks())

        assert running.wait_for(stop()) == (0, 1)
        assert silent.is_closed()
        assert ends(half)
        assert ends(late)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", running.port))


def test_stopping_while_clients_come_loses_none_of_them(serve, tls):
    for _ in range(10):
        with serve(tls=tls) as running, contextlib.ExitStack() as opened:
            clients = [opened.enter_context(running.client()) for _ in range(10)]
            running.wait_for(running.listener.stop(0))
            assert running.listener.connections == 0
            assert all(client.is_closed() for client in clients)


@pytest.fixture
def no_more_files():
    """Take the process its free files, until called off or the test ends."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)

    @contextlib.contextmanager
    def taken():
        lowest_free = os.dup(0)
        os.close(lowest_free)
        resource.setrlimit(resource.RLIMIT_NOFILE, (lowest_free, before[1]))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, before)

    yield taken
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_without_files_clients_wait_and_are_served_when_there_are_some(secure, shaken, no_more_files, caplog):
    with contextlib.closing(socket.socket()) as waiting:
        waiting.settimeout(10)
        with no_more_files():
            waiting.connect(("127.0.0.1", secure.port))
            secure.until(lambda: "cannot accept" in caplog.text)
            secure.until(lambda: secure.listener._server._pause is None)  # tried again, and in vain
            secure.until(lambda: secure.listener._server._pause is not None)
            assert caplog.text.count("cannot accept") == 1
        secure.until(lambda: secure.listener.connections == 1)
        with secure.client() as client:
            assert shaken(client).ask("/").answer()[0] == 200
    secure.until_empty()


def test_stopping_without_files_ends(serve, tls, no_more_files, caplog):
    with serve(tls=tls) as running, contextlib.closing(socket.socket()) as waiting:
        with no_more_files():
            waiting.connect(("127.0.0.1", running.port))
            running.until(lambda: "cannot accept" in caplog.text)
        running.wait_for(running.listener.stop(0))
