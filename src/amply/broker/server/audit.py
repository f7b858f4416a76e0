"""The audit: one JSON line for everything that was refused, and for every key that was made or revoked.

Bounded whatever strangers do: lines are short, come at a limited rate, and old files are thrown away. Knows files; must
not know what was asked, and is never given a secret, a signature or a body.
"""

import json
import logging
import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

FILE_NAME: Final = "audit.jsonl"
# A file of this size becomes `audit.jsonl.1`, that one `.2`, and so on.
SIZE_BYTES_MAX: Final = 16 * 1024 * 1024
OLD_FILES_MAX: Final = 3
# Of each kind, so that strangers cannot keep a key's denials out of the file: at once, and from then on.
BURST: Final = 100
LINES_PER_S: Final = 1.0
TEXT_LENGTH_MAX: Final = 300

_log = logging.getLogger(__name__)


class Audit:
    """Writes lines to `path`, and counts those that it has to leave out. `now_ms` is the wall clock.

    A disk that is full or a file that is not ours stops nothing: it is logged, once, and the lines are counted.
    """

    def __init__(self, path: Path, *, now_ms: Callable[[], int]) -> None:
        self.path = path
        self._now_ms = now_ms
        self._buckets: dict[str, _Bucket] = {}
        self._is_failing = False

    def write(self, event: str, **members: str | None) -> None:
        """Write a line of this kind, unless too many of them came lately. Texts are cut, and what is None left out."""
        now_ms = self._now_ms()
        bucket = self._buckets.setdefault(event, _Bucket(now_ms))
        if not bucket.take(now_ms):
            return
        try:
            self._make_room()
            append(self.path, event, now_ms, suppressed=bucket.suppressed, **members)
        except OSError as error:
            bucket.suppressed += 1
            if not self._is_failing:
                _log.error("%s cannot be written, so refusals are not recorded: %s", self.path, error.strerror)
            self._is_failing = True
        else:
            bucket.suppressed = 0
            self._is_failing = False

    def close(self) -> None:
        """Tell how many lines were left out and not yet told of."""
        for event, bucket in self._buckets.items():
            if bucket.suppressed:
                bucket.refill()
                self.write(event, reason="the broker stops; the lines before this one were left out")

    def _make_room(self) -> None:
        try:
            if self.path.stat(follow_symlinks=False).st_size < SIZE_BYTES_MAX:
                return
        except FileNotFoundError:
            return
        for number in range(OLD_FILES_MAX, 0, -1):
            older = self.path.with_name(f"{self.path.name}.{number}")
            newer = self.path.with_name(f"{self.path.name}.{number - 1}") if number > 1 else self.path
            if newer.exists():
                newer.replace(older)


class _Bucket:
    """How many lines of a kind may be written now, and how many were not."""

    __slots__ = ("_filled_ms", "_tokens", "suppressed")

    def __init__(self, now_ms: int) -> None:
        self._tokens = float(BURST)
        self._filled_ms = now_ms
        self.suppressed = 0

    def take(self, now_ms: int) -> bool:
        # The wall clock may step back; that fills nothing and takes nothing.
        elapsed_s = max(0, now_ms - self._filled_ms) / 1000
        self._tokens = min(BURST, self._tokens + elapsed_s * LINES_PER_S)
        self._filled_ms = now_ms
        if self._tokens < 1:
            self.suppressed += 1
            return False
        self._tokens -= 1
        return True

    def refill(self) -> None:
        self._tokens = 1.0


def append(path: Path, event: str, now_ms: int, *, suppressed: int = 0, **members: str | None) -> None:
    """Write one line, in one piece and whatever its rate; the file is made, for its owner alone, if it is missing.

    ASCII only, so that what a client sent can neither begin a line nor steer a terminal. Raises OSError.
    """
    time = datetime.fromtimestamp(now_ms / 1000, UTC).isoformat(timespec="milliseconds")
    line: dict[str, object] = {"time": time, "event": event}
    line.update({name: text[:TEXT_LENGTH_MAX] for name, text in members.items() if text is not None})
    if suppressed:
        line["suppressed"] = suppressed
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
    descriptor = os.open(path, flags, 0o600)
    try:
        encoded = json.dumps(line).encode() + b"\n"
        written = os.write(descriptor, encoded)
        if written < len(encoded):
            # The disk has just become full. An empty line's end keeps the next line whole, if there is room for it.
            os.write(descriptor, b"\n")
    finally:
        os.close(descriptor)
