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
from amply.sqlite_file import Layout, open_file

# How long a write waits for other processes' writes, each of which takes milliseconds.
BUSY_TIMEOUT_S = 30
_LAYOUT = Layout(
    version=1,
    first="PRAGMA auto_vacuum = INCREMENTAL",  # before the first table, or it has no effect
    schema=STATEMENTS["schema"],
    # A commit is not synced: what a process wrote outlives it, but a power cut may take the last results.
    pragmas={"synchronous": "NORMAL"},
    busy_timeout_s=BUSY_TIMEOUT_S,
    newer_hint="Use the newer Amply, or delete the file: results are short-lived.",
)

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
            connection = _open[path] = open_file(path, _LAYOUT, ResultsFault)
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


def _close_all_before_fork() -> None:
    _turn.acquire()
    while _open:
        _open.popitem()[1].close(force=True)


os.register_at_fork(before=_close_all_before_fork, after_in_parent=_turn.release, after_in_child=_turn.release)
