"""Polls: one thread a queue, which asks SQS for messages whenever it is the queue's turn, and never stops asking.

Every outcome of a request leads to the next one: an answer at once, a fault after a jittered pause. Knows how to
receive and how long to wait; must not know what the messages are.
"""

import logging
import threading
from collections.abc import Mapping, Sequence
from random import Random
from typing import TYPE_CHECKING, Any

from amply.errors import AmplyError
from amply.transport.backoff import Backoff
from amply.transport.faults import Aborted, SqsFault, Unreachable
from amply.transport.queues import Queue
from amply.transport.turns import Ask

if TYPE_CHECKING:
    from amply.transport.http import Connection
    from amply.transport.intake import Intake

logger = logging.getLogger(__name__)

_FIRST_PAUSE_S = 0.2
_LONGEST_PAUSE_S = 3.0
# An answer that is later than this after the end of its wait is not coming.
_GRACE_S = 3.0
# After trouble the polls are short, until one is answered: the next trouble is noticed soon.
_CAREFUL_WAIT_S = 2


def receive_members(queue: Queue, messages: int, wait_s: int, lease_s: int) -> dict[str, Any]:
    """The members of a ReceiveMessage request."""
    return {
        "QueueUrl": queue.url,
        "MaxNumberOfMessages": min(messages, queue.most_at_once),
        "WaitTimeSeconds": wait_s,
        "VisibilityTimeout": lease_s,
        "MessageSystemAttributeNames": ["ApproximateReceiveCount", "MessageGroupId"],
        "MessageAttributeNames": ["All"],
    }


class Receiver(threading.Thread):
    """A thread that receives from one queue over a connection of its own."""

    def __init__(self, intake: "Intake", queue: str) -> None:
        super().__init__(name=f"amply-poll-{queue}", daemon=True)
        self.was_started = False
        self._intake = intake
        self._queue_name = queue
        self._lock = threading.Lock()
        self._connection: Connection | None = None
        self._is_ending = threading.Event()
        self._is_careful = False
        self._trouble = 0
        # Jittered, or all workers would come back in the same moment.
        self._backoff = Backoff(_FIRST_PAUSE_S, _LONGEST_PAUSE_S, random=Random())  # noqa: S311 - not a secret

    def stop(self) -> None:
        """End, and hang up an open poll: what SQS would still give it must not wait for a lease to end."""
        self._is_ending.set()
        self._hang_up()

    def distrust(self) -> None:
        """Ask again instead of waiting for an answer that may never come."""
        if not self._is_careful:
            self._is_careful = True
            self._hang_up()

    def _hang_up(self) -> None:
        with self._lock:
            connection, self._connection = self._connection, None
        if connection is not None:
            connection.abort()

    def _receive(self, queue: Queue, messages: int, wait_s: int, hidden_s: int) -> Sequence[Mapping[str, Any]]:
        with self._lock:
            if self._is_ending.is_set():
                raise Aborted("the poll was stopped")
            if self._connection is None:
                self._connection = self._intake.client.connection()
            connection = self._connection
        if self._is_careful:
            wait_s = min(wait_s, _CAREFUL_WAIT_S)
        members = receive_members(queue, messages, wait_s, hidden_s)
        answer = self._intake.client.call("ReceiveMessage", members, timeout_s=wait_s + _GRACE_S, connection=connection)
        self._is_careful = False
        return answer.get("Messages") or ()

    def _pause(self, error: Exception) -> None:
        self._trouble += 1
        self._is_careful = True
        self._hang_up()
        pause_s = self._backoff.next_s()
        if self._trouble == 1 or self._trouble % 20 == 0:
            logger.warning("Queue %s cannot be polled, it is tried again and again: %s", self._queue_name, error)
        self._is_ending.wait(pause_s)

    def _answered(self) -> None:
        if self._trouble:
            logger.warning("Queue %s is polled again, after %d failures", self._queue_name, self._trouble)
            self._trouble = 0
            self._backoff.reset()


class Poller(Receiver):
    """Polls a queue of jobs when it is its turn."""

    def run(self) -> None:
        """The thread."""
        intake, name = self._intake, self._queue_name
        while (ask := intake.wait_for_turn(name, self._is_ending.is_set)) is not None:
            try:
                self._poll(ask)
            except Aborted:
                intake.poll_failed(name)
                intake.poll_recovered(name)
            except (Unreachable, SqsFault, AmplyError) as error:
                intake.poll_failed(name)
                self._pause(error)
                intake.poll_recovered(name)
            except Exception as error:  # a poller that ends is a worker that waits for ever
                logger.exception("Queue %s: an answer could not be used", name)
                intake.poll_failed(name)
                self._pause(error)
                intake.poll_recovered(name)

    def _poll(self, ask: Ask) -> None:
        queue = self._intake.queues.get(self._queue_name)
        self._intake.queues.limits(queue)
        wait_s = self._intake.options.wait_time_seconds if ask.waits else 0
        leases = self._intake.verdicts.leases
        asked_ms = leases.now_ms()
        messages = self._receive(queue, ask.messages, wait_s, self._intake.options.lease_seconds)
        self._answered()
        self._intake.arrived(queue, ask, messages, received_ms=leases.given_ms(asked_ms))
