"""One message that SQS gave to this worker, from its receive until it is settled.

Knows what SQS said about the message and what this transport wrote beside it; must not know what Celery does with it.
"""

from collections.abc import Mapping
from typing import Any

from msgspec import Struct

from amply.transport.publishing import ATTEMPTS
from amply.transport.queues import Queue


class Cause(Struct, frozen=True):
    """Why a delivery failed: `reason` in a few words, and the exception behind it, if there was one."""

    reason: str
    exception: str = ""
    message: str = ""
    traceback: str = ""


class Delivery(Struct, weakref=True, eq=False):
    """A received message.

    - `receive_count`: SQS's ApproximateReceiveCount, this receive included.
    - `group_id`: whose message it is, on a FIFO queue or a fair one.
    - `carried_attempts`: runs that failed before SQS began to count for this copy of the message.
    - `leased_until_ms`: the moment (elapsed clock) when SQS gives it to somebody else.
    - `is_started`: Celery has begun to run it. `is_lost`: the lease ran out; it must not be acknowledged.
    - `is_settling`: what becomes of it is decided, and on its way to SQS. `is_done`: its job succeeded.
    """

    queue: Queue
    message_id: str
    receipt_handle: str
    body: str
    attributes: dict[str, Any]
    receive_count: int
    carried_attempts: int
    received_ms: int
    leased_until_ms: int
    priority: int = 0
    group_id: str | None = None
    payload: dict[str, Any] | None = None
    pointer: str | None = None
    is_started: bool = False
    is_lost: bool = False
    is_settling: bool = False
    is_done: bool = False
    is_extending: bool = False
    cause: Cause | None = None

    @property
    def attempt(self) -> int:
        """Which run this is, from 1."""
        return self.carried_attempts + self.receive_count

    @property
    def failed_before(self) -> int:
        """How many runs there were before this receive."""
        return self.attempt - 1

    @property
    def task(self) -> str:
        """The task's name, "" if the message names none."""
        return str(self._header("task"))

    @property
    def task_id(self) -> str:
        """The task's id, "" if the message names none."""
        return str(self._header("id"))

    def _header(self, name: str) -> object:
        headers = (self.payload or {}).get("headers")
        return (headers.get(name) or "") if isinstance(headers, dict) else ""

    def __str__(self) -> str:
        name = f"{self.task}[{self.task_id}]" if self.task else "message"
        return f"{name} ({self.message_id} of {self.queue.name})"


def received(queue: Queue, message: Mapping[str, Any], *, now_ms: int, lease_s: int) -> Delivery:
    """A delivery from a message as ReceiveMessage gives it."""
    attributes = _mapping(message.get("MessageAttributes"))
    system = _mapping(message.get("Attributes"))
    return Delivery(
        queue=queue,
        message_id=str(message.get("MessageId", "")),
        receipt_handle=str(message.get("ReceiptHandle", "")),
        body=str(message.get("Body", "")),
        attributes=dict(attributes),
        receive_count=max(1, _number(system.get("ApproximateReceiveCount"))),
        carried_attempts=_number(_mapping(attributes.get(ATTEMPTS)).get("StringValue")),
        received_ms=now_ms,
        leased_until_ms=now_ms + lease_s * 1000,
        group_id=system["MessageGroupId"] if isinstance(system.get("MessageGroupId"), str) else None,
    )


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _number(text: object) -> int:
    # Anybody may write message attributes: what is not a small number counts as none.
    return int(text) if isinstance(text, str) and text.isascii() and text.isdigit() and len(text) <= 6 else 0
