"""The facts that the engine works on and the store keeps.

Everything here is immutable. A transition makes a new `Entry`, so that a change handed to the writer thread can never
be altered by the next decision.
"""

from typing import TypeAlias

from msgspec import Struct

from amply.broker.sqs.names import is_fifo_name
from amply.broker.sqs.shapes import MessageAttributeValue

# Above every seq, and later than every moment.
AFTER_ALL = 1 << 62


class QueueRecord(Struct, frozen=True, kw_only=True):
    """A queue as declared. `attributes` holds only what was set explicitly; the rest are SQS's defaults.

    `shelf` is the number under which the queue's messages lie. A purge gives the queue an empty new shelf in one
    small write, however many messages the old one holds; the store clears abandoned shelves later.
    """

    queue_id: int
    shelf: int
    account: str
    name: str
    attributes: dict[str, str]
    tags: dict[str, str]
    created_ms: int
    modified_ms: int
    purged_ms: int | None = None

    @property
    def is_fifo(self) -> bool:
        """Whether SQS keeps the queue's messages in order; told by the name alone."""
        return is_fifo_name(self.name)


class Content(Struct, frozen=True):
    """What was sent; never changes, whatever happens to the message.

    `deduplication_id` is for FIFO queues: the sender's, or made from the body.
    """

    message_id: str
    body: str
    sender_id: str
    attributes: dict[str, MessageAttributeValue]
    trace_header: str | None = None
    group_id: str | None = None
    deduplication_id: str | None = None


class Entry(Struct, frozen=True, gc=False):
    """Where a message stands.

    It can be received when `visible_ms` has come. Until then it is in flight if it was received before
    (`receive_count` > 0), and delayed if it was not: no write is needed when a visibility timeout or a delay ends.
    On a FIFO queue `visible_ms` of a message never received is when it was sent; the queue's delay comes on top.

    `is_claimed`: what hides it until then is the claim of somebody who looked at it, not a receive. It is in flight,
    however often it was received before; after `visible_ms` it means nothing.
    """

    seq: int
    shelf: int
    sent_ms: int
    visible_ms: int
    receive_count: int = 0
    first_received_ms: int | None = None
    dead_letter_source_arn: str | None = None
    group_id: str | None = None
    is_claimed: bool = False

    def rescheduled(
        self,
        visible_ms: int,
        receive_count: int,
        first_received_ms: int | None,
        *,
        is_claimed: bool = False,
    ) -> "Entry":
        """The same message on the same shelf, received so often and visible from then on."""
        return Entry(
            self.seq,
            self.shelf,
            self.sent_ms,
            visible_ms,
            receive_count,
            first_received_ms,
            self.dead_letter_source_arn,
            self.group_id,
            is_claimed,
        )


class Attempt(Struct, frozen=True):
    """What a receive with a ReceiveRequestAttemptId got: per message its seq, receive count and `visible_ms`."""

    received_ms: int
    deliveries: tuple[tuple[int, int, int], ...]


class MoveTask(Struct, frozen=True, kw_only=True):
    """A message move task. `status` is RUNNING, COMPLETED, CANCELLED or FAILED; `to_move` is as of its start.

    Without `destination_arn` every message goes back to the queue that it died in; without `messages_per_s` as fast as
    it goes.
    """

    task_id: str
    source_arn: str
    destination_arn: str | None
    messages_per_s: int | None
    started_ms: int
    to_move: int
    moved: int = 0
    status: str = "RUNNING"
    failure_reason: str | None = None


# Changes: what a decision asks the store to make durable, in this order, all or nothing.


class QueuePut(Struct, frozen=True):
    """The queue is new, or its attributes, tags or shelf changed. A shelf it had before is abandoned."""

    queue: QueueRecord


class QueueRemoved(Struct, frozen=True):
    """The queue is gone with all its messages. Its name cannot be used again for 60 s (AWS's DeleteQueue)."""

    queue_id: int
    account: str
    name: str
    removed_ms: int


class Added(Struct, frozen=True, gc=False):
    """A message was sent."""

    entry: Entry
    content: Content


class Rescheduled(Struct, frozen=True, gc=False):
    """A message was received or given back, or its visibility changed. Same seq, same shelf, same group."""

    entry: Entry


class Moved(Struct, frozen=True, gc=False):
    """A message went to another queue's shelf, keeping its seq and content."""

    entry: Entry
    from_shelf: int


class Removed(Struct, frozen=True, gc=False):
    """A message was deleted or expired."""

    seq: int
    shelf: int


class Deduplicated(Struct, frozen=True, gc=False):
    """A FIFO queue took a message in; for five minutes `key` stands for it, even when the message is gone."""

    seq: int
    shelf: int
    key: bytes
    message_id: str
    sent_ms: int


class Attempted(Struct, frozen=True):
    """A receive with an attempt id was answered, or answered again."""

    shelf: int
    attempt_id: str
    attempt: Attempt


class MoveTaskPut(Struct, frozen=True):
    """A move task is new, or got on."""

    task: MoveTask


class MoveTaskForgotten(Struct, frozen=True):
    """A move task of long ago, or of a queue that is gone."""

    task_id: str


MessageChange: TypeAlias = Added | Rescheduled | Moved | Removed
Noted: TypeAlias = Deduplicated | Attempted | MoveTaskPut | MoveTaskForgotten
Change: TypeAlias = QueuePut | QueueRemoved | MessageChange | Noted
