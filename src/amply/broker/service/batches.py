"""What the three batch actions have in common (AWS API reference, SendMessageBatch).

A fault of the whole request means that nothing was done.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol, TypeVar

from amply.broker.sqs import faults
from amply.broker.sqs.faults import Fault
from amply.broker.sqs.limits import Limits
from amply.broker.sqs.shapes import BatchResultErrorEntry

_ID = re.compile(r"[A-Za-z0-9_-]+")


class HasId(Protocol):
    """An entry of a batch."""

    @property
    def id(self) -> str:
        """The caller's name for it."""


Entry = TypeVar("Entry", bound=HasId)
Made = TypeVar("Made")


def check_batch(action: str, entries: Sequence[HasId], limits: Limits, entries_max: int | None = None) -> None:
    """The number of entries, SQS's own at most unless said otherwise, and their ids."""
    entries_max = entries_max or limits.batch_entries_max
    if not entries:
        raise Fault(faults.EMPTY_BATCH_REQUEST, f"There should be at least one {action}RequestEntry in the request.")
    if len(entries) > entries_max:
        raise Fault(
            faults.TOO_MANY_ENTRIES_IN_BATCH_REQUEST,
            f"Maximum number of entries per request are {entries_max}. You have sent {len(entries)}.",
        )
    seen: set[str] = set()
    for entry in entries:
        if len(entry.id) > limits.batch_id_length_max or not _ID.fullmatch(entry.id):
            raise Fault(faults.INVALID_BATCH_ENTRY_ID)
        if entry.id in seen:
            raise Fault(faults.BATCH_ENTRY_IDS_NOT_DISTINCT, f"Id {entry.id} repeated.")
        seen.add(entry.id)


def sort_out(
    entries: Iterable[Entry], make: Callable[[Entry], Made]
) -> tuple[list[tuple[Entry, Made]], list[BatchResultErrorEntry]]:
    """Make something of each entry; those for which that is a Fault are the failed ones."""
    made: list[tuple[Entry, Made]] = []
    failed: list[BatchResultErrorEntry] = []
    for entry in entries:
        try:
            made.append((entry, make(entry)))
        except Fault as fault:
            failed.append(error_entry(entry.id, fault))
    return made, failed


def outcomes(
    made: Sequence[tuple[HasId, object]], faults: Sequence[Fault | None]
) -> tuple[list[str], list[BatchResultErrorEntry]]:
    """The ids of the entries that were carried out, and those that turned out to be at fault."""
    told = [(entry.id, fault) for (entry, _), fault in zip(made, faults, strict=True)]
    return [name for name, fault in told if fault is None], [error_entry(name, fault) for name, fault in told if fault]


def error_entry(entry_id: str, fault: Fault) -> BatchResultErrorEntry:
    """How a batch result names a fault of one entry."""
    return BatchResultErrorEntry(
        id=entry_id, sender_fault=fault.row.is_sender, code=fault.row.query_code, message=fault.message
    )
