"""A whole broker that one fuzzed input lives in: its memory, its clock, and what must hold after every request.

Knows the front desk and the service behind it. Does not know where its requests come from.
"""

import asyncio
import functools
import gc
import hashlib
import json
import logging
import re
from collections.abc import Sequence
from typing import Any
from unittest.mock import patch
from xml.etree import ElementTree as ET

from amply.broker.engine.records import Change
from amply.broker.server.front import Front
from amply.broker.service import observation
from amply.broker.service.committer import Committer
from amply.broker.service.service import Service
from amply.broker.store.memory import MemoryStore
from amply.broker.store.port import StoreError
from amply.broker.wire.http import Request, Response
from amply.clock import ManualClock
from amply.ids import CountingIds

ACCOUNT = "000000000000"
LONGEST_WAIT_S = 20
JSON_TYPES = {b"application/x-amz-json-1.0", b"application/json"}


class Wrong(Exception):
    """What no input may bring about."""


class CountingStore(MemoryStore):
    """Counts what was ever written to it."""

    def __init__(self) -> None:
        super().__init__()
        self.changes = 0

    def commit(self, changes: Sequence[Change], now_ms: int) -> None:
        self.changes += len(changes)
        super().commit(changes, now_ms)


class NoThread:
    """Stands where a thread would be started."""

    def __init__(self, **_: object) -> None:
        pass

    def start(self) -> None:
        """There is nothing to do for it."""


class SameThread(Committer):
    """Commits at once and not in a thread of its own, so that an input takes a tenth of the time."""

    def _leave(self) -> None:
        batch, self._open = self._open, type(self._open)()
        self._carry_out(batch)
        self._loop.call_soon(self._came_back, batch)

    async def close(self) -> None:
        while self._is_busy:
            await self._idle.wait()


class Records(logging.Handler):
    """What was logged as an error: a handler that failed, a committer that broke."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(self.format(record))


class World:
    """A new broker without queues; to be closed."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.store = CountingStore()
        self.clock = ManualClock()
        self.broken: list[StoreError] = []
        self.request_ids = 0
        self._records = Records()
        logging.getLogger("amply").addHandler(self._records)
        self.loop.set_exception_handler(lambda _, context: self._records.texts.append(repr(context)))
        self.service = self.loop.run_until_complete(self._start())
        self.front = Front(self.service, default_account=ACCOUNT, new_request_id=self._new_request_id)
        self.settle()

    async def _start(self) -> Service:
        with patch("amply.broker.service.service.Committer", SameThread), patch("threading.Thread", NoThread):
            return Service(
                self.store, region="eu-central-1", clock=self.clock, ids=CountingIds(), on_broken=self.broken.append
            )

    def _new_request_id(self) -> str:
        self.request_ids += 1
        return f"r-{self.request_ids}"

    def settle(self) -> None:
        """Until every commit is through."""
        self.loop.call_soon(self.loop.stop)
        self.loop.run_forever()
        while self.service._committer._is_busy:
            self.loop.call_soon(self.loop.stop)
            self.loop.run_forever()

    def advance(self, seconds: float) -> None:
        """Let time pass; what is due by then is begun."""
        self.clock.advance(seconds)
        self.service.time_has_come()

    def ask(self, request: Request) -> Response:
        """The answer to a request, which is checked; a long poll waits until its end."""
        answers: list[Response] = []

        def respond(response: Response) -> bool:
            answers.append(response)
            return True

        before = self.facts()
        self.front(request, respond)
        self.settle()
        if not answers:
            self.advance(LONGEST_WAIT_S)
            self.settle()
        if len(answers) != 1:
            raise Wrong(f"{len(answers)} answers to {request}")
        check_answer(request, answers[0])
        if answers[0].status != 200 and self.facts() != before:
            raise Wrong(f"{request} was refused with {answers[0]}, and changed something")
        return answers[0]

    def facts(self) -> object:
        return self.store.changes, observation.queue_views(self.service), len(self.service._parked)

    def close(self) -> None:
        """End the broker; nothing may be left of what its clients did."""
        try:
            self.advance(LONGEST_WAIT_S)
            self.settle()
            parked = len(self.service._parked)
            self.loop.run_until_complete(self.service.close())
        finally:
            self.loop.close()
            logging.getLogger("amply").removeHandler(self._records)
        if self._records.texts or self.broken:
            raise Wrong("\n".join([*self._records.texts, *map(str, self.broken)]))
        if parked:
            raise Wrong(f"{parked} polls are still parked after the longest wait")


def check_answer(request: Request, answer: Response) -> None:
    """Fail unless an SDK can read the answer, and it is no failure of ours."""
    if answer.status >= 500 or not (answer.status == 200 or answer.status >= 400):
        raise Wrong(f"{request} was answered with {answer}")
    if not dict(answer.headers).get(b"x-amzn-requestid"):
        raise Wrong(f"{answer} names no request")
    if answer.content_type.partition(b";")[0] in JSON_TYPES:
        _check_json(answer)
    elif answer.body:
        _check_xml(answer.body, is_success=answer.status == 200)


def _check_json(answer: Response) -> None:
    content = json.loads(answer.body.decode())
    if not isinstance(content, dict):
        raise Wrong(f"{answer} is no object")
    if answer.content_type == b"application/x-amz-json-1.0" and answer.status != 200:
        if not re.fullmatch(r"com\.amazon(aws\.sqs|\.coral\.service)#\w+", content["__type"]):
            raise Wrong(f"{answer} has no error code")
        content["message"].encode()
    for message in messages(content):
        if hashlib.md5(message["Body"].encode()).hexdigest() != message["MD5OfBody"]:
            raise Wrong(f"{message} is not what its digest says")


def messages(content: Any) -> list[dict[str, Any]]:
    """The messages in a JSON answer to ReceiveMessage."""
    found = content.get("Messages")
    return found if isinstance(found, list) else []


def _check_xml(body: bytes, *, is_success: bool) -> None:
    if b"<!" in body:
        raise Wrong(f"{body!r} holds more than elements and text")
    root = ET.fromstring(body)
    name = root.tag.rpartition("}")[2]
    if is_success != (name.endswith("Response") and name != "ErrorResponse"):
        raise Wrong(f"{body!r} is no answer for its status")


def check_caches() -> None:
    """Fail if anything that clients send is remembered without bound."""
    for cache in gc.get_objects():
        if isinstance(cache, functools._lru_cache_wrapper) and cache.__module__.startswith("amply.broker"):
            size = cache.cache_info().currsize
            if size > 1024:
                raise Wrong(f"{cache} has grown to {size} entries")
