"""What FIFO queues promise on top: groups and their order, deduplication, receive attempts, and delays of the queue."""

from collections.abc import Callable, Container, Sequence
from itertools import groupby
from typing import TYPE_CHECKING

from facts import Attempt, Got, Known, Poll, Taken

if TYPE_CHECKING:
    from model import Model

WINDOW_MS = 300_000
DELAY_STEP_MS = 100


class FifoModel:
    """Works on the messages of the whole model. `life` counts the crashes, to tell what outlived one."""

    def __init__(self, model: "Model") -> None:
        self.model = model
        self.life = 0
        self.taken: dict[str, dict[tuple[str, ...], Taken]] = {}
        self.attempts: dict[str, dict[str, Attempt]] = {}
        self.last_number: dict[str, int] = {}
        self._ended: dict[str, tuple[int, int]] = {}  # the delay of what was sent by then, or up to there, has ended

    def crash(self) -> None:
        self.life += 1
        self._ended.clear()

    def created(self, queue: str) -> None:
        self._ended.pop(queue, None)
        self.emptied(queue)

    def emptied(self, queue: str) -> None:
        self.model.journal.put(self.taken, queue, {})
        self.model.journal.put(self.attempts, queue, {})

    # Delays: the queue's only; a changed one holds for what is delayed still

    def end_delays(self, queue: str, now_ms: int) -> tuple[int, int]:
        delay_ms = self.model.queues[queue].delay_s * 1000
        ended_ms, ended_number = self._ended.get(queue, (0, 0))
        if delay_ms:
            ended_ms = max(ended_ms, (now_ms - delay_ms) // DELAY_STEP_MS * DELAY_STEP_MS)
        else:
            ended_number = self.last_number.get(queue, 0)
        self._ended[queue] = ended_ms, ended_number
        return ended_ms, ended_number

    def kept_back(self, queue: str, now_ms: int) -> Callable[[Known], bool]:
        """Tells messages whose delay has not ended."""
        ended_ms, ended_number = self.end_delays(queue, now_ms)
        return lambda known: known.sent_ms > ended_ms and known.number > ended_number

    def is_delayed(self, queue: str, known: Known, now_ms: int) -> bool:
        return self.kept_back(queue, now_ms)(known) and not self.model.is_in_flight(known, now_ms)

    # Deduplication

    def key(self, queue: str, deduplication_id: str, group: str) -> tuple[str, ...]:
        if self.model.queues[queue].scope == "messageGroup":
            return deduplication_id, group
        return (deduplication_id,)

    def original(self, queue: str, deduplication_id: str, group: str, now_ms: int) -> Taken | None:
        """The message that a message with this id is a duplicate of."""
        taken = self.taken[queue].get(self.key(queue, deduplication_id, group))
        return taken if taken is not None and now_ms < taken.sent_ms + WINDOW_MS else None

    def remembered(self, queue: str, now_ms: int) -> int:
        """How many ids a queue may have to remember; it forgets them some seconds late."""
        return sum(now_ms < taken.sent_ms + WINDOW_MS + 10_000 for taken in self.taken[queue].values())

    def sent(self, name: str, number: int, queue: str, group: str, deduplication_id: str, now_ms: int) -> None:
        """A message that is no duplicate was taken in."""
        self.judge_number(queue, number)
        known = Known(number, now_ms, now_ms, group=group, deduplication_id=deduplication_id)
        key = self.key(queue, deduplication_id, group)
        self.model.journal.put(self.taken[queue], key, Taken(name, number, now_ms, self.life))
        self.model.journal.put(self.model.messages[queue], name, known)

    def as_new(self, known: Known, name: str, source: str, target: str, number: int, now_ms: int) -> Known:
        """A dead letter comes last and begins anew, but for how often it was received; its group is free again."""
        locked = self._locked(source, now_ms)
        assert known.group not in locked, "a dead letter left a group that somebody holds a message of"
        self.judge_number(target, number)
        known = known._replace(number=number, sent_ms=now_ms, visible_ms=now_ms, deduplication_id=name, died_in=source)
        return known._replace(claimed=False)

    def judge_number(self, queue: str, number: int) -> None:
        assert number > self.last_number.get(queue, 0), "a sequence number did not rise"
        self.model.journal.put(self.last_number, queue, number)

    # Groups

    def _locked(self, queue: str, now_ms: int) -> set[str | None]:
        return {known.group for known in self.model.messages[queue].values() if self.model.is_in_flight(known, now_ms)}

    def waiting(self, queue: str, now_ms: int) -> list[tuple[int, str, Known]]:
        """What is visible or will be when its group is free, in order."""
        is_kept_back = self.kept_back(queue, now_ms)
        return sorted(
            (known.number, name, known)
            for name, known in self.model.messages[queue].items()
            if not self.model.is_in_flight(known, now_ms) and not is_kept_back(known)
        )

    def available(self, queue: str, now_ms: int) -> list[str]:
        """Of the first 120 000 messages (or what the cap is), those of groups that nobody holds a message of."""
        locked = self._locked(queue, now_ms)
        look_ahead = self.model.in_flight_max - self.model.in_flight_count(queue, now_ms)
        return [
            name
            for _, name, known in self.waiting(queue, now_ms)[:look_ahead]
            if known.group not in locked and not self.model.is_expired(queue, known, now_ms)
        ]

    def judge_head(self, queue: str, known: Known, now_ms: int) -> None:
        """Nobody holds a message of the group, and no other of it comes before."""
        assert known.group not in self._locked(queue, now_ms), "taken from a group that somebody holds a message of"
        for number, _, other in self.waiting(queue, now_ms):
            is_before = other.group == known.group and number < known.number
            assert not is_before or self.model.is_expired(queue, other, now_ms), "taken before an earlier one"

    def judge_order(self, poll: Poll, names: Sequence[str], now_ms: int, at_hand: Container[int]) -> None:
        """Each group in order from its first message on, and as much of it as possible before the next."""
        queue, here = poll.queue, self.model.messages[poll.queue]
        locked = self._locked(queue, now_ms)
        waiting = self.waiting(queue, now_ms)
        room = self.model.in_flight_max - self.model.in_flight_count(queue, now_ms)
        count = min(poll.count, room)
        seen: set[str | None] = set()
        so_far = 0
        for group, in_group in groupby(names, lambda name: here[name].group):
            given = list(in_group)
            so_far += len(given)
            assert group not in seen, "the messages of a group are not together"
            assert group not in locked, "delivered from a group that somebody holds a message of"
            seen.add(group)
            line = [(name, known) for _, name, known in waiting if known.group == group]
            assert given == [name for name, _ in line[: len(given)]], "not in order"
            if so_far < count and len(line) > len(given):
                name, known = line[len(given)]
                is_left = known.number in at_hand and not self.model.is_expired(queue, known, now_ms)
                assert not is_left, f"{name} was left although there was room for more of its group"

    # Receive attempts

    def valid_attempt(self, queue: str, attempt_id: str, now_ms: int) -> Attempt | None:
        """What the attempt got, if all of it is still as that answer left it."""
        attempt = self.attempts[queue].get(attempt_id)
        if attempt is None or now_ms >= attempt.received_ms + WINDOW_MS:
            return None
        here = self.model.messages[queue]
        for name, received, visible_ms in attempt.messages:
            known = here.get(name)
            if known is None or visible_ms <= now_ms or (known.received, known.visible_ms) != (received, visible_ms):
                return None
        return attempt

    def answered_attempt(self, poll: Poll, got: Sequence[Got], now_ms: int) -> bool:
        """Judge the answer to a receive whose attempt was answered before, and still holds. False if it does not."""
        assert poll.attempt_id is not None
        attempt = self.valid_attempt(poll.queue, poll.attempt_id, now_ms)
        if attempt is None:
            return False
        if not got and not poll.is_repeated:
            return True  # it waited already when another receive of the same attempt was answered
        assert [one.name for one in got] == [name for name, _, _ in attempt.messages], "another answer to an attempt"
        rules, here = self.model.queues[poll.queue], self.model.messages[poll.queue]
        timeout_s = rules.visibility_timeout_s if poll.timeout_s is None else poll.timeout_s
        for one in got:
            known = here[one.name]._replace(visible_ms=now_ms + timeout_s * 1000)
            self.model.judge_message(one, known)
            assert one.received_ms == attempt.received_ms, "another handle for the same attempt"
            self.model.journal.put(here, one.name, known)
        self._put_attempt(poll, got, attempt.received_ms)
        return True

    def remember_attempt(self, poll: Poll, got: Sequence[Got], now_ms: int) -> None:
        self._put_attempt(poll, got, now_ms)

    def _put_attempt(self, poll: Poll, got: Sequence[Got], received_ms: int) -> None:
        here = self.model.messages[poll.queue]
        messages = tuple((one.name, one.received, here[one.name].visible_ms) for one in got)
        attempt = Attempt(received_ms, messages, self.life)
        self.model.journal.put(self.attempts[poll.queue], poll.attempt_id, attempt)
