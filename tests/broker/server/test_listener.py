"""The open port: where it listens, and how it ends."""

import asyncio
import resource
import socket

import pytest

from amply.broker.server.listener import OTHER_FILES, Listener
from amply.errors import AmplyError


def stop(server, grace_s):
    return asyncio.run_coroutine_threadsafe(server.listener.stop(grace_s), server.loop)


def start_and_stop(host, port):
    async def run():
        listener = Listener(lambda request, respond: None, host, port)
        try:
            return await listener.start()
        finally:
            await listener.stop(0)

    return asyncio.run(run())


def test_port_0_is_any_free_port():
    assert start_and_stop("127.0.0.1", 0) > 1024


def test_a_port_that_is_taken_is_named_with_the_next_step(server):
    with pytest.raises(AmplyError) as raised:
        start_and_stop("127.0.0.1", server.port)
    assert raised.value.message == f"port {server.port} on 127.0.0.1 is in use"
    assert "--port" in raised.value.hint


def test_an_address_of_another_machine_cannot_be_listened_on():
    with pytest.raises(AmplyError, match=r"cannot listen on 192\.0\.2\.1"):
        start_and_stop("192.0.2.1", 0)


def test_the_port_is_free_again_right_after_a_stop_with_open_connections(server):
    with server.client() as client:
        client.ask("/a").answer()
        stop(server, 0).result(10)
        assert start_and_stop("127.0.0.1", server.port) == server.port


def test_stop_closes_idle_and_half_sent_connections_at_once(server):
    with server.client() as idle, server.client() as half:
        idle.ask("/a").answer()
        half.ask("/a").answer()
        half.send(b"POST /b HTTP/1.1\r\n")
        stop(server, 60).result(10)
        assert idle.is_closed()
        assert half.is_closed()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", server.port))


def test_stop_waits_for_the_answers_owed_and_closes_behind_them(server):
    with server.client() as client:
        client.ask("/park").ask("/next")
        respond = server.desk.parked.get(timeout=10)
        stopped = stop(server, 60)
        server.until(lambda: server.listener._hall.closing)
        assert not stopped.done()
        assert server.call(respond, server.text(b"released"))
        status, headers, body = client.answer()
        assert (status, headers["connection"], body) == (200, "close", b"released")
        assert client.is_closed()
        stopped.result(10)
    assert [request.target for request in server.desk.requests] == ["/park"]


def test_after_a_stop_nothing_is_connected(server):
    async def stop_and_count():
        await server.listener.stop(0)
        return server.listener.connections

    with server.client() as client:
        client.ask("/park")
        server.desk.parked.get(timeout=10)
        assert server.wait_for(stop_and_count()) == 0


def test_stop_ends_by_force_what_outlasts_the_grace(server):
    with server.client() as client:
        client.ask("/park")
        respond = server.desk.parked.get(timeout=10)
        stop(server, 0.01).result(10)
        assert client.is_closed()
        assert server.desk.cancelled.get(timeout=10) == "/park"
        assert not server.call(respond, server.text(b"late"))
        assert server.desk.cancelled.empty()


@pytest.mark.skipif(not hasattr(socket, "TCP_USER_TIMEOUT"), reason="Linux")
def test_every_connection_notices_a_peer_that_is_silent_for_a_minute(server):
    with server.client() as client:
        client.ask("/a").answer()

        def options():
            (guest,) = server.listener._hall.guests
            accepted = guest._transport.get_extra_info("socket")
            names = ("TCP_NODELAY", "TCP_KEEPIDLE", "TCP_KEEPINTVL", "TCP_KEEPCNT", "TCP_USER_TIMEOUT")
            values = [accepted.getsockopt(socket.IPPROTO_TCP, getattr(socket, name)) for name in names]
            return [accepted.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE), *values]

        assert server.call(options) == [1, 1, 30, 10, 3, 60_000]


@pytest.fixture
def open_files_limit():
    """Set both limits on open files. The hard one cannot be raised again, so it is only pretended."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    patch = pytest.MonkeyPatch()

    def limit(soft, hard):
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, before[1]))
        patch.setattr(resource, "getrlimit", lambda _: (soft, hard))
        patch.setattr(resource, "setrlimit", lambda _, limits: raised.append(limits))

    raised = []
    limit.raised = raised
    yield limit
    patch.undo()
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_the_limit_on_open_files_is_raised_as_far_as_connections_need(serve, open_files_limit):
    open_files_limit(1024, 100_000)
    with serve(max_connections=2000):
        assert open_files_limit.raised == [(2000 + OTHER_FILES, 100_000)]


def test_connections_leave_the_store_its_files(serve, open_files_limit, caplog):
    open_files_limit(1024, OTHER_FILES + 2)
    with serve() as server:
        assert "2 connections at most" in caplog.text
        with server.client() as first, server.client() as second, server.client() as third:
            assert first.ask("/a").answer()[0] == 200
            assert second.ask("/a").answer()[0] == 200
            assert third.answer()[0] == 503
