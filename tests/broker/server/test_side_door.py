"""`/health` and `/ready`, in front of the SQS handler."""

import json

import pytest

from amply.broker.server.side_door import SideDoor
from amply.broker.wire.http import Request, Response

BEHIND = Response(200, b"text/plain", b"behind")


def ask(method, target, status=None):
    answers = []
    door = SideDoor(lambda request, respond: respond(BEHIND) and None, lambda: status or {})
    door(Request(method, target, {}, b""), lambda response: answers.append(response) is None)
    (answer,) = answers
    return answer


def test_health_says_that_the_process_is_alive_whatever_its_state():
    answer = ask("GET", "/health", {"reasons": ["the disk is full"]})
    assert (answer.status, json.loads(answer.body)) == (200, {"status": "alive"})
    assert answer.content_type == b"application/json"
    assert answer.headers == ((b"cache-control", b"no-store"),)


def test_ready_says_yes_and_shows_the_status():
    answer = ask("GET", "/ready?verbose", {"reasons": [], "queues": 3})
    assert (answer.status, json.loads(answer.body)) == (200, {"status": "ready", "reasons": [], "queues": 3})
    assert answer.headers == ((b"cache-control", b"no-store"),)


def test_ready_says_no_with_its_reasons():
    answer = ask("GET", "/ready", {"reasons": ["the disk is full"]})
    assert (answer.status, json.loads(answer.body)) == (503, {"status": "not ready", "reasons": ["the disk is full"]})


@pytest.mark.parametrize(
    ("method", "target"), [("POST", "/health"), ("GET", "/"), ("GET", "/healthy"), ("POST", "/ready")]
)
def test_everything_else_goes_to_the_handler_behind(method, target):
    assert ask(method, target) is BEHIND


def test_it_answers_over_http(serve):
    with serve(SideDoor(lambda request, respond: None, dict)) as server, server.client() as client:
        status, headers, body = client.ask("/health", method="GET").answer()
        assert (status, headers["cache-control"], body) == (200, "no-store", b'{"status":"alive"}')
