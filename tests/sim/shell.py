"""The shell's part around the engine: commits, look-ups that come back late, crashes. Knows nothing of the model."""

import random
from collections.abc import Callable
from typing import Any

import msgspec

from amply.broker.engine.commands import ChangeVisibility, Command, Delete
from amply.broker.engine.decision import Decision, Fetch, Find, Read, ReadInOrder, ReadQuiet, ReadReady
from amply.broker.engine.engine import Engine
from amply.broker.engine.window import WindowSize
from amply.broker.service.restoring import restored
from amply.broker.sqs.faults import Fault
from amply.broker.sqs.limits import AWS
from amply.broker.store.port import Store

REGION = "eu-central-1"
MOVED = "moved message "


class Shell:
    """An engine on a store. `reopen` gives the store as it is after a crash."""

    def __init__(self, rng: random.Random, store: Store, reopen: Callable[[], Store], in_flight_max: int) -> None:
        self.random = rng
        self.store = store
        self._reopen = reopen
        self.limits = msgspec.structs.replace(AWS, in_flight_max=in_flight_max)
        self.now_ms = 1_700_000_000_000
        self._decided: list[Decision] = []
        self.came_back: list[tuple[Read, Any]] = []
        self._moved = 0
        self.engine = self._small(Engine(REGION, limits=self.limits, new_message_id=self.new_name))

    def new_name(self) -> str:
        """For a message that a move task makes anew."""
        self._moved += 1
        return f"{MOVED}{self._moved}"

    def _small(self, engine: Engine) -> Engine:
        """Windows so small that the disk matters."""
        size = WindowSize(count=self.random.choice((1, 4, 8, 30)), size_bytes=self.random.choice((30, 1000)))
        engine.queues.window_size = lambda: size  # type: ignore[method-assign]
        for queue in engine.queues:
            queue.window_size = size
            part = queue.line.contents if queue.record.is_fifo else queue.window
            part.size = size
        return engine

    def run(self, command: Command) -> "Decision | Fault":
        try:
            decision = self.engine.decide(command, self.now_ms)
        except Fault as fault:
            return fault
        self._decided.append(decision)
        return decision

    def commit(self) -> None:
        """Make durable what was decided, and look up what was asked for; the answers come back later."""
        decided, self._decided = self._decided, []
        changes = [change for decision in decided for change in decision.changes]
        if changes:
            self.store.commit(changes, self.now_ms)
        for decision in decided:
            self.came_back += [(read, self._look_up(read)) for read in decision.reads]

    def _look_up(self, read: Read) -> Any:
        store = self.store
        if isinstance(read, ReadReady):
            return store.ready(read.shelf, read.after, read.until_ms, read.count, read.size_bytes)
        if isinstance(read, ReadQuiet):
            limits = read.count, read.size_bytes
            return store.ready_without(read.shelf, read.after, read.until_ms, limits, read.without)
        if isinstance(read, ReadInOrder):
            return store.in_order(read.shelf, read.after, read.until, read.count, read.size_bytes)
        if isinstance(read, Fetch):
            return store.fetch(read.shelf, read.seqs, read.size_bytes)
        if isinstance(read, Find):
            return store.find(read.seqs)
        return store.sent_before(read.shelf, read.before_ms, read.count)

    def come_back(self) -> tuple[Read, "Decision | Fault"]:
        """One of the look-ups on their way comes back; not always the first."""
        read, found = self.came_back.pop(self.random.randrange(len(self.came_back)))
        try:
            decision = self._go_on(read, found)
        except Fault as fault:
            return read, fault
        self._decided.append(decision)
        return read, decision

    def _go_on(self, read: Read, found: Any) -> Decision:
        engine, now_ms = self.engine, self.now_ms
        if isinstance(read, ReadReady):
            return engine.ready_were_read(read, found.messages, [], now_ms, is_last=found.is_last)
        if isinstance(read, ReadQuiet):
            page, read_to = found
            return engine.quiet_were_read(read, page.messages, [], read_to, now_ms, is_last=page.is_last)
        if isinstance(read, ReadInOrder):
            return engine.were_read_in_order(read, found.messages, [], now_ms, is_last=found.is_last)
        if isinstance(read, Fetch):
            return engine.were_fetched(read, found.messages, now_ms, is_last=found.is_last)
        if isinstance(read, Find):
            return engine.were_found(read, found, now_ms)
        return engine.aged_were_read(read, found.entries, found.next_oldest_ms, now_ms)

    def pending(self) -> "list[Delete | ChangeVisibility]":
        """Commands that wait for a look-up."""
        reads = [read for decision in self._decided for read in decision.reads]
        reads += [read for read, _ in self.came_back]
        return [read.then for read in reads if isinstance(read, Find)]

    def crash(self) -> None:
        """Memory is gone; what was committed is not."""
        self._decided, self.came_back = [], []
        self.store = self._reopen()
        self.engine = self._small(restored(self.store.load(self.now_ms), REGION, self.limits, self.new_name))
