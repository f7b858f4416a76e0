"""What the model knows of queues, messages, deliveries and receives."""

from dataclasses import dataclass
from typing import NamedTuple

FIFO_SUFFIX = ".fifo"


@dataclass(frozen=True)
class Rules:
    """How a queue is declared."""

    visibility_timeout_s: int = 30
    retention_s: int = 345_600
    delay_s: int = 0
    max_receive_count: int | None = None
    dead_letters: str | None = None
    scope: str = "queue"


class Known(NamedTuple):
    """A message as its senders and receivers know it. `number` is its sequence number, and its place in the queue."""

    number: int
    sent_ms: int
    visible_ms: int
    received: int = 0
    first_received_ms: int | None = None
    group: str | None = None
    deduplication_id: str | None = None
    died_in: str | None = None
    claimed: bool = False  # what hides it, if anything does, is a claim


class Got(NamedTuple):
    """A message as one receive handed it out; `receipt` is what its handle says."""

    name: str
    number: int
    sent_ms: int
    received: int
    first_received_ms: int | None
    group: str | None
    deduplication_id: str | None
    died_in: str | None
    received_ms: int


class Looked(NamedTuple):
    """A message as a look at its queue told it. `visible_ms` is None if it was visible."""

    name: str
    number: int
    sent_ms: int
    received: int
    first_received_ms: int | None
    group: str | None
    deduplication_id: str | None
    died_in: str | None
    visible_ms: int | None


class Poll(NamedTuple):
    """A receive on its way. `is_repeated`: its attempt had an answer that still held when the receive came."""

    queue: str
    count: int
    timeout_s: int | None
    deadline_ms: int
    attempt_id: str | None
    is_repeated: bool


class Taken(NamedTuple):
    """What a FIFO queue took in under a deduplication id."""

    name: str
    number: int
    sent_ms: int
    life: int


class Attempt(NamedTuple):
    """What a receive with an attempt id got: by name how often received, and hidden until when."""

    received_ms: int
    messages: tuple[tuple[str, int, int], ...]
    life: int


def is_fifo(queue: str) -> bool:
    return queue.endswith(FIFO_SUFFIX)
