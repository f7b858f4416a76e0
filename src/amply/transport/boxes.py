"""Queues that live as long as somebody reads them: a worker's mailbox, an inquirer's replies, a reader's events.

Every one has a name that was never used before, because SQS takes no queue with the name of one that was deleted less
than 60 seconds ago (AWS API reference, CreateQueue). The first part of the name is the same for all of a kind, so that
they are found with ListQueues. Knows names, and how such a queue comes and goes; must not know what is sent to it.
"""

import base64
import hashlib
import logging
import os
import threading
from collections.abc import Iterator
from typing import Any

import msgspec
from msgspec import Struct

from amply import envelope
from amply.clock import Clock
from amply.ids import Ids
from amply.transport.client import SqsClient
from amply.transport.faults import SqsFault, Unreachable
from amply.transport.queues import LONGEST_NAME, Queue, is_missing, safe_name

logger = logging.getLogger(__name__)

# SQS's shortest retention. A received letter stays hidden as long, so that nobody has to delete it.
_BRIEF_S = 60
# The header with addresses, beside kombu's own.
NOTE = "amply"
# A queue just made may be unknown for a moment (AWS API reference, CreateQueue: wait at least one second).
_NEW_S = 3
# A name ends with an underscore, the second in which it was made (8 digits) and what makes it the only one (6).
_BIRTH = 15
# With these there is always room for an owner that can be told from the others.
_LONGEST_PREFIX = 24
_LONGEST_SCOPE = 12
_QUICK_S = 2.0
_MOST_LISTED = 1_000


class Kind(Struct, frozen=True):
    """What such a queue is for: the parts of its name before and after the scope."""

    first: str
    second: str

    def stem(self, prefix: str, scope: str, owner: str = "") -> str:
        """How the names begin of all such queues in the scope, a namespace or an exchange; or of the owner's."""
        stem = f"{self.scope(prefix, scope)}{self.second}"
        return f"{stem}{_word(owner, LONGEST_NAME - len(stem) - _BIRTH)}_" if owner else stem

    def scope(self, prefix: str, scope: str) -> str:
        """How the names begin of these and of those beside them."""
        return f"{_short(prefix)}{self.first}_{_word(scope, _LONGEST_SCOPE)}_"

    def is_name(self, prefix: str, name: str) -> bool:
        """Whether a queue's name is one of this kind, of any scope."""
        return name.startswith(f"{_short(prefix)}{self.first}_") and f"_{self.second}" in name


NODE = Kind("pidbox", "node_")
REPLY = Kind("pidbox", "reply_")
EVENTS = Kind("events", "")


class _Letter(Struct, rename="kebab"):
    body: str
    content_type: str
    content_encoding: str
    headers: dict[str, Any]


_decode = msgspec.json.Decoder(_Letter).decode


class Box:
    """A queue of our own, made when it is first asked for. Thread-safe.

    `name` is Celery's word for it, `stem` how its own begins.
    """

    hidden_s = _BRIEF_S
    deletes = False

    def __init__(self, client: SqsClient, name: str, stem: str, *, clock: Clock, ids: Ids) -> None:
        self.name = name
        self.stem = stem
        self._client = client
        self._clock = clock
        self._ids = ids
        self._lock = threading.Lock()
        self._queue: Queue | None = None
        self._made_ms = 0
        self._is_closed = False
        self._pid = os.getpid()

    @property
    def made(self) -> Queue | None:
        """The queue, if there is one."""
        return self._queue

    def queue(self) -> Queue:
        """The queue; it is made if there is none. Raises SqsFault and Unreachable."""
        with self._lock:
            if self._queue is None:
                if self._is_closed:
                    raise Unreachable(f"the queue of {self.name} is closed")
                now_ms = self._clock.now_ms()
                sqs_name = f"{self.stem}{now_ms // 1000:08x}{self._ids.message_id()[:6]}"
                attributes = {"MessageRetentionPeriod": str(_BRIEF_S), "VisibilityTimeout": str(_BRIEF_S)}
                members = {"QueueName": sqs_name, "Attributes": attributes}
                url = self._client.call("CreateQueue", members, timeout_s=_QUICK_S)["QueueUrl"]
                self._queue = Queue(self.name, sqs_name, url)
                self._made_ms = now_ms
            return self._queue

    def lose(self) -> None:
        """SQS does not know the queue: the next time it is asked for, there will be another."""
        with self._lock:
            if self._clock.now_ms() - self._made_ms > _NEW_S * 1000:
                self._queue = None

    def open(self, body: str) -> dict[str, Any] | None:
        """The payload of a letter as `write` makes it; None for whatever else somebody sent."""
        try:
            letter = _decode(body)
            data = base64.b64decode(letter.body, validate=True)
        except (msgspec.DecodeError, ValueError):
            return None
        return {
            "body": data,
            "content-type": letter.content_type,
            "content-encoding": letter.content_encoding,
            "headers": letter.headers,
            "properties": {"delivery_info": {"exchange": "", "routing_key": ""}},
        }

    def close(self) -> None:
        """Nobody reads any more: delete the queue."""
        with self._lock:
            queue, self._queue = self._queue, None
            self._is_closed = True
        if queue is not None and os.getpid() == self._pid:
            delete(self._client, queue.url)


def write(payload: dict[str, Any], note: dict[str, Any] | None = None) -> str:
    """A letter with kombu's payload; the note, if there is one, is a header of ours."""
    headers = {**payload["headers"], NOTE: note} if note else payload["headers"]
    return envelope.write({**payload, "headers": headers}, "brief")


def living(client: SqsClient, stem: str) -> Iterator[str]:
    """The URLs of all queues whose names begin like this. Raises SqsFault and Unreachable."""
    members: dict[str, Any] = {"QueueNamePrefix": stem, "MaxResults": _MOST_LISTED}
    while True:
        answer = client.call("ListQueues", members)
        yield from answer.get("QueueUrls") or ()
        if not answer.get("NextToken"):
            return
        members["NextToken"] = answer["NextToken"]


def name_of(url: str) -> str:
    """The queue's name."""
    return url.rpartition("/")[2]


def born_s(url: str) -> int | None:
    """The second of the epoch in which a queue of these kinds was made."""
    digits = name_of(url).rpartition("_")[2][:8]
    try:
        return int(digits, 16)
    except ValueError:
        return None


def unread_s(client: SqsClient, url: str, now_ms: int) -> float:
    """For how long a letter of the queue has waited for its reader: whoever lives takes it at once.

    The oldest of up to ten; 0 if none waits. They stay where they are. Raises SqsFault and Unreachable.
    """
    members = {
        "QueueUrl": url,
        "MaxNumberOfMessages": 10,
        "VisibilityTimeout": 0,
        "WaitTimeSeconds": 0,
        "MessageSystemAttributeNames": ["SentTimestamp"],
    }
    messages = client.call("ReceiveMessage", members, timeout_s=_QUICK_S).get("Messages") or ()
    return max((now_ms - int(message["Attributes"]["SentTimestamp"]) for message in messages), default=0) / 1000


def delete(client: SqsClient, url: str) -> None:
    """Delete the queue, best effort: others find it and do it later."""
    try:
        client.call("DeleteQueue", {"QueueUrl": url}, timeout_s=_QUICK_S)
    except (SqsFault, Unreachable) as error:
        if not is_missing(error):
            logger.info("Queue %s was left behind: %s", name_of(url), error)


def _short(prefix: str) -> str:
    return prefix if len(prefix) <= _LONGEST_PREFIX else _word(prefix, _LONGEST_PREFIX)


def _word(text: str, longest: int) -> str:
    """The text if SQS takes it as it is and it is short; else what is left of it, and a digest that tells it apart.

    There is no underscore in it: those stand between the parts of a name.
    """
    safe = safe_name(text).replace("_", "-")
    if text == safe and len(text) <= longest:
        return text
    digest = hashlib.sha256(text.encode()).hexdigest()[:8]
    return f"{safe[: longest - 9]}-{digest}"
