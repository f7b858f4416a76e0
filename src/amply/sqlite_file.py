"""A small SQLite file of ours, that any number of processes have open: made for its owner alone, opened in WAL mode.

Knows how a file is made and opened; must not know what is written to it.
"""

from collections.abc import Mapping
from pathlib import Path

import apsw
from msgspec import Struct

from amply.errors import AmplyError

# How often the switch to WAL is tried, each time waiting for other processes.
_WAL_TRIES = 50


class Layout(Struct, frozen=True, kw_only=True):
    """What a file is like.

    - `version`: of its tables, kept in `user_version`; `schema` makes them, after `first`, which works only before
    - `pragmas`: set on each connection
    - `busy_timeout_s`: how long a write waits for other processes' writes, each of which takes milliseconds
    - `newer_hint`: what to do with a file that a newer version has written
    """

    version: int
    schema: str
    first: str = ""
    pragmas: Mapping[str, int | str]
    busy_timeout_s: int
    newer_hint: str


def open_file(path: Path, layout: Layout, fault: type[AmplyError]) -> apsw.Connection:
    """A connection to the file, which is made if it is not there. Raises `fault`, and apsw.Error."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        path.touch(mode=0o600)  # SQLite gives the files beside it the same mode
    except OSError as error:
        raise fault(
            f"{path} could not be made ({error}).", hint="Look at the folder's owner and rights, and at the disk."
        ) from error
    connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE)
    try:
        connection.set_busy_timeout(layout.busy_timeout_s * 1000)
        _prepare(connection, path, layout, fault)
    except BaseException:
        connection.close(force=True)
        raise
    return connection


def _prepare(connection: apsw.Connection, path: Path, layout: Layout, fault: type[AmplyError]) -> None:
    for name, value in layout.pragmas.items():
        connection.pragma(name, value)
    found = connection.pragma("user_version")
    if found > layout.version:
        raise fault(
            f"{path} has format {found}; this Amply knows formats up to {layout.version}.", hint=layout.newer_hint
        )
    if found < layout.version:
        connection.execute(layout.first)
        _switch_to_wal(connection)
        connection.execute("BEGIN IMMEDIATE")
        connection.execute(layout.schema)
        connection.execute(f"PRAGMA user_version = {layout.version}; COMMIT")


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
