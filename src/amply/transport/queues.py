"""The queues' names, URLs and limits: Celery's word for a queue turned into SQS's.

Knows how kombu names SQS queues and where `predefined_queues` stand; must not know what is sent to them.
"""

import json
import threading
from typing import Any

from msgspec import Struct

from amply.errors import AmplyError
from amply.transport.client import SqsClient
from amply.transport.faults import SqsFault, Unreachable
from amply.transport.options import Options
from amply.transport.turns import MOST_AT_ONCE

_FIFO_SUFFIX = ".fifo"
# AWS API reference, CreateQueue: letters, digits, hyphens and underscores, up to 80 of them.
LONGEST_NAME = 80
_LARGEST_MESSAGE_BYTES = 1_048_576
_MISSING = ("AWS.SimpleQueueService.NonExistentQueue", "QueueDoesNotExist")


class UndefinedQueue(AmplyError, LookupError):
    """A queue that `predefined_queues` does not name."""

    exit_code = 2


class Queue(Struct, frozen=True):
    """A queue: Celery's `name` for it, SQS's, and its URL."""

    name: str
    sqs_name: str
    url: str

    @property
    def is_fifo(self) -> bool:
        """Whether SQS keeps its messages in order."""
        return self.sqs_name.endswith(_FIFO_SUFFIX)

    @property
    def most_at_once(self) -> int:
        """How many messages to receive at once.

        Of a FIFO queue one: a receive of more brings several of one group, which a worker's children would run side by
        side. As long as the one is held, SQS gives no other of its group (developer guide, FIFO delivery logic).
        """
        return 1 if self.is_fifo else MOST_AT_ONCE


class Limits(Struct, frozen=True):
    """What a queue's attributes allow; `max_receive_count` is None where no redrive policy is to be seen."""

    max_receive_count: int | None = None
    maximum_message_bytes: int = _LARGEST_MESSAGE_BYTES


class Queues:
    """Finds queues. Thread-safe; what it found it keeps."""

    def __init__(self, client: SqsClient, options: Options) -> None:
        self._client = client
        self._options = options
        self._lock = threading.Lock()
        self._found: dict[str, Queue] = {}
        self._limits: dict[str, Limits] = {}

    def sqs_name(self, name: str) -> str:
        """SQS's name for a queue: with the prefix, and with hyphens for what SQS does not take, as kombu does it."""
        prefix = self._options.queue_name_prefix
        full = name if name.startswith(prefix) else prefix + name
        base = full.removesuffix(_FIFO_SUFFIX)
        suffix = full[len(base) :]
        return safe_name(base)[: LONGEST_NAME - len(suffix)] + suffix

    def get(self, name: str, **attributes: str) -> Queue:
        """The queue with Celery's name for it. One that is not predefined is looked up, and created if there is none.

        `attributes` are for its creation, and say that it is a queue of our own: where queues are predefined, no other
        is created. Raises UndefinedQueue, SqsFault and Unreachable.
        """
        found = self._found.get(name)
        if found is None:
            found = self._find(name, attributes)
            self._found[name] = found
        return found

    def limits(self, queue: Queue) -> Limits:
        """The queue's limits, asked for once. A role that may not see them makes them unknown, not an error."""
        with self._lock:
            limits = self._limits.get(queue.url)
        if limits is None:
            limits = self._ask_limits(queue)
            with self._lock:
                self._limits[queue.url] = limits
        return limits

    def size(self, queue: Queue) -> int:
        """About how many messages wait in it."""
        names = ["ApproximateNumberOfMessages"]
        answer = self._client.call("GetQueueAttributes", {"QueueUrl": queue.url, "AttributeNames": names})
        return int((answer.get("Attributes") or {}).get(names[0], 0))

    def forget(self, name: str) -> None:
        """The queue was deleted."""
        self._found.pop(name, None)

    def _find(self, name: str, attributes: dict[str, str]) -> Queue:
        sqs_name = self.sqs_name(name)
        for known, predefined in (self._options.predefined_queues or {}).items():
            if self.sqs_name(known) == sqs_name:
                return Queue(name, predefined.url.rstrip("/").rpartition("/")[2] or sqs_name, predefined.url)
        if self._options.predefined_queues is not None and not attributes:
            known = ", ".join(self._options.predefined_queues) or "none"
            raise UndefinedQueue(
                f"queue {name!r} is not among predefined_queues: {known}",
                hint="Declare it in the topology, or name a queue that is.",
            )
        try:
            answer = self._client.call("GetQueueUrl", {"QueueName": sqs_name})
        except SqsFault as fault:
            if not is_missing(fault):
                raise
            answer = self._client.call("CreateQueue", self._creation(sqs_name, attributes))
        return Queue(name, sqs_name, answer["QueueUrl"])

    def _creation(self, sqs_name: str, attributes: dict[str, str]) -> dict[str, Any]:
        own = {"VisibilityTimeout": str(self._options.visibility_timeout)}
        if sqs_name.endswith(_FIFO_SUFFIX):
            own["FifoQueue"] = "true"
        return {"QueueName": sqs_name, "Attributes": {**own, **attributes}}

    def _ask_limits(self, queue: Queue) -> Limits:
        names = ["RedrivePolicy", "MaximumMessageSize"]
        try:
            answer = self._client.call("GetQueueAttributes", {"QueueUrl": queue.url, "AttributeNames": names})
        except SqsFault as fault:
            if not fault.is_denied:
                raise
            return Limits()
        found = answer.get("Attributes") or {}
        policy = json.loads(found.get("RedrivePolicy") or "{}")
        return Limits(
            max_receive_count=int(policy["maxReceiveCount"]) if "maxReceiveCount" in policy else None,
            maximum_message_bytes=int(found.get("MaximumMessageSize", _LARGEST_MESSAGE_BYTES)),
        )


def safe_name(name: str) -> str:
    """The name with a hyphen for every character that SQS does not take."""
    return "".join(character if _is_allowed(character) else "-" for character in name)


def is_missing(error: SqsFault | Unreachable) -> bool:
    """Whether SQS says that there is no such queue."""
    return isinstance(error, SqsFault) and error.code.endswith(_MISSING)


def _is_allowed(character: str) -> bool:
    return character.isascii() and (character.isalnum() or character in "-_")
