"""What SQLite's errors mean for results. The only module that reads them; knows nothing of Celery's keys."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import apsw
from celery.exceptions import BackendError

from amply.errors import AmplyError

_DELETE = "Results are short-lived: stop the workers, delete the file and the -wal and -shm beside it, start again."

# SQLite's error -> what to say about the file, what to do next, whether it may pass by itself.
_MEANINGS: dict[type[apsw.Error], tuple[str, str, bool]] = {
    apsw.BusyError: ("is kept locked by another process", "Look for a program that holds it, and close it.", True),
    apsw.FullError: ("cannot grow: the disk is full", "Make room; jobs go on when there is some.", True),
    apsw.IOError: ("was refused a read, a write or a sync", "Look at the disk and the system log.", True),
    apsw.CorruptError: ("is damaged", _DELETE, False),
    apsw.NotADBError: ("is not a file of results", _DELETE, False),
    apsw.ReadOnlyError: ("cannot be written", "Let the workers' user write to the file and its folder.", False),
    apsw.CantOpenError: ("cannot be opened", "Let the workers' user read and write its folder.", False),
}


class ResultsFault(AmplyError, BackendError):  # type: ignore[misc]
    """The file of results could not be read or written; nothing was changed. `may_pass` says whether to try again."""

    def __init__(self, message: str, *, hint: str | None = None, may_pass: bool = False) -> None:
        super().__init__(message, hint=hint)
        self.may_pass = may_pass


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Raise `ResultsFault` for whatever SQLite says inside the block."""
    try:
        yield
    except apsw.Error as error:
        what, hint, may_pass = _MEANINGS.get(type(error), ("could not be used", _DELETE, False))
        raise ResultsFault(f"{path} {what} ({error}).", hint=hint, may_pass=may_pass) from error
