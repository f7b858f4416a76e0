"""Letters: messages that are gone once they are read, aside from the jobs and their budget.

Remote control and events come as letters, and whoever consumes a queue with `no_ack` gets letters. A thread a queue
receives them, the loop's thread reads them. Knows how they come and where they wait; must not know what is in them.
"""

import logging
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from amply import envelope
from amply.clock import wall_ms
from amply.errors import AmplyError
from amply.transport.delivery import received
from amply.transport.faults import Aborted, SqsFault, Unreachable
from amply.transport.polling import Receiver
from amply.transport.queues import Queue, Queues, is_missing
from amply.transport.turns import MOST_AT_ONCE

if TYPE_CHECKING:
    from amply.transport.intake import Intake

logger = logging.getLogger(__name__)

# A loop that reads no more keeps so many letters waiting here at most; the rest wait at SQS.
_MOST_UNREAD = 1_000
# What the worker's role may not do, it may perhaps do once somebody has changed the role.
_REFUSED_PAUSE_S = 60.0

Payload = Mapping[str, Any]


class Source(Protocol):
    """Where letters come from.

    - `hidden_s`: for how long SQS hides a letter that was received.
    - `deletes`: a letter that was received has to be deleted; else it expires while it is hidden.
    """

    hidden_s: int
    deletes: bool

    def queue(self) -> Queue:
        """The queue. Raises SqsFault, Unreachable and AmplyError."""

    def lose(self) -> None:
        """SQS says that there is no such queue."""

    def open(self, body: str) -> Payload | None:
        """The payload of a letter; None if it is none."""


class Shared:
    """An ordinary queue, consumed with `no_ack`: its letters are jobs."""

    deletes = True

    def __init__(self, queues: Queues, name: str, lease_s: int) -> None:
        self.hidden_s = lease_s
        self._queues = queues
        self._name = name

    def queue(self) -> Queue:
        """The queue of that name."""
        return self._queues.get(self._name)

    def lose(self) -> None:
        """It is looked up again."""
        self._queues.forget(self._name)

    def open(self, body: str) -> Payload | None:
        """A job's payload."""
        try:
            return envelope.read(body)
        except envelope.Unreadable as unreadable:
            logger.warning("A message of %s is dropped: %s", self._name, unreadable.reason)
            return None


class Letters:
    """The letters of one connection, from all of its sources."""

    def __init__(self, intake: "Intake") -> None:
        self._intake = intake
        self._mailboxes: dict[str, Mailbox] = {}
        self._readers: dict[str, Callable[[Payload], None]] = {}
        self._unread: deque[tuple[str, Payload]] = deque()
        self._has_room = threading.Condition()

    def read(self, queue: str, source: Source, read: Callable[[Payload], None]) -> None:
        """Receive from this source, which has this name in Celery's words."""
        self._readers[queue] = read
        self._mailboxes[queue] = Mailbox(self._intake, self, queue, source)

    def cancel(self, queue: str) -> None:
        """Receive no more from it; what was not read is lost."""
        mailbox = self._mailboxes.pop(queue, None)
        if mailbox is not None:
            mailbox.stop()
        self._readers.pop(queue, None)

    def names(self) -> list[str]:
        """The queues."""
        return list(self._mailboxes)

    def mailboxes(self) -> "list[Mailbox]":
        """The threads."""
        return list(self._mailboxes.values())

    def read_one(self) -> bool:
        """Give the next letter to its reader, on the loop's thread; whether there was one."""
        while self._unread:
            queue, payload = self._unread.popleft()
            with self._has_room:
                self._has_room.notify_all()
            read = self._readers.get(queue)
            if read is not None:
                read(payload)
                return True
        return False

    def arrived(
        self, source: Source, queue: Queue, messages: Sequence[Mapping[str, Any]], ending: threading.Event
    ) -> None:
        """What a poll has brought; waits while too many letters are unread."""
        for message in messages:
            if source.deletes:
                self._intake.verdicts.drop(received(queue, message, now_ms=wall_ms(), lease_s=source.hidden_s))
            payload = source.open(str(message.get("Body", "")))
            if payload is not None:
                self._unread.append((queue.name, payload))
        self._intake.ring()
        with self._has_room:
            while len(self._unread) >= _MOST_UNREAD and not ending.is_set():
                self._has_room.wait(1.0)


class Mailbox(Receiver):
    """Polls a source of letters; no turn, no budget."""

    def __init__(self, intake: "Intake", letters: Letters, queue: str, source: Source) -> None:
        super().__init__(intake, queue)
        self._letters = letters
        self._source = source

    def run(self) -> None:
        """The thread."""
        while not self._is_ending.is_set():
            try:
                self._poll()
            except Aborted:
                continue
            except SqsFault as error:
                if is_missing(error):
                    self._source.lose()
                self._pause(error)
                if error.is_denied:
                    self._is_ending.wait(_REFUSED_PAUSE_S)
            except (Unreachable, AmplyError) as error:
                self._pause(error)
            except Exception as error:
                logger.exception("Queue %s: an answer could not be used", self._queue_name)
                self._pause(error)

    def _poll(self) -> None:
        queue = self._source.queue()
        wait_s = self._intake.options.wait_time_seconds
        messages = self._receive(queue, MOST_AT_ONCE, wait_s, self._source.hidden_s)
        self._answered()
        if messages:
            self._letters.arrived(self._source, queue, messages, self._is_ending)
