"""Clients that take too long. The clock is moved; nobody sleeps."""

HEAD = b"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n"


def arrived(server, stage):
    """The server has read as far as that stage."""
    server.until(lambda: any(guest._stage.name == stage for guest in server.listener._hall.guests))


def test_a_connection_that_says_nothing_is_closed_after_10_seconds(server):
    with server.client() as client:
        server.until(lambda: server.listener.connections == 1)
        server.move(9.9)
        assert server.call(lambda: server.listener.connections) == 1
        server.move(0.1)
        assert client.is_closed()


def test_a_slow_header_is_refused_10_seconds_after_its_first_byte(server):
    with server.client() as client:
        client.send(b"GET /a HTTP/1.1\r\n")
        arrived(server, "HEAD")
        server.move(9)
        client.send(b"Host: x\r\n")  # a further byte buys no time
        server.move(1)
        assert client.answer()[0] == 408
        assert client.is_closed()


def test_empty_lines_buy_no_time(server):
    with server.client() as client:
        client.send(b"\r\n" * 100)
        server.until(lambda: server.listener.connections == 1)
        server.move(9)
        client.send(b"\r\n" * 100)
        server.move(1)
        assert client.is_closed()


def test_a_body_slower_than_1_kb_a_second_is_refused(server):
    with server.client() as client:
        client.send(HEAD + b"x" * 5000)
        arrived(server, "BODY")
        server.until(lambda: all(guest._reader.body_bytes == 5000 for guest in server.listener._hall.guests))
        server.move(4)
        server.move(2)
        assert client.answer()[0] == 408
        assert client.is_closed()


def test_a_body_fast_enough_is_refused_only_after_30_seconds(server):
    with server.client() as client:
        client.send(HEAD + b"x" * 90_000)
        server.until(lambda: any(guest._reader.body_bytes == 90_000 for guest in server.listener._hall.guests))
        server.move(29)
        assert server.call(lambda: {guest._stage.name for guest in server.listener._hall.guests}) == {"BODY"}
        server.move(1)
        assert client.answer()[0] == 408


def test_a_slow_second_request_of_a_connection_has_its_own_deadline(server):
    with server.client() as client:
        client.ask("/a").answer()
        server.move(60)
        client.send(b"GET /a HTTP/1.1\r\n")
        arrived(server, "HEAD")
        server.move(9)
        assert client.send(b"Host: x\r\n\r\n").answer()[0] == 200


def test_an_idle_connection_is_closed_75_seconds_after_its_last_answer(server):
    with server.client() as client:
        client.ask("/a").answer()
        server.move(74)
        assert client.ask("/a").answer()[0] == 200
        server.move(74)
        assert server.call(lambda: server.listener.connections) == 1
        server.move(1)
        assert client.is_closed()


def test_a_long_poll_has_no_deadline_here(server):
    with server.client() as client:
        client.ask("/park")
        respond = server.desk.parked.get(timeout=10)
        server.move(3600)
        assert server.call(respond, server.text(b"parked"))
        assert client.answer()[2] == b"parked"


def test_a_client_that_does_not_read_is_dropped_after_30_seconds(server):
    with server.client(receive_buffer=4096) as client:
        client.ask("/big")
        assert server.desk.answered.get(timeout=10)
        arrived(server, "CHOKED")
        server.move(29)
        assert server.call(lambda: server.listener.connections) == 1
        server.move(1)
        server.until_empty()


def test_a_client_that_does_not_read_its_last_answer_is_dropped_after_30_seconds(server):
    with server.client(receive_buffer=4096) as client:
        client.ask("/big", "Connection: close")
        assert server.desk.answered.get(timeout=10)
        arrived(server, "LEAVING")
        server.move(29)
        assert server.call(lambda: server.listener.connections) == 1
        server.move(1)
        server.until_empty()


def test_a_client_that_does_not_read_gets_no_further_request_handled(server):
    with server.client(receive_buffer=4096) as client:
        client.ask("/big").ask("/next")
        arrived(server, "CHOKED")
        assert [request.target for request in server.desk.requests] == ["/big"]
        assert len(client.answer()[2]) == 16 * 1024 * 1024
        assert client.answer()[2] == b"POST /next"
