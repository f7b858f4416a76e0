"""Workers' records of failures on their way from the telemetry queue into the file of failures.

A record is deleted from the queue once it is on the disk, so that a kill in between only brings it a second time. Knows
what is a record; must not know how records are kept, or what they are for.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple, Protocol, TypeVar

import msgspec
from msgspec import Struct

from amply.clock import Clock, SystemClock
from amply.deadletters.failures import Failure, Failures
from amply.deadletters.letters import Letter

# A request to Amazon SQS takes tens of milliseconds, nearly all of it waiting.
_RECEIVES_AT_ONCE = 8
# Longer than it takes to keep and delete what was received.
_LEASE_S = 60

_one = msgspec.json.Decoder(Failure)
_several = msgspec.json.Decoder(list[msgspec.Raw])

Queue = TypeVar("Queue")


class Source(Protocol[Queue]):
    """Where records are received and deleted: as `amply.deadletters.gateway.Gateway` does it, from several threads."""

    def queue(self, name: str) -> Queue:
        """The queue of that name."""

    def receive(self, queue: Queue, lease_s: int, wait_s: int) -> list[Letter]:
        """Up to ten messages."""

    def delete(self, queue: Queue, letters: Sequence[Letter]) -> list[Letter]:
        """Those that are deleted."""


class Collected(Struct, frozen=True):
    """What came of it.

    - `records`: how many failures were told of; `ignored`: how much else was there, such as workers' events.
    - `is_complete`: whether the queue was found empty, and not only the time was over.
    """

    records: int
    ignored: int
    is_complete: bool


class _Received(NamedTuple):
    letters: list[Letter]
    records: list[Failure]
    ignored: int


def collect(
    source: Source[Queue],
    queue_name: str,
    failures: Failures,
    *,
    now_ms: int,
    limit_s: float,
    clock: Clock | None = None,
) -> Collected:
    """Take all records out of the telemetry queue and keep them, for `limit_s` seconds at most and a request's time.

    Nobody else reads the queue, so what is no record is deleted as well. Raises what the source raises, such as that
    there is no such queue, and FailuresFault; what was received by then and not kept comes back within a minute.
    """
    clock = clock or SystemClock()
    end_ms = clock.now_ms() + limit_s * 1000
    queue = source.queue(queue_name)

    def receive(_: int) -> _Received:
        letters = source.receive(queue, _LEASE_S, 0)
        records, ignored = read_records(letters)
        return _Received(letters, records, ignored)

    def delete(received: _Received) -> None:
        # One that is not deleted comes again, and is known then.
        source.delete(queue, received.letters)

    records = ignored = 0
    with ThreadPoolExecutor(2 * _RECEIVES_AT_ONCE, "amply-collecting") as threads:
        deleting: Iterator[None] = iter(())
        while True:
            # Each of these asks other servers of Amazon's: together they find what a single one would miss.
            received = [one for one in threads.map(receive, range(_RECEIVES_AT_ONCE)) if one.letters]
            # Meanwhile what came before was deleted, or else the error comes up here.
            deque(deleting, maxlen=0)
            if not received:
                return Collected(records, ignored, is_complete=True)
            failures.add([record for one in received for record in one.records], now_ms)
            deleting = threads.map(delete, received)
            records += sum(len(one.records) for one in received)
            ignored += sum(one.ignored for one in received)
            if clock.now_ms() >= end_ms:
                deque(deleting, maxlen=0)
                return Collected(records, ignored, is_complete=False)


def read_records(letters: Sequence[Letter]) -> tuple[list[Failure], int]:
    """The records in these messages, each of which is one or a JSON array with some; and how much else is in them."""
    records: list[Failure] = []
    ignored = 0
    for letter in letters:
        for text in _parts(letter.body.encode("utf-8", "replace")):
            record = _record(text)
            if record is None:
                ignored += 1
            else:
                records.append(record)
    return records, ignored


def _parts(body: bytes) -> Sequence[bytes | msgspec.Raw]:
    try:
        return _several.decode(body)
    except (msgspec.DecodeError, RecursionError):
        return [body]


def _record(text: bytes | msgspec.Raw) -> Failure | None:
    try:
        record = _one.decode(text)
    except (msgspec.DecodeError, RecursionError):
        return None
    # One that names nothing explains nothing.
    return record if record.message_id or record.id else None
