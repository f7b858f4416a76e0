"""The engine: every queue of the broker, and the one door through which they change.

`decide` is a deterministic function of the state, the command and the time. It returns what to answer, what to make
durable before that answer leaves, which parked receives are answered too, and what to look up on disk.
"""

from heapq import heappop, heappush
from typing import TYPE_CHECKING

from amply.broker.engine import declarations
from amply.broker.engine.commands import (
    CancelMove,
    ChangeVisibility,
    Command,
    CreateQueue,
    Delete,
    DeleteQueue,
    GiveBack,
    ListMoves,
    Observe,
    PurgeQueue,
    QueueKey,
    Receive,
    Send,
    SetQueueAttributes,
    StartMove,
    TagQueue,
    Tick,
    Unpark,
    UnparkAll,
    UntagQueue,
)
from amply.broker.engine.decision import UNSETTLED, Decision, Fetch, Find, ReadAged, ReadInOrder, ReadQuiet, ReadReady
from amply.broker.engine.fifo import FifoQueue
from amply.broker.engine.moves import Moves
from amply.broker.engine.queues import Queues
from amply.broker.engine.standard import StandardQueue
from amply.broker.engine.visibility import change_visibility, unknown_for
from amply.broker.sqs.limits import AWS, Limits

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeAlias

    from amply.broker.engine.commands import Sent
    from amply.broker.engine.queue import Queue
    from amply.broker.engine.records import Content, Entry

    Found: TypeAlias = dict[int, Entry | None]


class Engine:
    """The state of a broker. It is not thread-safe: one caller at a time.

    `new_message_id` names messages that move tasks make anew.
    """

    def __init__(
        self,
        region: str,
        *,
        new_message_id: "Callable[[], str]",
        limits: Limits = AWS,
        last_seq: int = 0,
        last_id: int = 0,
    ) -> None:
        self.queues = Queues(region, limits, last_seq=last_seq, last_id=last_id)
        self.moves = Moves(self.queues, new_message_id)
        self._alarms: list[tuple[int, QueueKey]] = []  # heap of when queues want to be advanced
        self._alarm_of: dict[QueueKey, int] = {}  # the earliest of them for each queue; others are stale
        self._verbs: dict[type, Callable[[Any, int, Decision], object]] = {
            Send: self._send,
            Receive: self._receive,
            Delete: self._delete,
            ChangeVisibility: self._change_visibility,
            GiveBack: self._give_back,
            Unpark: self._unpark,
            UnparkAll: self._unpark_all,
            Tick: self._tick,
            Observe: self._observe,
            CreateQueue: self._declaring(declarations.create_queue),
            DeleteQueue: self._delete_queue,
            PurgeQueue: self._declaring(declarations.purge_queue),
            SetQueueAttributes: self._declaring(declarations.set_queue_attributes),
            TagQueue: self._declaring(declarations.tag_queue),
            UntagQueue: self._declaring(declarations.untag_queue),
            StartMove: self._start_move,
            CancelMove: self.moves.cancel,
            ListMoves: self.moves.newest,
        }

    def decide(self, command: Command, now_ms: int) -> Decision:
        """Carry out a command. A Fault leaves everything as it was."""
        decision = Decision()
        decision.answer = self._verbs[type(command)](command, now_ms, decision)
        return decision

    def next_ms(self) -> int | None:
        """When a `Tick` is due, None if nothing waits for time to pass."""
        alarm_ms, move_ms = self._next_alarm_ms(), self.moves.next_ms()
        return alarm_ms if move_ms is None or (alarm_ms is not None and alarm_ms < move_ms) else move_ms

    def _next_alarm_ms(self) -> int | None:
        alarms = self._alarms
        while alarms and self._alarm_of.get(alarms[0][1]) != alarms[0][0]:
            heappop(alarms)
        return alarms[0][0] if alarms else None

    # Messages

    def _advanced(self, key: QueueKey, now_ms: int, decision: Decision) -> "Queue":
        queue = self.queues.existing(key)
        queue.advance(now_ms, decision)
        return queue

    def _settle(self, queue: "Queue", now_ms: int, decision: Decision) -> None:
        """The end of every command on a queue: answer who can be answered, and know when to look again."""
        if len(queue.parking):
            queue.serve(now_ms, self.queues.dead_letters_of(queue), decision)
        self._set_alarm(queue)
        while decision.moved_to:  # serving a dead letter queue may move messages on
            dead_letters = self._advanced(decision.moved_to.pop(), now_ms, decision)
            if len(dead_letters.parking):
                dead_letters.serve(now_ms, self.queues.dead_letters_of(dead_letters), decision)
            self._set_alarm(dead_letters)

    def set_alarms(self) -> None:
        """Look at every queue: the state was just restored."""
        for queue in self.queues:
            self._set_alarm(queue)

    def _set_alarm(self, queue: "Queue") -> None:
        """Wake no later than the queue needs it; waking too early does no harm."""
        next_ms = queue.next_ms()
        if next_ms is None:
            return
        alarm_ms = self._alarm_of.get(queue.key)
        if alarm_ms is None or next_ms < alarm_ms:
            heappush(self._alarms, (next_ms, queue.key))
            self._alarm_of[queue.key] = next_ms

    def _send(self, command: Send, now_ms: int, decision: Decision) -> "list[Sent]":
        queue = self.queues.existing(command.key)
        queue.check_takes(len(command.messages), now_ms)
        queue.advance(now_ms, decision)
        answer = queue.send(command.messages, now_ms, decision)
        self._settle(queue, now_ms, decision)
        return answer

    def _receive(self, command: Receive, now_ms: int, decision: Decision) -> object:
        queue = self._advanced(command.key, now_ms, decision)
        answer = queue.receive(command, now_ms, self.queues.dead_letters_of(queue), decision)
        self._settle(queue, now_ms, decision)
        return UNSETTLED if answer is None else answer

    def _delete(self, command: Delete, now_ms: int, decision: Decision, found: "Found | None" = None) -> object:
        queue = self._advanced(command.key, now_ms, decision)
        found = found or {}
        unknown = queue.unknown([deletion.receipt.seq for deletion in command.deletions])
        if self._must_find(queue, unknown, found, command, decision):
            return UNSETTLED
        answer = queue.delete(command.deletions, found, now_ms, decision)
        self._settle(queue, now_ms, decision)
        return answer

    def _change_visibility(
        self, command: ChangeVisibility, now_ms: int, decision: Decision, found: "Found | None" = None
    ) -> object:
        queue = self._advanced(command.key, now_ms, decision)
        found = found or {}
        if self._must_find(queue, unknown_for(queue, command.changes), found, command, decision):
            return UNSETTLED
        answer = [change_visibility(queue, change, found, now_ms, decision) for change in command.changes]
        self._settle(queue, now_ms, decision)
        return answer

    def _must_find(
        self,
        queue: "Queue",
        unknown: list[int],
        found: "Found",
        command: "Delete | ChangeVisibility",
        decision: Decision,
    ) -> bool:
        """Whether the command has to wait for a look-up on disk; asks for it if so."""
        if all(seq in found for seq in unknown):
            return False
        queue.find(unknown, command, decision)
        self._set_alarm(queue)
        return True

    def _give_back(self, command: GiveBack, now_ms: int, decision: Decision) -> None:
        queue = self.queues.get(command.key)
        if queue is not None:
            queue.advance(now_ms, decision)
            queue.give_back(command, now_ms, decision)
            self._settle(queue, now_ms, decision)

    def _unpark(self, command: Unpark, now_ms: int, decision: Decision) -> None:
        queue = self.queues.get(command.key)
        if queue is not None and queue.unpark(command.ticket):
            queue.advance(now_ms, decision)
            self._settle(queue, now_ms, decision)

    def _unpark_all(self, _: UnparkAll, now_ms: int, decision: Decision) -> None:
        for queue in self.queues:
            decision.woken += [(ticket, []) for ticket in queue.unpark_all()]
            queue.advance(now_ms, decision)
            self._set_alarm(queue)

    def _tick(self, _: Tick, now_ms: int, decision: Decision) -> None:
        while (alarm_ms := self._next_alarm_ms()) is not None and alarm_ms <= now_ms:
            key = heappop(self._alarms)[1]
            del self._alarm_of[key]
            if (queue := self.queues.get(key)) is not None:
                queue.advance(now_ms, decision)
                self._settle(queue, now_ms, decision)
        if (source := self.moves.step(now_ms, decision)) is not None:
            self._settle(source, now_ms, decision)

    def _observe(self, command: Observe, now_ms: int, decision: Decision) -> "Queue":
        return self._advanced(command.key, now_ms, decision)

    def _start_move(self, command: StartMove, now_ms: int, decision: Decision) -> None:
        self._set_alarm(self.moves.start(command, now_ms, decision))

    def _delete_queue(self, command: DeleteQueue, now_ms: int, decision: Decision) -> None:
        declarations.delete_queue(self.queues, command, now_ms, decision)
        self.moves.forget(self.queues.arn(command.key), decision)

    def _declaring(
        self, verb: "Callable[[Queues, Any, int, Decision], object]"
    ) -> "Callable[[Any, int, Decision], object]":
        def declare(command: "Any", now_ms: int, decision: Decision) -> object:
            answer = verb(self.queues, command, now_ms, decision)
            queue = self.queues.get(command.key)
            if queue is not None:
                queue.advance(now_ms, decision)
                self._settle(queue, now_ms, decision)
            return answer

        return declare

    # What was looked up on disk

    def ready_were_read(
        self,
        read: ReadReady,
        messages: "list[tuple[Entry, Content]]",
        damaged: list[int],
        now_ms: int,
        *,
        is_last: bool,
    ) -> Decision:
        """The answer to a `ReadReady`."""
        decision = Decision()
        if isinstance(queue := self.queues.on_shelf(read.shelf), StandardQueue):
            queue.ready_were_read(read, messages, damaged, is_last=is_last)
            queue.advance(now_ms, decision)
            self._settle(queue, now_ms, decision)
        return decision

    def quiet_were_read(
        self,
        read: ReadQuiet,
        messages: "list[tuple[Entry, Content]]",
        damaged: list[int],
        read_to: tuple[int, int],
        now_ms: int,
        *,
        is_last: bool,
    ) -> Decision:
        """The answer to a `ReadQuiet`: what was found, and how far it was looked for."""
        decision = Decision()
        if isinstance(queue := self.queues.on_shelf(read.shelf), StandardQueue):
            queue.quiet_were_read(read, messages, damaged, read_to, is_last=is_last)
            queue.advance(now_ms, decision)
            queue.read_on(now_ms, decision)  # a look covers little; the next receive should find them
            self._settle(queue, now_ms, decision)
        return decision

    def were_read_in_order(
        self,
        read: ReadInOrder,
        messages: "list[tuple[Entry, Content]]",
        damaged: list[int],
        now_ms: int,
        *,
        is_last: bool,
    ) -> Decision:
        """The answer to a `ReadInOrder`."""
        decision = Decision()
        if isinstance(queue := self.queues.on_shelf(read.shelf), FifoQueue):
            queue.were_read_in_order(read, messages, damaged, is_last=is_last)
            queue.advance(now_ms, decision)
            self._settle(queue, now_ms, decision)
        return decision

    def were_fetched(
        self, fetch: Fetch, messages: "list[tuple[Entry, Content]]", now_ms: int, *, is_last: bool
    ) -> Decision:
        """The answer to a `Fetch`."""
        decision = Decision()
        if isinstance(queue := self.queues.on_shelf(fetch.shelf), FifoQueue):
            queue.advance(now_ms, decision)
            dead_letters = self.queues.dead_letters_of(queue)
            queue.were_fetched(fetch, messages, now_ms, dead_letters, decision, is_last=is_last)
            self._settle(queue, now_ms, decision)
        return decision

    def aged_were_read(
        self, read: ReadAged, entries: "list[Entry]", next_oldest_ms: int | None, now_ms: int
    ) -> Decision:
        """The answer to a `ReadAged`."""
        decision = Decision()
        if (queue := self.queues.on_shelf(read.shelf)) is not None:
            queue.aged_were_read(read, entries, next_oldest_ms, now_ms, decision)
            queue.advance(now_ms, decision)
            self._settle(queue, now_ms, decision)
        return decision

    def were_found(self, find: Find, entries: "list[Entry]", now_ms: int) -> Decision:
        """The answer to a `Find`: carries on with the command that needed it. Its answer may be `UNSETTLED` again."""
        decision = Decision()
        queue = self.queues.on_shelf(find.shelf)
        found: Found = dict.fromkeys(find.seqs) if queue is None else queue.were_found(find, entries)
        if isinstance(find.then, Delete):
            decision.answer = self._delete(find.then, now_ms, decision, found)
        else:
            decision.answer = self._change_visibility(find.then, now_ms, decision, found)
        return decision
