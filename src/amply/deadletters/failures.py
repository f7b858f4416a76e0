"""What is known of failed deliveries: a file of the workers' records, by message and by job.

A traceback is kept once for each kind of failure, and the oldest records go when there are too many or their dead
letters are gone. Knows records and SQLite; must not know how records arrive, or what a dead letter is.
"""

import json
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import resources
from pathlib import Path
from typing import Annotated, Any

import apsw
from msgspec import Meta, Struct

from amply.deadletters.fingerprints import fingerprint
from amply.errors import AmplyError
from amply.sqlite_file import Layout, open_file

# In the folder for everything that is kept.
FILE_NAME = "failures.sqlite"
# A dead letter lives for 14 days at most (AWS API reference, SetQueueAttributes), from when it was first sent.
KEPT_MS = 15 * 86_400_000
FAILURES_MAX = 1_000_000
KINDS_MAX = 10_000
# A history has so many at most.
TOLD_MAX = 100

# Characters. Records come from a queue that others may write to.
_ID_CHARS = 256
_NAME_CHARS = 256
_MESSAGE_CHARS = 1_000
_TRACEBACK_CHARS = 4_000

_LATER = "the runs after it reported nothing: their workers were killed, or their leases ended"

# How long one process waits for another's writes, each of which takes milliseconds.
_BUSY_TIMEOUT_S = 10
_CACHE_KIB = 32_768
# Records go to places all over the file: the log is folded into it after many of them.
_WAL_PAGES = 8_000
# More than one for each that comes, so that what is over does not pile up; few, so that a write stays short.
_REMOVED_A_RECORD = 4

_KEPT = "What the file says is only why jobs failed: delete it with the -wal and -shm beside it, and it begins anew."

# SQLite's error -> what to say about the file, what to do next.
_MEANINGS: dict[type[apsw.Error], tuple[str, str]] = {
    apsw.BusyError: ("is kept locked by another process", "Look for a program that holds it, and close it."),
    apsw.FullError: ("cannot grow: the disk is full", "Make room, and try again."),
    apsw.IOError: ("was refused a read, a write or a sync", "Look at the disk and the system log."),
    apsw.CorruptError: ("is damaged", _KEPT),
    apsw.NotADBError: ("is not a file of failures", _KEPT),
    apsw.ReadOnlyError: ("cannot be written", "Let your user write to the file and its folder."),
    apsw.CantOpenError: ("cannot be opened", "Let your user read and write the file and its folder."),
}

_Count = Annotated[int, Meta(ge=0, le=2**53)]


class FailuresFault(AmplyError):
    """The file of failures could not be read or written; nothing was changed."""


class Failure(Struct, frozen=True, kw_only=True, tag_field="type", tag="delivery-failed"):
    """A worker's record of one failed delivery; docs/reference/transport.md, "Failure records", has the members.

    `nodename` is the worker as Celery calls it (`celery@host`), and "" if it did not say.
    """

    timestamp_ms: _Count
    hostname: str = ""
    pid: _Count = 0
    nodename: str = ""
    queue: str = ""
    message_id: str = ""
    id: str = ""
    task: str = ""
    attempt: _Count = 0
    receive_count: _Count = 0
    reason: str = ""
    exception: str = ""
    message: str = ""
    traceback: str = ""
    again_in_s: float | None = None


class Cause(Struct, frozen=True):
    """Why a message failed the last time; `worker` and what follows are None or 0 where no worker told of it.

    - `kind`: the failure's fingerprint, 12 hex digits.
    - `worker`: Celery's name of it, or else its machine's, and its process id.
    - `is_last`: whether its worker gave the message up after it; if not, later runs ended without a word.
    - `failures`: how many are known of this message, or if there is none of the job.
    """

    kind: str
    reason: str
    exception: str = ""
    message: str = ""
    worker: str | None = None
    attempt: int | None = None
    receive_count: int | None = None
    at_ms: int | None = None
    is_last: bool = True
    failures: int = 0

    @property
    def text(self) -> str:
        """In one line, if the message is one."""
        what = ": ".join(filter(None, (self.exception, self.message)))
        told = f"{self.reason}: {what}" if what and self.reason != "raised" else what or self.reason
        return told if self.is_last else f"{told} (of run {self.attempt}; {_LATER})"


class Failures:
    """The file, which is made with the first record; until then it is an empty one.

    Safe to share among threads; each process opens its own. Every method raises `FailuresFault`.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._opened: apsw.Connection | None = None

    def add(self, records: Sequence[Failure], now_ms: int) -> None:
        """Keep these; they are on the disk when this returns. One that is known already changes nothing."""
        kept = [_Kept(record, now_ms) for record in records]
        with self._connected(makes=True) as connection:
            if connection is None or not kept:
                return
            connection.execute("BEGIN IMMEDIATE")
            connection.executemany(_SQL["add_failure"], (one.row for one in kept))
            tracebacks = {one.kind: one.traceback for one in reversed(kept)}
            rows = [{"kind": kind, "now_ms": now_ms, "traceback": told} for kind, told in tracebacks.items()]
            connection.executemany(_SQL["add_kind"], rows)
            over = {"before_ms": now_ms - KEPT_MS, "most": _REMOVED_A_RECORD * len(kept)}
            connection.execute(_SQL["remove_old_failures"], over)
            connection.execute(_SQL["remove_failures_above"], {"kept": FAILURES_MAX})
            connection.execute(_SQL["remove_old_kinds"], over)
            connection.execute(_SQL["remove_kinds_above"], {"kept": KINDS_MAX})
            connection.execute("COMMIT")

    def causes(self, keys: Sequence[tuple[str, str | None]]) -> list[Cause | None]:
        """For each message id and job id: the message's last failure, else the job's, else None. In their order."""
        with self._connected() as connection:
            if connection is None:
                return [None] * len(keys)
            messages = [f"m{_cut(message_id, _ID_CHARS)}" for message_id, _ in keys]
            jobs = [f"j{_cut(job_id, _ID_CHARS)}" if job_id else "" for _, job_id in keys]
            last = _last(connection, messages)
            if len(last) < len(keys):
                last |= _last(connection, [job for of, job in zip(messages, jobs, strict=True) if of not in last])
            return [last.get(of) or last.get(job) for of, job in zip(messages, jobs, strict=True)]

    def history(self, message_id: str, job_id: str | None) -> list[Failure]:
        """The last failures of this message and of this job, at most `TOLD_MAX`, oldest first.

        A traceback is the one that the first failure of its kind came with.
        """
        wanted = {"message_id": _key(message_id), "job_id": _key(job_id), "most": TOLD_MAX}
        with self._connected() as connection:
            rows = connection.execute(_SQL["history"], wanted).fetchall() if connection is not None else []
        return [Failure(**dict(zip(_TOLD, row, strict=True))) for row in reversed(rows)]

    def traceback(self, kind: str) -> str | None:
        """The traceback that the first failure of this kind came with; None if the kind is not known."""
        with self._connected() as connection:
            if connection is None:
                return None
            row: Any = connection.execute(_SQL["traceback"], {"kind": kind}).fetchone()
        return str(row[0]) if row else None

    def counts(self) -> tuple[int, int]:
        """How many failures there are, and how many kinds of them."""
        with self._connected() as connection:
            if connection is None:
                return 0, 0
            row: Any = connection.execute(_SQL["counts"]).fetchone()
        return int(row[0]), int(row[1])

    def close(self) -> None:
        """Close the file; the next use opens it again."""
        with self._lock:
            self._forget()

    @contextmanager
    def _connected(self, *, makes: bool = False) -> Iterator[apsw.Connection | None]:
        """The connection for this thread alone; None if there is no file and none is made."""
        with self._lock:
            try:
                if self._opened is None and (makes or self.path.exists()):
                    self._opened = open_file(self.path, _LAYOUT, FailuresFault)
                yield self._opened
            except apsw.Error as error:
                # Perhaps the file will be another one when it is used again.
                self._forget()
                what, hint = _MEANINGS.get(type(error), ("could not be used", _KEPT))
                raise FailuresFault(f"{self.path} {what} ({error}).", hint=hint) from error
            finally:
                if self._opened is not None and self._opened.in_transaction:
                    self._opened.execute("ROLLBACK")

    def _forget(self) -> None:
        opened, self._opened = self._opened, None
        if opened is not None:
            opened.close(force=True)


class _Kept:
    """A record as it is kept: each text within its limit, and without what is no Unicode."""

    def __init__(self, record: Failure, now_ms: int) -> None:
        reason, exception = _cut(record.reason, _NAME_CHARS), _cut(record.exception, _NAME_CHARS)
        message = _cut(record.message, _MESSAGE_CHARS)
        self.traceback = _cut(record.traceback[-_TRACEBACK_CHARS:], _TRACEBACK_CHARS)
        self.kind = fingerprint(reason, exception, message, self.traceback)
        self.row = (
            now_ms,
            _cut(record.message_id, _ID_CHARS),
            _cut(record.id, _ID_CHARS),
            record.receive_count,
            record.timestamp_ms,
            record.attempt,
            record.again_in_s,
            _cut(record.queue, _NAME_CHARS),
            _cut(record.task, _NAME_CHARS),
            _cut(record.hostname, _NAME_CHARS),
            record.pid,
            _cut(record.nodename, _NAME_CHARS),
            self.kind,
            reason,
            exception,
            message,
        )


def _cut(text: str, chars: int) -> str:
    return text[:chars].encode("utf-8", "replace").decode()


def _key(id_: str | None) -> str | None:
    """An id as it is kept. None is equal to nothing: records without an id have nothing in common."""
    return _cut(id_, _ID_CHARS) if id_ else None


def _last(connection: apsw.Connection, keys: list[str]) -> dict[str, Cause]:
    causes = {}
    for (
        of,
        kind,
        reason,
        exception,
        message,
        worker,
        attempt,
        receive_count,
        at_ms,
        is_last,
        failures,
    ) in connection.execute(_SQL["last"], (json.dumps(keys),)):
        causes[of] = Cause(
            kind, reason, exception, message, worker, attempt, receive_count, at_ms, bool(is_last), failures
        )
    return causes


def _statements() -> dict[str, str]:
    blocks = (resources.files("amply.deadletters") / "failures.sql").read_text("utf-8").split("-- name: ")[1:]
    return {name: sql.strip() for name, _, sql in (block.partition("\n") for block in blocks)}


_SQL = _statements()
_LAYOUT = Layout(
    version=1,
    schema=_SQL["schema"],
    # Once a record is kept, it is deleted from its queue: FULL.
    pragmas={"synchronous": "FULL", "cache_size": -_CACHE_KIB, "wal_autocheckpoint": _WAL_PAGES},
    busy_timeout_s=_BUSY_TIMEOUT_S,
    newer_hint=f"Use the newer Amply. {_KEPT}",
)
# The columns of a history's row, as members of a record.
_TOLD = (
    *("timestamp_ms", "hostname", "pid", "nodename", "queue", "message_id", "id", "task", "attempt", "receive_count"),
    *("reason", "exception", "message", "traceback", "again_in_s"),
)
