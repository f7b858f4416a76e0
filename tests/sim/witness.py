"""Sees every decision of the engine, and tells the model what happened: which of it was right is the model's matter."""

from collections import Counter
from typing import Any

from facts import Got, Poll, is_fifo
from model import Model
from shell import REGION, Shell

from amply.broker.engine.commands import ChangeVisibility, Delete, DeleteQueue, PurgeQueue, Send, VisibilityChange
from amply.broker.engine.decision import UNSETTLED, Decision, Delivery
from amply.broker.engine.records import Added, Content, Entry, Moved, MoveTask, MoveTaskPut, Removed
from amply.broker.sqs.faults import Fault
from amply.broker.sqs.names import parse_queue_arn
from amply.broker.sqs.receipts import Receipt

ACCOUNT = "000000000000"


class Held:
    """A delivery that a client holds."""

    __slots__ = ("delivery", "name", "queue", "receipt")

    def __init__(self, queue: str, delivery: Delivery) -> None:
        entry = delivery.entry
        self.queue = queue
        self.name = delivery.content.message_id
        self.receipt = Receipt(delivery.queue_id, entry.seq, entry.receive_count, delivery.received_ms)
        self.delivery = delivery


class Witness:
    """`held` are deliveries that clients have got; `fresh` those whose commit is still to come."""

    def __init__(self, shell: Shell, model: Model) -> None:
        self.shell = shell
        self.model = model
        self.reached: Counter[str] = Counter()
        self.names: dict[int, str] = {}  # by sequence number
        self.polls: dict[int, Poll] = {}
        self.held: list[Held] = []
        self.fresh: list[Held] = []
        self.fresh_dead = self.fresh_moved = (
            0  # dead letters of FIFO queues, and moves by tasks, whose commit is still to come
        )
        self.moved_to: set[str] = set()  # queues that tasks moved messages to in this decision
        self.bodies: dict[str, str] = {}  # of messages that tasks moved
        self.looked_up: set[int] = set()  # messages that came back from disk for the command that goes on
        self.restarted_ms = 0

    def committed(self) -> None:
        self.model.commit()
        self.held += self.fresh
        self.fresh, self.fresh_dead, self.fresh_moved = [], 0, 0
        del self.held[:-30]

    def crashed(self) -> None:
        self.model.crash()
        self.restarted_ms = self.shell.now_ms
        self.fresh, self.fresh_dead, self.fresh_moved, self.polls = [], 0, 0, {}

    def saw(self, decision: Decision, command: Any = None) -> None:
        """A command was decided, or what a look-up brought; `command` is what its answer is of."""
        deleted: set[int] = set()
        is_settled = decision.answer is not UNSETTLED
        if isinstance(command, Delete) and is_settled:
            deleted = self._deleted(command, decision.answer)
        elif isinstance(command, ChangeVisibility) and is_settled:
            self._changed(command, decision.answer)
        elif isinstance(command, Send):
            self._sent(command, decision)
        elif isinstance(command, PurgeQueue):
            self._purged(command)
        elif isinstance(command, DeleteQueue):
            self._deleted_queue(command, decision)
        self.moved_to.clear()
        if decision.changes:
            self._came_and_went(decision, deleted)
        for ticket, deliveries in decision.woken:
            self.reached["a parked poll was served" if deliveries else "a poll ended empty"] += 1
            if not deliveries and self.polls[ticket].queue in self.moved_to:
                del self.polls[ticket]  # its time was up just before
            else:
                self.answered(ticket, deliveries)

    # Queues

    def _purged(self, command: PurgeQueue) -> None:
        queue, now_ms = command.key[1], self.shell.now_ms
        self.reached["purged"] += 1
        if self.model.in_flight_count(queue, now_ms):
            self.reached["purged with messages in flight"] += 1
        self.model.purged(queue, now_ms)

    def _deleted_queue(self, command: DeleteQueue, decision: Decision) -> None:
        self.reached["a queue was deleted"] += 1
        self.model.deleted_queue(command.key[1], self.shell.now_ms)
        for ticket, deliveries in decision.woken:
            assert not deliveries
            self.reached["a queue was deleted while polls waited"] += 1
            del self.polls[ticket]
        decision.woken.clear()
        assert all(poll.queue != command.key[1] for poll in self.polls.values()), "a poll outlived its queue"

    # Sending

    def _sent(self, command: Send, decision: Decision) -> None:
        queue, model, now_ms = command.key[1], self.model, self.shell.now_ms
        for message, sent in zip(command.messages, decision.answer, strict=True):
            content: Content = message.content
            name = content.message_id
            if not is_fifo(queue):
                assert sent.message_id == name
                model.sent(name, sent.seq, queue, now_ms, message.delay_s, content.group_id)
                continue
            assert content.group_id is not None
            assert content.deduplication_id is not None
            original = model.fifo.original(queue, content.deduplication_id, content.group_id, now_ms)
            if original is None:
                assert sent.message_id == name, "taken for a duplicate"
                model.fifo.sent(name, sent.seq, queue, content.group_id, content.deduplication_id, now_ms)
                continue
            assert (sent.message_id, sent.seq) == (original.name, original.number), "a duplicate was not recognised"
            self.reached["a duplicate was recognised"] += 1
            if original.life != model.fifo.life:
                self.reached["a duplicate was recognised after a restart"] += 1
            if original.name not in model.messages[queue]:
                self.reached["a duplicate of a message long gone was recognised"] += 1

    # Moving and expiring

    def _came_and_went(self, decision: Decision, deleted: set[int]) -> None:
        changes = decision.changes
        for change, following in zip(changes, [*changes[1:], None], strict=True):
            if isinstance(change, Moved):
                self._died(self.names[change.entry.seq], change.entry)
            elif isinstance(change, Added):
                self.names[change.entry.seq] = change.content.message_id
            elif isinstance(change, MoveTaskPut):
                self._task_went_on(change.task)
            elif isinstance(change, Removed) and change.seq not in deleted:
                old = self.names[change.seq]
                if not isinstance(following, Added):
                    self.model.expired(old, self._queue_on(change.shelf), self.shell.now_ms)
                    self.reached["expired"] += 1
                elif following.entry.dead_letter_source_arn is not None:
                    assert following.content.message_id == old, "another message died"
                    self._died(old, following.entry)
                else:
                    self._moved_by_task(old, self._queue_on(change.shelf), following)

    def _task_went_on(self, task: MoveTask) -> None:
        if task.task_id in self.model.moves.tasks:  # else it starts with this
            self.model.moves.judge_progress(task.task_id, task.to_move, task.moved, task.status)
            self.reached[f"a move task {task.status} {task.failure_reason or ''}".strip()] += 1

    def _queue_on(self, shelf: int) -> str:
        return self.shell.engine.queues.on_shelf(shelf).record.name

    def _died(self, name: str, entry: Entry) -> None:
        source = parse_queue_arn(entry.dead_letter_source_arn)[2]
        target = self._queue_on(entry.shelf)
        self.model.moved(name, source, target, entry.seq, self.shell.now_ms)
        self.reached["moved to the dead letter queue"] += 1
        if is_fifo(target):
            self.reached["moved to the FIFO dead letter queue"] += 1
            self.fresh_dead += 1

    def _moved_by_task(self, old: str, source: str, added: Added) -> None:
        name, target = added.content.message_id, self._queue_on(added.entry.shelf)
        self.bodies[name] = self.bodies.get(old, old)
        assert added.content.body == self.bodies[name], "a task moved another body"
        self.model.moves.moved(old, source, name, target, added.entry.seq, self.shell.now_ms)
        self.fresh_moved += 1
        self.moved_to.add(target)

    # Receiving

    def answered(self, ticket: int, deliveries: list[Delivery]) -> None:
        poll = self.polls.pop(ticket)
        queue = self.shell.engine.queues.existing((ACCOUNT, poll.queue))
        got = [self._got(delivery) for delivery in deliveries]
        at_hand = queue.line.contents if is_fifo(poll.queue) else ()
        self._note_answer(poll, got)
        self.model.answered(poll, got, self.shell.now_ms, at_hand)
        for delivery in deliveries:
            name = delivery.content.message_id
            assert delivery.content.body == self.bodies.get(name, name)
            assert delivery.queue_id == queue.record.queue_id
            self.fresh.append(Held(poll.queue, delivery))

    def _got(self, delivery: Delivery) -> Got:
        entry, content = delivery.entry, delivery.content
        died_in = entry.dead_letter_source_arn
        return Got(
            content.message_id,
            entry.seq,
            entry.sent_ms,
            entry.receive_count,
            entry.first_received_ms,
            entry.group_id,
            content.deduplication_id,
            None if died_in is None else parse_queue_arn(died_in)[2],
            delivery.received_ms,
        )

    def _note_answer(self, poll: Poll, got: list[Got]) -> None:
        """Which interesting answers were seen."""
        if not is_fifo(poll.queue):
            return
        model, now_ms, reached = self.model, self.shell.now_ms, self.reached
        if poll.attempt_id is not None and got:
            attempt = model.fifo.valid_attempt(poll.queue, poll.attempt_id, now_ms)
            if attempt is not None:
                reached["an attempt was answered again"] += 1
                if attempt.life != model.fifo.life:
                    reached["an attempt was answered again after a restart"] += 1
                return
        visible, in_flight, _ = model.counts(poll.queue, now_ms)
        if not got:
            if visible and in_flight >= model.in_flight_max:
                reached["an empty answer at the cap of a FIFO queue"] += 1
            elif visible:
                reached["an empty answer while locked groups have a backlog"] += 1
            return
        waiting = model.fifo.waiting(poll.queue, now_ms)
        if in_flight and waiting and waiting[0][0] < min(one.number for one in got):
            reached["a message behind a locked group's backlog"] += 1
        if len({one.group for one in got}) > 1:
            reached["several groups in one answer"] += 1

    # Deleting and changing visibility

    def _deleted(self, command: Delete, faults: list[Fault | None]) -> set[int]:
        queue, now_ms = command.key[1], self.shell.now_ms
        gone = set()
        for deletion, fault in zip(command.deletions, faults, strict=True):
            receipt = deletion.receipt
            told = receipt.receive_count, now_ms
            expected = self.model.judge_deletion(self.names[receipt.seq], queue, *told, is_peeked=receipt.is_peeked)
            assert _code(fault) == expected, f"delete: {_code(fault)}, not {expected}"
            if fault is None:
                gone.add(receipt.seq)
            else:
                self.reached["an expired receipt was refused"] += 1
        return gone

    def _changed(self, command: ChangeVisibility, faults: list[Fault | None]) -> None:
        queue, now_ms = command.key[1], self.shell.now_ms
        for change, fault in zip(command.changes, faults, strict=True):
            receipt = change.receipt
            name = self.names[receipt.seq]
            told = receipt.receive_count, receipt.received_ms
            if receipt.is_peeked:
                self._claimed(change, name, queue, fault)
                continue
            expected = self.model.judge_change(name, queue, told, change.timeout_s, now_ms)
            assert _code(fault) == expected, f"change of visibility: {_code(fault)}, not {expected}"
            if now_ms + change.timeout_s * 1000 > receipt.received_ms + 43_200_000:
                self.reached["a lease past 12 hours was refused"] += 1
            elif fault is not None:
                self.reached[f"a change of visibility was refused: {expected}"] += 1

    def _claimed(self, change: VisibilityChange, name: str, queue: str, fault: Fault | None) -> None:
        receipt, now_ms, reached = change.receipt, self.shell.now_ms, self.reached
        before = self.model.messages[queue].get(name)
        told = receipt.receive_count, receipt.received_ms
        expected = self.model.judge_claim(name, queue, told, change.timeout_s, now_ms)
        assert _code(fault) == expected, f"claim: {_code(fault)}, not {expected}"
        kind = "FIFO " if is_fifo(queue) else ""
        if before is None:
            reached["a claim of what is gone"] += 1
        elif fault is None and not change.timeout_s:
            reached[f"a {kind}message was shown again by who looked at it"] += before.visible_ms > now_ms
        elif fault is None:
            reached[f"a {kind}claim was won"] += 1
            reached["a claim was won after a restart"] += receipt.received_ms < self.restarted_ms
            reached["a claim of a message that was on disk"] += receipt.seq in self.looked_up
            reached["a claim of what was never received"] += not before.received
        elif before.received > receipt.receive_count:
            reached[f"a {kind}claim was lost to a receive"] += 1
        elif change.timeout_s and before.claimed and self.model.is_in_flight(before, now_ms):
            reached[f"a {kind}claim was lost to a claim"] += 1
        else:
            reached[f"a claim was refused: {expected}"] += 1


def _code(fault: Fault | None) -> str | None:
    return None if fault is None else fault.row.shape.removesuffix("Exception")


def arn(queue: str) -> str:
    return f"arn:aws:sqs:{REGION}:{ACCOUNT}:{queue}"
