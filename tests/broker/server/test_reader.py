"""Bounds of the parser that do not show on the connection."""

import tracemalloc

import pytest

from amply.broker.server.reader import RequestReader


def test_requests_behind_the_32nd_of_one_read_are_not_even_kept():
    reader = RequestReader(max_body_bytes=1000)
    assert reader.feed(b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n" * 1000) is None
    assert len(reader.arrived) == 32
    assert reader.closing


def test_a_body_in_tiny_chunks_takes_no_more_memory_than_its_size():
    reader = RequestReader(max_body_bytes=1_000_000)
    reader.feed(b"POST /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
    chunks = b"2\r\nab\r\n" * 100_000
    tracemalloc.start()
    reader.feed(chunks)
    held_bytes, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert reader.body_bytes == 200_000
    assert held_bytes < 2 * 200_000
    reader.feed(b"0\r\n\r\n")
    assert reader.arrived.popleft()[0].body == b"ab" * 100_000


def test_an_idle_connection_holds_nothing_of_its_last_request():
    reader = RequestReader(max_body_bytes=1_000_000)
    tracemalloc.start()
    reader.feed(b"POST /%b HTTP/1.1\r\nHost: x\r\nContent-Length: 900000\r\n\r\n" % (b"a" * 50_000))
    reader.feed(b"x" * 900_000)
    assert reader.arrived.popleft()
    held_bytes, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert held_bytes < 20_000
    assert reader.unfinished_bytes == 0


@pytest.mark.parametrize(
    ("piece", "unfinished_bytes"),
    [
        (b"", 0),
        (b"POST /a HTTP/1.1\r\n", 18),
        (b"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n1234", 4),
        (b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n", 0),
    ],
)
def test_a_reader_tells_how_much_it_holds_of_an_unfinished_request(piece, unfinished_bytes):
    reader = RequestReader(max_body_bytes=1000)
    reader.feed(piece)
    assert reader.unfinished_bytes == unfinished_bytes
