"""Remote control over SQS: Celery's commands to workers, their answers, and where events are to go.

AMQP's exchanges are found by names instead. A command is sent to the queue of every worker that lives, which ListQueues
names; it carries the address for the answer, and those of the readers of events in the process that gave it. Knows
kombu's mailboxes (kombu/pidbox.py); must not know channels, or what a command does.
"""

import atexit
import json
import logging
import os
import re
import threading
from collections import OrderedDict
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Literal

from amply.clock import Clock, SystemClock
from amply.errors import AmplyError
from amply.ids import Ids, RandomIds
from amply.transport.boxes import EVENTS, NODE, NOTE, REPLY, Box, living, name_of, write
from amply.transport.client import SqsClient
from amply.transport.events import EventPost
from amply.transport.faults import SqsFault, Transient, Unreachable
from amply.transport.options import Options
from amply.transport.queues import Queues, is_missing
from amply.transport.sweeping import PROBED_S, probe, sweep
from amply.transport.verdicts import TELEMETRY_RETENTION_S

logger = logging.getLogger(__name__)

_PIDBOX = ".pidbox"
_REPLY_PREFIX = "reply."
_REPLY_QUEUE = re.compile(r"([0-9a-f-]{36})\.reply\.(.+)\.pidbox")
_THREADS = 8
_LISTED_MS = 2_000
_JUST_LISTED_MS = 500
_REQUEST_S = 5.0
_MOST_ADDRESSES = 1_000
# A queue that was just made may not be known everywhere for a second (AWS API reference, CreateQueue).
_REPLY_PAUSES_S = (0.2, 0.4, 0.8, 1.6)
Speech = Literal["command", "answer", "event"]


class NotBroadcast(AmplyError):
    """A message for a fanout exchange that is not Celery's own."""

    exit_code = 2


def speech(exchange: str, exchange_type: str | None, headers: Mapping[str, Any]) -> Speech | None:
    """What a message is, by where it goes; None if it is a job. Raises NotBroadcast.

    The exchange's type is None where it was not declared over this connection: kombu remembers what it declared once.
    """
    if exchange.endswith(_PIDBOX):
        return "answer" if exchange.startswith(_REPLY_PREFIX) else "command"
    if exchange_type == "fanout":
        raise NotBroadcast(
            f"exchange {exchange!r} is of type fanout: over SQS nothing but Celery's remote control is broadcast",
            hint="Send the job to a queue of its own for every worker that is to run it.",
        )
    # Celery's dispatcher says nothing else in the headers (celery/events/dispatcher.py); jobs name their task.
    if exchange_type in (None, "topic") and "hostname" in headers and "task" not in headers:
        return "event"
    return None


class Remote:
    """A process's part in remote control and events, for all of its connections to one place. Thread-safe."""

    def __init__(self, client: SqsClient, queues: Queues, options: Options, *, clock: Clock, ids: Ids) -> None:
        self._client = client
        self._queues = queues
        self._options = options
        self._prefix = options.queue_name_prefix
        self._clock = clock
        self._ids = ids
        self._lock = threading.RLock()
        self._nodes: set[Box] = set()
        self._readers: set[Box] = set()
        self._replies: dict[str, Box] = {}
        self._listed: dict[str, tuple[int | None, list[str]]] = {}
        self._addresses: OrderedDict[str, str] = OrderedDict()
        self._posts: dict[str, EventPost] = {}
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="amply-remote")
        self._has_looked = False

    # Queues of our own

    def open_reply(self, queue: str) -> Box | None:
        """The queue for answers with kombu's name for it, made now; None if that is not such a name.

        Raises SqsFault and Unreachable: who asks has to hear that nobody can answer.
        """
        match = _REPLY_QUEUE.fullmatch(queue)
        if match is None:
            return None
        oid, namespace = match.groups()
        box = self._box(queue, REPLY.stem(self._prefix, namespace))
        box.queue()
        with self._lock:
            self._replies[oid] = box
        return box

    def open(self, queue: str, exchange: str, exchange_type: str | None) -> Box | None:
        """The queue that is bound to the exchange: a worker's, a reader's of events; None if it is another.

        It is made now if SQS answers at once, else by whoever polls it.
        """
        if exchange_type == "fanout" and exchange.endswith(_PIDBOX):
            namespace = exchange.removesuffix(_PIDBOX)
            owner = queue.removesuffix(f".{exchange}")
            box = self._box(queue, NODE.stem(self._prefix, namespace, owner))
            boxes = self._nodes
        elif exchange_type == "topic":
            box = self._box(queue, EVENTS.stem(self._prefix, exchange))
            boxes = self._readers
        else:
            return None
        with self._lock:
            boxes.add(box)
        try:
            box.queue()
        except (SqsFault, Unreachable, AmplyError) as error:
            logger.warning("The queue %s could not be made yet: %s", queue, error)
        else:
            if boxes is self._nodes and not self._has_looked:
                self._has_looked = True
                self._threads.submit(self._look_for_dead, namespace)
        return box

    def close(self, box: Box) -> None:
        """Nobody reads it any more."""
        with self._lock:
            self._nodes.discard(box)
            self._readers.discard(box)
            for oid in [oid for oid, known in self._replies.items() if known is box]:
                del self._replies[oid]
        box.close()

    def finish(self) -> None:
        """The process ends."""
        for post in list(self._posts.values()):
            post.finish()
        for box in [*self._nodes, *self._readers, *self._replies.values()]:
            self.close(box)

    def _box(self, queue: str, stem: str) -> Box:
        return Box(self._client, queue, stem, clock=self._clock, ids=self._ids)

    # Speaking

    def command(self, exchange: str, message: dict[str, Any], text: object) -> None:
        """Send a command to the workers of the exchange, or to those it names. `text` is its body as it was written.

        Raises SqsFault and Unreachable if nobody could be reached.
        """
        said = _object(text)
        reply_to = said.get("reply_to")
        oid = reply_to.get("routing_key") if isinstance(reply_to, dict) else None
        note: dict[str, Any] = {}
        with self._lock:
            box = self._replies.get(str(oid))
            if box is not None and box.made is not None:
                note["reply"] = [oid, box.made.url]
            if readers := [reader.made.url for reader in self._readers if reader.made is not None]:
                note["readers"] = readers
        self._broadcast(exchange.removesuffix(_PIDBOX), said.get("destination"), write(message, note))

    def answer(self, oid: str, message: dict[str, Any]) -> None:
        """Send a worker's answer, in the background: the worker does not wait for SQS."""
        with self._lock:
            url = self._addresses.get(oid)
        if url is None:
            logger.info("An answer has no address: it was asked for by a client without Amply's transport")
        else:
            self._threads.submit(self._answer, url, write(message))

    def event(self, exchange: str, routing_key: str, message: Mapping[str, Any], text: object) -> None:
        """Send events, in the background, if anybody reads them."""
        if isinstance(text, str) and message.get("content-type") == "application/json":
            self._post(exchange).put(text, routing_key, str(message["headers"]["hostname"]))

    # Hearing

    def heard(self, payload: Mapping[str, Any]) -> None:
        """Take the addresses off a letter. Anybody may have written it: only queues of these kinds are believed."""
        note = payload["headers"].pop(NOTE, None)
        if not isinstance(note, dict):
            return
        match note.get("reply"):
            case [str(oid), str(url)] if REPLY.is_name(self._prefix, name_of(url)):
                with self._lock:
                    self._addresses[oid] = url
                    self._addresses.move_to_end(oid)
                    while len(self._addresses) > _MOST_ADDRESSES:
                        self._addresses.popitem(last=False)
        readers = note.get("readers")
        for url in readers if isinstance(readers, list) else ():
            if isinstance(url, str) and EVENTS.is_name(self._prefix, name_of(url)):
                for post in list(self._posts.values()):
                    if name_of(url).startswith(post.stem):
                        post.announce(url)

    # The ways

    def _broadcast(self, namespace: str, destination: object, body: str) -> None:
        hosts = destination if isinstance(destination, list | tuple) else ()
        stems = [NODE.stem(self._prefix, namespace, str(host)) for host in hosts]
        stems = stems or [NODE.stem(self._prefix, namespace)]
        told: set[str] = set()
        for most_ms in (_LISTED_MS, _JUST_LISTED_MS):
            urls = [
                url
                for url in self._living(NODE.stem(self._prefix, namespace), most_ms)
                if name_of(url).startswith(tuple(stems))
            ]
            missing = self._send([url for url in urls if url not in told], body)
            told.update(urls)
            if not missing and all(any(name_of(url).startswith(stem) for url in told) for stem in stems):
                return

    def _living(self, stem: str, most_ms: int) -> list[str]:
        """The queues that there were at most so long ago."""
        now_ms = self._clock.now_ms()
        with self._lock:
            listed_ms, urls = self._listed.get(stem, (None, []))
        if listed_ms is None or now_ms - listed_ms >= most_ms:
            urls = list(living(self._client, stem))
            with self._lock:
                self._listed[stem] = (self._clock.now_ms(), urls)
        return urls

    def _send(self, urls: list[str], body: str) -> list[str]:
        """Those that are not there any more. Raises if none could be reached."""
        if len(urls) == 1:
            failures = [self._failure(urls[0], body)]
        else:
            failures = list(self._threads.map(lambda url: self._failure(url, body), urls))
        missing = [url for url, failure in zip(urls, failures, strict=True) if failure and is_missing(failure)]
        others = [failure for failure in failures if failure and not is_missing(failure)]
        for failure in others:
            if len(others) == len(urls):
                raise failure
            logger.warning("A command did not reach a worker: %s", failure)
        return missing

    def _failure(self, url: str, body: str) -> SqsFault | Unreachable | None:
        try:
            self._client.call("SendMessage", {"QueueUrl": url, "MessageBody": body}, timeout_s=_REQUEST_S)
        except (SqsFault, Unreachable) as failure:
            return failure
        return None

    def _answer(self, url: str, body: str) -> None:
        failure = self._failure(url, body)
        for pause_s in _REPLY_PAUSES_S:
            if failure is None:
                return
            if isinstance(failure, SqsFault) and not isinstance(failure, Transient) and not is_missing(failure):
                break
            threading.Event().wait(pause_s)
            failure = self._failure(url, body)
        if failure is not None:
            logger.warning("An answer was not sent: %s", failure)

    def _post(self, exchange: str) -> EventPost:
        with self._lock:
            post = self._posts.get(exchange)
            if post is None:
                name = self._options.telemetry_queue
                telemetry = (
                    (lambda: self._queues.get(name, MessageRetentionPeriod=TELEMETRY_RETENTION_S)) if name else None
                )
                post = self._posts[exchange] = EventPost(
                    self._client,
                    EVENTS.stem(self._prefix, exchange),
                    self._clock,
                    telemetry=telemetry,
                    is_told=lambda: bool(self._nodes),
                )
            return post

    def _look_for_dead(self, namespace: str) -> None:
        ours = [box.made.url for box in list(self._nodes) if box.made is not None]
        probed = probe(self._client, self._prefix, namespace, ours=ours, now_ms=self._clock.now_ms())
        if probed:
            later = threading.Timer(PROBED_S, lambda: sweep(self._client, probed, self._clock.now_ms()))
            later.daemon = True
            later.start()


def _object(text: object) -> dict[str, Any]:
    """A JSON object; empty for whatever else it is."""
    try:
        said = json.loads(text) if isinstance(text, str) else None
    except ValueError:
        return {}
    return said if isinstance(said, dict) else {}


_remotes: dict[tuple[int, str, str | None], Remote] = {}
_remotes_lock = threading.Lock()


def remote_for(client: SqsClient, queues: Queues, options: Options) -> Remote:
    """This process's part, the same for all connections that share the client."""
    key = (id(client), options.queue_name_prefix, options.telemetry_queue)
    with _remotes_lock:
        known = _remotes.get(key)
        if known is None:
            known = _remotes[key] = Remote(client, queues, options, clock=SystemClock(), ids=RandomIds())
        return known


def _begin_anew() -> None:
    # A child has none of its parent's threads, and perhaps its locks as one of them held them.
    global _remotes_lock  # noqa: PLW0603
    _remotes_lock = threading.Lock()
    _remotes.clear()


os.register_at_fork(after_in_child=_begin_anew)


@atexit.register
def _finish() -> None:
    for remote in list(_remotes.values()):
        remote.finish()
