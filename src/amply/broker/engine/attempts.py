"""Receives with a ReceiveRequestAttemptId: a client whose answer was lost gets the same messages again.

Source: AWS API reference, ReceiveMessage.
"""

from collections import OrderedDict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from amply.broker.engine.in_flight import InFlight
    from amply.broker.engine.records import Attempt, Attempted

ATTEMPTS_MAX = 10_000


class Attempts:
    """The attempts of the last `window_s`, at most `ATTEMPTS_MAX` of them: the oldest are forgotten first."""

    __slots__ = ("_attempts", "_window_ms")

    def __init__(self, window_s: int) -> None:
        self._window_ms = window_s * 1000
        self._attempts: OrderedDict[str, Attempt] = OrderedDict()

    def __len__(self) -> int:
        return len(self._attempts)

    def valid(self, attempt_id: str, in_flight: "InFlight", now_ms: int) -> "Attempt | None":
        """What the attempt got, as long as none of it was deleted, changed or visible again since."""
        attempt = self._attempts.get(attempt_id)
        if attempt is None or now_ms >= attempt.received_ms + self._window_ms:
            return None
        for seq, receive_count, visible_ms in attempt.deliveries:
            entry = in_flight.get(seq)
            if entry is None or entry.receive_count != receive_count or entry.visible_ms != visible_ms:
                return None
        return attempt

    def put(self, attempt_id: str, attempt: "Attempt") -> None:
        """Remember what an attempt got."""
        self._attempts[attempt_id] = attempt
        if len(self._attempts) > ATTEMPTS_MAX:
            self._attempts.popitem(last=False)

    def drop(self, attempt_id: str) -> None:
        """The next receive with this id is a new one."""
        del self._attempts[attempt_id]

    def restore(self, attempts: "Iterable[Attempted]") -> None:
        """Take up what was kept, oldest first."""
        for attempted in attempts:
            self.put(attempted.attempt_id, attempted.attempt)

    def forget(self, now_ms: int) -> None:
        """Drop those whose time is up."""
        attempts = self._attempts
        while attempts and next(iter(attempts.values())).received_ms + self._window_ms <= now_ms:
            attempts.popitem(last=False)
