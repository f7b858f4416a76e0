"""Letters from a file back into a queue, each line once, however often the import is killed or repeated.

A journal for each file and queue says which lines were begun and which were sent. Knows lines and sends; must not know
how letters are read, or why they are wanted.
"""

from collections.abc import Iterator
from hashlib import blake2b
from pathlib import Path
from threading import Event
from types import TracebackType
from typing import Self

import msgspec
from msgspec import Struct, field, structs

from amply.clock import Clock
from amply.deadletters.archive import Archived, read
from amply.deadletters.gateway import BATCH_COUNT_MAX, Gateway, Message, Queue
from amply.deadletters.letters import SOURCE
from amply.deadletters.lines import Lines, Lock, unusable
from amply.deadletters.moving import NAMED_MAX, Progress, store_each
from amply.deadletters.redriving import ATTRIBUTES_MAX, redriven, refusal
from amply.errors import AmplyError


class Imported(Struct):
    """What came of an import. Lines are numbered from 1.

    - `sent`: letters sent now; `already`: lines that an earlier import of this file had sent
    - `refused`: line to the reason; these are tried again when the import is repeated, as are `unsure` ones
    - `doubtful`: lines that may be in the queue twice, because no answer told whether they were
    - `journal`: the file that remembers the import; without it all lines would be sent again
    """

    journal: str
    sent: int = 0
    already: int = 0
    refused: dict[int, str] = field(default_factory=dict)
    unsure: list[int] = field(default_factory=list)
    doubtful: list[int] = field(default_factory=list)
    is_cancelled: bool = False


class _Line(Struct, omit_defaults=True):
    begun: list[int] = []
    sent: list[int] = []
    refused: list[int] = []
    # Only in the first line of a file that was written anew.
    until: int = 0
    doubtful: list[int] = []


_decoder = msgspec.json.Decoder(_Line)


class _ImportJournal:
    """Which lines were begun, sent, refused. Lines are begun in order: what comes after the last one is not begun."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.until = 0
        self.open: set[int] = set()
        self.refused: set[int] = set()
        self.doubtful: set[int] = set()

    def __enter__(self) -> Self:
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise unusable(self.path.parent, error) from error
        self._lock = Lock(self.path.with_suffix(".lock"), "this import")
        try:
            self._lines = Lines(self.path)
            for number, line in enumerate(self._lines.read(), 1):
                try:
                    self._apply(_decoder.decode(line))
                except msgspec.DecodeError as error:
                    raise AmplyError(f"the journal {self.path} is damaged in line {number}: {error}") from error
            self._lines.cut()
        except BaseException:
            self._lock.release()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self._write_anew()
        finally:
            self._lines.close()
            self._lock.release()

    def is_due(self, number: int) -> bool:
        """Whether a line is still to be sent."""
        return number > self.until or number in self.open or number in self.refused

    def begin(self, numbers: list[int]) -> None:
        """On the disk when it returns."""
        self._note(_Line(begun=numbers))
        self._lines.sync()

    def settle(self, sent: list[int], refused: list[int]) -> None:
        """What SQS said of lines that were begun."""
        self._note(_Line(sent=sent, refused=refused))

    def _note(self, line: _Line) -> None:
        self._append(msgspec.json.encode(line) + b"\n")
        self._apply(line)

    def _append(self, encoded: bytes) -> None:
        self._lines.append(encoded)

    def _apply(self, line: _Line) -> None:
        self.until = max(self.until, line.until)
        self.doubtful.update(line.doubtful)
        self.doubtful.update(self.open.intersection(line.begun))
        self.open.update(line.begun)
        self.refused.difference_update(line.begun)
        self.until = max([self.until, *line.begun])
        self.open.difference_update(line.sent, line.refused)
        self.refused.update(line.refused)

    def _write_anew(self) -> None:
        """As short as it can be. What is doubtful was told, but for what is still open."""
        line = _Line(begun=sorted(self.open), refused=sorted(self.refused), until=self.until)
        new = self.path.with_suffix(".new")
        new.unlink(missing_ok=True)
        lines = Lines(new)
        try:
            lines.append(msgspec.json.encode(line) + b"\n")
            lines.sync()
            lines.rename(self.path)
        finally:
            lines.close()


def import_letters(
    gateway: Gateway,
    path: Path,
    queue: Queue,
    folder: Path,
    *,
    clock: Clock,
    is_redrive: bool = False,
    progress: Progress | None = None,
    cancel: Event | None = None,
) -> Imported:
    """Send the letters of a file to a queue: as they were, into a dead letter queue; or to work, if `is_redrive`.

    Into a dead letter queue they say where they came from, so that a redrive knows. The journal is in `folder`. Nothing
    is sent if any line is no letter, or one that SQS would not take (AmplyError with the line's number).
    """
    total, digest = _checked(path)
    journal_path = folder / "imports" / f"{digest[:16]}-{queue.name}.jsonl"
    cancel = cancel or Event()
    outcome = Imported(str(journal_path))
    started_ms = clock.now_ms()
    with _ImportJournal(journal_path) as journal:
        outcome.already = sum(not journal.is_due(number) for number, _ in read(path))
        # A second time for what got no answer.
        for again in (False, True):
            if again and not journal.open:
                break
            due = (one for one in read(path) if (one[0] in journal.open if again else journal.is_due(one[0])))
            for chunk in _chunks(due):
                if cancel.is_set():
                    break
                messages = [
                    _message(one, queue, clock.now_ms(), f"{digest[:32]}-{number}", is_redrive=is_redrive)
                    for number, one in chunk
                ]
                _send(gateway, queue, journal, [number for number, _ in chunk], messages, outcome=outcome)
                if progress is not None:
                    done = outcome.sent + len(outcome.refused)
                    elapsed_ms = max(1, clock.now_ms() - started_ms)
                    progress(outcome.already + done, total, done * 1000 / elapsed_ms)
        outcome.unsure = sorted(journal.open)[:NAMED_MAX]
        outcome.doubtful = sorted(journal.doubtful)[:NAMED_MAX]
        outcome.is_cancelled = cancel.is_set()
    return outcome


def _send(
    gateway: Gateway,
    queue: Queue,
    journal: _ImportJournal,
    numbers: list[int],
    messages: list[Message],
    *,
    outcome: Imported,
) -> None:
    journal.begin(numbers)
    answers = store_each(lambda some: gateway.send(queue, some), messages)
    sent, refused = [], []
    for number, answer in zip(numbers, answers, strict=True):
        if answer.message_id is not None:
            sent.append(number)
        elif not answer.is_unknown:
            refused.append(number)
            if len(outcome.refused) < NAMED_MAX:
                outcome.refused[number] = answer.error or "SQS did not say why"
    journal.settle(sent, refused)
    outcome.sent += len(sent)


def _checked(path: Path) -> tuple[int, str]:
    """How many letters a file has, all of them well, and what tells its content from any other's."""
    count, digest = 0, blake2b(digest_size=32)
    for number, one in read(path):
        count += 1
        digest.update(msgspec.json.encode((number, one.message_id, one.body.encode("utf-8", "surrogatepass"))))
        why = refusal(one.body)
        if why is not None:
            raise AmplyError(f"{path}, line {number}: SQS does not take the body: {why}")
        if len(one.attributes) > ATTRIBUTES_MAX:
            raise AmplyError(f"{path}, line {number}: SQS takes {ATTRIBUTES_MAX} attributes at most")
    return count, digest.hexdigest()


def _chunks(due: Iterator[tuple[int, Archived]]) -> Iterator[list[tuple[int, Archived]]]:
    chunk: list[tuple[int, Archived]] = []
    for one in due:
        chunk.append(one)
        if len(chunk) == BATCH_COUNT_MAX:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


def _message(one: Archived, queue: Queue, now_ms: int, deduplication_id: str, *, is_redrive: bool) -> Message:
    letter = one.letter()
    if is_redrive:
        message = redriven(letter, one.queue, now_ms, is_fifo=queue.is_fifo)
    else:
        attributes = dict(letter.attributes)
        if one.source and (SOURCE in attributes or len(attributes) < ATTRIBUTES_MAX):
            attributes[SOURCE] = {"DataType": "String", "StringValue": one.source}
        group_id = letter.group_id or (one.message_id[:128] if queue.is_fifo else None)
        message = Message(body=letter.body, attributes=attributes, group_id=group_id, trace_header=letter.trace_header)
    return structs.replace(message, deduplication_id=deduplication_id if queue.is_fifo else None)
