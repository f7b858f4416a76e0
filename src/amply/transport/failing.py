"""What becomes of a job that failed: how long it waits, when it is given up, and the record of why.

SQS itself moves a message to its dead letter queue, once it was received more often than its redrive policy allows.
These are rules over numbers; must not know how SQS is told.
"""

import os
import socket
from random import Random

import msgspec
from msgspec import Struct

from amply.transport.delivery import Cause, Delivery
from amply.transport.options import LONGEST_VISIBILITY_S, BackoffPolicy, Options

# Enough for a cause to be recognised; the rest is in the worker's log.
_LONGEST_MESSAGE = 1_000
_LONGEST_TRACEBACK = 4_000


class Failure(Struct, frozen=True, omit_defaults=False):
    """The record of one failed delivery, as it goes to the telemetry queue: one JSON object.

    `attempt` counts runs from 1; `again_in_s` is None when it was the last one.
    """

    type: str
    timestamp_ms: int
    hostname: str
    pid: int
    nodename: str
    queue: str
    message_id: str
    id: str
    task: str
    attempt: int
    receive_count: int
    reason: str
    exception: str
    message: str
    traceback: str
    again_in_s: float | None

    def to_json(self) -> str:
        """The record as it is sent."""
        return msgspec.json.encode(self).decode()


def receives_allowed(delivery: Delivery, max_receive_count: int | None) -> int | None:
    """How many receives this copy of the message may have: what carried attempts left over, but one at least."""
    if max_receive_count is None:
        return None
    return max(1, max_receive_count - delivery.carried_attempts)


def is_given_up(delivery: Delivery, max_receive_count: int | None) -> bool:
    """Whether it was received more often than it may run: it is on its way to the dead letter queue."""
    allowed = receives_allowed(delivery, max_receive_count)
    return allowed is not None and delivery.receive_count > allowed


def is_last(delivery: Delivery, max_receive_count: int | None) -> bool:
    """Whether it is not received again but by its dead letter queue."""
    allowed = receives_allowed(delivery, max_receive_count)
    return allowed is not None and delivery.receive_count >= allowed


def again_in_s(delivery: Delivery, options: Options, max_receive_count: int | None, random: Random) -> float | None:
    """How long the failed job waits for its next run; None if this was the last."""
    if is_last(delivery, max_receive_count):
        return None
    policy = policy_of(delivery, options)
    wait_s = min(policy.most_s, policy.first_s * policy.factor ** min(delivery.failed_before, 64))
    return min(wait_s * (1 + policy.jitter * random.uniform(-1, 1)), LONGEST_VISIBILITY_S)


def policy_of(delivery: Delivery, options: Options) -> BackoffPolicy:
    """The task's own backoff, else the queue's, else everybody's."""
    by_task = options.task_backoff.get(delivery.task)
    return by_task or options.queue_backoff.get(delivery.queue.name) or options.backoff


def record(delivery: Delivery, cause: Cause, *, again_in_s: float | None, now_ms: int, nodename: str = "") -> Failure:
    """The record of this failure, by the worker that Celery calls `nodename`."""
    return Failure(
        type="delivery-failed",
        timestamp_ms=now_ms,
        hostname=socket.gethostname(),
        pid=os.getpid(),
        nodename=nodename,
        queue=delivery.queue.sqs_name,
        message_id=delivery.message_id,
        id=delivery.task_id,
        task=delivery.task,
        attempt=delivery.attempt,
        receive_count=delivery.receive_count,
        reason=cause.reason,
        exception=cause.exception[:_LONGEST_MESSAGE],
        message=cause.message[:_LONGEST_MESSAGE],
        traceback=_traceback(cause)[-_LONGEST_TRACEBACK:],
        again_in_s=again_in_s,
    )


def _traceback(cause: Cause) -> str:
    """With the exception's text cut where it comes last, or a long one would leave no room for the stack."""
    told = cause.traceback.rstrip()
    if len(cause.message) > _LONGEST_MESSAGE and told.endswith(cause.message.rstrip()):
        return told[: len(told) - len(cause.message.rstrip())] + cause.message[:_LONGEST_MESSAGE]
    return cause.traceback
