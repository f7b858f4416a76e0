"""Leases: a received message is hidden from others for a short time only, and longer for as long as it is held here.

The register says which deliveries are due for an extension and which are lost; the keeper's thread asks SQS for it.
Knows time as elapsed milliseconds; must not know what the messages are for.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterable
from itertools import islice

from amply.clock import Clock
from amply.transport.client import SqsClient
from amply.transport.delivery import Delivery
from amply.transport.faults import SqsFault, TimedOut, Unreachable
from amply.transport.options import LONGEST_VISIBILITY_S
from amply.transport.turns import MOST_AT_ONCE

logger = logging.getLogger(__name__)

# Two extensions may fail before a lease ends; so a request that hangs must end in time for another.
_EXTENSIONS_A_LEASE = 3
_LONGEST_REQUEST_S = 5.0
# A thread that wakes so much later than it wanted was not just waiting for a processor.
_LATE_MS = 1_000
# SQS began to count when it gave the message, and what is asked of it takes its time to get there.
_MARGIN_S = 5


class Leases:
    """Every delivery that is held. Thread-safe."""

    def __init__(self, clock: Clock, lease_s: int) -> None:
        self._clock = clock
        self.lease_s = lease_s
        # Often enough to extend within a tenth of a lease of when it is due.
        self.tick_s = min(1.0, lease_s / 10)
        self._beat_ms = clock.now_ms()
        self._stopped_ms = self._resumed_ms = 0
        self.request_timeout_s = min(_LONGEST_REQUEST_S, lease_s / (2 * _EXTENSIONS_A_LEASE))
        self._lock = threading.Lock()
        self._held: set[Delivery] = set()

    def add(self, deliveries: Iterable[Delivery]) -> None:
        """Hold these from now on."""
        with self._lock:
            self._held.update(deliveries)

    def drop(self, delivery: Delivery) -> None:
        """It is settled, or nobody's business any more."""
        with self._lock:
            self._held.discard(delivery)

    def held(self) -> list[Delivery]:
        """All that are held."""
        with self._lock:
            return list(self._held)

    def __len__(self) -> int:
        return len(self._held)

    def is_lost(self, delivery: Delivery) -> bool:
        """Whether its lease ran out. Asked at the moment of acknowledging: the keeper may have been asleep as well."""
        if not delivery.is_lost and self._clock.now_ms() >= delivery.leased_until_ms:
            delivery.is_lost = True
        return delivery.is_lost

    def take_due(self) -> list[Delivery]:
        """Those to extend now; none of them is settled in the meantime. Those that are lost are let go."""
        now_ms = self._clock.now_ms()
        due_before_ms = now_ms + self.lease_s * 1000 * (_EXTENSIONS_A_LEASE - 1) // _EXTENSIONS_A_LEASE
        due = []
        with self._lock:
            for delivery in list(self._held):
                if now_ms >= delivery.leased_until_ms:
                    self._lose(delivery)
                elif delivery.leased_until_ms <= due_before_ms and not delivery.is_settling:
                    delivery.is_extending = True
                    due.append(delivery)
        return due

    def settle(self, delivery: Delivery) -> None:
        """What becomes of it is decided: no extension starts any more, one that has started comes to its end."""
        with self._lock:
            delivery.is_settling = True

    def given_ms(self, asked_ms: int) -> int:
        """When SQS gave, at the earliest that has to be reckoned with, what was asked for then and has come now.

        That is now; but a process that was stopped reads its answer long after it was given.
        """
        self.beat()
        return max(asked_ms, self._stopped_ms) if asked_ms < self._resumed_ms else self._clock.now_ms()

    def beat(self) -> None:
        """This process runs. If it has not said so for too long, it was stopped in between."""
        now_ms = self._clock.now_ms()
        with self._lock:
            if now_ms - self._beat_ms > self.tick_s * 1000 + _LATE_MS:
                self._stopped_ms, self._resumed_ms = self._beat_ms, now_ms
            self._beat_ms = now_ms

    def longest_hidden_s(self, delivery: Delivery) -> int:
        """For how long SQS can still hide it: no longer than twelve hours after its receive."""
        cap_ms = delivery.received_ms + (LONGEST_VISIBILITY_S - _MARGIN_S) * 1000
        return max(0, (cap_ms - self._clock.now_ms()) // 1000)

    def longest_extension_s(self, delivery: Delivery) -> int:
        """Up to a lease, less where the twelve hours end."""
        return min(self.lease_s, self.longest_hidden_s(delivery))

    def extended(self, delivery: Delivery, *, asked_ms: int, by_s: int) -> None:
        """SQS agreed: the lease counts from the moment of asking."""
        delivery.leased_until_ms = asked_ms + by_s * 1000

    def now_ms(self) -> int:
        """The time that leases are counted in."""
        return self._clock.now_ms()

    def _lose(self, delivery: Delivery) -> None:
        self._held.discard(delivery)
        if not delivery.is_lost:
            delivery.is_lost = True
            logger.error("The lease of %s ran out: SQS gives it to another worker", delivery)


class LeaseKeeper(threading.Thread):
    """Extends leases until it is told to stop and nothing is held."""

    def __init__(self, client: SqsClient, leases: Leases, *, distrust: Callable[[], None]) -> None:
        super().__init__(name="amply-leases", daemon=True)
        self._client = client
        self._leases = leases
        self._distrust = distrust
        self._stopping = threading.Event()

    def stop(self) -> None:
        """End as soon as nothing is held."""
        self._stopping.set()

    def run(self) -> None:
        """The thread."""
        while not (self._stopping.is_set() and not len(self._leases)):
            time.sleep(self._leases.tick_s)
            self._leases.beat()
            try:
                self._extend_all(self._leases.take_due())
            except Exception:  # a lease that is not extended is lost, and said so; the others go on
                logger.exception("Leases could not be extended")

    def _extend_all(self, due: list[Delivery]) -> None:
        by_queue: dict[str, list[Delivery]] = {}
        for delivery in due:
            by_queue.setdefault(delivery.queue.url, []).append(delivery)
        for url, deliveries in by_queue.items():
            rest = iter(deliveries)
            while batch := list(islice(rest, MOST_AT_ONCE)):
                self._extend(url, batch)

    def _extend(self, url: str, batch: list[Delivery]) -> None:
        asked_ms = self._leases.now_ms()
        by_s = [self._leases.longest_extension_s(delivery) for delivery in batch]
        entries = [
            {"Id": str(index), "ReceiptHandle": delivery.receipt_handle, "VisibilityTimeout": by_s[index]}
            for index, delivery in enumerate(batch)
            if by_s[index]
        ]
        try:
            if not entries:
                return
            answer = self._client.call(
                "ChangeMessageVisibilityBatch",
                {"QueueUrl": url, "Entries": entries},
                timeout_s=self._leases.request_timeout_s,
            )
            for entry in answer.get("Successful") or ():
                index = int(entry["Id"])
                self._leases.extended(batch[index], asked_ms=asked_ms, by_s=by_s[index])
            for entry in answer.get("Failed") or ():
                delivery = batch[int(entry["Id"])]
                logger.warning("The lease of %s was not extended: %s", delivery, entry.get("Message") or entry["Code"])
        except (SqsFault, Unreachable) as error:
            logger.warning("%d leases were not extended, they are tried again: %s", len(batch), error)
            if isinstance(error, TimedOut):
                self._distrust()
        finally:
            for delivery in batch:
                delivery.is_extending = False
