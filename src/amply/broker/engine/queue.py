"""What every queue does, whatever its type: its messages' states, and every transition between them.

A message is ready (in memory or on disk), in flight, or delayed. Timeouts need no write: what is stored is the moment
at which a message becomes visible (SQS developer guide, visibility timeout and delay queues). Which of the ready
messages comes next is decided by the two kinds of queue.
"""

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar

from amply.broker.engine.decision import Decision, Delivery, Find, ReadAged
from amply.broker.engine.in_flight import InFlight
from amply.broker.engine.lookups import Lookups
from amply.broker.engine.parking import Parking
from amply.broker.engine.records import Content, Entry, QueueRecord, Removed, Rescheduled
from amply.broker.engine.totals import Totals
from amply.broker.sqs.attributes import redrive_policy, with_defaults
from amply.broker.sqs.faults import Fault

if TYPE_CHECKING:
    from collections.abc import Sequence

    from amply.broker.engine.commands import (
        ChangeVisibility,
        Delete,
        Deletion,
        GiveBack,
        Outgoing,
        Receive,
        Sent,
        Ticket,
    )
    from amply.broker.engine.numbers import Numbers
    from amply.broker.engine.window import WindowSize
    from amply.broker.sqs.attributes import RedrivePolicy
    from amply.broker.sqs.limits import Limits
    from amply.broker.sqs.receipts import Receipt

AGED_AT_ONCE = 500


class Queue(ABC):
    """One queue's state. `record` says how it is declared; new messages take their numbers from `numbers`."""

    is_fifo: ClassVar[bool]

    def __init__(
        self, record: QueueRecord, arn: str, limits: "Limits", numbers: "Numbers", window_size: "WindowSize"
    ) -> None:
        self.arn = arn
        self.limits = limits
        self.numbers = numbers
        self.totals = Totals()
        self.parking = Parking()
        self.has_mover = False  # a move task takes messages from here
        self.declare(record)
        self.empty(window_size)

    def declare(self, record: QueueRecord) -> None:
        """Take over the queue's attributes; they hold from the next command on."""
        self.record = record
        self.key = (record.account, record.name)
        self.attributes = attributes = with_defaults(record.attributes, is_fifo=record.is_fifo)
        self.visibility_timeout_s = int(attributes["VisibilityTimeout"])
        self.retention_ms = int(attributes["MessageRetentionPeriod"]) * 1000
        self.delay_s = int(attributes["DelaySeconds"])
        self.wait_s = int(attributes["ReceiveMessageWaitTimeSeconds"])
        self.maximum_message_size_bytes = int(attributes["MaximumMessageSize"])
        policy = attributes.get("RedrivePolicy")
        self.redrive: RedrivePolicy | None = redrive_policy(policy) if policy else None

    def empty(self, window_size: "WindowSize") -> None:
        """Forget every message: the queue is new, or was purged."""
        self.window_size = window_size
        self.messages = 0
        self.in_flight = InFlight()
        self.lookups = Lookups()
        self.oldest_ms: int | None = None  # nothing in the queue was sent before
        self._is_ageing = False

    # What the two kinds of queue do differently

    @abstractmethod
    def restore(self, *, messages: int, in_flight: list[Entry], delayed: dict[int, int], oldest_ms: int | None) -> None:
        """Take up the state found on disk at start."""

    @property
    @abstractmethod
    def delayed_count(self) -> int:
        """Messages that were never visible yet."""

    @abstractmethod
    def pass_time(self, now_ms: int) -> None:
        """Let timeouts and delays end."""

    @abstractmethod
    def next_delay_ms(self) -> int | None:
        """When the next delay ends."""

    @abstractmethod
    def check_takes(self, count: int, now_ms: int) -> None:
        """Fault if the queue cannot take so many messages now. Time has not passed yet: a fault must change nothing."""

    @abstractmethod
    def send(self, messages: "list[Outgoing]", now_ms: int, decision: Decision) -> "list[Sent]":
        """Store messages."""

    @abstractmethod
    def take_in(self, entry: Entry, content: Content, source: "Queue", now_ms: int, decision: Decision) -> None:
        """A dead letter comes from another queue."""

    @abstractmethod
    def add_new(self, content: Content, now_ms: int, decision: Decision) -> None:
        """A moved message comes, as new, and whether it was sent before or not."""

    @abstractmethod
    def first_ready(self) -> tuple[Entry, Content] | None:
        """The oldest message that `take` could get out of memory; it stays there."""

    def has_ready(self) -> bool:
        """Whether `take` would get something out of memory."""
        return self.first_ready() is not None

    @abstractmethod
    def take(self, poll: "Receive", now_ms: int, dead_letters: "Queue | None", decision: Decision) -> list[Delivery]:
        """Receive up to `poll.count` messages of those in memory.

        Messages past their retention are removed on the way, and those received too often go to `dead_letters`.
        """

    @property
    @abstractmethod
    def is_reading(self) -> bool:
        """Whether messages are on their way from disk."""

    @abstractmethod
    def has_unread(self) -> bool:
        """Whether messages on disk could be received."""

    @abstractmethod
    def read_on(self, now_ms: int, decision: Decision) -> None:
        """Ask for messages from disk if it is time to."""

    @abstractmethod
    def hide(self, entry: Entry, now_ms: int, decision: Decision) -> None:
        """The entry's `visible_ms` is new: hide the message until then, or show it if that moment has come."""

    @abstractmethod
    def take_out(self, seq: int, found: "dict[int, Entry | None]", now_ms: int) -> Entry | None:
        """Take the message from wherever it is: in flight, in memory, or on disk if it was found there."""

    @abstractmethod
    def look_at(self, seq: int, found: "dict[int, Entry | None]") -> Entry | None:
        """The message's entry, from memory or as it was found on disk; it stays there."""

    @abstractmethod
    def visible_ms(self, entry: Entry) -> int:
        """When the message can be received, if it is in flight under no other entry."""

    @abstractmethod
    def is_known(self, seq: int) -> bool:
        """Whether memory knows where the message stands: if not it is ready on disk, delayed, or gone."""

    @abstractmethod
    def delete_one(
        self, deletion: "Deletion", found: "dict[int, Entry | None]", now_ms: int, decision: Decision
    ) -> Fault | None:
        """Delete by receipt (AWS API reference, DeleteMessage)."""

    @abstractmethod
    def out_of_reach(self, receipt: "Receipt", handle: str, found: "dict[int, Entry | None]") -> Fault | None:
        """Why a receipt cannot change its message's visibility, None if it can."""

    # Counts and time

    @property
    def ready_count(self) -> int:
        """Messages that a receive could get now, or that wait behind one of their group."""
        return self.messages - len(self.in_flight) - self.delayed_count

    def advance(self, now_ms: int, decision: Decision) -> None:
        """Let happen what is due: timeouts and delays end, messages reach their retention."""
        self.pass_time(now_ms)
        if self.oldest_ms is not None and self.oldest_ms + self.retention_ms <= now_ms:
            self._look_for_aged(now_ms, decision)

    def next_ms(self) -> int | None:
        """When `advance` and `serve` are needed even if no command comes."""
        aged_ms = None if self.oldest_ms is None or self._is_ageing else self.oldest_ms + self.retention_ms
        if not len(self.parking) and not self.has_mover:
            return aged_ms
        moments = [aged_ms, self.in_flight.next_ms(), self.next_delay_ms()]
        if not self.is_reading:  # a read that comes back answers polls, and ends those whose time is up
            moments.append(self.parking.next_deadline_ms())
        return min((moment for moment in moments if moment is not None), default=None)

    # Coming and going

    def came(self, count: int, sent_ms: int) -> None:
        """Messages are new here."""
        self.messages += count
        if self.oldest_ms is None or sent_ms < self.oldest_ms:
            self.oldest_ms = sent_ms

    def left(self, seq: int) -> None:
        """A message is here no more."""
        self.lookups.mark_changed(seq)
        self.messages -= 1
        if self.messages == 0:
            self.oldest_ms = None

    def remove(self, seq: int, decision: Decision) -> None:
        """A message is deleted or expired."""
        decision.changes.append(Removed(seq, self.record.shelf))
        self.left(seq)

    def expire(self, seq: int, decision: Decision) -> None:
        """A message is past its retention."""
        self.remove(seq, decision)
        self.totals.expired += 1

    def bury(self, dead_letters: "Queue", entry: Entry, content: Content, now_ms: int, decision: Decision) -> None:
        """A message was received too often."""
        dead_letters.take_in(entry, content, self, now_ms, decision)
        if dead_letters.key not in decision.moved_to:
            decision.moved_to.append(dead_letters.key)
        self.left(entry.seq)
        self.totals.dead_lettered += 1

    # Receiving

    def receive(
        self, poll: "Receive", now_ms: int, dead_letters: "Queue | None", decision: Decision
    ) -> list[Delivery] | Fault | None:
        """Answer a receive at once with what is there, or park it and answer None."""
        wait_s = self.wait_s if poll.wait_s is None else poll.wait_s
        if deliveries := self.take(poll, now_ms, dead_letters, decision):
            return deliveries
        if wait_s == 0 and not self.has_unread():
            self.totals.empty_receives += 1
            return []
        self.parking.park(poll, now_ms + wait_s * 1000)
        return None

    def serve(self, now_ms: int, dead_letters: "Queue | None", decision: Decision) -> None:
        """Answer the parked polls that can be answered, or whose time is up."""
        parking = self.parking
        while len(parking) and self.has_room_in_flight() and self.has_ready():
            poll = parking.first()
            if deliveries := self.take(poll, now_ms, dead_letters, decision):
                parking.leave(poll.ticket)
                decision.woken.append((poll.ticket, deliveries))
        if not len(parking):
            return
        if self.has_room_in_flight():
            self.read_on(now_ms, decision)
            if self.is_reading:
                return  # even a poll whose time is up waits for that: there may be messages for it
        for ticket in parking.pop_due(now_ms):
            self.totals.empty_receives += 1
            decision.woken.append((ticket, []))

    def unpark(self, ticket: "Ticket") -> bool:
        """A parked poll's client is gone; False if it was not here."""
        return self.parking.leave(ticket)

    def unpark_all(self) -> "Sequence[Ticket]":
        """Take every parked poll out, to be answered empty."""
        return list(self.parking.pop_all())

    def has_room_in_flight(self) -> bool:
        """Whether one more message may be received (SQS quotas)."""
        return len(self.in_flight) < self.limits.in_flight_max

    def visible_again_ms(self, poll: "Receive", now_ms: int) -> int:
        """When what a poll gets is visible again, unless it is deleted or changed before."""
        timeout_s = self.visibility_timeout_s if poll.visibility_timeout_s is None else poll.visibility_timeout_s
        return now_ms + timeout_s * 1000

    def hand_out(
        self,
        held: tuple[Entry, Content],
        visible_ms: int,
        now_ms: int,
        dead_letters: "Queue | None",
        decision: Decision,
    ) -> Delivery | None:
        """Deliver a message that was taken out; the caller hides it until `visible_ms`.

        None: it was past its retention and is gone, or was received too often and is a dead letter.
        """
        entry, content = held
        redrive = self.redrive
        if entry.sent_ms <= now_ms - self.retention_ms:
            self.expire(entry.seq, decision)
            return None
        if redrive and dead_letters and entry.receive_count >= redrive.max_receive_count:
            self.bury(dead_letters, entry, content, now_ms, decision)
            return None
        first_ms = now_ms if entry.first_received_ms is None else entry.first_received_ms
        received = entry.rescheduled(visible_ms, entry.receive_count + 1, first_ms)
        return Delivery(self.record.queue_id, now_ms, received, content)

    def give_back(self, command: "GiveBack", now_ms: int, decision: Decision) -> None:
        """Undo receives, but for messages that were deleted, changed or received again in the meantime."""
        for entry in command.entries:
            if self.in_flight.get(entry.seq) is not entry:
                continue
            self.take_out(entry.seq, {}, now_ms)
            count = entry.receive_count - 1
            self.hide(entry.rescheduled(now_ms, count, entry.first_received_ms if count else None), now_ms, decision)
            self.totals.received -= 1

    def reschedule(self, entry: Entry, decision: Decision) -> None:
        """Keep the entry's new state."""
        decision.changes.append(Rescheduled(entry))
        self.lookups.mark_changed(entry.seq)

    # Deleting, and what changes of visibility need as well

    def unknown(self, seqs: list[int]) -> list[int]:
        """Those that memory knows nothing of: long deleted, or ready on disk."""
        return [seq for seq in seqs if not self.is_known(seq)]

    def find(self, seqs: list[int], then: "Delete | ChangeVisibility", decision: Decision) -> None:
        """Look messages up on disk, to carry on with the command after that."""
        decision.reads.append(Find(self.record.shelf, self.lookups.start(), seqs, then))

    def were_found(self, find: Find, entries: list[Entry]) -> "dict[int, Entry | None]":
        """What a look-up found, by seq, None for what does not exist. What changed meanwhile is left out."""
        exists = {entry.seq: entry for entry in entries if entry.shelf == find.shelf}
        found = {seq: exists.get(seq) for seq in find.seqs if not self.lookups.is_outdated(seq, find.issued)}
        self.lookups.end()
        return found

    def delete(
        self, deletions: "list[Deletion]", found: "dict[int, Entry | None]", now_ms: int, decision: Decision
    ) -> list[Fault | None]:
        """Delete messages, each by itself."""
        return [self.delete_one(deletion, found, now_ms, decision) for deletion in deletions]

    # Retention

    def _look_for_aged(self, now_ms: int, decision: Decision) -> None:
        if not self._is_ageing:
            self._is_ageing = True
            self.oldest_ms = None  # until the look-up is back, what comes in is the oldest known
            before_ms = now_ms - self.retention_ms + 1
            decision.reads.append(ReadAged(self.record.shelf, self.lookups.start(), before_ms, AGED_AT_ONCE))

    def aged_were_read(
        self, read: ReadAged, entries: list[Entry], next_oldest_ms: int | None, now_ms: int, decision: Decision
    ) -> None:
        """Remove messages past their retention, whatever their state (SetQueueAttributes, MessageRetentionPeriod)."""
        self._is_ageing = False
        still_here = [moment for moment in (next_oldest_ms, self.oldest_ms) if moment is not None]
        for entry in entries:
            seq = entry.seq
            if entry.sent_ms > now_ms - self.retention_ms:  # the retention became longer meanwhile
                still_here.append(entry.sent_ms)
                continue
            if self.is_known(seq):
                found: dict[int, Entry | None] = {}
            elif self.lookups.is_outdated(seq, read.issued):
                still_here.append(entry.sent_ms)  # gone, or ready again on disk: the next look will tell
                continue
            else:
                found = {seq: entry}
            self.take_out(seq, found, now_ms)
            self.expire(seq, decision)
        self.lookups.end()
        if self.messages:
            self.oldest_ms = min(still_here, default=now_ms)
