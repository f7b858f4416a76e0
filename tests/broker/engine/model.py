"""What a standard queue promises, in the plainest words: the engine is compared with this after every step.

A list of messages and their moments, nothing indexed, nothing on disk. Where SQS leaves a choice (which of the visible
messages a receive gets) the model only judges what the engine chose.
"""

from dataclasses import dataclass, replace

DELAY_STEP_MS = 100


@dataclass(frozen=True)
class Known:
    """A message as its senders and receivers know it."""

    queue: str
    sent_ms: int
    visible_ms: int
    received: int = 0


@dataclass(frozen=True)
class Rules:
    """How a queue is declared."""

    visibility_timeout_s: int = 30
    retention_s: int = 345_600
    delay_s: int = 0
    max_receive_count: int | None = None
    dead_letters: str | None = None


class Model:
    """All messages by their id. `rules` by queue name."""

    def __init__(self, rules: dict[str, Rules], messages: dict[str, Known] | None = None) -> None:
        self.rules = rules
        self.messages = messages or {}

    def copy(self) -> "Model":
        return Model(self.rules, dict(self.messages))

    # What may be asked of it

    def is_expired(self, known: Known, now_ms: int) -> bool:
        return known.sent_ms + self.rules[known.queue].retention_s * 1000 <= now_ms

    def visible(self, queue: str, now_ms: int) -> list[str]:
        return [
            name
            for name, known in self.messages.items()
            if known.queue == queue and known.visible_ms <= now_ms and not self.is_expired(known, now_ms)
        ]

    def counts(self, queue: str, now_ms: int) -> tuple[int, int, int]:
        """Visible, in flight, delayed; messages past their retention count until they are removed."""
        here = [known for known in self.messages.values() if known.queue == queue]
        later = [known for known in here if known.visible_ms > now_ms]
        in_flight = sum(known.received > 0 for known in later)
        return len(here) - len(later), in_flight, len(later) - in_flight

    # What happens

    def send(self, name: str, queue: str, now_ms: int, delay_s: int | None) -> None:
        delay_s = self.rules[queue].delay_s if delay_s is None else delay_s
        visible_ms = now_ms + delay_s * 1000
        if delay_s:
            visible_ms = -(-visible_ms // DELAY_STEP_MS) * DELAY_STEP_MS
        self.messages[name] = Known(queue, now_ms, visible_ms)

    def received(self, name: str, queue: str, now_ms: int, timeout_s: int | None, count: int) -> None:
        known = self.messages[name]
        assert known.queue == queue, "delivered from another queue"
        assert known.visible_ms <= now_ms, "delivered while hidden"
        assert not self.is_expired(known, now_ms), "delivered after its retention"
        limit = self.rules[queue].max_receive_count
        assert limit is None or known.received < limit, "delivered too often"
        assert count == known.received + 1, "wrong receive count"
        timeout_s = self.rules[queue].visibility_timeout_s if timeout_s is None else timeout_s
        self.messages[name] = replace(known, visible_ms=now_ms + timeout_s * 1000, received=count)

    def answered_empty(self, queue: str, now_ms: int) -> None:
        assert not self.visible(queue, now_ms), "answered empty although messages were visible"

    def moved(self, name: str, queue: str, now_ms: int) -> None:
        known = self.messages[name]
        rules = self.rules[known.queue]
        assert queue == rules.dead_letters, "moved to the wrong queue"
        assert known.visible_ms <= now_ms, "moved while hidden"
        assert rules.max_receive_count is not None
        assert known.received >= rules.max_receive_count, "moved too early"
        self.messages[name] = replace(known, queue=queue, visible_ms=now_ms)

    def given_back(self, name: str, now_ms: int) -> None:
        known = self.messages[name]
        self.messages[name] = replace(known, visible_ms=now_ms, received=known.received - 1)

    def changed(self, name: str, queue: str, now_ms: int, timeout_s: int) -> bool:
        known = self.messages.get(name)
        if known is None or known.queue != queue:
            return False
        self.messages[name] = replace(known, visible_ms=now_ms + timeout_s * 1000)
        return True

    def deleted(self, name: str, queue: str) -> None:
        known = self.messages.get(name)
        if known is not None and known.queue == queue:
            del self.messages[name]

    def expired(self, name: str, now_ms: int) -> None:
        assert self.is_expired(self.messages[name], now_ms), "removed before its retention"
        del self.messages[name]

    def purged(self, queue: str) -> None:
        self.messages = {name: known for name, known in self.messages.items() if known.queue != queue}
