"""The shell around the engine: runs commands, commits their changes, and releases answers in order.

Knows the engine and the store's port. Knows nothing of sockets or bytes: an answer goes to a `Respond`.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from functools import partial
from itertools import count
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from amply.broker.engine.commands import GiveBack, QueueKey, Receive, Tick, Unpark, UnparkAll
from amply.broker.engine.decision import (
    UNSETTLED,
    Decision,
    Delivery,
    Fetch,
    Find,
    Read,
    ReadAged,
    ReadInOrder,
    ReadQuiet,
    ReadReady,
)
from amply.broker.service.committer import Committer, defect
from amply.broker.service.restoring import restored
from amply.broker.sqs.calls import Context
from amply.broker.sqs.faults import SERVICE_UNAVAILABLE, Fault
from amply.broker.sqs.limits import AWS, Limits
from amply.broker.sqs.names import parse_queue_url
from amply.broker.sqs.receipts import Receipts
from amply.broker.sqs.shapes import ReceiveMessageResult, ResultShape
from amply.broker.store.port import Room, StoreError

if TYPE_CHECKING:
    from amply.broker.engine.commands import Command
    from amply.broker.engine.engine import Engine
    from amply.broker.store.port import Aged, Page, Snapshot, Store
    from amply.clock import Clock
    from amply.ids import Ids

Outcome: TypeAlias = ResultShape | Fault | None
# Hands an outcome to the client; False if the client is gone and cannot have got it.
Respond: TypeAlias = Callable[[Outcome], bool]
MakeResult: TypeAlias = Callable[[Any], Outcome]
Cancel: TypeAlias = Callable[[], None]
Found = TypeVar("Found")

NOTHING = ReceiveMessageResult()

_log = logging.getLogger(__name__)

# Messages waiting for the disk beyond which sends are refused at once: a clear no beats an answer after the deadline.
WAITING_SIZE_BYTES_MAX = 64 * 1024 * 1024
TEND_INTERVAL_S = 1.0
# Receives that may wait at the same time; each keeps a connection, of which others need some. Above it a receive that
# finds nothing is answered at once, empty, which every consumer is used to.
PARKED_POLLS_MAX = 5_000


class Service:
    """A running broker, but for its sockets."""

    def __init__(
        self,
        store: "Store",
        *,
        region: str,
        clock: "Clock",
        ids: "Ids",
        limits: Limits = AWS,
        on_broken: "Callable[[StoreError], None]",
    ) -> None:
        self.clock = clock
        self.ids = ids
        self.limits = limits
        self.region = region
        snapshot = store.load(clock.now_ms())
        self.engine: Engine = restored(snapshot, region, limits, ids.message_id)
        self.receipts = Receipts(snapshot.secret)
        self.room: Room | None = None  # as of the last look, about once a second
        self.is_stopping = False
        self._tickets = count(1)
        self._parked: dict[int, tuple[Respond, QueueKey, MakeResult]] = {}
        self._looks: deque[tuple[Callable[[Store], Any], Callable[[Any], None]]] = deque()
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._timer_ms = 0
        self._committer = Committer(store, clock, on_refused=self._start_again, on_broken=on_broken)
        self._tend()
        self._set_timer()

    def key(self, queue_url: str, context: Context) -> QueueKey:
        """The queue that a URL means to this caller."""
        return parse_queue_url(queue_url, context.account)

    def check_takes_messages(self) -> None:
        """Fault ServiceUnavailable while new messages would endanger what is here already."""
        if self.room is not None and self.room.is_full:
            raise Fault(
                SERVICE_UNAVAILABLE,
                "The disk is nearly full, so no new messages are taken; receiving and deleting go on. "
                "Make room on the disk or drain queues, then try again.",
            )
        if self._committer.waiting_bytes > WAITING_SIZE_BYTES_MAX:
            raise Fault(SERVICE_UNAVAILABLE, "Too many messages wait for the disk. Slow down, then try again.")

    def may_park(self) -> bool:
        """Whether a receive that finds nothing may wait."""
        return not self.is_stopping and len(self._parked) < PARKED_POLLS_MAX

    def new_ticket(self) -> int:
        """The name of a receive, never used before."""
        return next(self._tickets)

    # Running commands

    def execute(self, command: "Command", respond: Respond, make_result: MakeResult, *, size_bytes: int = 0) -> None:
        """Run a command; its outcome leaves when everything that it rests on is durable.

        `size_bytes` is what the messages in it weigh.
        """
        self._carry_out(self._decide(command), respond, make_result, size_bytes)

    def poll(self, poll: Receive, respond: Respond, make_result: MakeResult) -> Cancel:
        """Run a receive, which may stay parked until a message comes."""
        key, ticket = poll.key, poll.ticket
        decision = self._decide(poll)
        if isinstance(decision.answer, Fault):
            respond(decision.answer)
        else:
            self._parked[ticket] = respond, key, make_result
            if decision.answer is not UNSETTLED:
                decision.woken.append((ticket, decision.answer))
        self._carry_out(decision)
        return partial(self._unpark, key, ticket)

    def _unpark(self, key: QueueKey, ticket: int) -> None:
        if self._parked.pop(ticket, None) is not None:
            self._carry_out(self._decide(Unpark(key, ticket)))

    def _decide(self, command: "Command") -> Decision:
        try:
            return self.engine.decide(command, self.clock.now_ms())
        except Fault:
            raise
        except Exception as error:
            # Memory may be ahead of what will ever be on disk. Only a fresh start knows what is true.
            self._committer.give_up(defect("the engine", error))
            raise

    def _carry_out(
        self,
        decision: Decision,
        respond: Respond | None = None,
        make_result: MakeResult | None = None,
        size_bytes: int = 0,
    ) -> None:
        """Commit a decision's changes, then answer; look up what it needs from disk."""
        release: list[Callable[[bool], None]] = []
        if respond is not None and make_result is not None and decision.answer is not UNSETTLED:
            release.append(partial(_release, respond, make_result(decision.answer)))
        for ticket, deliveries in decision.woken:
            parked = self._parked.pop(ticket, None)
            if parked is not None:
                respond_to_poll, key, make = parked
                release.append(partial(self._release_deliveries, respond_to_poll, key, make(deliveries), deliveries))
        if len(release) == 1:
            self._committer.add(decision.changes, release[0], size_bytes)
        elif release or decision.changes:
            self._committer.add(decision.changes, partial(_release_all, release), size_bytes)
        for read in decision.reads:
            self._look_up(read, respond, make_result)
        self._set_timer()

    def _release_deliveries(
        self,
        respond: Respond,
        key: QueueKey,
        result: Outcome,
        deliveries: list[Delivery],
        is_durable: bool,  # noqa: FBT001
    ) -> None:
        """Answer a receive. One that failed is answered empty, which is true; one that nobody got is undone."""
        if not is_durable:
            respond(NOTHING)
        elif not respond(result) and deliveries:
            entries = [delivery.entry for delivery in deliveries]
            self._carry_out(self._decide(GiveBack(key, entries)))

    # Looking things up

    def look_up(self, read: "Callable[[Store], Found]", take: "Callable[[Found], None]") -> None:
        """Read past the engine what is durable after everything that was decided so far.

        One such look at a time, however many clients ask: commits wait for one of them at most.
        """
        self._looks.append((read, take))
        if len(self._looks) == 1:
            self._look_next()

    def _look_next(self) -> None:
        read, take = self._looks[0]
        self._committer.look_up(read, partial(self._was_looked_up, take))

    def _was_looked_up(self, take: "Callable[[Any], None]", found: object) -> None:
        self._looks.popleft()
        if self._looks:
            self._look_next()
        take(found)

    def _look_up(self, read: Read, respond: Respond | None, make_result: MakeResult | None) -> None:
        engine = self.engine
        if isinstance(read, ReadReady):
            self._committer.look_up(
                lambda store: store.ready(read.shelf, read.after, read.until_ms, read.count, read.size_bytes),
                partial(self._ready_were_read, engine, read),
            )
        elif isinstance(read, ReadQuiet):
            limits = (read.count, read.size_bytes)
            self._committer.look_up(
                lambda store: store.ready_without(read.shelf, read.after, read.until_ms, limits, read.without),
                partial(self._quiet_were_read, engine, read),
            )
        elif isinstance(read, ReadInOrder):
            self._committer.look_up(
                lambda store: store.in_order(read.shelf, read.after, read.until, read.count, read.size_bytes),
                partial(self._were_read_in_order, engine, read),
            )
        elif isinstance(read, Fetch):
            self._committer.look_up(
                lambda store: store.fetch(read.shelf, read.seqs, read.size_bytes),
                partial(self._were_fetched, engine, read),
            )
        elif isinstance(read, ReadAged):
            self._committer.look_up(
                lambda store: store.sent_before(read.shelf, read.before_ms, read.count),
                partial(self._aged_were_read, engine, read),
            )
        elif respond is not None and make_result is not None:
            self._committer.look_up(
                lambda store: store.find(read.seqs), partial(self._were_found, engine, read, respond, make_result)
            )

    def _ready_were_read(self, engine: "Engine", read: ReadReady, page: "Page") -> None:
        if engine is self.engine:
            _report(page)
            now_ms = self.clock.now_ms()
            self._carry_out(engine.ready_were_read(read, page.messages, page.damaged, now_ms, is_last=page.is_last))

    def _quiet_were_read(self, engine: "Engine", read: ReadQuiet, found: "tuple[Page, tuple[int, int]]") -> None:
        if engine is self.engine:
            page, read_to = found
            _report(page)
            now_ms = self.clock.now_ms()
            self._carry_out(
                engine.quiet_were_read(read, page.messages, page.damaged, read_to, now_ms, is_last=page.is_last)
            )

    def _were_read_in_order(self, engine: "Engine", read: ReadInOrder, page: "Page") -> None:
        if engine is self.engine:
            _report(page)
            now_ms = self.clock.now_ms()
            self._carry_out(engine.were_read_in_order(read, page.messages, page.damaged, now_ms, is_last=page.is_last))

    def _were_fetched(self, engine: "Engine", fetch: Fetch, page: "Page") -> None:
        if engine is self.engine:
            _report(page)
            self._carry_out(engine.were_fetched(fetch, page.messages, self.clock.now_ms(), is_last=page.is_last))

    def _aged_were_read(self, engine: "Engine", read: ReadAged, aged: "Aged") -> None:
        if engine is self.engine:
            self._carry_out(engine.aged_were_read(read, aged.entries, aged.next_oldest_ms, self.clock.now_ms()))

    def _were_found(
        self, engine: "Engine", find: Find, respond: Respond, make_result: MakeResult, entries: list[Any]
    ) -> None:
        if engine is not self.engine:
            respond(Fault(SERVICE_UNAVAILABLE))
            return
        try:
            decision = engine.were_found(find, entries, self.clock.now_ms())
        except Fault as fault:
            respond(fault)
        else:
            self._carry_out(decision, respond, make_result)

    # Time

    def time_has_come(self) -> None:
        """Do what is due. The service calls this by itself, unless the clock is moved by hand."""
        self._timer = None
        self._carry_out(self._decide(Tick()))

    def _set_timer(self) -> None:
        next_ms = self.engine.next_ms()
        if next_ms is None or (self._timer is not None and self._timer_ms <= next_ms):
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer_ms = next_ms
        delay_s = max(0, next_ms - self.clock.now_ms()) / 1000
        self._timer = self._loop.call_later(delay_s, self.time_has_come)

    def _tend(self) -> None:
        self._committer.look_up(lambda store: store.tend(), self._was_tended)

    def _was_tended(self, room: "Room") -> None:
        if self.room is None or self.room.is_full != room.is_full:
            log = _log.error if room.is_full else _log.info
            log("disk room: %d bytes free%s", room.free_bytes, ", sends are refused" if room.is_full else "")
        self.room = room
        self._pause_moves()
        if not self.is_stopping:
            self._loop.call_later(TEND_INTERVAL_S, self._tend)
            # The event loop's timers stand still while the machine sleeps; broker time does not.
            if (next_ms := self.engine.next_ms()) is not None and next_ms <= self.clock.now_ms():
                self.time_has_come()

    def _pause_moves(self) -> None:
        """Moved messages are new ones to the disk; and a broker that stops must come to an end."""
        self.engine.moves.is_paused = self.is_stopping or (self.room is not None and self.room.is_full)

    # Ends

    def release_polls(self) -> None:
        """Answer every parked receive, empty, and park no more: the broker is stopping."""
        self.is_stopping = True
        self._pause_moves()
        self._carry_out(self._decide(UnparkAll()))

    async def close(self) -> None:
        """Finish what was begun and close the store."""
        self.release_polls()
        if self._timer is not None:
            self._timer.cancel()
        await self._committer.close()
        if self._timer is not None:
            self._timer.cancel()

    def _start_again(self, snapshot: "Snapshot") -> None:
        """The store refused a commit: what was decided since the last good one did not happen."""
        self.engine = restored(snapshot, self.region, self.limits, self.ids.message_id)
        # Until the next look: a batch that carries new messages fails its deletions too.
        self.room = Room(is_full=True, free_bytes=0)
        self._pause_moves()
        parked, self._parked = self._parked, {}
        for respond, _, _ in parked.values():
            respond(NOTHING)
        self._set_timer()


def _report(page: "Page") -> None:
    if page.damaged:
        _log.error("%d damaged messages were taken out of their queue: %s", len(page.damaged), page.damaged)


def _release(respond: Respond, outcome: Outcome, is_durable: bool) -> None:  # noqa: FBT001
    respond(outcome if is_durable else Fault(SERVICE_UNAVAILABLE))


def _release_all(releases: "list[Callable[[bool], None]]", is_durable: bool) -> None:  # noqa: FBT001
    for release in releases:
        release(is_durable)
