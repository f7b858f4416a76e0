"""The transport's connection against peers that behave well, badly, or not at all."""

import socket
import ssl
import threading
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest

from amply.clock import ManualClock
from amply.transport import http
from amply.transport.faults import Aborted, Unreachable

PATIENCE_S = 10.0
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
CERTIFICATE = Path(__file__).parents[1] / "jobs" / "hooks_test.pem"  # of hooks.test


@pytest.fixture
def connect():
    opened: list[http.Connection] = []

    def make(url: str, **options: Any) -> http.Connection:
        opened.append(http.Connection(url, **options))
        return opened[-1]

    yield make
    for connection in opened:
        connection.close()


def post(connection: http.Connection, body: bytes = b"{}", **options: Any) -> http.Response:
    return connection.exchange({"host": "peer"}, body, **{"timeout_s": PATIENCE_S, **options})


def test_a_request_is_one_post_with_its_headers_and_length(start_peer, parts, connect):
    peer = start_peer(parts.always(OK))
    connection = connect(peer.url)
    connection.exchange({"host": "peer:1", "x-amz-target": "AmazonSQS.ListQueues"}, b'{"a":1}', timeout_s=PATIENCE_S)
    assert peer.requests == [
        b'POST / HTTP/1.1\r\nhost: peer:1\r\nx-amz-target: AmazonSQS.ListQueues\r\ncontent-length: 7\r\n\r\n{"a":1}'
    ]


def test_requests_share_a_connection(start_peer, parts, connect):
    peer = start_peer(parts.always(OK))
    connection = connect(peer.url)
    for _ in range(3):
        assert post(connection).body == b"{}"
    assert (peer.connections, len(peer.requests)) == (1, 3)


def test_a_large_request_and_a_large_answer_pass_whole(start_peer, parts, connect):
    body = b"y" * (10 * 1024 * 1024)
    peer = start_peer(parts.always(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(body) + body))
    assert post(connect(peer.url), b"x" * 1_000_000).body == body
    assert peer.requests[0].endswith(b"x" * 1_000_000)


@pytest.mark.parametrize(
    ("answer", "body"),
    [
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nA;x=y\r\n0123456789\r\n0\r\n\r\n",
            b"abc0123456789",
        ),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: Chunked\r\n\r\n1\r\na\r\n0\r\nTrailer: 1\r\nAnother: 2\r\n\r\n", b"a"),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\na", b"a"),
        (b"HTTP/1.1 200\r\nContent-Length:0\r\n\r\n", b""),
        (b"HTTP/1.1 204 No Content\r\n\r\n", b""),
    ],
)
def test_a_framed_answer_leaves_the_connection_open_for_the_next(start_peer, parts, connect, answer, body):
    peer = start_peer(parts.always(answer))
    connection = connect(peer.url)
    assert [post(connection).body for _ in range(2)] == [body, body]
    assert peer.connections == 1


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 1\r\n\r\na",
        b"HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\na",
        b"HTTP/1.1 200 OK\r\n\r\na",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\naHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nb",
    ],
)
def test_a_connection_that_cannot_carry_another_answer_is_opened_anew(start_peer, parts, connect, answer):
    peer = start_peer(parts.answers(answer))
    connection = connect(peer.url)
    assert [post(connection).body for _ in range(2)] == [b"a", b"a"]
    assert peer.connections == 2


def test_headers_have_lower_case_names(start_peer, parts, connect):
    peer = start_peer(
        parts.always(b"HTTP/1.1 403 Forbidden\r\nX-Amzn-Query-Error:  A;Sender \r\nContent-Length: 0\r\n\r\n")
    )
    response = post(connect(peer.url))
    assert response.status == 403
    assert response.headers["x-amzn-query-error"] == "A;Sender"


BROKEN = {
    "half a head": (b"HTTP/1.1 200 OK\r\nContent-", "ended half way"),
    "half a body": (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf", "ended half way"),
    "half a chunk": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nhalf", "ended half way"),
    "no answer": (b"", "closed without an answer"),
    "another protocol": (b"SSH-2.0-OpenSSH_9.2\r\n\r\n", "not HTTP"),
    "no status": (b"HTTP/1.1 OK\r\n\r\n", "not HTTP"),
    "HTTP/2": (b"HTTP/2 200 OK\r\n\r\n", "not HTTP"),
    "no colon": (b"HTTP/1.1 200 OK\r\nContent-Length 3\r\n\r\nabc", "not HTTP"),
    "a negative length": (b"HTTP/1.1 200 OK\r\nContent-Length: -3\r\n\r\n", "no number"),
    "two lengths": (b"HTTP/1.1 200 OK\r\nContent-Length: 3, 4\r\n\r\nabc", "no number"),
    "a chunk of nonsense": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", "no number"),
    "a chunk too long": (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nabc\r\n",
        "a chunk without an end",
    ),
    "an unknown coding": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nabc", "transfer encoding"),
    "huge headers": (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 200_000 + b"\r\n\r\n", "head is longer than"),
    "a huge length": (b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n", "answer is longer than"),
    "a huge chunk": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffff\r\n", "answer is longer than"),
    "no end": (b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * (17 * 1024 * 1024), "answer is longer than"),
}


@pytest.mark.parametrize(("answer", "why"), BROKEN.values(), ids=BROKEN.keys())
def test_a_broken_answer_is_unreachable_and_the_next_request_works(start_peer, parts, connect, answer, why):
    peer = start_peer(parts.answers(answer), parts.always(OK))
    connection = connect(peer.url)
    with pytest.raises(Unreachable, match=why) as raised:
        post(connection, is_repeatable=True)
    assert peer.url in str(raised.value)
    assert post(connection).body == b"{}"


def test_a_refused_connection_is_unreachable(connect):
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        connection = connect(f"http://127.0.0.1:{silent.getsockname()[1]}")
        with pytest.raises(Unreachable, match="no connection: connection refused"):
            post(connection)


def test_a_name_without_an_address_is_unreachable(connect, monkeypatch):
    unknown = socket.gaierror(socket.EAI_NONAME, "Name or service not known")
    monkeypatch.setattr(socket, "getaddrinfo", Mock(side_effect=unknown))
    with pytest.raises(Unreachable, match="no connection: Name or service not known"):
        post(connect("http://sqs.nowhere.test"))


def test_a_reset_connection_is_unreachable(start_peer, parts, connect):
    peer = start_peer(parts.resets, parts.always(OK))
    connection = connect(peer.url)
    with pytest.raises(Unreachable, match="reset"):
        post(connection)
    assert post(connection).body == b"{}"


@pytest.mark.parametrize("start", [b"", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nx"])
def test_a_peer_that_falls_silent_is_unreachable_after_the_deadline(start_peer, parts, connect, start):
    peer = start_peer(parts.hangs(start), parts.always(OK))
    connection = connect(peer.url)
    with pytest.raises(Unreachable, match=r"timed out after 0\.2 s"):
        post(connection, timeout_s=0.2)
    assert post(connection).body == b"{}"


@pytest.mark.parametrize(
    "start",
    [
        b"HTTP/1.1 200 OK\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfffff\r\n",
        b"HTTP/1.1 200 OK\r\n\r\n",
    ],
)
def test_a_peer_that_drips_does_not_move_the_deadline(start_peer, parts, connect, start):
    peer = start_peer(parts.drips(start))
    with pytest.raises(Unreachable, match=r"timed out after 0\.3 s"):
        post(connect(peer.url), timeout_s=0.3)


def test_a_peer_that_does_not_read_does_not_move_the_deadline(start_peer, connect):
    peer = start_peer(lambda peer, _: peer.ended.wait(PATIENCE_S))
    with pytest.raises(Unreachable, match=r"timed out after 0\.3 s"):
        post(connect(peer.url), b"x" * 30_000_000, timeout_s=0.3)


@pytest.fixture
def full_listener():
    """The address of a listener that answers no further connection."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        waiting = [socket.socket() for _ in range(4)]
        for one in waiting:
            one.setblocking(False)
            one.connect_ex(listener.getsockname())
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        for one in waiting:
            one.close()


def test_a_connection_that_is_never_made_ends_with_its_own_deadline(full_listener, connect):
    with pytest.raises(Unreachable, match=r"no connection: timed out after 0\.2 s"):
        post(connect(full_listener, connect_timeout_s=0.2))


def test_a_connection_closed_while_idle_is_opened_anew_before_anything_is_sent(start_peer, parts, connect):
    peer = start_peer(parts.answers(OK), parts.always(OK))
    connection = connect(peer.url)
    post(connection, b"1")
    assert peer.played.wait(PATIENCE_S)
    post(connection, b"2")
    assert [request[-1:] for request in peer.requests] == [b"1", b"2"]


def test_a_connection_that_was_silent_for_long_is_opened_anew(start_peer, parts, connect):
    peer, clock = start_peer(parts.always(OK)), ManualClock()
    connection = connect(peer.url, clock=clock)
    post(connection)
    clock.advance(60)
    post(connection)
    assert peer.connections == 1
    clock.advance(60.001)
    post(connection)
    assert peer.connections == 2


def test_a_request_is_not_sent_twice_when_a_kept_connection_closes_under_it(start_peer, parts, connect):
    peer = start_peer(parts.answers(OK, b""), parts.always(OK))
    connection = connect(peer.url)
    post(connection, b"1")
    with pytest.raises(Unreachable, match="closed without an answer"):
        post(connection, b"2")
    assert [request[-1:] for request in peer.requests] == [b"1", b"2"]


@pytest.mark.parametrize("end", ["closes", "resets"])
def test_a_repeatable_request_is_sent_again_when_a_kept_connection_closes_under_it(start_peer, parts, connect, end):
    def play(peer, connection):
        parts.answers(OK)(peer, connection)
        peer.read(connection) if end == "closes" else parts.resets(peer, connection)

    peer = start_peer(play, parts.always(OK))
    connection = connect(peer.url)
    post(connection, b"1")
    assert post(connection, b"2", is_repeatable=True).body == b"{}"
    assert [request[-1:] for request in peer.requests] == [b"1", b"2", b"2"]


def test_a_repeatable_request_is_sent_again_only_once(start_peer, parts, connect):
    peer = start_peer(parts.answers(OK, b""), parts.answers(b""))
    connection = connect(peer.url)
    post(connection)
    with pytest.raises(Unreachable, match="closed without an answer"):
        post(connection, is_repeatable=True)
    assert len(peer.requests) == 3


@pytest.fixture
def waiting():
    """Start exchanges that wait in threads, and see that they are aborted."""
    raised: list[type[Unreachable]] = []

    def wait(connection: http.Connection) -> None:
        try:
            post(connection, timeout_s=300)
        except Unreachable as error:
            raised.append(type(error))

    def start(connection: http.Connection) -> threading.Thread:
        thread = threading.Thread(target=wait, args=(connection,), daemon=True)
        thread.start()
        return thread

    yield start
    assert raised == [Aborted]


@pytest.mark.parametrize("start", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nx"])
def test_an_abort_from_another_thread_ends_a_waiting_exchange(waiting, start_peer, parts, connect, start):
    peer = start_peer(parts.hangs(start))
    connection = connect(peer.url)
    thread = waiting(connection)
    assert peer.asked.wait(PATIENCE_S)
    connection.abort()
    thread.join(PATIENCE_S)


@pytest.mark.skipif(not hasattr(socket, "SO_PEERCRED"), reason="only Linux ends a connect that is shut down")
def test_an_abort_ends_a_connection_that_is_being_made(waiting, full_listener, connect, monkeypatch):
    connecting = threading.Event()
    connection = connect(full_listener, connect_timeout_s=300)
    monkeypatch.setattr(connection, "_adopt", lambda opened, adopt=connection._adopt: (adopt(opened), connecting.set()))
    thread = waiting(connection)
    assert connecting.wait(PATIENCE_S)
    while thread.is_alive():  # an abort before the call to connect finds nothing to shut
        connection.abort()
        thread.join(0.05)


@pytest.mark.parametrize("earlier", [0, 1])
def test_an_aborted_connection_raises_at_every_later_exchange(start_peer, parts, connect, earlier):
    peer = start_peer(parts.always(OK))
    connection = connect(peer.url)
    for _ in range(earlier):
        post(connection)
    connection.abort()
    for _ in range(2):
        with pytest.raises(Aborted):
            post(connection)
    assert len(peer.requests) == peer.connections == earlier


def test_a_closed_connection_opens_again(start_peer, parts, connect):
    peer = start_peer(parts.always(OK))
    connection = connect(peer.url)
    for _ in range(2):
        post(connection)
        connection.close()
    assert peer.connections == 2


def test_a_header_cannot_break_out_of_its_line(start_peer, parts, connect):
    peer = start_peer(parts.always(OK))
    with pytest.raises(ValueError, match="line break"):
        connect(peer.url).exchange({"host": "peer", "x-token": "a\r\nx-more: b"}, b"", timeout_s=PATIENCE_S)
    assert peer.connections == 0


def test_an_exception_out_of_nowhere_leaves_no_half_read_answer_behind(start_peer, parts, connect, monkeypatch):
    """As Celery's soft time limit raises inside a job that is publishing."""
    peer = start_peer(parts.always(OK))
    connection = connect(peer.url)
    with monkeypatch.context() as patched:
        patched.setattr(http, "_read_response", lambda incoming: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            post(connection, b"1")
    assert post(connection, b"2").body == b"{}"
    assert peer.connections == 2


@pytest.fixture
def tls() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATE)
    return context


@pytest.fixture
def hooks_test_is_here(monkeypatch):
    look_up = socket.getaddrinfo
    monkeypatch.setattr(socket, "getaddrinfo", lambda host, *rest, **more: look_up("127.0.0.1", *rest, **more))


@pytest.mark.usefixtures("hooks_test_is_here")
def test_tls_is_spoken_with_a_peer_that_the_bundle_vouches_for(start_peer, parts, connect, tls):
    peer = start_peer(parts.always(OK), tls=tls)
    connection = connect(peer.url.replace("127.0.0.1", "hooks.test"), ca_bundle=str(CERTIFICATE))
    assert [post(connection).body for _ in range(3)] == [b"{}"] * 3
    assert peer.connections == 1


@pytest.mark.usefixtures("hooks_test_is_here")
def test_a_tls_peer_that_closed_while_idle_is_noticed_before_anything_is_sent(start_peer, parts, connect, tls):
    peer = start_peer(parts.answers(OK), parts.always(OK), tls=tls)
    connection = connect(peer.url.replace("127.0.0.1", "hooks.test"), ca_bundle=str(CERTIFICATE))
    post(connection, b"1")
    assert peer.played.wait(PATIENCE_S)
    post(connection, b"2")
    assert [request[-1:] for request in peer.requests] == [b"1", b"2"]


@pytest.mark.usefixtures("hooks_test_is_here")
def test_an_abort_ends_a_waiting_tls_exchange(waiting, start_peer, parts, connect, tls):
    peer = start_peer(parts.hangs(), tls=tls)
    connection = connect(peer.url.replace("127.0.0.1", "hooks.test"), ca_bundle=str(CERTIFICATE))
    thread = waiting(connection)
    assert peer.asked.wait(PATIENCE_S)
    connection.abort()
    thread.join(PATIENCE_S)


@pytest.mark.parametrize(("host", "bundle"), [("hooks.test", None), ("another.test", str(CERTIFICATE))])
@pytest.mark.usefixtures("hooks_test_is_here")
def test_a_stranger_s_certificate_is_refused(start_peer, parts, connect, tls, host, bundle):
    peer = start_peer(parts.always(OK), tls=tls)
    with pytest.raises(Unreachable, match=r"certificate is not trusted.*AWS_CA_BUNDLE"):
        post(connect(peer.url.replace("127.0.0.1", host), ca_bundle=bundle))
    assert peer.requests == []
