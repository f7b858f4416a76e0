"""Celery's events on their way to whoever reads them: the telemetry queue, and readers such as Flower.

A thread of its own sends many of them as one message. Best effort: no worker and no task ever waits for it, and past
its bound the oldest events are dropped and counted. Knows how events travel; must not know what they mean.
"""

import logging
import threading
from collections import deque
from collections.abc import Callable, Iterable
from functools import partial
from random import Random
from typing import Any

from msgspec import Struct

from amply.clock import Clock
from amply.errors import AmplyError
from amply.transport.backoff import Backoff
from amply.transport.boxes import delete, living, name_of, unread_s, write
from amply.transport.client import SqsClient
from amply.transport.faults import SqsFault, Transient, Unreachable
from amply.transport.queues import Queue

logger = logging.getLogger(__name__)

HEARTBEAT = "worker.heartbeat"

_LINGER_S = 0.5
_BODY_BYTES = 200_000
_MOST_BYTES = 4_000_000
_REQUEST_S = 5.0
_FLUSH_S = 2.0
# A worker is told of new readers by their commands, and looks for them only lest it missed one. Others have to look.
_LOOK_TOLD_MS = 300_000
_LOOK_MS = 30_000
# Readers get every heartbeat; those who only keep records have no use for 30 a minute.
_HEARTBEAT_MS = 60_000
_CHECK_MS = 60_000
# Letters wait this long only for the dead.
_DEAD_S = 30


class _Event(Struct, frozen=True):
    """The JSON text of one event or of several with commas between them, and who is to get it."""

    text: str
    size_bytes: int
    hostname: str
    for_readers: bool
    for_telemetry: bool


class EventPost(threading.Thread):
    """Takes events from any thread. Starts with the first event that anybody wants.

    - `stem`: how the names of the readers' queues begin.
    - `telemetry`: finds the telemetry queue; None if there is none to be used.
    - `is_told`: whether this process reads commands, and so hears of new readers.
    """

    def __init__(
        self,
        client: SqsClient,
        stem: str,
        clock: Clock,
        *,
        telemetry: Callable[[], Queue] | None,
        is_told: Callable[[], bool],
    ) -> None:
        super().__init__(name="amply-events", daemon=True)
        self.stem = stem
        self.dropped = 0
        self._client = client
        self._clock = clock
        self._telemetry = telemetry
        self._is_told = is_told
        self._changed = threading.Condition()
        self._events: deque[_Event] = deque()
        self._size_bytes = 0
        self._is_busy = False
        self._is_hurried = False
        self._look_ms = 0
        # By URL: when it was last seen to be read.
        self._readers: dict[str, int] = {}
        self._heartbeats: dict[str, int] = {}
        self._backoff = Backoff(0.2, 10.0, random=Random())  # noqa: S311 - not a secret

    def put(self, text: str, routing_key: str, hostname: str) -> None:
        """Take the JSON text of an event or of a list of them. Costs nothing if nobody reads it."""
        text = text.strip()
        if text.startswith("["):
            text = text[1:-1].strip()
        if not text:
            return
        now_ms = self._clock.now_ms()
        with self._changed:
            for_readers = bool(self._readers) or now_ms >= self._look_ms
            for_telemetry = self._telemetry is not None and self._is_worth_a_record(routing_key, hostname, now_ms)
            if not (for_readers or for_telemetry):
                return
            event = _Event(text, len(text.encode()), hostname, for_readers, for_telemetry)
            self._events.append(event)
            self._size_bytes += event.size_bytes
            while self._size_bytes > _MOST_BYTES:
                self._size_bytes -= self._events.popleft().size_bytes
                self.dropped += 1
            self._changed.notify_all()
            if self.ident is None:
                self.start()

    def announce(self, url: str) -> None:
        """There is a reader."""
        with self._changed:
            self._readers.setdefault(url, self._clock.now_ms())

    def finish(self) -> None:
        """The process ends: send what is there, as far as that takes no time."""
        with self._changed:
            self._is_hurried = True
            self._changed.notify_all()
            if self.is_alive():
                self._changed.wait_for(lambda: not self._events and not self._is_busy, _FLUSH_S)

    def run(self) -> None:
        """The thread."""
        while True:
            with self._changed:
                self._is_busy = False
                self._changed.notify_all()
                self._changed.wait_for(lambda: self._events)
                # Others come soon, and travel in the same message.
                self._changed.wait_for(lambda: self._is_hurried or self._size_bytes > _BODY_BYTES, _LINGER_S)
                events = self._take()
                self._is_busy = True
            try:
                self._send(events)
            except Exception:  # a thread that ends is a worker nobody hears of
                logger.exception("%d events could not be sent", len(events))

    def _take(self) -> list[_Event]:
        events: list[_Event] = []
        room_bytes = _BODY_BYTES
        while self._events and (not events or self._events[0].size_bytes <= room_bytes):
            event = self._events.popleft()
            self._size_bytes -= event.size_bytes
            room_bytes -= event.size_bytes
            events.append(event)
        return events

    def _send(self, events: list[_Event]) -> None:
        self._look_for_readers()
        records = _list(event.text for event in events if event.for_telemetry)
        if records and self._telemetry is not None:
            self._persist(partial(self._send_records, records))
        texts = _list(event.text for event in events if event.for_readers)
        if not texts:
            return
        body = _letter(texts, events[-1].hostname)
        with self._changed:
            readers = list(self._readers)
        for url in readers:
            self._persist(partial(self._send_letter, url, body))

    def _send_records(self, records: str) -> None:
        if self._telemetry is not None:
            members = {"QueueUrl": self._telemetry().url, "MessageBody": records}
            self._client.call("SendMessage", members, timeout_s=_REQUEST_S)

    def _send_letter(self, url: str, body: str) -> None:
        now_ms = self._clock.now_ms()
        if now_ms - self._readers.get(url, now_ms) > _CHECK_MS:
            if unread_s(self._client, url, now_ms) > _DEAD_S:
                logger.warning("The reader of events %s is gone; its queue is deleted", name_of(url))
                self._forget(url)
                delete(self._client, url)
                return
            self._readers[url] = now_ms
        try:
            self._client.call("SendMessage", {"QueueUrl": url, "MessageBody": body}, timeout_s=_REQUEST_S)
        except Transient:
            raise
        except SqsFault as fault:
            logger.info("Nobody reads events at %s any more: %s", name_of(url), fault)
            self._forget(url)

    def _forget(self, url: str) -> None:
        with self._changed:
            self._readers.pop(url, None)

    def _persist(self, send: Callable[[], Any]) -> None:
        """Try again while SQS is not to be reached: the buffer is bounded. Not when the process ends."""
        while True:
            try:
                send()
            except (Unreachable, Transient) as error:
                if self._is_hurried:
                    logger.warning("Events are lost: %s", error)
                    return
                with self._changed:
                    self._changed.wait_for(lambda: self._is_hurried, self._backoff.next_s())
            except (SqsFault, AmplyError) as error:
                logger.warning("Events are lost: %s", error)
                return
            else:
                self._backoff.reset()
                if self.dropped:
                    logger.warning("%d messages with events were dropped, there were too many", self.dropped)
                    self.dropped = 0
                return

    def _look_for_readers(self) -> None:
        now_ms = self._clock.now_ms()
        if now_ms < self._look_ms:
            return
        self._look_ms = now_ms + (_LOOK_TOLD_MS if self._is_told() else _LOOK_MS)
        try:
            for url in living(self._client, self.stem):
                self.announce(url)
        except SqsFault as fault:
            logger.warning("Readers of events cannot be looked for: %s", fault)
        except Unreachable:
            self._look_ms = now_ms + _LOOK_MS

    def _is_worth_a_record(self, routing_key: str, hostname: str, now_ms: int) -> bool:
        if routing_key != HEARTBEAT:
            return True
        if now_ms < self._heartbeats.get(hostname, 0):
            return False
        self._heartbeats[hostname] = now_ms + _HEARTBEAT_MS
        return True


def _list(texts: Iterable[str]) -> str:
    joined = ",".join(texts)
    return f"[{joined}]" if joined else ""


def _letter(texts: str, hostname: str) -> str:
    payload = {
        "body": texts,
        "content-type": "application/json",
        "content-encoding": "utf-8",
        "headers": {"hostname": hostname},
        "properties": {"delivery_mode": 1, "delivery_info": {"exchange": "", "routing_key": ""}, "priority": 0},
    }
    return write(payload)
