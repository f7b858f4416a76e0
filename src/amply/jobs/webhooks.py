"""Webhooks: events told to the endpoints that organisations registered, signed per Standard Webhooks 1.0.0.

An event reaches an endpoint once or more often under the same `webhook-id`, or ends as failed with its history on
record. The next attempt is a row in the store; a delayed SQS message or the sweep brings it about, so that nothing
waits inside a worker.
"""

import json
import math
import re
from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any

import msgspec

from amply.clock import SystemClock, wall_ms
from amply.errors import AmplyError
from amply.jobs import deliveries, runtime
from amply.jobs.addresses import WebhookUrlError, read_target
from amply.jobs.celery_app import app
from amply.jobs.deliveries import Claim, Outcome
from amply.jobs.posting import UNREACHABLE, Answer, post
from amply.jobs.retries import delay_s, retry_after_s
from amply.jobs.runtime import Runtime
from amply.jobs.signatures import headers

# The longest DelaySeconds of SendMessage.
_DELAY_SECONDS_MAX = 900

# What one sweep queues at most; the next one is a minute away.
_SWEEP_MAX = 1_000

_ANSWER_CHARACTERS_MAX = 1_024


class InvalidEventError(AmplyError):
    """The event of a webhook job is not one."""


class Event(msgspec.Struct, frozen=True):
    """What is told. `timestamp` is when it happened, in ISO 8601 with an offset; the id must fit a header."""

    id: Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9_:-]{1,128}\Z")]
    type: Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9_.-]{1,128}\Z")]
    timestamp: str
    data: dict[str, Any]


@app.task  # type: ignore[untyped-decorator]
def dispatch_webhook(endpoint_id: str, event: dict[str, Any]) -> str:
    """Tell a registered endpoint about an event: make the attempt that is due, if one is.

    Returns what came of it, in a few words. A receiver's failure is not the job's: it is on record, and tried again.

    Raises:
        InvalidEventError, UnknownEndpointError, EventConflictError: the job can never succeed as it is.
    """
    told = _read_event(event)
    body = _body(told)
    work = runtime.current()
    claimed = deliveries.claim(
        work.engine,
        endpoint_id,
        event_id=told.id,
        event_type=told.type,
        body=body,
        now_ms=work.clock.now_ms(),
    )
    if not isinstance(claimed, Claim):
        return claimed.value
    outcome, wait_s = _attempt(work, claimed)
    now_ms = work.clock.now_ms()
    due_ms = None if wait_s is None else now_ms + math.ceil(wait_s * 1000)
    soon = wait_s is not None and wait_s <= _DELAY_SECONDS_MAX
    deliveries.conclude(work.engine, claimed, outcome, now_ms, due_ms=due_ms, queued=soon)
    if wait_s is not None and soon:
        dispatch_webhook.apply_async((endpoint_id, event), delay_seconds=math.ceil(wait_s))
    return outcome.outcome


@app.task  # type: ignore[untyped-decorator]
def dispatch_due_webhooks() -> int:
    """Queue a job for every delivery whose time has come and that no waiting job covers. Returns how many."""
    work = runtime.current()
    due = deliveries.take_due(work.engine, work.clock.now_ms(), _SWEEP_MAX)
    for row in due:
        dispatch_webhook.delay(row.endpoint_id, {"id": row.event_id, **json.loads(row.body)})
    return len(due)


def _read_event(event: Mapping[str, Any]) -> Event:
    try:
        told = msgspec.convert(event, Event)
        moment = datetime.fromisoformat(told.timestamp)
    except (msgspec.ValidationError, ValueError) as error:
        raise InvalidEventError(
            f"The event cannot be sent: {error}.",
            hint="An event has a text id, a type, an ISO 8601 timestamp, and data.",
        ) from error
    if moment.tzinfo is None:
        raise InvalidEventError(
            f"The event cannot be sent: its timestamp {told.timestamp!r} names no offset from UTC.",
            hint="End it with Z or with an offset such as +01:00.",
        )
    return told


def _body(event: Event) -> str:
    payload = {"type": event.type, "timestamp": event.timestamp, "data": event.data}
    try:
        return json.dumps(payload, separators=(",", ":"), allow_nan=False)
    except ValueError as error:
        raise InvalidEventError(
            f"The event cannot be sent as JSON: {error}.", hint="Leave out NaN and infinity."
        ) from error


def _attempt(work: Runtime, claimed: Claim) -> tuple[Outcome, float | None]:
    """Make one attempt; returns what came of it, and the seconds until the next one, if there is to be one."""
    stopwatch = SystemClock()
    started_ms = stopwatch.now_ms()
    answer = _post(work, claimed)
    delivered = answer.status is not None and 200 <= answer.status < 300
    gone = answer.status == 410
    outcome = Outcome(
        status=answer.status,
        outcome="delivered" if delivered else answer.problem or f"answered {answer.status}",
        answer=_readable(answer.start),
        duration_ms=stopwatch.now_ms() - started_ms,
        delivered=delivered,
        gone=gone,
    )
    if delivered or gone:
        return outcome, None
    asked_s = retry_after_s(answer.status or 0, answer.retry_after, work.clock.now_ms())
    return outcome, delay_s(claimed.number, key=f"{claimed.endpoint.id}/{claimed.event_id}", retry_after_s=asked_s)


def _post(work: Runtime, claimed: Claim) -> Answer:
    endpoint = claimed.endpoint
    try:
        target = read_target(endpoint.url, allow_private=endpoint.allow_private)
    except WebhookUrlError:
        return Answer(status=None, problem=UNREACHABLE, retry_after=None, start=b"")
    # The receiver compares the timestamp with its own wall clock.
    signed = headers(endpoint.secrets, claimed.event_id, wall_ms() // 1000, claimed.body)
    sent = {"Content-Type": "application/json", "User-Agent": "Amply-Webhooks", **signed}
    return post(
        target,
        sent,
        claimed.body,
        allow_private=endpoint.allow_private,
        resolve=work.resolve,
        limits=work.limits,
    )


def _readable(answer: bytes) -> str:
    """The start of an answer as printable ASCII, everything else escaped: it is a stranger's text."""
    text = answer[:_ANSWER_CHARACTERS_MAX].decode("utf-8", "replace").encode("ascii", "backslashreplace").decode()
    return re.sub(r"[^\x20-\x7e]", lambda found: f"\\x{ord(found[0]):02x}", text)[:_ANSWER_CHARACTERS_MAX]
