"""Everything that one consuming connection holds: what was received, what Celery has of it, and what becomes of it.

The pollers' threads bring messages in, the loop's thread hands them to Celery as slots free up, Celery's verdicts go to
the settler. Knows the rules of priority, leases and failures by their modules; must not know kombu's channels.
"""

import heapq
import logging
import os
import socket
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from itertools import count
from random import Random
from typing import Any

from amply.clock import Clock
from amply.transport import failing
from amply.transport.client import SqsClient
from amply.transport.delivery import Cause, Delivery
from amply.transport.faults import SqsFault, Unreachable
from amply.transport.leases import LeaseKeeper, Leases
from amply.transport.opening import Opening, Verdict
from amply.transport.options import Options
from amply.transport.payloads import PayloadStore
from amply.transport.polling import Mailbox, Poller, receive_members
from amply.transport.queues import Queue, Queues
from amply.transport.settling import Order, Settler
from amply.transport.turns import Ask, Turns

logger = logging.getLogger(__name__)

# What a consumer without a prefetch count may hold.
_UNLIMITED = 100
_EXIT_FLUSH_S = 5.0

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
    ) -> None:
        self.client = client
        self.queues = queues
        self.options = options
        self.clock = clock
        self.concurrency: Callable[[], int | None] = lambda: None
        self.leases = Leases(clock, options.lease_seconds)
        self._payloads = payloads
        self._opening = Opening(options, clock, payloads)
        self._random = Random()  # noqa: S311 - jitter
        self._changed = threading.Condition()
        self._turns = Turns(guard=options.starvation_guard)
        self._order: list[str] = []
        self._hand_over: dict[str, HandOver] = {}
        self._pollers: dict[str, Poller] = {}
        self._mailboxes: dict[str, Mailbox] = {}
        self._ready: list[tuple[int, int, Delivery]] = []
        self._letters: list[tuple[str, Mapping[str, Any]]] = []
        self._letter_readers: dict[str, Callable[[Mapping[str, Any]], None]] = {}
        self._numbers = count()
        self._with_celery = 0
        self._limit = 0
        self._is_feeding = False
        self._loop_thread: int | None = None
        self._is_started = False
        self._is_closed = False
        self._pid = os.getpid()
        self._settler: Settler | None = None
        self._keeper: LeaseKeeper | None = None
        self._bell, self._bell_rope = socket.socketpair()
        self._bell.setblocking(False)
        self._bell_rope.setblocking(False)
        self._has_rung = False

    # What is consumed

    def consume(self, queue: str, hand_over: HandOver) -> None:
        """Receive from this queue as well, after those that were named before."""
        with self._changed:
            self._hand_over[queue] = hand_over
            self._order.append(queue)
            declared = {name: position for position, name in enumerate(self.options.queue_order)}
            self._order.sort(key=lambda name: declared.get(name, len(declared)))
            self._turns.set_queues(self._order)
            self._pollers[queue] = Poller(self, queue)
        self._start_later()

    def read_letters(self, queue: str, read: Callable[[Mapping[str, Any]], None], attributes: dict[str, str]) -> None:
        """Receive from a queue whose messages are deleted as they come, aside from priority and budget."""
        self._letter_readers[queue] = read
        self._mailboxes[queue] = Mailbox(self, queue, attributes)
        self._start_later()

    def cancel(self, queue: str) -> None:
        """Stop receiving from the queue; what Celery has not got yet of it is given back."""
        with self._changed:
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
            self._changed.notify_all()
        for thread in (poller, self._mailboxes.pop(queue, None)):
            if thread is not None:
                thread.stop()
        self._letter_readers.pop(queue, None)
        for delivery in unread:
            self._give_back(delivery)

    def set_prefetch(self, messages: int) -> None:
        """How many messages may be held; 0 is as many as make sense."""
        with self._changed:
            self._limit = messages or _UNLIMITED
            self._set_slots()
            self._changed.notify_all()

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
        """The loop is awake."""
        self._has_rung = False
        with suppress(OSError):
            self._bell.recv(64)

    def feed(self) -> int:
        """Hand over what there are free slots for, the highest priority first; gives how many messages that were."""
        if self._is_feeding:
            return 0
        self.start()
        self._is_feeding = True
        handed = 0
        try:
            while self._letters:
                queue, letter = self._letters.pop(0)
                read = self._letter_readers.get(queue)
                if read is not None:
                    read(letter)
                    handed += 1
            while (delivery := self._next_ready()) is not None:
                handed += 1
                self._hand(delivery)
        finally:
            self._is_feeding = False
        return handed

    def _next_ready(self) -> Delivery | None:
        with self._changed:
            self._set_slots()
            if not self._ready or self._with_celery >= self._turns.slots:
                return None
            delivery = heapq.heappop(self._ready)[2]
            self._with_celery += 1
            return delivery

    def _hand(self, delivery: Delivery) -> None:
        hand_over = self._hand_over.get(delivery.queue.name)
        if hand_over is None or self.leases.is_lost(delivery):
            self._left_celery()
            self._give_back(delivery)
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
        with self._changed:
            self._with_celery -= 1
            self._turns.released()
            self._changed.notify_all()

    # Celery's verdicts

    def acknowledge(self, delivery: Delivery) -> None:
        """The job is done: its message is deleted, unless its lease is lost."""
        if delivery.is_settling:
            return
        self._left_celery()
        if self.leases.is_lost(delivery):
            logger.error("%s was done after its lease had run out; it is not acknowledged and runs again", delivery)
            self.leases.drop(delivery)
        else:
            delivery.is_done = True
            self._settle(Order("delete", delivery.queue, delivery))
        self._go_on()

    def fail(self, delivery: Delivery, cause: Cause) -> None:
        """The job failed: it waits for its next run, or for SQS to move it to the dead letter queue."""
        if delivery.is_settling:
            return
        self._left_celery()
        self._fail(delivery, cause)
        self._go_on()

    def _go_on(self) -> None:
        # Celery gives its verdicts on the loop's thread, but for the pools of threads: those wake the loop.
        if self._loop_thread == threading.get_ident():
            self.feed()
        else:
            self.ring()

    def on_loop(self) -> None:
        """This thread is the one that feeds, and may do so from within a verdict."""
        self._loop_thread = threading.get_ident()

    def _fail(self, delivery: Delivery, cause: Cause) -> None:
        if self.leases.is_lost(delivery):
            logger.error("%s failed after its lease had run out: %s", delivery, cause.reason)
            self.leases.drop(delivery)
            self._report(delivery, cause, None)
            return
        most = self._max_receive_count(delivery.queue)
        wait_s = failing.again_in_s(delivery, self.options, most, self._random)
        self._report(delivery, cause, wait_s)
        if wait_s is None:
            logger.error("%s failed (%s) for the last time: it goes to the dead letter queue", delivery, cause.reason)
        else:
            logger.warning(
                "%s failed (%s), run %d; it runs again in %.1f s", delivery, cause.reason, delivery.attempt, wait_s
            )
        # SQS counts whole seconds.
        self._settle(Order("show", delivery.queue, delivery, seconds=round(wait_s or 0)))

    def _report(self, delivery: Delivery, cause: Cause, wait_s: float | None) -> None:
        record = failing.record(delivery, cause, again_in_s=wait_s, now_ms=self.clock.now_ms())
        if self.options.telemetry_queue is not None:
            self.send_telemetry(record.to_json())

    def send_telemetry(self, body: str) -> None:
        """A record or an event for the telemetry queue, if there is one; best effort."""
        name = self.options.telemetry_queue
        if name is None:
            return
        try:
            queue = self.queues.get(name, MessageRetentionPeriod="1209600")
        except (SqsFault, Unreachable) as error:
            logger.warning("A telemetry record is lost: %s", error)
        else:
            self._settle(Order("send", queue, body=body))

    def _max_receive_count(self, queue: Queue) -> int | None:
        try:
            return self.queues.limits(queue).max_receive_count
        except (SqsFault, Unreachable):
            return None

    def _give_back(self, delivery: Delivery) -> None:
        """Somebody else may have it, and its receive does not count: nobody ran it.

        SQS counts receives whatever came of them, so where the count decides over a message, a fresh copy takes its
        place. A FIFO queue's order would suffer from that.
        """
        if delivery.is_settling or self.leases.is_lost(delivery):
            return
        if delivery.queue.is_fifo or self._max_receive_count(delivery.queue) is None:
            self._settle(Order("show", delivery.queue, delivery))
        else:
            self._settle(Order("renew", delivery.queue, delivery, attempts=delivery.failed_before))

    def _settle(self, order: Order) -> None:
        self.start()
        if self._settler is not None:
            self._settler.put(order)

    def _after_delete(self, delivery: Delivery) -> None:
        if delivery.pointer is not None and self._payloads is not None and delivery.is_done:
            self._payloads.delete(delivery.pointer)

    # The pollers' side

    def wait_for_turn(self, queue: str, stopped: Callable[[], bool]) -> Ask | None:
        """What the queue may ask for, as soon as it may; None when its poller has to end."""
        with self._changed:
            while not stopped():
                ask = self._turns.next_ask(queue)
                if ask is not None:
                    # A check that was out may have kept others waiting.
                    self._changed.notify_all()
                    return ask
                self._changed.wait()
            return None

    def arrived(self, queue: Queue, ask: Ask, messages: Sequence[Mapping[str, Any]]) -> None:
        """What a poll has brought."""
        verdicts = [self._opening.open(queue, message, self._max_receive_count(queue)) for message in messages]
        self.leases.add(verdict.delivery for verdict in verdicts)
        good = [verdict.delivery for verdict in verdicts if verdict.is_good]
        with self._changed:
            priority = -1 if ask.goes_first else self._priority(queue.name)
            room = self._turns.answered(queue.name, len(messages)) if priority is not None else 0
            for delivery in good[:room]:
                heapq.heappush(self._ready, (priority or 0, next(self._numbers), delivery))
            self._turns.released(max(0, room - len(good)))
            self._changed.notify_all()
        for delivery in good[room:]:
            self._give_back(delivery)
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
            self._fail(delivery, verdict.cause)
        elif verdict.due_in_s:
            order = Order("renew", delivery.queue, delivery, verdict.due_in_s, delivery.carried_attempts)
            self._settle(order)
        else:
            self._settle(Order("show", delivery.queue, delivery))

    def letters_arrived(self, queue: Queue, messages: Sequence[Mapping[str, Any]]) -> None:
        """Messages that are deleted as they come."""
        for message in messages:
            verdict = self._opening.open(queue, message, None)
            self._settle(Order("delete", queue, verdict.delivery))
            if verdict.delivery.payload is not None:
                self._letters.append((queue.name, verdict.delivery.payload))
        self.ring()

    def poll_failed(self, queue: str) -> None:
        """The queue's poll failed; the others do not wait for it."""
        with self._changed:
            self._turns.failed(queue)
            self._changed.notify_all()

    def poll_recovered(self, queue: str) -> None:
        """The queue is polled again."""
        with self._changed:
            self._turns.recovered(queue)
            self._changed.notify_all()

    def distrust_polls(self) -> None:
        """Something went wrong on the way to SQS: open polls may have been forgotten there, so they are made anew."""
        for poller in [*self._pollers.values(), *self._mailboxes.values()]:
            poller.distrust()

    # Life

    def _start_later(self) -> None:
        # Only when the loop runs are all queues known, and polling can begin with the highest.
        if self._is_started:
            self.start()
        self.ring()

    def start(self) -> None:
        """Start the threads that are not running yet."""
        if self._is_closed and self._settler is not None:
            return
        if self._settler is None:
            self._settler = Settler(
                self.client, self.leases, distrust=self.distrust_polls, after_delete=self._after_delete
            )
            self._keeper = LeaseKeeper(self.client, self.leases, distrust=self.distrust_polls)
            self._settler.start()
            self._keeper.start()
        self._is_started = True
        for poller in [*self._pollers.values(), *self._mailboxes.values()]:
            if not poller.was_started:
                poller.was_started = True
                poller.start()

    def receive_one(self, queue: Queue) -> Delivery | None:
        """A message for a caller who asks for one; it is held until its verdict."""
        members = receive_members(queue, 1, 0, self.options.lease_seconds)
        messages = self.client.call("ReceiveMessage", members).get("Messages") or ()
        for message in messages:
            verdict = self._opening.open(queue, message, self._max_receive_count(queue))
            self.leases.add([verdict.delivery])
            if not verdict.is_good:
                self._turn_away(verdict)
                continue
            self.start()
            with self._changed:
                self._with_celery += 1
                self._turns.held += 1
            return verdict.delivery
        return None

    def close(self) -> None:
        """Receive no more and give back what was not started. Jobs that run can still be acknowledged."""
        if self._is_closed:
            return
        for queue in [*self._pollers, *self._mailboxes]:
            self.cancel(queue)
        self._is_closed = True
        for delivery in self.leases.held():
            if not delivery.is_started and not delivery.is_settling:
                self._give_back(delivery)
        if self._settler is not None and self._keeper is not None:
            self._settler.flush(_EXIT_FLUSH_S)
            self._settler.stop()
            self._keeper.stop()

    def finish(self) -> None:
        """The process ends: give back everything that is not settled, and wait until SQS knows."""
        if os.getpid() != self._pid or self._settler is None:
            return
        self.close()
        for delivery in self.leases.held():
            if not delivery.is_settling:
                # Its run was cut off, which counts; but nobody has to wait for the lease to end.
                self._settle(Order("show", delivery.queue, delivery))
        if not self._settler.flush(_EXIT_FLUSH_S):
            logger.error("%d messages were not settled; they come back when their leases end", len(self.leases))
