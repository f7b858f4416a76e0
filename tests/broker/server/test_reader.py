"""Bounds of the parser that do not show on the connection."""

from amply.broker.server.reader import RequestReader


def test_requests_behind_the_32nd_of_one_read_are_not_even_kept():
    reader = RequestReader(max_body_bytes=1000)
    assert reader.feed(b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n" * 1000) is None
    assert len(reader.arrived) == 32
    assert reader.closing
