"""The net effect of a batch of changes. Pure: knows records, and nothing of SQL or disks.

One commit may hold the sending, three receives and the deletion of the same message. What must reach the disk is only
how it ends, so a batch is folded before anything is written. Changes of queues are not folded: they cut the batch into
stretches that keep their order.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from amply.broker.engine.records import (
    Added,
    Attempted,
    Change,
    Content,
    Deduplicated,
    Entry,
    MessageChange,
    Moved,
    MoveTask,
    MoveTaskForgotten,
    MoveTaskPut,
    Noted,
    QueuePut,
    QueueRemoved,
    Removed,
)

# Made once: a commit asks for every change.
_OF_QUEUES = (QueuePut, QueueRemoved)
_NOTED = (Deduplicated, Attempted, MoveTaskPut, MoveTaskForgotten)


@dataclass(slots=True)
class NetEffect:
    """What a stretch of changes amounts to. No seq stands in more than one of the first four.

    What only ever is added to, or replaced, comes after them.
    """

    added: dict[int, tuple[Entry, Content]] = field(default_factory=dict)
    rescheduled: dict[int, Entry] = field(default_factory=dict)
    moved: dict[int, Entry] = field(default_factory=dict)
    removed: list[int] = field(default_factory=list)
    deduplicated: list[Deduplicated] = field(default_factory=list)
    attempts: dict[tuple[int, str], Attempted] = field(default_factory=dict)
    move_tasks: dict[str, MoveTask | None] = field(default_factory=dict)  # None: forgotten
    tally: dict[int, int] = field(default_factory=dict)  # shelf -> messages more (or less) than before
    last_seq: int = 0  # the highest added, even if removed again

    def take(self, change: MessageChange) -> None:
        """Fold one more change of a message in."""
        if isinstance(change, Added):
            self.added[change.entry.seq] = (change.entry, change.content)
            self._count(change.entry.shelf, 1)
            self.last_seq = max(self.last_seq, change.entry.seq)
        elif isinstance(change, Removed):
            self._count(change.shelf, -1)
            if self.added.pop(change.seq, None) is None:
                self.rescheduled.pop(change.seq, None)
                self.moved.pop(change.seq, None)
                self.removed.append(change.seq)
        else:
            if isinstance(change, Moved):
                self._count(change.from_shelf, -1)
                self._count(change.entry.shelf, 1)
            self._place(change.entry, is_moved=isinstance(change, Moved))

    def note(self, change: Noted) -> None:
        """One more fact that is about no single message."""
        if isinstance(change, Deduplicated):
            self.deduplicated.append(change)
        elif isinstance(change, Attempted):
            self.attempts[change.shelf, change.attempt_id] = change
        elif isinstance(change, MoveTaskPut):
            self.move_tasks[change.task.task_id] = change.task
        else:
            self.move_tasks[change.task_id] = None

    def _place(self, entry: Entry, *, is_moved: bool) -> None:
        seq = entry.seq
        if seq in self.added:
            self.added[seq] = (entry, self.added[seq][1])
        elif is_moved or seq in self.moved:
            self.rescheduled.pop(seq, None)
            self.moved[seq] = entry
        else:
            self.rescheduled[seq] = entry

    def _count(self, shelf: int, messages: int) -> None:
        self.tally[shelf] = self.tally.get(shelf, 0) + messages


def net_effects(changes: Sequence[Change], ignored: set[int]) -> Iterator[NetEffect | QueuePut | QueueRemoved]:
    """The batch in as few steps as its queue changes allow. Messages with a seq in `ignored` are left out."""
    effect: NetEffect | None = None
    for change in changes:
        if isinstance(change, _OF_QUEUES):
            if effect is not None:
                yield effect
                effect = None
            yield change
            continue
        if effect is None:
            effect = NetEffect()
        if isinstance(change, _NOTED):
            effect.note(change)
        elif not ignored or _seq(change) not in ignored:
            effect.take(change)
    if effect is not None:
        yield effect


def _seq(change: MessageChange) -> int:
    return change.seq if isinstance(change, Removed) else change.entry.seq
