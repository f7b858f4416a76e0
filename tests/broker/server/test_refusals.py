"""Bytes that are not a request we serve: each is refused with one clear answer, and the connection ends."""

import json

import pytest

CHUNKED = b"POST /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"

REFUSED = {
    "Content-Length and Transfer-Encoding": (
        400,
        b"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ),
    "Transfer-Encoding and Content-Length": (
        400,
        b"POST /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n",
    ),
    "two lengths": (400, b"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab"),
    "a list of lengths": (400, b"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 1, 1\r\n\r\na"),
    "a signed length": (400, b"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: +1\r\n\r\na"),
    "a length beyond 64 bits": (400, b"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999\r\n\r\n"),
    "another transfer encoding": (400, b"POST /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip, chunked\r\n\r\n"),
    "chunked not last": (400, b"POST /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked, gzip\r\n\r\n"),
    "an odd transfer encoding": (400, b"POST /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n"),
    "chunked in HTTP/1.0": (400, b"POST /a HTTP/1.0\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    "a trailer": (400, CHUNKED + b"0\r\nHost: evil\r\n\r\n"),
    "a chunk size that is none": (400, CHUNKED + b"zz\r\nab\r\n0\r\n\r\n"),
    "a chunk longer than its size": (400, CHUNKED + b"1\r\nabc\r\n0\r\n\r\n"),
    "a bare LF behind a chunk size": (400, CHUNKED + b"1\na\r\n0\r\n\r\n"),
    "bare LF": (400, b"GET /a HTTP/1.1\nHost: x\n\n"),
    "one bare LF": (400, b"GET /a HTTP/1.1\r\nHost: x\nY: z\r\n\r\n"),
    "bare CR": (400, b"GET /a HTTP/1.1\r\nHost: x\rY: z\r\n\r\n"),
    "a folded header": (400, b"GET /a HTTP/1.1\r\nHost: x\r\nY: z\r\n z\r\n\r\n"),
    "a space before the colon": (400, b"GET /a HTTP/1.1\r\nHost: x\r\nContent-Length : 5\r\n\r\n"),
    "NUL in a header": (400, b"GET /a HTTP/1.1\r\nHost: x\r\nY: a\0b\r\n\r\n"),
    "a header without a name": (400, b"GET /a HTTP/1.1\r\nHost: x\r\n: z\r\n\r\n"),
    "no Host": (400, b"GET /a HTTP/1.1\r\n\r\n"),
    "two Hosts": (400, b"GET /a HTTP/1.1\r\nHost: x\r\nhost: x\r\n\r\n"),
    "a target without a slash": (400, b"GET http://evil/a HTTP/1.1\r\nHost: x\r\n\r\n"),
    "a target beyond ASCII": (400, "GET /\u00e9 HTTP/1.1\r\nHost: x\r\n\r\n".encode()),
    "HTTP/2 with prior knowledge": (400, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    "HTTP/2.0": (505, b"GET /a HTTP/2.0\r\nHost: x\r\n\r\n"),
    "HTTP/2.0 that asks to stay": (505, b"GET /a HTTP/2.0\r\nHost: x\r\nConnection: keep-alive\r\n\r\n"),
    "HTTP/0.9": (505, b"GET /a\r\n\r\n"),
    "an upgrade": (400, b"GET /a HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"),
    "a compressed body": (400, b"POST /a HTTP/1.1\r\nHost: x\r\nContent-Encoding: gzip\r\nContent-Length: 1\r\n\r\na"),
    "an expectation": (417, b"POST /a HTTP/1.1\r\nHost: x\r\nExpect: a-miracle\r\nContent-Length: 1\r\n\r\na"),
    "a TLS hello": (400, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(200)),
    "garbage": (400, b"\xff\xfe\x00hello\r\n\r\n"),
    "a method of nobody": (400, b"BREW /a HTTP/1.1\r\nHost: x\r\n\r\n"),
    "a method in small letters": (400, b"get /a HTTP/1.1\r\nHost: x\r\n\r\n"),
    "PUT": (405, b"PUT /a HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\na"),
    "DELETE": (405, b"DELETE /a HTTP/1.1\r\nHost: x\r\n\r\n"),
    "OPTIONS": (405, b"OPTIONS /a HTTP/1.1\r\nHost: x\r\n\r\n"),
    "CONNECT": (405, b"CONNECT evil:443 HTTP/1.1\r\nHost: x\r\n\r\n"),
    "a header line of 70 KB": (431, b"GET /a HTTP/1.1\r\nHost: x\r\nY: " + b"y" * 70_000 + b"\r\n\r\n"),
    "a header line without end": (431, b"GET /a HTTP/1.1\r\nHost: x\r\nY: " + b"y" * 300_000),
    "a header name without end": (431, b"GET /a HTTP/1.1\r\nHost: x\r\n" + b"y" * 300_000),
    "a header of 17 KB": (
        431,
        b"GET /a HTTP/1.1\r\nHost: x\r\n" + b"Y: yyyyyyyyyyyyyyyy\r\n" * 90 + b"Z: " + b"z" * 16_000 + b"\r\n\r\n",
    ),
    "2 000 header lines": (431, b"GET /a HTTP/1.1\r\nHost: x\r\n" + b"Y: y\r\n" * 2000 + b"\r\n"),
    "101 header lines": (431, b"GET /a HTTP/1.1\r\nHost: x\r\n" + b"Y: y\r\n" * 100 + b"\r\n"),
    "a target of 70 KB": (414, b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n"),
    "a target without end": (414, b"GET /" + b"a" * 300_000),
    "a length over the cap": (413, b"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 1001\r\n\r\n"),
    "a length over the cap that waits for 100": (
        413,
        b"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 1001\r\nExpect: 100-continue\r\n\r\n",
    ),
    "chunks over the cap": (413, CHUNKED + b"1f4\r\n" + b"a" * 500 + b"\r\n1f5\r\n" + b"a" * 501 + b"\r\n0\r\n\r\n"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_it_is_refused_and_the_connection_closed(serve, name):
    status, data = REFUSED[name]
    with serve(max_body_bytes=1000) as server:
        with server.client() as client:
            answer = client.send(data + b"GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n").answer()
            assert (answer[0], answer[1]["connection"]) == (status, "close")
            assert json.loads(answer[2]).keys() == {"__type", "message"}
            assert client.is_closed()
        server.until_empty()
        assert server.desk.requests == []
        with server.client() as client:
            assert client.ask("/good").answer()[0] == 200


@pytest.mark.parametrize("endless", [b"1;" + b"x" * 20_000, b"0\r\n" + b"x" * 20_000])
def test_chunk_framing_without_end_is_refused(server, endless):
    with server.client() as client:
        client.send(CHUNKED)
        server.until(lambda: all(guest._stage.name == "BODY" for guest in server.listener._hall.guests))
        assert client.send(endless).answer()[0] == 400


def test_head_is_refused_without_a_body(server):
    with server.client() as client:
        status, headers, body = client.send(b"HEAD /a HTTP/1.1\r\nHost: x\r\n\r\n").answer()
        assert (status, headers["allow"], headers["content-length"], body) == (405, "GET, POST", "0", b"")


def test_requests_before_the_refused_one_are_answered(server):
    with server.client() as client:
        client.send(b"GET /1 HTTP/1.1\r\nHost: x\r\n\r\nGET /park HTTP/1.1\r\nHost: x\r\n\r\nnonsense\r\n\r\n")
        respond = server.desk.parked.get(timeout=10)
        server.call(respond, server.text(b"parked"))
        assert [client.answer()[0] for _ in range(3)] == [200, 200, 400]
        assert client.is_closed()


def test_a_refused_client_that_goes_on_sending_still_reads_the_refusal(serve):
    with serve(max_body_bytes=1000) as server, server.client() as client:
        client.send(b"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n" + b"a" * 1_000_000)
        assert client.answer()[0] == 413


def test_a_refused_client_that_never_closes_is_dropped_after_two_seconds(server):
    with server.client() as client:
        assert client.send(b"nonsense\r\n\r\n").answer()[0] == 400
        assert server.call(lambda: server.listener.connections) == 1
        server.move(2)
        server.until_empty()


def test_above_the_connection_cap_a_client_is_told_so(serve):
    with serve(max_connections=2) as server:
        with server.client() as first, server.client() as second:
            assert first.ask("/a").answer()[0] == 200
            assert second.ask("/a").answer()[0] == 200
            with server.client() as third:
                assert third.answer()[0] == 503
                assert third.is_closed()
            assert first.ask("/a").answer()[0] == 200
        server.until_empty()
        with server.client() as client:
            assert client.ask("/a").answer()[0] == 200


def test_far_above_the_connection_cap_clients_are_dropped(serve):
    with serve(max_connections=0) as server:
        told = [server.client() for _ in range(128)]
        assert all(client.answer()[0] == 503 for client in told)
        with server.client() as client:
            assert client.is_closed()
        for client in told:
            client.__exit__()
        server.until_empty()


def test_one_address_cannot_take_every_seat(serve):
    with serve(max_connections=100, max_per_address=2) as server:
        with server.client() as first, server.client() as second:
            assert first.ask("/a").answer()[0] == 200
            assert second.ask("/a").answer()[0] == 200
            with server.client() as third:
                assert third.answer()[0] == 503
                assert third.is_closed()
            with server.client(source="127.0.0.2") as other:
                assert other.ask("/a").answer()[0] == 200
        server.until_empty()
        with server.client() as client:
            assert client.ask("/a").answer()[0] == 200


def test_a_crowd_of_idle_connections_keeps_nobody_out_for_long(serve):
    with serve(max_connections=50, max_per_address=40) as server:
        crowd = [server.client() for _ in range(150)]
        server.until(lambda: server.listener.connections >= 100)
        with server.client(source="127.0.0.2") as other:
            assert other.ask("/a").answer()[0] == 200
        server.move(10)  # seconds for those with a seat to begin a request, two for the refused to read why not
        assert all(client.file.read()[:12] in {b"", b"HTTP/1.1 503"} for client in crowd)
        server.until_empty()
        with server.client() as client:
            assert client.ask("/a").answer()[0] == 200
        for client in crowd:
            client.__exit__()


HALF = b"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 400000\r\n\r\n" + b"x" * 200_000


def test_unfinished_bodies_of_all_connections_together_are_bounded(serve):
    with serve(max_held_bytes=300_000) as server, server.client() as first, server.client() as second:
        first.send(HALF)
        server.until(lambda: server.listener._hall.held_bytes == 200_000)
        second.send(HALF)
        status, headers, body = second.answer()
        assert (status, headers["connection"], json.loads(body)["__type"]) == (503, "close", "ServiceUnavailable")
        assert second.is_closed()
        with server.client() as small:
            assert small.ask("/small", body=b"x" * 60_000).answer()[0] == 200
        assert first.send(b"x" * 200_000).answer()[0] == 200
        assert server.call(lambda: server.listener._hall.held_bytes) == 0


def test_a_client_that_leaves_gives_back_what_was_held_for_it(serve):
    with serve(max_held_bytes=300_000) as server:
        with server.client() as client:
            client.send(HALF)
            server.until(lambda: server.listener._hall.held_bytes == 200_000)
        server.until_empty()
        assert server.call(lambda: server.listener._hall.held_bytes) == 0
