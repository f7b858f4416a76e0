"""What SQS promises, in the plainest words: the engine is compared with this after every step.

Messages and their moments, nothing indexed, nothing on disk. Where SQS leaves a choice (which of the visible messages a
receive gets, which group comes first) the model only judges what was chosen. What FIFO queues promise on top is in
fifo_model.py.
"""

from collections.abc import Container, Sequence

from facts import Got, Known, Looked, Poll, Rules, is_fifo
from fifo_model import FifoModel
from journal import Journal
from move_model import MoveModel

DELAY_STEP_MS = 100
LEASE_MS_MAX = 43_200_000
RECREATE_MS = PURGE_MS = 60_000


class Model:
    """All queues by name, and their messages by name. Names of messages are never used twice."""

    def __init__(self, in_flight_max: int) -> None:
        self.journal = Journal()
        self.in_flight_max = in_flight_max
        self.queues: dict[str, Rules] = {}
        self.removed_ms: dict[str, int] = {}
        self.purged_ms: dict[str, int] = {}
        self.messages: dict[str, dict[str, Known]] = {}
        self.fifo = FifoModel(self)
        self.moves = MoveModel(self)

    def commit(self) -> None:
        self.journal.commit()

    def crash(self) -> None:
        self.journal.roll_back()
        self.fifo.crash()

    # What may be asked of it

    def is_expired(self, queue: str, known: Known, now_ms: int) -> bool:
        return known.sent_ms + self.queues[queue].retention_s * 1000 <= now_ms

    def is_in_flight(self, known: Known, now_ms: int) -> bool:
        return (known.received > 0 or known.claimed) and known.visible_ms > now_ms

    def is_delayed(self, queue: str, known: Known, now_ms: int) -> bool:
        if is_fifo(queue):
            return self.fifo.is_delayed(queue, known, now_ms)
        return known.received == 0 and not known.claimed and known.visible_ms > now_ms

    def in_flight_count(self, queue: str, now_ms: int) -> int:
        return sum(self.is_in_flight(known, now_ms) for known in self.messages[queue].values())

    def available(self, queue: str, now_ms: int) -> list[str]:
        """Messages that a receive must be able to get."""
        if self.in_flight_count(queue, now_ms) >= self.in_flight_max:
            return []
        if is_fifo(queue):
            return self.fifo.available(queue, now_ms)
        return [
            name
            for name, known in self.messages[queue].items()
            if known.visible_ms <= now_ms and not self.is_expired(queue, known, now_ms)
        ]

    def counts(self, queue: str, now_ms: int) -> tuple[int, int, int]:
        """Visible, in flight, delayed; messages past their retention count until they are removed."""
        here = self.messages[queue].values()
        kept_back = self.fifo.kept_back(queue, now_ms) if is_fifo(queue) else None
        in_flight = delayed = 0
        for known in here:
            is_later = known.visible_ms > now_ms
            if is_later and (known.received > 0 or known.claimed):
                in_flight += 1
            elif is_later if kept_back is None else kept_back(known):
                delayed += 1
        return len(here) - in_flight - delayed, in_flight, delayed

    # Queues

    def declare(self, queue: str, rules: Rules, now_ms: int) -> None:
        self.fifo.end_delays(queue, now_ms)
        self.journal.put(self.queues, queue, rules)

    def may_create(self, queue: str, now_ms: int) -> bool:
        return now_ms >= self.removed_ms.get(queue, -RECREATE_MS) + RECREATE_MS

    def created(self, queue: str, rules: Rules) -> None:
        assert queue not in self.queues
        self.journal.put(self.queues, queue, rules)
        self.journal.put(self.messages, queue, {})
        self.journal.put(self.purged_ms, queue, 0)
        self.fifo.created(queue)

    def deleted_queue(self, queue: str, now_ms: int) -> None:
        self.journal.drop(self.queues, queue)
        self.journal.drop(self.messages, queue)
        self.journal.put(self.removed_ms, queue, now_ms)
        self.fifo.emptied(queue)
        self.moves.queue_deleted(queue)

    def may_purge(self, queue: str, now_ms: int) -> bool:
        return now_ms >= self.purged_ms[queue] + PURGE_MS

    def purged(self, queue: str, now_ms: int) -> None:
        self.journal.put(self.messages, queue, {})
        self.journal.put(self.purged_ms, queue, now_ms)
        self.fifo.emptied(queue)

    # Messages

    def sent(self, name: str, number: int, queue: str, now_ms: int, delay_s: int | None, group: str | None) -> None:
        """A standard queue took a message in."""
        delay_s = self.queues[queue].delay_s if delay_s is None else delay_s
        visible_ms = self.visible_ms(now_ms, delay_s)
        self.journal.put(self.messages[queue], name, Known(number, now_ms, visible_ms, group=group))

    def visible_ms(self, now_ms: int, delay_s: int) -> int:
        """When a delay ends on a standard queue: on a grid, never early."""
        visible_ms = now_ms + delay_s * 1000
        return -(-visible_ms // DELAY_STEP_MS) * DELAY_STEP_MS if delay_s else visible_ms

    def limit(self, queue: str) -> int | None:
        """How often a message may be received here."""
        rules = self.queues[queue]
        return rules.max_receive_count if rules.dead_letters in self.queues else None

    def answered(self, poll: Poll, got: Sequence[Got], now_ms: int, at_hand: Container[int]) -> None:
        """A receive was answered. `at_hand` holds the numbers of messages whose content the queue has in memory."""
        assert len({one.name for one in got}) == len(got), "a message twice in one answer"
        if poll.attempt_id is not None and self.fifo.answered_attempt(poll, got, now_ms):
            return
        assert len(got) <= poll.count, "more messages than asked for"
        if not got:
            assert not self.available(poll.queue, now_ms), "answered empty although messages were visible"
            return
        if is_fifo(poll.queue):
            self.fifo.judge_order(poll, [one.name for one in got], now_ms, at_hand)
        in_flight = self.in_flight_count(poll.queue, now_ms)
        assert in_flight + len(got) <= self.in_flight_max, "more messages in flight than SQS allows"
        for one in got:
            self._received(one, poll, now_ms)
        if poll.attempt_id is not None:
            self.fifo.remember_attempt(poll, got, now_ms)

    def _received(self, got: Got, poll: Poll, now_ms: int) -> None:
        queue = poll.queue
        known = self.messages[queue].get(got.name)
        assert known is not None, "delivered what is not in the queue"
        assert not self.is_in_flight(known, now_ms), "delivered while in flight"
        assert not self.is_delayed(queue, known, now_ms), "delivered while delayed"
        assert not self.is_expired(queue, known, now_ms), "delivered after its retention"
        limit = self.limit(queue)
        assert limit is None or known.received < limit, "delivered too often"
        timeout_s = self.queues[queue].visibility_timeout_s if poll.timeout_s is None else poll.timeout_s
        first_ms = now_ms if known.first_received_ms is None else known.first_received_ms
        known = known._replace(
            visible_ms=now_ms + timeout_s * 1000, received=known.received + 1, first_received_ms=first_ms, claimed=False
        )
        self.judge_message(got, known)
        assert got.received_ms == now_ms
        self.journal.put(self.messages[queue], got.name, known)

    def judge_message(self, got: Got, known: Known) -> None:
        told = got.number, got.sent_ms, got.received, got.first_received_ms, got.group, got.deduplication_id
        assert told == (
            known.number,
            known.sent_ms,
            known.received,
            known.first_received_ms,
            known.group,
            known.deduplication_id,
        ), "a message was told wrong"
        assert got.died_in == known.died_in, "a message was told to have died elsewhere"

    def moved(self, name: str, source: str, target: str, number: int, now_ms: int) -> None:
        """A message was received too often."""
        known = self.messages[source][name]
        limit = self.limit(source)
        assert target == self.queues[source].dead_letters, "moved to the wrong queue"
        assert not self.is_in_flight(known, now_ms), "moved while in flight"
        assert not self.is_delayed(source, known, now_ms), "moved while delayed"
        assert limit is not None
        assert known.received >= limit, "moved too early"
        self.journal.drop(self.messages[source], name)
        if is_fifo(target):
            known = self.fifo.as_new(known, name, source, target, number, now_ms)
        else:
            assert number == known.number, "renumbered on a standard queue"
            known = known._replace(visible_ms=now_ms, died_in=source, claimed=False)
        self.journal.put(self.messages[target], name, known)

    def given_back(self, name: str, queue: str, now_ms: int) -> None:
        known = self.messages[queue][name]
        received = known.received - 1
        first_ms = known.first_received_ms if received else None
        known = known._replace(visible_ms=now_ms, received=received, first_received_ms=first_ms)
        self.journal.put(self.messages[queue], name, known)

    # Looking, and claiming what was looked at

    def judge_look(self, queue: str, told: Sequence[Looked], now_ms: int) -> None:
        """Everything that is in the queue, as it is, in the order of sending; nothing is changed by it."""
        here = sorted(self.messages[queue].items(), key=lambda one: (one[1].sent_ms, one[1].number))
        expected = [self._looked(queue, name, known, now_ms) for name, known in here]
        kept = [
            one for one, (_, known) in zip(expected, here, strict=True) if not self.is_expired(queue, known, now_ms)
        ]
        assert list(told) == kept, "a look told something else than there is"

    def _looked(self, queue: str, name: str, known: Known, now_ms: int) -> Looked:
        visible_ms = known.visible_ms
        if is_fifo(queue) and self.fifo.kept_back(queue, now_ms)(known):  # if it is in flight, once that has ended
            visible_ms = max(visible_ms, self.visible_ms(known.sent_ms, self.queues[queue].delay_s))
        return Looked(name, *known[:2], *known[3:8], visible_ms if visible_ms > now_ms else None)

    def judge_claim(self, name: str, queue: str, receipt: tuple[int, int], timeout_s: int, now_ms: int) -> str | None:
        """Take a message that was looked at, or show it again; the fault's code if that must be refused."""
        if now_ms + timeout_s * 1000 > receipt[1] + LEASE_MS_MAX:
            return "InvalidParameterValue"
        known = self.messages[queue].get(name)
        if known is None:
            return "InvalidParameterValue"
        if known.received != receipt[0] or self.is_delayed(queue, known, now_ms):
            return "MessageNotInflight"
        if self.is_in_flight(known, now_ms):
            if timeout_s or not known.claimed:
                return "MessageNotInflight"
        elif timeout_s and self.in_flight_count(queue, now_ms) >= self.in_flight_max:
            return "OverLimit"
        changed = known._replace(visible_ms=now_ms + timeout_s * 1000, claimed=True)
        self.journal.put(self.messages[queue], name, changed)
        return None

    # Changing visibility, and deleting

    def judge_change(self, name: str, queue: str, receipt: tuple[int, int], timeout_s: int, now_ms: int) -> str | None:
        """Hide a message anew; the fault's code if that must be refused. `receipt` is (receive count, received_ms)."""
        if now_ms + timeout_s * 1000 > receipt[1] + LEASE_MS_MAX:
            return "InvalidParameterValue"
        known = self.messages[queue].get(name)
        if known is None:
            return "InvalidParameterValue"
        if is_fifo(queue):
            if not self.is_in_flight(known, now_ms):
                return "MessageNotInflight"
            if known.received != receipt[0] or known.claimed:
                return "InvalidParameterValue"
        is_claimed = known.claimed and known.visible_ms > now_ms
        changed = known._replace(visible_ms=now_ms + timeout_s * 1000, claimed=is_claimed)
        self.journal.put(self.messages[queue], name, changed)
        return None

    def judge_deletion(
        self, name: str, queue: str, received: int, now_ms: int, *, is_peeked: bool = False
    ) -> str | None:
        """Delete a message; the fault's code if that must be refused. On a FIFO queue, only who holds it may."""
        known = self.messages[queue].get(name)
        if known is None:
            return None
        holds = (known.received, known.claimed) == (received, is_peeked)
        if is_fifo(queue) and not (self.is_in_flight(known, now_ms) and holds):
            return "InvalidParameterValue"
        self.journal.drop(self.messages[queue], name)
        return None

    def expired(self, name: str, queue: str, now_ms: int) -> None:
        assert self.is_expired(queue, self.messages[queue][name], now_ms), "removed before its retention"
        self.journal.drop(self.messages[queue], name)
