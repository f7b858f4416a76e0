"""What a tool has begun with letters and not ended, in a file, so that a kill at any moment loses and hides nothing.

Before a letter is taken its handle is written, before it is sent its id (on the disk before the send), after that that
it was sent, and after its delete that it is done. Knows letters by id and handle; must not know how they are sent.
"""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from threading import Lock as ThreadLock
from types import TracebackType
from typing import Literal, Self

import msgspec
from msgspec import Struct

from amply.deadletters.lines import Lines, Lock, sync_folder, unusable
from amply.deadletters.matching import Match
from amply.errors import AmplyError

COMPACT_BYTES = 8 << 20

Stage = Literal["taken", "begun", "sent"]


class Asked(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a run was asked to do.

    - `to`: the name of the queue to send to; None: each letter where it came from
    - `rate`: messages a second at most
    - `body`: the new body of an edited letter
    - `archive`: the absolute path of the file that removed letters go to
    """

    verb: Literal["redrive", "edit", "rm"]
    match: Match
    started_ms: int
    to: str | None = None
    rate: float | None = None
    body: str | None = None
    archive: str | None = None


class Entry(Struct):
    """A letter that something was begun with: its handle, the job in it, and how far it got."""

    handle: str
    stage: Stage
    job_id: str | None = None


class _Line(Struct, omit_defaults=True):
    """A line of the file. What it says of letters is done in the order of these members."""

    asked: Asked | None = None
    taken: list[tuple[str, str]] = []
    begun: list[tuple[str, str | None]] = []
    sent: list[tuple[str, str | None]] = []
    doubtful: list[tuple[str, str | None]] = []
    left: list[str] = []
    done: list[str] = []


_decoder = msgspec.json.Decoder(_Line)


def interrupted(folder: Path, queue_name: str) -> Asked | None:
    """What a run was asked that did not end; None if there is none. RefusedError while one runs."""
    path = _path(folder, queue_name)
    if not path.exists():
        return None
    lock = Lock(path.with_suffix(".lock"), f"queue {queue_name}", is_shared=True)
    try:
        lines = Lines(path)
        first = next(lines.read(), b"{}")
        lines.close()
    finally:
        lock.release()
    return _read(path, 1, first).asked


def _read(path: Path, number: int, line: bytes) -> _Line:
    try:
        return _decoder.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise _damaged(path, number, error) from error


def _damaged(path: Path, number: int, error: Exception) -> AmplyError:
    return AmplyError(
        f"the journal {path} is damaged in line {number}: {error}",
        hint="It names letters that may be sent already. Look into it, then move it away.",
    )


def _path(folder: Path, queue_name: str) -> Path:
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,80}(\.fifo)?", queue_name):
        raise AmplyError(f"no queue of SQS is called {queue_name!r}")
    return folder / "redrives" / f"{queue_name}.jsonl"


class Journal:
    """The journal of one queue: `<folder>/redrives/<queue>.jsonl`. For a `with` block, and any number of threads.

    While the block runs no other process can have it (RefusedError with its pid). Say inside the block what came of a
    run: when the block ends after `end`, all that is forgotten but for letters that are sent and still to be deleted.

    - `asked`: what the run was asked that did not end, or the running one; None when there is none
    - `entries`: the letters it has not done with, by message id
    - `doubtful`: message id to job id of letters that may have been sent twice
    """

    def __init__(self, folder: Path, queue_name: str) -> None:
        self._path = _path(folder, queue_name)
        self._queue_name = queue_name
        self._guard = ThreadLock()
        self._is_ended = False
        self._compacted_bytes = 0
        self.asked: Asked | None = None
        self.entries: dict[str, Entry] = {}
        self.doubtful: dict[str, str | None] = {}

    def __enter__(self) -> Self:
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise unusable(self._path.parent, error) from error
        self._lock = Lock(self._path.with_suffix(".lock"), f"queue {self._queue_name}")
        try:
            self._lines = Lines(self._path)
            for number, line in enumerate(self._lines.read(), 1):
                self._replay(line, number)
            self._lines.cut()
        except BaseException:
            self._lock.release()
            raise
        return self

    def _replay(self, line: bytes, number: int) -> None:
        try:
            self._apply(_read(self._path, number, line))
        except KeyError as error:
            raise _damaged(self._path, number, error) from error

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            is_told = kind is None or not (self.entries or self.doubtful)
            if self.asked is None or (self._is_ended and is_told):
                self._forget()
        finally:
            self._lines.close()
            self._lock.release()

    def _forget(self) -> None:
        self.doubtful.clear()
        self.entries = self.of("sent")
        if self.entries:
            self._write_anew()
            return
        self.asked = None
        self._path.unlink(missing_ok=True)
        sync_folder(self._path.parent)

    def of(self, *stages: Stage) -> dict[str, Entry]:
        """The letters that got so far."""
        with self._guard:
            return {message_id: entry for message_id, entry in self.entries.items() if entry.stage in stages}

    def start(self, asked: Asked) -> None:
        """Begin a run. What is there of another one stays."""
        with self._guard:
            self.asked = asked
            self._is_ended = False
            self._write_anew()

    def take(self, letters: Iterable[tuple[str, str]]) -> None:
        """These (message id, handle) are about to be taken."""
        self._note(_Line(taken=list(letters)))

    def begin(self, letters: Iterable[tuple[str, str | None]]) -> None:
        """These (message id, job id) are about to be sent. On the disk when it returns.

        Those that were begun before, and of which nobody knows whether they were sent, become doubtful.
        """
        self._note(_Line(begun=list(letters)), durable=True)

    def send(self, letters: Iterable[tuple[str, str | None]]) -> None:
        """These are sent: message id, and the id that they have now."""
        self._note(_Line(sent=list(letters)))

    def leave(self, message_ids: Sequence[str], *, doubtful: Sequence[tuple[str, str | None]] = ()) -> None:
        """These stay where they are; those that may have been sent all the same are `doubtful`."""
        if message_ids or doubtful:
            self._note(_Line(left=list(message_ids), doubtful=list(doubtful)))

    def finish(self, message_ids: Sequence[str]) -> None:
        """These are deleted."""
        if message_ids:
            self._note(_Line(done=list(message_ids)))

    def end(self) -> None:
        """The run came to its end."""
        self._is_ended = True

    def _note(self, line: _Line, *, durable: bool = False) -> None:
        encoded = msgspec.json.encode(line) + b"\n"
        with self._guard:
            # Written first: what is not in the file must not be taken for granted.
            self._append(encoded, durable=durable)
            self._apply(line)
            if self._lines.size_bytes > COMPACT_BYTES + 2 * self._compacted_bytes:
                self._write_anew()

    def _append(self, encoded: bytes, *, durable: bool) -> None:
        self._lines.append(encoded)
        if durable:
            self._lines.sync()

    def _apply(self, line: _Line) -> None:
        if line.asked is not None:
            self.asked = line.asked
        for message_id, handle in line.taken:
            self.entries[message_id] = Entry(handle, "taken")
        for message_id, job_id in line.begun:
            entry = self.entries[message_id]
            if entry.stage == "begun":
                self.doubtful[message_id] = job_id
            entry.stage, entry.job_id = "begun", job_id
        for message_id, _ in line.sent:
            self.entries[message_id].stage = "sent"
        self.doubtful.update(line.doubtful)
        for message_id in (*line.left, *line.done):
            self.entries.pop(message_id, None)

    def _write_anew(self) -> None:
        """A new file with only what still matters takes the old one's place."""
        entries = self.entries
        line = _Line(
            asked=self.asked,
            taken=[(message_id, entry.handle) for message_id, entry in entries.items()],
            begun=[(message_id, entry.job_id) for message_id, entry in entries.items() if entry.stage != "taken"],
            sent=[(message_id, None) for message_id, entry in entries.items() if entry.stage == "sent"],
            doubtful=list(self.doubtful.items()),
        )
        new = self._path.with_suffix(".new")
        new.unlink(missing_ok=True)
        lines = Lines(new)
        try:
            lines.append(msgspec.json.encode(line) + b"\n")
            lines.sync()
            lines.rename(self._path)
        except BaseException:
            lines.close()
            raise
        self._lines.close()
        self._lines = lines
        self._compacted_bytes = lines.size_bytes
