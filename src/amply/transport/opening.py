"""A received message opened: is it a job to run now, one for later, one that ran too often, or none at all?

Knows the envelope, the payload store and what the transport wrote beside the message; must not know queues of threads.
"""

import logging
from collections.abc import Callable, Mapping
from typing import Any

from msgspec import Struct

from amply import envelope
from amply.clock import Clock
from amply.transport import failing
from amply.transport.delivery import Cause, Delivery, received
from amply.transport.faults import SqsFault, Unreachable
from amply.transport.options import Options
from amply.transport.payloads import PayloadStore, PayloadUnusable, is_pointer
from amply.transport.publishing import due_ms
from amply.transport.queues import Queue

logger = logging.getLogger(__name__)

# Celery itself waits for what is due this soon; another round through SQS would take longer.
_SOON_MS = 1_000
# How long a message waits whose payload's store does not answer.
_STORE_PAUSE_S = 10


class Verdict(Struct, frozen=True):
    """What to do with a delivery: run it (`is_good`), fail it (`cause`), put it off until it is due, in `due_in_s`.

    None of the three: it was received too often and is shown again, for SQS to move it.
    """

    delivery: Delivery
    is_good: bool = False
    cause: Cause | None = None
    due_in_s: int = 0


class Opening:
    """Opens messages."""

    def __init__(
        self, options: Options, clock: Clock, payloads: PayloadStore | None, *, wall_ms: Callable[[], int]
    ) -> None:
        # A time to start is one of the sender's wall clock, which may have been set since this process started.
        self._wall_ms = wall_ms
        self._options = options
        self._clock = clock
        self._payloads = payloads

    def open(
        self,
        queue: Queue,
        message: Mapping[str, Any],
        max_receive_count: int | None,
        *,
        received_ms: int | None = None,
    ) -> Verdict:
        """The verdict on a message as ReceiveMessage gives it, by default just now.

        Never raises for what is in a message.
        """
        now_ms = self._clock.now_ms() if received_ms is None else received_ms
        delivery = received(queue, message, now_ms=now_ms, lease_s=self._options.lease_seconds)
        try:
            delivery.payload = payload = self._payload(delivery)
        except envelope.Unreadable as unreadable:
            return Verdict(delivery, cause=Cause("unreadable message", "Unreadable", unreadable.reason))
        except PayloadUnusable as error:
            return Verdict(delivery, cause=Cause("payload not to be had", type(error).__name__, str(error)))
        except (Unreachable, SqsFault) as error:
            # The store's trouble is not the job's: that must not be a dead letter for it.
            logger.warning("The payload of %s cannot be had now: %s", delivery, error)
            return Verdict(delivery, due_in_s=_STORE_PAUSE_S)
        if failing.is_given_up(delivery, max_receive_count):
            return Verdict(delivery)
        headers = payload["headers"]
        # Celery's first protocol has it inside the body.
        due = due_ms(headers.get("eta") if "task" in headers else envelope.job(payload).eta)
        if due is not None:
            left_ms = due - self._wall_ms()
            # Where waiting takes a receive, and this is the last one, Celery itself has to wait.
            if left_ms > _SOON_MS and not (queue.is_fifo and failing.is_last(delivery, max_receive_count)):
                return Verdict(delivery, due_in_s=-(-left_ms // 1000))
            if left_ms <= 0:
                # Celery would hold a slot for it, even for a time that is past.
                headers.pop("eta", None)
        headers["receive_count"] = delivery.receive_count
        headers["attempt"] = delivery.attempt
        headers["message_id"] = delivery.message_id
        return Verdict(delivery, is_good=True)

    def _payload(self, delivery: Delivery) -> dict[str, Any]:
        body = delivery.body
        if is_pointer(body, delivery.attributes):
            if self._payloads is None:
                raise envelope.Unreadable("its body is in a payload store, and no payload_store is declared here")
            delivery.pointer = body
            body = self._payloads.get(body)
        try:
            return envelope.read(body)
        except envelope.Unreadable:
            task = self._options.foreign_tasks.get(delivery.queue.name)
            if task is None:
                raise
            return envelope.foreign(body, task=task, message_id=delivery.message_id)
