"""Clients that vanish: the handler hears of it once, and an answer that cannot be given is given back."""

import socket

import pytest


def park(server, client):
    client.ask("/park")
    return server.desk.parked.get(timeout=10)


@pytest.mark.parametrize("end", ["FIN", "half-close", "reset"])
def test_a_client_that_vanishes_cancels_its_parked_request_exactly_once(server, end):
    client = server.client()
    respond = park(server, client)
    if end == "FIN":
        client.__exit__()
    elif end == "reset":
        client.vanish()
    else:
        client.socket.shutdown(socket.SHUT_WR)
    assert server.desk.cancelled.get(timeout=10) == "/park"
    server.until_empty()
    assert not server.call(respond, server.text(b"late"))
    assert server.desk.cancelled.empty()
    client.__exit__()


@pytest.mark.skipif(not hasattr(socket, "TCP_INFO"), reason="only Linux tells the state of a connection")
@pytest.mark.parametrize("end", ["FIN", "reset"])
def test_an_answer_is_not_given_to_a_client_whose_end_the_event_loop_has_not_read_yet(server, end):
    client = server.client()
    respond = park(server, client)

    def vanish_then_answer():
        """In one go of the event loop, which so has no chance to see the end."""
        client.__exit__() if end == "FIN" else client.vanish()
        return respond(server.text(b"late"))

    assert server.call(vanish_then_answer) is False
    server.until_empty()
    assert server.desk.cancelled.empty()  # it was told by False


def test_a_client_that_vanishes_after_its_answer_cancels_nothing(server):
    with server.client() as client:
        respond = park(server, client)
        assert server.call(respond, server.text(b"in time"))
        client.answer()
    server.until_empty()
    assert server.desk.cancelled.empty()


def test_a_client_that_vanishes_behind_pipelined_requests_cancels_the_parked_one_only(server):
    with server.client() as client:
        respond = park(server, client)
        client.ask("/park?second")
    assert server.desk.cancelled.get(timeout=10) == "/park"
    server.until_empty()
    assert not server.call(respond, server.text(b"late"))
    assert [request.target for request in server.desk.requests] == ["/park"]


def test_a_cancel_that_fails_is_logged_and_the_server_lives(serve, caplog):
    parked = []

    def handler(request, respond):
        if request.target == "/park":
            parked.append(respond)
            return lambda: 1 / 0
        respond(server.text(b"ok"))
        return None

    with serve(handler) as server:
        with server.client() as client:
            client.ask("/park")
            server.until(lambda: bool(parked))
        server.until_empty()
        with server.client() as client:
            assert client.ask("/a").answer()[0] == 200
    assert "ZeroDivisionError" in caplog.text


def test_a_client_that_vanishes_in_the_middle_of_a_big_answer_leaves_nothing(server):
    client = server.client(receive_buffer=4096)
    client.ask("/big")
    assert server.desk.answered.get(timeout=10)
    client.file.read(1000)
    client.vanish()
    server.until_empty()


def test_a_client_that_vanishes_in_the_middle_of_a_request_leaves_nothing(server):
    for data in (b"POST /a HT", b"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhel"):
        with server.client() as client:
            client.send(data)
        client = server.client()
        client.send(data)
        client.vanish()
    server.until_empty()
    assert server.desk.requests == []


def test_a_thousand_connections_opened_and_dropped_leave_no_state(server):
    for number in range(1000):
        client = server.client()
        if number % 2:
            client.ask("/park")
        client.vanish() if number % 3 else client.__exit__()
    server.until_empty()
    server.until(lambda: server.desk.cancelled.qsize() == server.desk.parked.qsize())
    with server.client() as client:
        assert client.ask("/a").answer()[0] == 200
