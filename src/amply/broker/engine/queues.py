"""The register of queues: which there are, under which name, ARN and shelf; and the numbers and names given up."""

from collections.abc import Iterator

from amply.broker.engine.commands import QueueKey
from amply.broker.engine.fifo import FifoQueue
from amply.broker.engine.numbers import Numbers
from amply.broker.engine.queue import Queue
from amply.broker.engine.records import QueueRecord
from amply.broker.engine.standard import StandardQueue
from amply.broker.engine.window import WindowSize
from amply.broker.sqs.faults import QUEUE_DOES_NOT_EXIST, Fault
from amply.broker.sqs.limits import Limits
from amply.broker.sqs.names import parse_queue_arn, queue_arn

# All windows together; a queue's share shrinks when there are very many queues.
WINDOWS_SIZE_BYTES = 64 * 1024 * 1024
WINDOW_SIZE_BYTES_MIN = 64 * 1024


class Queues:
    """Every queue of a broker, by its key (account, name)."""

    def __init__(self, region: str, limits: Limits, *, last_seq: int, last_id: int) -> None:
        self.region = region
        self.limits = limits
        self.removed: dict[QueueKey, int] = {}  # when names were given up, for the 60 s rule
        self._ids = Numbers(last_id)
        self._seqs = Numbers(last_seq)
        self._by_key: dict[QueueKey, Queue] = {}
        self._by_shelf: dict[int, Queue] = {}

    def __iter__(self) -> Iterator[Queue]:
        return iter(self._by_key.values())

    def get(self, key: QueueKey) -> Queue | None:
        """The queue, None if there is none of that name."""
        return self._by_key.get(key)

    def existing(self, key: QueueKey) -> Queue:
        """The queue; Fault QueueDoesNotExist."""
        queue = self._by_key.get(key)
        if queue is None:
            raise Fault(QUEUE_DOES_NOT_EXIST)
        return queue

    def on_shelf(self, shelf: int) -> Queue | None:
        """The queue whose messages lie there, None for a shelf that was given up."""
        return self._by_shelf.get(shelf)

    def arn(self, key: QueueKey) -> str:
        """The ARN of a queue of this name, whether it exists or not."""
        return queue_arn(self.region, *key)

    def by_arn(self, arn: str) -> Queue | None:
        """The queue with this ARN, None if there is none here."""
        parts = parse_queue_arn(arn)
        if parts is None or parts[0] != self.region:
            return None
        return self._by_key.get((parts[1], parts[2]))

    def dead_letters_of(self, queue: Queue) -> Queue | None:
        """Where the queue's dead letters go, None if it has no redrive policy or the target is gone."""
        return self.by_arn(queue.redrive.dead_letter_target_arn) if queue.redrive else None

    def new_id(self) -> int:
        """A number for a queue or a shelf, never used before."""
        return self._ids.take()

    @property
    def last_seq(self) -> int:
        """The number of the newest message."""
        return self._seqs.last

    def add(self, record: QueueRecord) -> Queue:
        """A queue that is new here."""
        key = (record.account, record.name)
        kind = FifoQueue if record.is_fifo else StandardQueue
        queue = kind(record, self.arn(key), self.limits, self._seqs, self.window_size())
        self._by_key[key] = queue
        self._by_shelf[record.shelf] = queue
        return queue

    def drop(self, key: QueueKey, now_ms: int) -> None:
        """Forget the queue and its messages."""
        queue = self._by_key.pop(key)
        del self._by_shelf[queue.record.shelf]
        recent_ms = now_ms - self.limits.recreate_interval_s * 1000
        self.removed = {key: ms for key, ms in self.removed.items() if ms > recent_ms} | {key: now_ms}

    def empty(self, queue: Queue, record: QueueRecord) -> None:
        """Put the queue on a new, empty shelf."""
        del self._by_shelf[queue.record.shelf]
        self._by_shelf[record.shelf] = queue
        queue.declare(record)
        queue.empty(self.window_size())

    def window_size(self) -> WindowSize:
        """What one queue may hold in memory, given how many there are."""
        share = WINDOWS_SIZE_BYTES // (len(self._by_key) + 1)
        return WindowSize(size_bytes=max(WINDOW_SIZE_BYTES_MIN, min(share, WindowSize().size_bytes)))
