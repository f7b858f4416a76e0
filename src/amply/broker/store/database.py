"""One SQLite database that is safe to answer for: transactions that are on the disk, room kept for them, fail-stop.

Knows commits, disk room and errors; what is written it is told.
"""

import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeAlias

import apsw

from amply.broker.store.ballast import Ballast
from amply.broker.store.commits_file import CommitsFile
from amply.broker.store.faults import NoRoom, told_apart
from amply.broker.store.folder import Folder, open_private
from amply.broker.store.named_sql import QUERIES
from amply.broker.store.opening import PAGE_BYTES, check_nothing_lost, open_connection, read_state
from amply.broker.store.port import Room, StoreBroken, StoreDamaged, StoreFull
from amply.broker.store.rows import State

DATABASE_NAME = "store.sqlite3"
COMMITS_NAME = "commits"
BALLAST_NAME = "ballast"

Execute: TypeAlias = Callable[..., apsw.Cursor]

_WAL_PAGES = 4000  # 16 MB of log, then it is folded into the database
_PAGES_GIVEN_BACK = 1000  # at a time

_log = logging.getLogger(__name__)


class Database:
    """The database in `folder`, owned until `close`; `state` is its one row that every commit rewrites.

    After a `StoreBroken` or `StoreDamaged` nothing works any more but `close`: a failed sync must never be followed by
    one that seems to succeed.
    """

    def __init__(self, folder: Path, reserve_bytes: int, ballast_bytes: int) -> None:
        self._path = folder
        self._reserve_bytes = reserve_bytes
        self._broken: StoreBroken | StoreDamaged | None = None
        self._is_closed = False
        self._wal_pages = 0
        self._folder = Folder(folder)
        try:
            self._open(ballast_bytes)
        except NoRoom as error:
            self._folder.release()
            raise StoreFull(
                f"the disk is full, the store in {folder} cannot be opened", hint="Make room first."
            ) from error
        except BaseException:
            self._folder.release()
            raise

    def _open(self, ballast_bytes: int) -> None:
        with told_apart(None, self._path):
            self._ballast = Ballast(self._path / BALLAST_NAME, ballast_bytes)
        try:
            self._connection = self._connect()
        except NoRoom:
            self._ballast.release()
            self._connection = self._connect()
        try:
            with told_apart(self._connection, self._path):
                self.state = read_state(self._connection, self._path)
                self._commits_file = CommitsFile(self._path / COMMITS_NAME)
                check_nothing_lost(self._commits_file, self.state, self._path)
                self._commits_file.write(self.state.commits)
                self._ballast.hold()
                self._folder.sync()
        except BaseException:
            self._connection.close(force=True)
            raise
        self._connection.set_wal_hook(self._see_wal)
        self.execute: Execute = self._connection.execute

    def _connect(self) -> apsw.Connection:
        with told_apart(None, self._path):
            os.close(open_private(self._path / DATABASE_NAME))  # SQLite gives its other files the same mode
            return open_connection(self._path / DATABASE_NAME)

    def _see_wal(self, _connection: apsw.Connection, _schema: str, pages: int) -> int:
        self._wal_pages = pages
        return apsw.SQLITE_OK

    @contextmanager
    def guarded(self) -> Iterator[None]:
        """For reads: whatever goes wrong inside becomes one of the port's errors."""
        if self._broken is not None:
            raise type(self._broken)(self._broken.message, hint=self._broken.hint)
        try:
            with told_apart(self._connection, self._path):
                yield
        except NoRoom as error:
            raise StoreFull(
                f"the disk of {self._path} is full; nothing of this was kept",
                hint="Make room on that disk, or let workers drain the queues.",
            ) from error
        except (StoreBroken, StoreDamaged) as error:
            self._broken = error
            raise

    def write(
        self,
        work: Callable[[Execute], object],
        *,
        last_ms: int = 0,
        last_seq: int = 0,
        last_id: int = 0,
        is_growth: bool = False,
    ) -> None:
        """Run `work` in a transaction. When this returns it is on the disk; when it raises, nothing of it is kept.

        If there is no room, the ballast is given up and `work` runs once more. From then on the room is for getting
        out: whatever makes the store grow is refused until the ballast is held again.
        """
        state = State(
            commits=self.state.commits + 1,
            last_ms=max(self.state.last_ms, last_ms),
            last_seq=max(self.state.last_seq, last_seq),
            last_id=max(self.state.last_id, last_id),
            secret=self.state.secret,
        )
        with self.guarded():
            if is_growth and not self._ballast.is_held:
                raise NoRoom("the reserve was given up")
            try:
                self._transact(work, state)
            except NoRoom:
                self._make_room()
                self._transact(work, state)
            self.state = state
            self._commits_file.write(state.commits)
            if self._wal_pages >= _WAL_PAGES:
                self._fold_log()

    def _transact(self, work: Callable[[Execute], object], state: State) -> None:
        with told_apart(self._connection, self._path):
            try:
                self.execute("BEGIN IMMEDIATE")
                work(self.execute)
                self.execute(
                    QUERIES["put_state"],
                    (state.commits, state.last_ms, state.last_seq, state.last_id, state.checksum),
                )
                self.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self.execute("ROLLBACK")
                raise

    def _fold_log(self) -> None:
        # Done here and not by SQLite's automatic checkpoint, which ignores a failed sync of the database.
        try:
            with told_apart(self._connection, self._path):
                self._connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)
        except NoRoom:
            self._make_room()

    def _make_room(self) -> None:
        if self._ballast.is_held:
            _log.warning(
                "the disk of %s is full: giving up the reserve of %d bytes", self._path, self._ballast.size_bytes
            )
            self._ballast.release()
        self._shorten_log()

    def _shorten_log(self) -> None:
        # While a back-up reads, or with no room to fold into, the log stays as long as it is: nothing is lost by that.
        with suppress(NoRoom), told_apart(self._connection, self._path), suppress(apsw.BusyError):
            self._connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)

    def room(self) -> Room:
        """Disk room now. If it is short, the database gives back pages that it no longer needs."""
        # More than the reserve, so that being full does not come and go with every few messages.
        comfortable_bytes = self._reserve_bytes + 2 * self._ballast.size_bytes
        with self.guarded():
            free_bytes = self._free_bytes()
            # Each page given back may move another, by way of the log: that must find room too.
            pages = min(_PAGES_GIVEN_BACK, free_bytes // 2 // PAGE_BYTES)
            if free_bytes < comfortable_bytes and pages and self._connection.pragma("freelist_count"):
                self.write(lambda execute: execute(f"PRAGMA incremental_vacuum({pages})").fetchall())
                self._shorten_log()
                free_bytes = self._free_bytes()
            if free_bytes >= comfortable_bytes and not self._ballast.is_held and self._ballast.hold():
                free_bytes = self._free_bytes()
        return Room(is_full=free_bytes < self._reserve_bytes or not self._ballast.is_held, free_bytes=free_bytes)

    def _free_bytes(self) -> int:
        disk = os.statvfs(self._path)
        return disk.f_bavail * disk.f_frsize

    def close(self) -> None:
        """Close the database and give the folder up. A second time does nothing."""
        if self._is_closed:
            return
        self._is_closed = True
        if self._broken is not None:  # nothing more is written then, not even the log's folding
            self._connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
        try:
            with told_apart(None, self._path):
                self._connection.close(force=True)
        finally:
            self._commits_file.close()
            self._folder.release()
