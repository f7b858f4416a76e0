"""What a FIFO queue took in during the last five minutes (SQS developer guide, exactly-once processing)."""

from collections import deque
from hashlib import blake2b
from struct import Struct as Layout
from typing import TYPE_CHECKING

from amply.broker.engine.commands import Sent
from amply.broker.sqs.faults import REQUEST_THROTTLED, Fault

if TYPE_CHECKING:
    from collections.abc import Iterable

    from amply.broker.engine.records import Content, Deduplicated

# What one queue may remember: 3 333 messages a second, more than AWS's quota for a queue without high throughput.
KEYS_MAX = 1_000_000
_SLICE_MS = 10_000
_NUMBERS = Layout(">QQ")  # seq, sent_ms; the message id comes after them


def deduplication_key(content: "Content", scope: str) -> bytes:
    """What two messages share that are the same one: their id, and with scope `messageGroup` their group too."""
    parts = [content.deduplication_id or ""]
    if scope == "messageGroup":
        parts.append(content.group_id or "")  # neither can hold a space
    return blake2b(" ".join(parts).encode(), digest_size=16).digest()


class Deduplication:
    """Keys and what they stand for, forgotten `window_s` after they were first seen, some seconds at a time."""

    __slots__ = ("_slices", "_window_ms")

    def __init__(self, window_s: int) -> None:
        self._window_ms = window_s * 1000
        self._slices: deque[tuple[int, dict[bytes, bytes]]] = deque()  # by when they began

    def __len__(self) -> int:
        return sum(len(keys) for _, keys in self._slices)

    def check_takes(self, count: int, now_ms: int) -> None:
        """Fault RequestThrottled if so many new keys would be more than may be remembered."""
        self.forget(now_ms)
        if len(self) + count > KEYS_MAX:
            raise Fault(
                REQUEST_THROTTLED,
                f"The queue got {KEYS_MAX} messages within the deduplication window, and remembers no more. "
                "Send more slowly.",
            )

    def find(self, key: bytes, now_ms: int) -> Sent | None:
        """What was sent first under this key, None if nothing was in the window."""
        for _, keys in self._slices:
            if (found := keys.get(key)) is not None:
                seq, sent_ms = _NUMBERS.unpack_from(found)
                if now_ms < sent_ms + self._window_ms:
                    return Sent(found[_NUMBERS.size :].decode(), seq)
        return None

    def remember(self, key: bytes, sent: Sent, sent_ms: int) -> None:
        """The key stands for this message from now on."""
        if not self._slices or sent_ms >= self._slices[-1][0] + _SLICE_MS:
            self._slices.append((sent_ms, {}))
        # One object for three: there may be millions.
        self._slices[-1][1][key] = _NUMBERS.pack(sent.seq, sent_ms) + sent.message_id.encode()

    def restore(self, remembered: "Iterable[Deduplicated]") -> None:
        """Take up what was kept, oldest first."""
        for one in remembered:
            self.remember(one.key, Sent(one.message_id, one.seq), one.sent_ms)

    def forget(self, now_ms: int) -> None:
        """Drop what no longer matters."""
        while self._slices and self._slices[0][0] + _SLICE_MS + self._window_ms <= now_ms:
            self._slices.popleft()
