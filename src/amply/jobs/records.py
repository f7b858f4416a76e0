"""The jobs' store: opening it, and the two kinds of transaction.

Knows SQLite's and PostgreSQL's ways of being shared by several processes. Must not know what a job does with a row.
"""

import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path

from sqlalchemy import Connection, Engine, Table, create_engine, event, func, make_url, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.pool import ConnectionPoolEntry

from amply.errors import AmplyError
from amply.jobs.schema import VERSION, metadata, store_version

# How long a transaction waits for another process's before it fails (and its job is tried again).
BUSY_TIMEOUT_S = 30

# PostgreSQL's advisory lock under which tables are made: any number, the same in every process.
_SCHEMA_LOCK = 0x616D706C79

# SQLite's page "Write-Ahead Logging", "The WAL-Reset Bug": versions before this can damage a WAL database that several
# connections write to. Python often carries such a version.
_WAL_IS_SAFE_FROM = (3, 51, 3)


# How often the switch to WAL is tried, each time waiting for other processes.
_WAL_TRIES = 50


class StoreVersionError(AmplyError):
    """The store was written by a newer Amply."""


class StoreBusyError(AmplyError):
    """Another process keeps the store locked."""


class NoStoreError(AmplyError):
    """There is no store yet where one was expected."""

    exit_code = 3


def open_store(url: str) -> Engine:
    """Open the store at a SQLAlchemy URL, making its tables when it has none.

    Safe when several processes do it at once.

    Raises:
        StoreVersionError: the store's version is newer than this program's.
    """
    where = make_url(url)
    if where.drivername in ("postgres", "postgresql"):
        where = where.set(drivername="postgresql+psycopg")  # the driver that `amply-sqs[postgresql]` installs
    if where.get_backend_name() != "sqlite":
        engine = create_engine(where, pool_pre_ping=True)
    else:
        create_private_file(Path(str(where.database)))
        engine = create_engine(where, connect_args={"timeout": BUSY_TIMEOUT_S})
        event.listen(engine, "connect", _prepare_sqlite_connection)
        event.listen(engine, "begin", _begin_sqlite_transaction)
        if journal_mode(sqlite3.sqlite_version_info) == "WAL":
            _switch_to_wal(engine)
    _make_tables(engine)
    return engine


def find_store(url: str) -> Engine:
    """Open a store that must be there already.

    Raises:
        NoStoreError: there is no such SQLite file.
    """
    where = make_url(url)
    if where.get_backend_name() == "sqlite" and not Path(str(where.database)).is_file():
        raise NoStoreError(
            f"There is no jobs' store at {where.database}.",
            hint="Jobs make it when they run. Set AMPLY_DATA or DATABASE_URL if it is elsewhere.",
        )
    return open_store(url)


def create_private_file(path: Path) -> None:
    """Make the file, unless it is there, for its owner alone. SQLite gives its journal beside it the same mode."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    path.touch(mode=0o600)


def journal_mode(sqlite_version: tuple[int, ...]) -> str:
    """SQLite's journal for a store that several processes write to: WAL where that is sound, else the rollback one."""
    return "WAL" if sqlite_version >= _WAL_IS_SAFE_FROM else "DELETE"


@contextmanager
def writing(engine: Engine) -> Iterator[Connection]:
    """A transaction that may write, committed at the end. On SQLite one at a time over all processes."""
    with engine.begin() as connection:
        yield connection


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """A transaction that only reads, all of it from one moment; it does not wait for a turn to write."""
    if engine.dialect.name == "sqlite":
        reader = engine.execution_options(amply_reading=True)
    else:
        reader = engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
    with reader.begin() as connection:
        yield connection


def insert_new(connection: Connection, table: Table, row: Mapping[str, object]) -> bool:
    """Insert a row unless one with its key is there. Returns whether it was inserted."""
    insert = sqlite.insert if connection.dialect.name == "sqlite" else postgresql.insert
    return connection.execute(insert(table).values(row).on_conflict_do_nothing()).rowcount == 1


def insert_or_replace(connection: Connection, table: Table, row: Mapping[str, object]) -> None:
    """Insert a row, or give the one with its primary key these values."""
    keys = [column.name for column in table.primary_key]
    new = {name: value for name, value in row.items() if name not in keys}
    insert = sqlite.insert if connection.dialect.name == "sqlite" else postgresql.insert
    connection.execute(insert(table).values(row).on_conflict_do_update(index_elements=keys, set_=new))


def lock_store(connection: Connection) -> None:
    """Wait until no other transaction holds this lock, and hold it to the end of this one."""
    connection.execute(select(store_version.c.version).with_for_update())


def _prepare_sqlite_connection(connection: sqlite3.Connection, _: ConnectionPoolEntry) -> None:
    connection.isolation_level = None  # so that the only BEGIN is ours, below
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute("PRAGMA synchronous = FULL")


def _begin_sqlite_transaction(connection: Connection) -> None:
    # A writer that began as a reader would fail at once, not wait, when another wrote in between.
    options = connection.get_execution_options()
    connection.exec_driver_sql("BEGIN" if options.get("amply_reading") else "BEGIN IMMEDIATE")


def _switch_to_wal(engine: Engine) -> None:
    with closing(sqlite3.connect(str(engine.url.database), timeout=BUSY_TIMEOUT_S, isolation_level=None)) as connection:
        for _ in range(_WAL_TRIES):
            try:
                connection.execute("PRAGMA journal_mode = WAL")
            except sqlite3.OperationalError:
                # The switch wants the file to itself and does not wait for it. A lock that does wait is the pause.
                connection.execute("BEGIN IMMEDIATE")
                connection.execute("ROLLBACK")
            else:
                return
    raise StoreBusyError(
        "The jobs' store could not be opened: another process kept it locked.",
        hint="Look for a program that holds the file open, such as a database browser, and close it.",
    )


def _make_tables(engine: Engine) -> None:
    with writing(engine) as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(select(func.pg_advisory_xact_lock(_SCHEMA_LOCK)))
        metadata.create_all(connection)
        insert_new(connection, store_version, {"version": VERSION})
        found = connection.execute(select(func.max(store_version.c.version))).scalar_one()
    if found > VERSION:
        raise StoreVersionError(
            f"The jobs' store has version {found}, and this Amply knows versions up to {VERSION}.",
            hint="Start the newer Amply again, or point DATABASE_URL at another database.",
        )
