"""Requests that are served, as real clients send them."""

import http.client

import pytest
import urllib3


def test_a_request_reaches_the_handler_and_its_answer_the_client(server):
    with server.client() as client:
        status, headers, body = client.ask(
            "/queue?a=%20b", "X-Amz-Target:  AmazonSQS.SendMessage \t", body=b"{}"
        ).answer()
    assert (status, body) == (200, b"POST /queue?a=%20b")
    assert headers["content-type"] == "text/plain"
    assert headers["x-amzn-requestid"] == "r-1"
    assert headers["server"] == "amply"
    assert headers["date"] == "Sun, 06 Nov 1994 08:49:37 GMT"
    assert "connection" not in headers
    (request,) = server.desk.requests
    assert (request.method, request.target, request.body) == ("POST", "/queue?a=%20b", b"{}")
    assert request.headers == {
        b"host": b"localhost",
        b"content-length": b"2",
        b"x-amz-target": b"AmazonSQS.SendMessage",
    }


def test_http_client_keeps_its_connection_over_many_requests(server):
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
    for number in range(50):
        connection.request("POST", f"/{number}", body=b"x" * number)
        assert connection.getresponse().read() == f"POST /{number}".encode()
    assert server.call(lambda: server.listener.connections) == 1
    connection.close()
    server.until_empty()


def test_the_pool_under_botocore_keeps_its_connection(server):
    with urllib3.HTTPConnectionPool("127.0.0.1", server.port, maxsize=1) as pool:
        for _ in range(5):
            assert pool.request("GET", "/a", retries=False).data == b"GET /a"
        assert pool.num_connections == 1


@pytest.mark.parametrize("pieces", [1, 2, 7])
def test_a_request_may_arrive_in_any_pieces(server, pieces):
    data = b"POST /a HTTP/1.1\r\nHost: x\r\nX-Long: some value\r\nX-Empty:\r\nContent-Length: 5\r\n\r\nhello"
    with server.client() as client:
        client.socket.setsockopt(6, 1, 1)  # TCP_NODELAY, so that the pieces stay pieces
        for start in range(0, len(data), pieces):
            client.send(data[start : start + pieces])
        assert client.answer()[0] == 200
    (request,) = server.desk.requests
    assert request.body == b"hello"
    assert request.headers == {b"host": b"x", b"x-long": b"some value", b"x-empty": b"", b"content-length": b"5"}


def test_a_chunked_body_is_put_together(server):
    head = b"POST /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    with server.client() as client:
        client.send(head + b"3;name=value\r\nabc\r\n4\r\ndefg\r\n0\r\n\r\n").answer()
        client.send(head + b"0\r\n\r\n").answer()
    assert [request.body for request in server.desk.requests] == [b"abcdefg", b""]


def test_a_body_of_exactly_the_cap_is_taken(serve):
    with serve(max_body_bytes=1000) as server, server.client() as client:
        assert client.ask("/a", body=b"x" * 1000).answer()[0] == 200


def test_a_query_of_60_kb_is_taken(server):
    with server.client() as client:
        assert client.ask("/?" + "a" * 60_000, method="GET").answer()[0] == 200


def test_a_header_that_comes_twice_is_a_list(server):
    with server.client() as client:
        client.ask("/a", "X-Amz-Meta: one", "x-amz-meta: two").answer()
    assert server.desk.requests[0].headers[b"x-amz-meta"] == b"one,two"


def test_pipelined_requests_are_answered_one_after_the_other(server):
    with server.client() as client:
        client.send(b"".join(b"GET %b HTTP/1.1\r\nHost: x\r\n\r\n" % path for path in (b"/1", b"/park", b"/3")))
        respond = server.desk.parked.get(timeout=10)
        client.ask("/4")
        assert [request.target for request in server.desk.requests] == ["/1", "/park"]
        assert client.answer()[2] == b"GET /1"
        assert server.call(respond, server.text(b"parked"))
        assert [client.answer()[2] for _ in range(3)] == [b"parked", b"GET /3", b"POST /4"]


def test_pipelined_requests_with_bodies_behind_a_parked_one_all_get_their_turn(server):
    with server.client() as client:
        client.ask("/park")
        respond = server.desk.parked.get(timeout=10)
        for number in range(20):  # 200 KB: more than is read ahead
            client.ask(f"/{number}", body=b"x" * 10_000)
        server.call(respond, server.text(b"parked"))
        assert client.answer()[2] == b"parked"
        assert [client.answer()[2] for _ in range(20)] == [f"POST /{number}".encode() for number in range(20)]


def test_a_half_sent_request_behind_many_is_not_taken_for_a_large_header(server):
    whole = b"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 1500\r\n\r\n" + b"x" * 1500
    with server.client() as client:
        client.send(whole * 20 + whole[:30])
        assert [client.answer()[0] for _ in range(20)] == [200] * 20
        assert client.send(whole[30:]).answer()[0] == 200


def test_what_is_sent_ahead_of_an_answer_is_bounded(server):
    with server.client() as client:
        client.ask("/park")
        respond = server.desk.parked.get(timeout=10)
        (guest,) = server.call(lambda: list(server.listener._hall.guests))
        client.ask("/next", body=b"x" * 200_000)
        server.until(lambda: not guest._transport.is_reading())
        server.call(respond, server.text(b"parked"))
        assert [client.answer()[2] for _ in range(2)] == [b"parked", b"POST /next"]


def test_a_flood_of_pipelined_requests_is_cut_after_the_32nd_answer(server):
    with server.client() as client:
        client.send(b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n" * 1000)
        closing = [client.answer()[1].get("connection") for _ in range(32)]
        assert closing == [None] * 31 + ["close"]
        assert client.is_closed()
    assert len(server.desk.requests) == 32


def test_a_client_that_expects_100_continue_gets_it_before_it_sends_the_body(server):
    with server.client() as client:
        client.send(b"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n")
        assert client.answer()[0] == 100
        client.send(b"he")
        server.until(lambda: all(guest._reader.body_bytes == 2 for guest in server.listener._hall.guests))
        assert client.send(b"llo").answer()[0] == 200
    assert server.desk.requests[0].body == b"hello"


def test_100_continue_waits_for_the_answer_before_it(server):
    with server.client() as client:
        client.ask("/park").send(b"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n")
        server.call(server.desk.parked.get(timeout=10), server.text(b"parked"))
        assert [client.answer()[0], client.answer()[0]] == [200, 100]
        assert client.send(b"hello").answer()[0] == 200


def test_connection_close_is_honoured(server):
    with server.client() as client:
        assert client.ask("/a", "Connection: close").answer()[1]["connection"] == "close"
        assert client.is_closed()
    server.until_empty()


def test_bytes_behind_the_request_that_closes_are_ignored(server):
    with server.client() as client:
        client.send(b"GET /a HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\nGET /b HTTP/1.1\r\nHost: x\r\n\r\n")
        assert client.answer()[0] == 200
        assert client.is_closed()
    assert len(server.desk.requests) == 1


def test_http_1_0_closes_unless_it_asks_to_keep_the_connection(server):
    with server.client() as client:
        answer = client.send(b"GET /a HTTP/1.0\r\nConnection: keep-alive\r\n\r\n").answer()
        assert (answer[0], answer[1]["connection"]) == (200, "keep-alive")
        answer = client.send(b"GET /a HTTP/1.0\r\n\r\n").answer()
        assert (answer[0], answer[1]["connection"]) == (200, "close")
        assert client.is_closed()


def test_a_handler_that_fails_costs_its_connection_and_nothing_else(server, caplog):
    with server.client() as client, server.client() as other:
        other.ask("/a").answer()
        status, headers, body = client.ask("/boom").answer()
        assert (status, headers["connection"]) == (500, "close")
        assert b"InternalFailure" in body
        assert b"boom" not in body
        assert client.is_closed()
        assert other.ask("/a").answer()[0] == 200
    assert "RuntimeError: boom" in caplog.text


def test_a_request_is_answered_once(server):
    with server.client() as client:
        respond = None
        client.ask("/park")
        respond = server.desk.parked.get(timeout=10)
        assert server.call(respond, server.text(b"first"))
        assert not server.call(respond, server.text(b"second"))
        client.answer()
        client.ask("/park")
        next_respond = server.desk.parked.get(timeout=10)
        assert not server.call(respond, server.text(b"third"))
        assert server.call(next_respond, server.text(b"fourth"))
        assert client.answer()[2] == b"fourth"
