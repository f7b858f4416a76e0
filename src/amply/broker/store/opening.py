"""Opening the database: its settings, its schema's version, and the quick checks that cost the same for any size."""

import secrets
from pathlib import Path

import apsw

from amply.broker.store.commits_file import CommitsFile
from amply.broker.store.faults import damaged
from amply.broker.store.named_sql import QUERIES, schema_steps
from amply.broker.store.port import StoreDamaged, StoreTooNew
from amply.broker.store.rows import State

PAGE_BYTES = 4096
# For a database that has no table yet. auto_vacuum lets a full disk get the room back that messages once took.
_FIRST_SETTINGS = f"""
PRAGMA page_size = {PAGE_BYTES};
PRAGMA auto_vacuum = INCREMENTAL;
"""
# fullfsync is for macOS, whose fsync alone does not reach the disk.
_SETTINGS = """
PRAGMA journal_mode = WAL;
PRAGMA synchronous = FULL;
PRAGMA fullfsync = ON;
PRAGMA checkpoint_fullfsync = ON;
PRAGMA locking_mode = NORMAL;
PRAGMA cache_size = -16384;
PRAGMA temp_store = MEMORY;
PRAGMA foreign_keys = OFF;
"""
_SMALL_TABLES = ("state", "queue", "removed_queue", "shelf")
_BUSY_MS = 5000  # a back-up or a person with the sqlite3 shell may hold a lock for a moment


def open_connection(path: Path) -> apsw.Connection:
    """The connection, with the newest schema. The caller tells SQLite's errors apart.

    Raises `StoreTooNew`, and `StoreDamaged` if the small tables do not stand up to a check.
    """
    connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE)
    try:
        connection.set_busy_timeout(_BUSY_MS)
        _prepare(connection, path.parent)
    except BaseException:
        connection.close(force=True)
        raise
    return connection


def _prepare(connection: apsw.Connection, folder: Path) -> None:
    version = connection.pragma("user_version")
    steps = schema_steps()
    if version > max(steps):
        raise StoreTooNew(
            f"the data folder {folder} has format {version}; this amply knows formats up to {max(steps)}",
            hint="Use the version of amply that wrote it, or a newer one.",
        )
    # fetchall, because a statement that answers a row stops the script until the row is taken.
    connection.execute(_SETTINGS if version else _FIRST_SETTINGS + _SETTINGS).fetchall()
    for step in range(version + 1, max(steps) + 1):
        _take_step(connection, step, steps[step])
    for table in _SMALL_TABLES:
        verdict = connection.execute(f"PRAGMA quick_check({table})").get
        if verdict != "ok":
            raise damaged(folder, f"table {table}: {verdict}")


def _take_step(connection: apsw.Connection, step: int, script: str) -> None:
    connection.execute("BEGIN IMMEDIATE")
    connection.execute(script)
    if step == 1:
        new = State(commits=0, last_ms=0, last_seq=0, last_id=0, secret=secrets.token_bytes(32))
        connection.execute(
            QUERIES["make_state"], (new.commits, new.last_ms, new.last_seq, new.last_id, new.secret, new.checksum)
        )
    connection.execute(f"PRAGMA user_version = {step}; COMMIT")


def read_state(connection: apsw.Connection, folder: Path) -> State:
    """The state row. Raises `StoreDamaged` if it is missing or not what was written."""
    row = connection.execute(QUERIES["state"]).fetchone()
    if row is None:
        raise damaged(folder, "table state is empty")
    commits, last_ms, last_seq, last_id, secret, checksum = row
    state = State(commits=commits, last_ms=last_ms, last_seq=last_seq, last_id=last_id, secret=secret)
    if state.checksum != checksum:
        raise damaged(folder, "the checksum of table state is wrong")
    return state


def check_nothing_lost(commits_file: CommitsFile, state: State, folder: Path) -> None:
    """Compare the database with the file of commits. Raises `StoreDamaged` if commits are missing."""
    remembered = commits_file.read()
    if remembered > state.commits:
        raise StoreDamaged(
            f"the store in {folder} has lost committed work: it knows of {state.commits} commits, "
            f"the file {commits_file.name} of {remembered}",
            hint="Nothing was changed. Restore a back-up of the folder, or accept the loss by deleting "
            f"{folder / commits_file.name} and start again.",
        )
