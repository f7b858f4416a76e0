"""Group commit: the changes of many requests in one transaction, and their answers only after it.

One thread owns the store. While it commits one batch, the event loop gathers the next; a batch takes in everything that
was decided in the meantime, so a slow disk makes batches larger and not the queue longer.
"""

import asyncio
import contextlib
import logging
import queue
import threading
from collections import deque
from typing import TYPE_CHECKING, Any

from amply.broker.store.port import Snapshot, Store, StoreError, StoreFull

if TYPE_CHECKING:
    from collections.abc import Callable

    from amply.broker.engine.records import Change
    from amply.clock import Clock

_log = logging.getLogger(__name__)


def defect(what: str, error: Exception) -> StoreError:
    """What the broker stops with when something of its own fails."""
    return StoreError(f"{what} failed: {error!r}", hint="This is a defect; please report it.")


class _Batch:
    """What leaves for the disk together."""

    __slots__ = ("changes", "error", "looked_up", "lookups", "releases", "size_bytes", "snapshot")

    def __init__(self) -> None:
        self.changes: list[Change] = []
        self.size_bytes = 0
        self.lookups: list[tuple[Callable[[Store], Any], Callable[[Any], None]]] = []
        self.releases: deque[Callable[[bool], None]] = deque()
        self.looked_up: list[Any] = []
        self.error: StoreError | None = None
        self.snapshot: Snapshot | None = None  # the truth again, after a commit that the store refused


class Committer:
    """Carries changes to the store and answers back. All methods are called on the event loop's thread.

    `on_refused` is told that a commit was refused because the disk is full, and gets the store's state to start again
    from; `on_broken` that the store cannot be used any more. Whatever was not committed is then released as failed.
    """

    def __init__(
        self,
        store: Store,
        clock: "Clock",
        *,
        on_refused: "Callable[[Snapshot], None]",
        on_broken: "Callable[[StoreError], None]",
    ) -> None:
        self._store = store
        self._clock = clock
        self._on_refused = on_refused
        self._on_broken = on_broken
        self._open = _Batch()
        self._is_busy = False  # a batch is with the writer, or about to leave
        self._is_broken = False
        self._idle = asyncio.Event()
        self._idle.set()
        self._to_writer: queue.SimpleQueue[_Batch | None] = queue.SimpleQueue()
        self._loop = asyncio.get_running_loop()
        self._writer = threading.Thread(target=self._write, name="amply-writer", daemon=True)
        self._writer.start()

    @property
    def waiting_bytes(self) -> int:
        """How many bytes of messages wait for the next commit."""
        return self._open.size_bytes

    def add(self, changes: "list[Change]", release: "Callable[[bool], None]", size_bytes: int = 0) -> None:
        """Make changes durable; then call `release(True)`, or `release(False)` if they could not be.

        Without changes, `release` follows once everything added before is durable. `size_bytes` is what the messages in
        them weigh.
        """
        if self._is_broken:
            release(False)
            return
        if not changes and not self._is_busy:
            release(True)
            return
        batch = self._open
        batch.changes += changes
        batch.size_bytes += size_bytes
        batch.releases.append(release)
        self._leave_soon()

    def look_up(self, read: "Callable[[Store], Any]", take: "Callable[[Any], None]") -> None:
        """Run `read` on the store after everything added so far, and hand `take` what it returned."""
        if not self._is_broken:
            self._open.lookups.append((read, take))
            self._leave_soon()

    def give_up(self, error: StoreError) -> None:
        """Acknowledge nothing more: what memory says now may never be on disk."""
        self._is_broken = True
        releases, self._open = self._open.releases, _Batch()
        for release in releases:
            release(False)
        self._on_broken(error)

    async def close(self) -> None:
        """Finish everything added so far, then close the store."""
        while self._is_busy:
            await self._idle.wait()
        self._to_writer.put(None)
        await self._loop.run_in_executor(None, self._writer.join)

    def _leave_soon(self) -> None:
        if not self._is_busy:
            self._is_busy = True
            self._idle.clear()
            # Not at once: other requests that have arrived by now belong in the same commit.
            self._loop.call_soon(self._leave)

    def _leave(self) -> None:
        batch, self._open = self._open, _Batch()
        self._to_writer.put(batch)

    def _write(self) -> None:
        """The writer thread."""
        while (batch := self._to_writer.get()) is not None:
            try:
                self._carry_out(batch)
            except StoreError as error:
                batch.error = error
            except Exception as error:  # noqa: BLE001 - a dead writer would hang every request
                _log.exception("the writer failed")
                batch.error = defect("the writer", error)
            with contextlib.suppress(RuntimeError):  # the loop was closed without waiting for us
                self._loop.call_soon_threadsafe(self._came_back, batch)
        self._store.close()

    def _carry_out(self, batch: _Batch) -> None:
        store = self._store
        if batch.changes:
            try:
                store.commit(batch.changes, self._clock.now_ms())
            except StoreFull as error:
                batch.error = error
                batch.snapshot = store.load(self._clock.now_ms())
        batch.looked_up = [read(store) for read, _ in batch.lookups]

    def _came_back(self, batch: _Batch) -> None:
        try:
            self._conclude(batch)
        except Exception as error:  # noqa: BLE001 - what follows a commit must not fail: memory and disk would part
            _log.exception("the broker failed after a commit")
            self._break(batch, defect("the broker", error))

    def _conclude(self, batch: _Batch) -> None:
        if batch.error is not None and batch.snapshot is None:
            self._break(batch, batch.error)
            return
        if batch.error is not None and batch.snapshot is not None:
            self._refuse(batch, batch.error, batch.snapshot)
        while batch.releases:
            batch.releases.popleft()(batch.error is None)
        for (_, take), found in zip(batch.lookups, batch.looked_up, strict=True):
            take(found)
        waiting = self._open
        if waiting.changes or waiting.lookups:
            # Not at once: the next requests of those just answered may be here already.
            self._loop.call_soon(self._leave)
            return
        self._open = _Batch()
        self._is_busy = False
        self._idle.set()
        for release in waiting.releases:
            release(True)

    def _refuse(self, batch: _Batch, error: StoreError, snapshot: Snapshot) -> None:
        """What was decided since the batch left rests on it, and fails with it."""
        _log.error("commit refused: %s", error.message)
        batch.releases += self._open.releases
        lookups, self._open = self._open.lookups, _Batch()
        self._open.lookups = lookups
        self._on_refused(snapshot)

    def _break(self, batch: _Batch, error: StoreError) -> None:
        self._is_busy = False
        self._idle.set()
        while batch.releases:
            batch.releases.popleft()(False)
        self.give_up(error)
