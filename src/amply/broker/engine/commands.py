"""What can be asked of the engine. The shell has already checked shapes and limits; these carry decisions, not text.

A queue is named by its key (account, name). Times are broker time in epoch milliseconds, durations in seconds as on the
SQS API.
"""

from typing import TypeAlias

from msgspec import Struct

from amply.broker.engine.records import Content, Entry
from amply.broker.sqs.receipts import Receipt

QueueKey: TypeAlias = tuple[str, str]
Ticket: TypeAlias = int  # names a parked receive; given out by the shell, never reused


class CreateQueue(Struct, frozen=True):
    key: QueueKey
    attributes: dict[str, str]
    tags: dict[str, str]


class DeleteQueue(Struct, frozen=True):
    key: QueueKey


class PurgeQueue(Struct, frozen=True):
    key: QueueKey


class SetQueueAttributes(Struct, frozen=True):
    key: QueueKey
    attributes: dict[str, str]  # an empty value takes the attribute away


class TagQueue(Struct, frozen=True):
    key: QueueKey
    tags: dict[str, str]


class UntagQueue(Struct, frozen=True):
    key: QueueKey
    tag_keys: list[str]


class Outgoing(Struct, frozen=True, gc=False):
    """A message to store; without a delay of its own it takes the queue's."""

    content: Content
    delay_s: int | None = None


class Sent(Struct, frozen=True, gc=False):
    """What a send led to. For a duplicate on a FIFO queue: the message that was there first."""

    message_id: str
    seq: int


class Send(Struct, frozen=True):
    """The answer is one `Sent` for each message."""

    key: QueueKey
    messages: list[Outgoing]


class Receive(Struct, frozen=True):
    """Take up to `count` messages, waiting up to `wait_s` for the first. None means: as the queue says.

    On a FIFO queue, `attempt_id` gets the same messages again if the first answer was lost.
    """

    key: QueueKey
    ticket: Ticket
    count: int = 1
    visibility_timeout_s: int | None = None
    wait_s: int | None = None
    attempt_id: str | None = None


class Deletion(Struct, frozen=True, gc=False):
    """Delete what a receipt stands for. `handle` is for the fault's text."""

    receipt: Receipt
    handle: str


class Delete(Struct, frozen=True):
    """The answer is a fault or None for each deletion."""

    key: QueueKey
    deletions: list[Deletion]


class VisibilityChange(Struct, frozen=True, gc=False):
    """Hide a message for so many seconds from now on; 0 shows it at once. `handle` is for the fault's text."""

    receipt: Receipt
    handle: str
    timeout_s: int


class ChangeVisibility(Struct, frozen=True):
    """The answer is a fault or None for each change."""

    key: QueueKey
    changes: list[VisibilityChange]


class GiveBack(Struct, frozen=True):
    """Undo a receive whose answer reached nobody: visible at once, as if it had not been received."""

    key: QueueKey
    entries: list[Entry]


class Unpark(Struct, frozen=True):
    """The client of a parked receive is gone."""

    key: QueueKey
    ticket: Ticket


class Observe(Struct, frozen=True):
    """The queue as it stands now, to read from: nothing changes but that time has passed."""

    key: QueueKey


class UnparkAll(Struct, frozen=True):
    """Answer every parked receive, empty: the broker is stopping."""


class StartMove(Struct, frozen=True):
    """Move the ready messages of a dead letter queue; without a destination, each to the queue that it came from."""

    task_id: str
    source_arn: str
    destination_arn: str | None
    messages_per_s: int | None  # None: as fast as it goes


class CancelMove(Struct, frozen=True):
    """The answer is how many messages were moved."""

    task_id: str
    source_arn: str


class ListMoves(Struct, frozen=True):
    """The answer is up to `count` tasks, newest first."""

    source_arn: str
    count: int


class Tick(Struct, frozen=True):
    """Time has come for something that `Engine.next_ms` announced."""


Command: TypeAlias = (
    CreateQueue
    | DeleteQueue
    | PurgeQueue
    | SetQueueAttributes
    | TagQueue
    | UntagQueue
    | Send
    | Receive
    | Delete
    | ChangeVisibility
    | GiveBack
    | Observe
    | Unpark
    | UnparkAll
    | StartMove
    | CancelMove
    | ListMoves
    | Tick
)
