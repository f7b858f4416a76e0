"""What one consuming connection has received, and what Celery has of it.

The pollers' threads bring messages in, the loop's thread hands them to Celery as slots free up, the highest priority
first. Knows turns and slots; must not know kombu's channels, nor how a verdict reaches SQS.
"""

import heapq
import logging
import socket
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from itertools import count
from typing import Any

from amply.clock import Clock, wall_ms
from amply.transport.client import SqsClient
from amply.transport.delivery import Cause, Delivery
from amply.transport.letters import Letters, Payload, Source
from amply.transport.opening import Opening, Verdict
from amply.transport.options import Options
from amply.transport.payloads import PayloadStore
from amply.transport.polling import Poller, receive_members
from amply.transport.queues import Queue, Queues
from amply.transport.turns import Ask, Turns
from amply.transport.verdicts import Verdicts

logger = logging.getLogger(__name__)

# What a consumer without a prefetch count may hold.
_UNLIMITED = 100

HandOver = Callable[[Delivery], None]


class Intake:
    """One connection's intake. All methods but `feed` may be called from any thread; a thread of its own starts with it
    only when there is something to do."""

    def __init__(
        self,
        client: SqsClient,
        queues: Queues,
        options: Options,
        clock: Clock,
        payloads: PayloadStore | None,
        *,
        wall_ms: Callable[[], int] = wall_ms,
    ) -> None:
        self.client = client
        self.queues = queues
        self.options = options
        self.clock = clock
        self.concurrency: Callable[[], int | None] = lambda: None
        self.verdicts = Verdicts(client, queues, options, clock, payloads, distrust=self.distrust_polls)
        self.opening = Opening(options, clock, payloads, wall_ms=wall_ms)
        self._lock = threading.Lock()
        # Pollers that wait for their turn, and what they may ask for now: only those are woken.
        self._waiting: dict[str, threading.Condition] = {}
        self._granted: dict[str, Ask] = {}
        self._turns = Turns(guard=options.starvation_guard)
        self._order: list[str] = []
        self._hand_over: dict[str, HandOver] = {}
        self._pollers: dict[str, Poller] = {}
        self._letters = Letters(self)
        self._ready: list[tuple[int, int, Delivery]] = []
        self._numbers = count()
        self._with_celery = 0
        self._limit = 0
        self._is_feeding = False
        self._is_nudged = False
        self._loop_thread: int | None = None
        self._is_started = False
        self._is_closed = False
        self._bell, self._bell_rope = socket.socketpair()
        self._bell.setblocking(False)
        self._bell_rope.setblocking(False)
        self._has_rung = False

    # What is consumed

    def consume(self, queue: str, hand_over: HandOver) -> None:
        """Receive from this queue as well, after those that were named before."""
        with self._lock:
            self._hand_over[queue] = hand_over
            self._order.append(queue)
            declared = {name: position for position, name in enumerate(self.options.queue_order)}
            self._order.sort(key=lambda name: declared.get(name, len(declared)))
            self._turns.set_queues(self._order)
            self._pollers[queue] = Poller(self, queue)
        self._start_later()

    def read_letters(self, queue: str, source: Source, read: Callable[[Payload], None]) -> None:
        """Receive from a source whose messages are gone once they are read, aside from priority and budget."""
        self._letters.read(queue, source, read)
        self._start_later()

    def cancel(self, queue: str) -> None:
        """Stop receiving from the queue; what Celery has not got yet of it is given back."""
        with self._lock:
            poller = self._pollers.pop(queue, None)
            self._hand_over.pop(queue, None)
            if queue in self._order:
                self._order.remove(queue)
                self._turns.set_queues(self._order)
            kept = [entry for entry in self._ready if entry[2].queue.name != queue]
            unread = [entry[2] for entry in self._ready if entry[2].queue.name == queue]
            self._ready = kept
            heapq.heapify(self._ready)
            self._turns.released(len(unread))
            self._grant()
        if poller is not None:
            poller.stop()
            with self._lock:
                if queue in self._waiting:
                    self._waiting[queue].notify()
        self._letters.cancel(queue)
        for delivery in unread:
            self.verdicts.give_back(delivery)

    def set_prefetch(self, messages: int) -> None:
        """How many messages may be held; 0 is as many as make sense."""
        with self._lock:
            self._limit = messages or _UNLIMITED
            self._set_slots()
            self._grant()

    # The loop's side

    def fileno(self) -> int:
        """Becomes readable when `feed` has something to do."""
        return self._bell.fileno()

    def ring(self) -> None:
        """Wake the loop."""
        if not self._has_rung:
            self._has_rung = True
            with suppress(OSError):
                self._bell_rope.send(b"\0")

    def silence(self) -> None:
        """The loop is awake, and calls `feed` next: that covers a ring that comes between these two lines."""
        with suppress(OSError):
            self._bell.recv(64)
        self._has_rung = False

    def feed(self) -> int:
        """Hand over what there are free slots for, the highest priority first; gives how many messages that were."""
        if self._is_feeding:
            return 0
        if not self._is_started:
            self.start()
        self._is_feeding = True
        handed = 0
        try:
            while (delivery := self._next_ready()) is not None:
                handed += 1
                self._hand(delivery)
        finally:
            self._is_feeding = False
        return handed

    def read_letter(self) -> bool:
        """Give one letter to its reader; whether there was one. Never from within a verdict: a command may raise."""
        if not self._is_started:
            self.start()
        return self._letters.read_one()

    def _next_ready(self) -> Delivery | None:
        with self._lock:
            self._set_slots()
            if not self._ready or self._with_celery >= self._turns.slots:
                return None
            delivery = heapq.heappop(self._ready)[2]
            self._with_celery += 1
            return delivery

    def _hand(self, delivery: Delivery) -> None:
        hand_over = self._hand_over.get(delivery.queue.name)
        if hand_over is None or self.verdicts.leases.is_lost(delivery):
            self._left_celery()
            self.verdicts.give_back(delivery)
            return
        try:
            hand_over(delivery)
        except Exception as error:  # no message may end a worker
            logger.exception("%s could not be handed over", delivery)
            if not delivery.is_settling:
                self.fail(delivery, Cause("could not be handed over", type(error).__name__, str(error)))

    def _set_slots(self) -> None:
        self._turns.limit = max(1, self._limit)
        self._turns.slots = min(self._turns.limit, self.concurrency() or self._turns.limit)

    def _left_celery(self) -> None:
        with self._lock:
            self._with_celery -= 1
            self._turns.released()
            self._grant()

    # Celery's verdicts

    def acknowledge(self, delivery: Delivery) -> None:
        """The job is done."""
        if delivery.is_settling:
            return
        self._left_celery()
        self.verdicts.acknowledge(delivery)
        self._go_on()

    def fail(self, delivery: Delivery, cause: Cause) -> None:
        """The job failed."""
        if delivery.is_settling:
            return
        self._left_celery()
        self.verdicts.fail(delivery, cause)
        self._go_on()

    def _go_on(self) -> None:
        # Celery gives its verdicts on the loop's thread, but for the pools of threads: those wake the loop.
        if self._loop_thread == threading.get_ident():
            self.feed()
        else:
            self.ring()

    def nudge(self) -> None:
        """A verdict is on its way to the loop from another thread, which kombu 5.6 does not wake for it."""
        if self._loop_thread != threading.get_ident():
            self._is_nudged = True
            self.ring()

    def was_nudged(self) -> bool:
        """Whether it was since the last time of asking."""
        was, self._is_nudged = self._is_nudged, False
        return was

    def on_loop(self) -> None:
        """This thread is the one that feeds, and may do so from within a verdict."""
        self._loop_thread = threading.get_ident()

    # The pollers' side

    def wait_for_turn(self, queue: str, stopped: Callable[[], bool]) -> Ask | None:
        """What the queue may ask for, as soon as it may; None when its poller has to end."""
        with self._lock:
            condition = self._waiting[queue] = threading.Condition(self._lock)
            self._grant()
            while queue not in self._granted and not stopped():
                condition.wait()
            del self._waiting[queue]
            return self._granted.pop(queue, None)

    def _grant(self) -> None:
        """Something has changed: whoever may ask now is told. The lock is held."""
        for queue, condition in self._waiting.items():
            if queue not in self._granted:
                ask = self._turns.next_ask(queue)
                if ask is not None:
                    self._granted[queue] = ask
                    condition.notify()

    def arrived(self, queue: Queue, ask: Ask, messages: Sequence[Mapping[str, Any]], *, received_ms: int) -> None:
        """What a poll has brought, given by SQS at `received_ms`."""
        most = self.verdicts.max_receive_count(queue)
        verdicts = [self.opening.open(queue, message, most, received_ms=received_ms) for message in messages]
        self.verdicts.hold(verdict.delivery for verdict in verdicts)
        good = [verdict.delivery for verdict in verdicts if verdict.is_good]
        with self._lock:
            priority = -1 if ask.goes_first else self._priority(queue.name)
            room = self._turns.answered(queue.name, len(messages), queue.most_at_once) if priority is not None else 0
            for delivery in good[:room]:
                heapq.heappush(self._ready, (priority or 0, next(self._numbers), delivery))
            self._turns.released(max(0, room - len(good)))
            self._grant()
        for delivery in good[room:]:
            self.verdicts.give_back(delivery)
        for verdict in verdicts:
            if not verdict.is_good:
                self._turn_away(verdict)
        if good[:room]:
            self.ring()

    def _priority(self, queue: str) -> int | None:
        return self._order.index(queue) if queue in self._order else None

    def _turn_away(self, verdict: Verdict) -> None:
        delivery = verdict.delivery
        if verdict.cause is not None:
            self.verdicts.fail(delivery, verdict.cause)
        elif verdict.due_in_s:
            self.verdicts.put_off(delivery, verdict.due_in_s)
        else:
            self.verdicts.show(delivery)

    def poll_failed(self, queue: str) -> None:
        """The queue's poll failed; the others do not wait for it."""
        with self._lock:
            self._turns.failed(queue)
            self._grant()

    def poll_recovered(self, queue: str) -> None:
        """The queue is polled again."""
        with self._lock:
            self._turns.recovered(queue)
            self._grant()

    def distrust_polls(self) -> None:
        """Something went wrong on the way to SQS: open polls may have been forgotten there, so they are made anew."""
        for poller in [*self._pollers.values(), *self._letters.mailboxes()]:
            poller.distrust()

    # Life

    def _start_later(self) -> None:
        # Only when the loop runs are all queues known, and polling can begin with the highest.
        if self._is_started:
            self.start()
        self.ring()

    def start(self) -> None:
        """Start the threads that are not running yet."""
        if self._is_closed:
            return
        self.verdicts.start()
        self._is_started = True
        for poller in [*self._pollers.values(), *self._letters.mailboxes()]:
            if not poller.was_started:
                poller.was_started = True
                poller.start()

    def receive_one(self, queue: Queue) -> Delivery | None:
        """A message for a caller who asks for one; it is held until its verdict."""
        members = receive_members(queue, 1, 0, self.options.lease_seconds)
        messages = self.client.call("ReceiveMessage", members).get("Messages") or ()
        for message in messages:
            verdict = self.opening.open(queue, message, self.verdicts.max_receive_count(queue))
            self.verdicts.hold([verdict.delivery])
            if not verdict.is_good:
                self._turn_away(verdict)
                continue
            self.start()
            with self._lock:
                self._with_celery += 1
                self._turns.held += 1
            return verdict.delivery
        return None

    def close(self) -> None:
        """Receive no more and give back what was not started. Jobs that run can still be acknowledged."""
        if self._is_closed:
            return
        for queue in [*self._pollers, *self._letters.names()]:
            self.cancel(queue)
        self._is_closed = True
        self.verdicts.close()
        self._bell.close()
        self._bell_rope.close()

    def finish(self) -> None:
        """The process ends."""
        self.verdicts.finish()
