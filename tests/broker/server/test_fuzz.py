"""Any bytes: the server answers a request or refuses it, never with 5xx, and serves the next client."""

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

PIECES = st.sampled_from(
    [
        b"GET / HTTP/1.1\r\n",
        b"POST /park HTTP/1.1\r\n",
        b"POST /a HTTP/1.0\r\n",
        b"Host: x\r\n",
        b"Content-Length: 3\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"Expect: 100-continue\r\n",
        b"Connection: close\r\n",
        b"Connection: upgrade\r\nUpgrade: h2c\r\n",
        b"\r\n",
        b"\n",
        b"3\r\nabc\r\n",
        b"0\r\n\r\n",
        b"abc",
        b" ",
        b"\0",
    ]
)
INPUT = st.lists(st.one_of(PIECES, st.binary(max_size=40)), max_size=12)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(pieces=INPUT)
def test_no_bytes_make_the_server_fail_or_stop(server, pieces):
    with server.client() as client:
        try:
            for piece in pieces:
                client.send(piece)
            client.socket.shutdown(1)
            answers = client.file.read()
        except OSError:  # it hung up on us in the middle of our sending
            answers = b""
    assert b"HTTP/1.1 5" not in answers.replace(b"HTTP/1.1 505", b"")
    with server.client() as client:
        assert client.ask("/good").answer()[0] == 200
    assert server.unhandled == []
