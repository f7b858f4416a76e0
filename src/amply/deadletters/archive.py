"""Letters in a file: JSON lines, one letter each, that can be looked into, kept, and put back.

Knows the file's format. Must not know queues, or why letters are written.
"""

import fcntl
import json
import os
from base64 import b64decode
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from threading import Lock
from typing import Annotated, Any, Literal, Self

import msgspec
from msgspec import Meta, Struct

from amply.deadletters.deaths import Found
from amply.deadletters.gateway import RefusedError
from amply.deadletters.letters import Letter
from amply.deadletters.lines import Lines, open_private, sync_folder, unusable
from amply.errors import AmplyError

# A message is 1 MiB at most; in JSON each of its bytes takes up to six.
LINE_BYTES_MAX = 16 << 20

_Ms = Annotated[int, Meta(ge=0, le=2**53)]
_Id = Annotated[str, Meta(min_length=1, max_length=256)]


class Attribute(Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """A message attribute as in AWS JSON: a BinaryValue is base64."""

    DataType: Annotated[str, Meta(pattern=r"^(String|Number|Binary)(\.|$)", max_length=256)]
    StringValue: str | None = None
    BinaryValue: str | None = None


class Archived(Struct, frozen=True, kw_only=True):
    """A line: a letter as it lay in `queue`; `task`, `id` and `death` are for readers. Times are epoch milliseconds."""

    version: Literal[1] = 1
    queue: Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-]{1,80}(\.fifo)?$")]
    message_id: _Id
    body: str
    attributes: dict[str, Attribute] = {}
    sent_ms: _Ms = 0
    receive_count: _Ms = 0
    first_received_ms: _Ms | None = None
    source: str | None = None
    group_id: str | None = None
    deduplication_id: str | None = None
    trace_header: str | None = None
    task: str | None = None
    id: str | None = None
    death: dict[str, Any] | None = None

    def letter(self) -> Letter:
        """The letter, without a handle."""
        return Letter(
            message_id=self.message_id,
            body=self.body,
            handle="",
            attributes=msgspec.to_builtins(self.attributes),
            sent_ms=self.sent_ms,
            receive_count=self.receive_count,
            first_received_ms=self.first_received_ms,
            source=self.source,
            group_id=self.group_id,
            deduplication_id=self.deduplication_id,
            trace_header=self.trace_header,
        )


_decoder = msgspec.json.Decoder(Archived)
# How every line of ours begins: a part of one that a kill left is told from another file's text by it.
_BEGINNING = b'{"version":1,"queue":"'


def line(queue_name: str, one: Found) -> bytes:
    """The line of a letter, with its end. In ASCII where the letter holds what is no character."""
    letter, told = one.letter, {name: value for name, value in msgspec.to_builtins(one.death).items() if value}
    archived = Archived(
        queue=queue_name,
        message_id=letter.message_id,
        body=letter.body,
        attributes={name: _attribute(value) for name, value in letter.attributes.items()},
        sent_ms=letter.sent_ms,
        receive_count=letter.receive_count,
        first_received_ms=letter.first_received_ms,
        source=letter.source,
        group_id=letter.group_id,
        deduplication_id=letter.deduplication_id,
        trace_header=letter.trace_header,
        task=one.job.task,
        id=one.job.id,
        death=told,
    )
    try:
        return msgspec.json.encode(archived) + b"\n"
    except UnicodeEncodeError:
        return json.dumps(msgspec.to_builtins(archived), separators=(",", ":")).encode() + b"\n"


def _attribute(value: dict[str, str]) -> Attribute:
    return Attribute(value["DataType"], value.get("StringValue"), value.get("BinaryValue"))


def export(path: Path, queue_name: str, pages: Iterable[Sequence[Found]]) -> int:
    """Write letters to a new file that only this user can read; how many. It is there when it is whole, or not at all.

    RefusedError if there is something at `path` already.
    """
    if path.exists() or path.is_symlink():
        raise RefusedError(f"{path} is there already", hint="Name another file, or move that one away.")
    new = path.with_name(f".{path.name}.{os.getpid()}")
    count = 0
    try:
        with os.fdopen(open_private(new), "wb") as file:
            file.truncate()
            for page in pages:
                file.writelines(line(queue_name, one) for one in page)
                count += len(page)
            file.flush()
            os.fsync(file.fileno())
        new.rename(path)
        sync_folder(path.parent)
    except OSError as error:
        raise unusable(path, error) from error
    finally:
        new.unlink(missing_ok=True)
    return count


def read(path: Path) -> Iterator[tuple[int, Archived]]:
    """The lines of a file with their numbers, from 1; empty ones are left out.

    AmplyError with the file's name and the line's number for whatever is no letter.
    """
    try:
        with path.open("rb") as file:
            number = 0
            while data := file.readline(LINE_BYTES_MAX + 1):
                number += 1
                if len(data) > LINE_BYTES_MAX:
                    raise _bad(path, number, f"it is longer than {LINE_BYTES_MAX} bytes")
                if data.strip():
                    yield number, _archived(path, number, data)
    except OSError as error:
        raise AmplyError(f"{path} cannot be read: {error.strerror or error}") from error


def _archived(path: Path, number: int, data: bytes) -> Archived:
    try:
        archived = _decoder.decode(data)
    except msgspec.ValidationError as error:
        raise _bad(path, number, str(error)) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        archived = _leniently(path, number, data)
    for name, attribute in archived.attributes.items():
        is_binary = attribute.DataType.startswith("Binary")
        value, other = attribute.StringValue, attribute.BinaryValue
        if is_binary:
            value, other = other, value
        if value is None or other is not None or (is_binary and not _is_base64(value)):
            raise _bad(path, number, f"the attribute {name!r} does not hold what its DataType says")
    return archived


def _leniently(path: Path, number: int, data: bytes) -> Archived:
    """With what is no character, as Python's own JSON reads and writes it."""
    try:
        return msgspec.convert(json.loads(data), Archived)
    except RecursionError:
        raise _bad(path, number, "it is nested too deep") from None
    except ValueError as error:
        raise _bad(path, number, f"it is not JSON: {error}") from error


def _is_base64(text: str) -> bool:
    try:
        b64decode(text, validate=True)
    except ValueError:
        return False
    return True


def _bad(path: Path, number: int, why: str) -> AmplyError:
    told = why.encode("ascii", "backslashreplace").decode()
    return AmplyError(
        f"{path}, line {number}: {told}",
        hint="Each line is a letter as `amply dlq export` and `amply dlq rm` write it.",
    )


class Archive:
    """A file that letters are added to before they are deleted, each once. For a `with` block, and any threads in it.

    An archive that is there already is added to. AmplyError if the file is something else, RefusedError while another
    process adds to it.
    """

    def __init__(self, path: Path, queue_name: str) -> None:
        self.path = path
        self._queue_name = queue_name
        self._guard = Lock()
        self._ids: set[str] = set()

    def __enter__(self) -> Self:
        self._lines = Lines(self.path)
        try:
            self._own()
            for number, data in enumerate(self._lines.read(), 1):
                if data.strip():
                    self._ids.add(_archived(self.path, number, data).message_id)
            self._mend()
            sync_folder(self.path.parent)
        except BaseException:
            self._lines.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if not self._lines.size_bytes:
            self.path.unlink(missing_ok=True)
        self._lines.close()

    def _own(self) -> None:
        try:
            fcntl.flock(self._lines.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RefusedError(f"another process adds to {self.path}", hint="Wait for it, or name another.") from None

    def _mend(self) -> None:
        """A last line without its end: a whole one gets it, a part of one goes (its letter was not deleted)."""
        tail = self._lines.tail
        if not tail:
            return
        if not tail.startswith(_BEGINNING[: len(tail)]):
            raise AmplyError(f"{self.path} is no archive of letters", hint="Name another file.")
        try:
            archived = _archived(self.path, 0, tail)
        except AmplyError:
            self._lines.cut()
        else:
            self._lines.cut()
            self._lines.append(tail + b"\n")
            self._ids.add(archived.message_id)

    def add(self, letters: Sequence[Found]) -> None:
        """Add those that are not in it yet. On the disk when it returns."""
        with self._guard:
            new = [one for one in letters if one.letter.message_id not in self._ids]
            self._lines.append(b"".join(line(self._queue_name, one) for one in new))
            self._lines.sync()
            self._ids.update(one.letter.message_id for one in new)
