"""What is fuzzed: functions of bytes that end quietly, or with an exception when something is wrong.

The inputs are text as far as possible, so that the stored ones can be read and written by hand.
"""

import re
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

from signing import signature
from strict import TREASURE, probe
from wire_client import HttpClient
from world import World, Wrong

from amply.broker.server.reader import RequestReader
from amply.broker.wire.http import Request

REQUESTS_MAX = 12
URL = b"http://localhost/000000000000/work"
JSON_HEADERS = {b"host": b"localhost", b"content-type": b"application/x-amz-json-1.0"}
FORM_HEADERS = {b"host": b"localhost", b"content-type": b"application/x-www-form-urlencoded"}

# No byte of UTF-8, and hardly one of HTTP: what happens between the bytes that a client sends.
SPLIT, PASS, CHOKE, READ_ON, HANG_UP = b"\xf8", b"\xf9", b"\xfa", b"\xfb", b"\xfc"
_EVENTS = re.compile(rb"[\xf8-\xfc]|[^\xf8-\xfc]+")
_HANDLE = re.compile(rb'(?:"ReceiptHandle":"|<ReceiptHandle>)([^"<]+)')


def aws_json(data: bytes) -> None:
    """One request a line: the action, a space, the body. `$H` is the receipt handle given out last."""
    with_world(data, lambda line: _json_request(*line.partition(b" ")[::2]))


def aws_query(data: bytes) -> None:
    """One request a line: G or P for the method (small: the answer as JSON), the target, a space, the form."""
    with_world(data, _query_request)


def with_world(data: bytes, make_request: Callable[[bytes], Request]) -> None:
    """Ask the requests of an input, one a line, in a broker with a queue `work` with two messages."""
    world = World()
    handle = b"none"
    try:
        world.ask(_json_request(b"CreateQueue", b'{"QueueName":"work"}'))
        for body in (b"a", b"b"):
            world.ask(_json_request(b"SendMessage", b'{"QueueUrl":"%b","MessageBody":"%b"}' % (URL, body)))
        for line in data.split(b"\n")[:REQUESTS_MAX]:
            answer = world.ask(make_request(line.replace(b"$H", handle)))
            if found := _HANDLE.search(answer.body):
                handle = found[1]
    finally:
        world.close()


def strict(data: bytes) -> None:
    """One request a line, as in the two targets above but with J before one in JSON; `$H` is of a queue `secret`."""
    probe(data, REQUESTS_MAX, _any_request, _make_queues)


def _any_request(line: bytes) -> Request:
    return _json_request(*line[1:].partition(b" ")[::2]) if line.startswith(b"J") else _query_request(line)


def _make_queues(world: World) -> bytes:
    for name in (b"work", b"secret"):
        world.ask(_json_request(b"CreateQueue", b'{"QueueName":"%b"}' % name))
    queue = URL.replace(b"work", b"secret")
    for _ in range(2):
        body = b'{"QueueUrl":"%b","MessageBody":"%b"}' % (queue, TREASURE.encode())
        world.ask(_json_request(b"SendMessage", body))
    answer = world.ask(_json_request(b"ReceiveMessage", b'{"QueueUrl":"%b"}' % queue))
    found = _HANDLE.search(answer.body)
    return found[1] if found else b"none"


def _json_request(action: bytes, body: bytes) -> Request:
    return Request("POST", "/", {**JSON_HEADERS, b"x-amz-target": b"AmazonSQS." + action}, body)


def _query_request(line: bytes) -> Request:
    target, _, form = line[1:].partition(b" ")
    # The reader lets nothing but visible ASCII through.
    path = "/" + quote(target.removeprefix(b"/"), safe="!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~")
    headers = FORM_HEADERS if line[:1].isupper() else {**FORM_HEADERS, b"accept": b"application/json"}
    return Request("GET" if line[:1] in b"Gg" else "POST", path, headers, form)


def http(data: bytes) -> None:
    """Bytes on one connection, in pieces, with time and a client that does not read in between."""
    world = World()
    try:
        client = HttpClient(world)
        for event in _EVENTS.findall(data):
            if event == PASS:
                client.pass_time(7)
            elif event == CHOKE:
                client.stop_reading()
            elif event == READ_ON:
                client.read_on()
            elif event == HANG_UP:
                client.hang_up()
            elif event != SPLIT:
                client.send(event)
        client.end()
    finally:
        world.close()


def pieces(data: bytes) -> None:
    """The same bytes are the same requests in whatever pieces they come."""
    data = _drop_events(data)
    whole, *others = (_read(data, size) for size in (len(data) or 1, 1, 7))
    for other in others:
        if other != whole:
            raise Wrong(f"{data!r} is {whole} in one piece and {other} in several")


def _drop_events(data: bytes) -> bytes:
    return data.translate(None, SPLIT + PASS + CHOKE + READ_ON + HANG_UP)


def _read(data: bytes, size: int) -> Any:
    reader = RequestReader(max_body_bytes=1000)
    refused = None
    for start in range(0, len(data), size):
        refused = reader.feed(data[start : start + size])
        if refused is not None or reader.closing:
            break
    requests = [(request.method, request.target, request.headers, request.body) for request, _ in reader.arrived]
    # What follows the request that closes the connection is of no account.
    return requests, None if refused is None or reader.closing else refused.status


TARGETS: dict[str, Callable[[bytes], None]] = {
    "aws_json": aws_json,
    "aws_query": aws_query,
    "http": http,
    "pieces": pieces,
    "signature": signature,
    "strict": strict,
}
