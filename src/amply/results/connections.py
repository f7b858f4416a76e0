"""One connection a process to each file of results, used by one thread at a time and never by two processes.

SQLite's page "How To Corrupt An SQLite Database File" (2.6): a connection must not cross a fork, not even to be closed
in the child, and what SQLite knows of the process's locks crosses with it. So before a fork every connection is closed,
and whoever uses the file next opens it anew. Workers do fork with results open: the one that replaces a child that died
has just written that child's failure.

Knows how a file is made and opened; must not know what is written to it.
"""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import apsw

from amply.results.faults import ResultsFault, explained
from amply.results.statements import STATEMENTS

# How long a write waits for other processes' writes, each of which takes milliseconds.
BUSY_TIMEOUT_S = 30
_FORMAT = 1
# How often the switch to WAL is tried, each time waiting for other processes.
_WAL_TRIES = 50

_turn = threading.RLock()
_open: dict[Path, apsw.Connection] = {}


@contextmanager
def connected(path: Path) -> Iterator[apsw.Connection]:
    """This process's connection to the file, which is made if it is not there, for this thread alone.

    Raises `ResultsFault` for errors inside the block too; a transaction that is left open by one is rolled back.
    """
    with _turn, explained(path):
        connection = _open.get(path)
        if connection is None:
            connection = _open[path] = _connect(path)
        try:
            yield connection
        except apsw.Error:
            # Perhaps the file will be another one when it is used again.
            _open.pop(path, None)
            connection.close(force=True)
            raise
        finally:
            # Also for what is raised from outside into the block, as Celery's soft time limits are.
            if path in _open and connection.in_transaction:
                connection.execute("ROLLBACK")


def _connect(path: Path) -> apsw.Connection:
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        path.touch(mode=0o600)  # SQLite gives the files beside it the same mode
    except OSError as error:
        raise ResultsFault(
            f"{path} could not be made ({error}).", hint="Look at the folder's owner and rights, and at the disk."
        ) from error
    connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE)
    try:
        connection.set_busy_timeout(BUSY_TIMEOUT_S * 1000)
        _prepare(connection, path)
    except BaseException:
        connection.close(force=True)
        raise
    return connection


def _prepare(connection: apsw.Connection, path: Path) -> None:
    # A commit is not synced: what a process wrote outlives it, but a power cut may take the last results.
    connection.pragma("synchronous", "NORMAL")
    found = connection.pragma("user_version")
    if found > _FORMAT:
        raise ResultsFault(
            f"{path} has format {found}; this Amply knows formats up to {_FORMAT}.",
            hint="Use the newer Amply, or delete the file: results are short-lived.",
        )
    if found < _FORMAT:
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")  # before the first table, or it has no effect
        _switch_to_wal(connection)
        connection.execute("BEGIN IMMEDIATE")
        connection.execute(STATEMENTS["schema"])
        connection.execute(f"PRAGMA user_version = {_FORMAT}; COMMIT")


def _switch_to_wal(connection: apsw.Connection) -> None:
    for attempt in range(_WAL_TRIES):
        try:
            connection.pragma("journal_mode", "wal")
        except apsw.BusyError:
            if attempt == _WAL_TRIES - 1:
                raise
            # The switch wants the file to itself and does not wait for it. A lock that does wait is the pause.
            connection.execute("BEGIN IMMEDIATE; ROLLBACK")
        else:
            return


def _close_all_before_fork() -> None:
    _turn.acquire()
    while _open:
        _open.popitem()[1].close(force=True)


os.register_at_fork(before=_close_all_before_fork, after_in_parent=_turn.release, after_in_child=_turn.release)
