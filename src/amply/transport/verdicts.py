"""What becomes of a delivery: done, failed, given back, sent again. The rules decide, the settler tells SQS.

Knows leases, failures and the payload store; must not know which queue is polled when, or what Celery is.
"""

import logging
import os
from collections.abc import Callable, Iterable
from random import Random

from amply.clock import Clock
from amply.errors import AmplyError
from amply.transport import failing
from amply.transport.client import SqsClient
from amply.transport.delivery import Cause, Delivery
from amply.transport.faults import SqsFault, Unreachable
from amply.transport.leases import LeaseKeeper, Leases
from amply.transport.options import Options
from amply.transport.payloads import PayloadStore
from amply.transport.queues import Queue, Queues
from amply.transport.settling import Order, Settler

logger = logging.getLogger(__name__)

# How long the end of a connection, and of the process, waits for SQS to hear what was decided.
_FLUSH_S = 5.0
# As long as SQS keeps a dead letter at most, for which the records are the explanation.
TELEMETRY_RETENTION_S = "1209600"


class Verdicts:
    """Verdicts of one connection. Thread-safe; its threads start with `start`.

    `nodename` is what Celery calls the worker, "" where there is none.
    `distrust` is called when a request found nobody: other requests may be lost as well.
    """

    def __init__(
        self,
        client: SqsClient,
        queues: Queues,
        options: Options,
        clock: Clock,
        payloads: PayloadStore | None,
        *,
        distrust: Callable[[], None],
    ) -> None:
        self.leases = Leases(clock, options.lease_seconds)
        self.nodename = ""
        self._queues = queues
        self._options = options
        self._clock = clock
        self._payloads = payloads
        self._random = Random()  # noqa: S311 - jitter
        self._pid = os.getpid()
        self._is_started = False
        self._settler = Settler(client, self.leases, clock, distrust=distrust, after_delete=self._after_delete)
        self._keeper = LeaseKeeper(client, self.leases, distrust=distrust)

    def hold(self, deliveries: Iterable[Delivery]) -> None:
        """Keep these hidden from others until a verdict."""
        self.leases.add(deliveries)

    def acknowledge(self, delivery: Delivery) -> None:
        """The job is done: its message is deleted, unless its lease is lost."""
        if self.leases.is_lost(delivery):
            logger.error("%s was done after its lease had run out; it is not acknowledged and runs again", delivery)
            self.leases.drop(delivery)
        else:
            delivery.is_done = True
            self._settle(Order("delete", delivery.queue, delivery))

    def fail(self, delivery: Delivery, cause: Cause) -> None:
        """The job failed: it waits for its next run, or for SQS to move it to the dead letter queue."""
        most = self.max_receive_count(delivery.queue)
        if self.leases.is_lost(delivery):
            logger.error("%s failed after its lease had run out: %s", delivery, cause.reason)
            self.leases.drop(delivery)
            self._report(delivery, cause, None if failing.is_last(delivery, most) else 0.0)
            return
        wait_s = failing.again_in_s(delivery, self._options, most, self._random)
        self._report(delivery, cause, wait_s)
        if wait_s is None:
            logger.error("%s failed (%s) for the last time: it goes to the dead letter queue", delivery, cause.reason)
        else:
            logger.warning(
                "%s failed (%s), run %d; it runs again in %.1f s", delivery, cause.reason, delivery.attempt, wait_s
            )
        # SQS counts whole seconds.
        self._hide(delivery, round(wait_s or 0))

    def give_back(self, delivery: Delivery) -> None:
        """Somebody else may have it, and its receive does not count: nobody ran it.

        SQS counts receives whatever came of them, so where the count decides over a message, a fresh copy takes its
        place. A FIFO queue's order would suffer from that.
        """
        if delivery.is_settling or self.leases.is_lost(delivery):
            return
        if delivery.queue.is_fifo or self.max_receive_count(delivery.queue) is None:
            self.show(delivery)
        else:
            self._settle(Order("renew", delivery.queue, delivery, attempts=delivery.failed_before))

    def put_off(self, delivery: Delivery, due_in_s: int) -> None:
        """It is there too early: a fresh copy comes when it is due or in 15 minutes, as if it had not been received.

        A FIFO queue delays no single message (AWS API reference, SendMessage), and a copy would be at once here again:
        there it is hidden, up to twelve hours, and the receive counts.
        """
        if delivery.queue.is_fifo:
            self._hide(delivery, due_in_s)
        else:
            self._settle(Order("renew", delivery.queue, delivery, due_in_s, attempts=delivery.carried_attempts))

    def show(self, delivery: Delivery) -> None:
        """Somebody else may have it at once."""
        self._settle(Order("show", delivery.queue, delivery))

    def _hide(self, delivery: Delivery, seconds: int) -> None:
        seconds = min(seconds, self.leases.longest_hidden_s(delivery))
        self._settle(Order("show", delivery.queue, delivery, seconds))

    def drop(self, delivery: Delivery) -> None:
        """It was read and is nobody's job."""
        self._settle(Order("delete", delivery.queue, delivery))

    def send_telemetry(self, body: str) -> None:
        """A record or an event for the telemetry queue, if there is one; best effort."""
        name = self._options.telemetry_queue
        if name is None:
            return
        try:
            queue = self._queues.get(name, MessageRetentionPeriod=TELEMETRY_RETENTION_S)
        except (SqsFault, Unreachable) as error:
            logger.warning("A telemetry record is lost: %s", error)
        else:
            self._settle(Order("send", queue, body=body))

    def max_receive_count(self, queue: Queue) -> int | None:
        """How often a message of the queue may be received, None if that is not known."""
        try:
            return self._queues.limits(queue).max_receive_count
        except (SqsFault, Unreachable):
            return None

    def start(self) -> None:
        """Start the threads, once."""
        if not self._is_started:
            self._is_started = True
            self._settler.start()
            self._keeper.start()

    def close(self) -> None:
        """Give back what was not started. Jobs that run keep their leases and can still be acknowledged."""
        for delivery in self.leases.held():
            if not delivery.is_started:
                self.give_back(delivery)
        if self._is_started:
            self._settler.flush(_FLUSH_S)
            self._settler.stop()
            self._keeper.stop()

    def finish(self) -> None:
        """The process ends: show what was cut off while it ran, and wait until SQS knows."""
        if os.getpid() != self._pid or not self._is_started:
            return
        for delivery in self.leases.held():
            if not delivery.is_settling:
                # The run counts; but nobody has to wait for the lease to end.
                self.show(delivery)
        if not self._settler.flush(_FLUSH_S):
            logger.error("%d messages were not settled; they come back when their leases end", len(self.leases))

    def _report(self, delivery: Delivery, cause: Cause, wait_s: float | None) -> None:
        if self._options.telemetry_queue is not None:
            record = failing.record(
                delivery, cause, again_in_s=wait_s, now_ms=self._clock.now_ms(), nodename=self.nodename
            )
            self.send_telemetry(record.to_json())

    def _settle(self, order: Order) -> None:
        self.start()
        self._settler.put(order)

    def _after_delete(self, delivery: Delivery) -> None:
        if delivery.pointer is None or self._payloads is None or not delivery.is_done:
            return
        try:
            self._payloads.delete(delivery.pointer)
        except (Unreachable, SqsFault, AmplyError) as error:
            logger.warning("The stored payload of %s stays behind: %s", delivery, error)
