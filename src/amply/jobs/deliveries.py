"""The durable course of one event to one endpoint: claimed, attempted, put off, delivered or failed.

A delivery is claimed for a short lease before it is sent, so that two workers holding the same job do not send it
twice, and every attempt is on record before its request leaves. Knows rows and moments; must not know HTTP or Celery.
"""

from collections.abc import Sequence
from enum import StrEnum
from typing import NamedTuple

from sqlalchemy import Connection, Engine, Row, Update, delete, insert, select, update

from amply.errors import AmplyError
from amply.jobs import endpoints
from amply.jobs.endpoints import Endpoint
from amply.jobs.records import insert_new, reading, writing
from amply.jobs.retries import SCHEDULE_S
from amply.jobs.schema import attempts, deliveries

# Longer than a POST may take in all, so that a lease ends early only when its worker has died.
LEASE_MS = 60_000

# A job that was queued for a delivery and has not run by then is taken to be lost, and queued again.
REQUEUE_AFTER_MS = 600_000

# A delayed job may start this much before its moment by another machine's clock.
_EARLY_MS = 2_000


class EventConflictError(AmplyError):
    """An event id was used twice for different events."""


class State(StrEnum):
    """Where a delivery stands. `PENDING` is the only one that changes again."""

    PENDING = "pending"
    DELIVERED = "delivered"
    FAILED = "failed"


class Unclaimed(StrEnum):
    """Why there is nothing to send now."""

    DELIVERED = "already delivered"
    FAILED = "already failed"
    LEASED = "being sent by another job"
    EARLY = "not due yet"
    DISABLED = "endpoint disabled"
    SPENT = "all attempts used up"


class Claim(NamedTuple):
    """The right to make attempt `number` (counted from 1) until the lease ends."""

    endpoint: Endpoint
    event_id: str
    number: int
    body: bytes


class Outcome(NamedTuple):
    """What came of an attempt. `outcome` is "delivered" or why not, in words for the endpoint's owner."""

    status: int | None
    outcome: str
    answer: str
    duration_ms: int
    delivered: bool
    gone: bool


class Due(NamedTuple):
    """A delivery whose next job should be queued."""

    endpoint_id: str
    event_id: str
    body: str


def claim(
    engine: Engine, endpoint_id: str, *, event_id: str, event_type: str, body: str, now_ms: int
) -> Claim | Unclaimed:
    """Record the delivery if it is new, and claim its next attempt if that is due.

    Raises:
        UnknownEndpointError: no endpoint has this id.
        EventConflictError: another event with this id was sent to the endpoint before.
    """
    with writing(engine) as connection:
        endpoint = endpoints.find(connection, endpoint_id)
        row = {
            "endpoint_id": endpoint_id,
            "event_id": event_id,
            "event_type": event_type,
            "body": body,
            "state": State.PENDING,
            "attempts": 0,
            "due_ms": now_ms,
            "leased_until_ms": 0,
            "sweep_ms": now_ms + REQUEUE_AFTER_MS,
            "created_ms": now_ms,
        }
        insert_new(connection, deliveries, row)
        found = _locked(connection, endpoint_id, event_id)
        if found.body != body:
            raise EventConflictError(
                f"Event {event_id!r} was sent to endpoint {endpoint_id!r} before, with other contents.",
                hint="Give every event an id of its own.",
            )
        hindrance = _hindrance(found, endpoint, now_ms)
        if hindrance in (Unclaimed.DISABLED, Unclaimed.SPENT):
            _end(connection, endpoint_id, event_id, State.FAILED, now_ms)
        if hindrance is not None:
            return hindrance
        number = found.attempts + 1
        connection.execute(
            _update(endpoint_id, event_id).values(
                attempts=number, leased_until_ms=now_ms + LEASE_MS, sweep_ms=now_ms + REQUEUE_AFTER_MS
            )
        )
        connection.execute(
            insert(attempts).values(endpoint_id=endpoint_id, event_id=event_id, number=number, started_ms=now_ms)
        )
    return Claim(endpoint, event_id, number, body.encode())


def conclude(
    engine: Engine, claimed: Claim, outcome: Outcome, now_ms: int, *, due_ms: int | None, queued: bool
) -> None:
    """Record what came of a claimed attempt, and what follows.

    `due_ms` is the moment of the next attempt after a failure, None when there is none; `queued` says that a job for
    it is being queued, so that the sweep need not do it unless that job is lost.
    """
    endpoint_id, event_id = claimed.endpoint.id, claimed.event_id
    with writing(engine) as connection:
        of_attempt = (attempts.c.endpoint_id == endpoint_id) & (attempts.c.event_id == event_id)
        connection.execute(
            update(attempts)
            .where(of_attempt, attempts.c.number == claimed.number)
            .values(
                status=outcome.status,
                outcome=outcome.outcome,
                answer=outcome.answer,
                duration_ms=outcome.duration_ms,
            )
        )
        if outcome.gone:
            endpoints.disable(connection, endpoint_id)
        if outcome.delivered:
            _end(connection, endpoint_id, event_id, State.DELIVERED, now_ms)
            return
        found = _locked(connection, endpoint_id, event_id)
        if found.attempts != claimed.number or found.state != State.PENDING:
            return  # the lease had ended and another job went on
        if due_ms is None:
            _end(connection, endpoint_id, event_id, State.FAILED, now_ms)
            return
        connection.execute(
            _update(endpoint_id, event_id).values(
                due_ms=due_ms, leased_until_ms=0, sweep_ms=due_ms + (REQUEUE_AFTER_MS if queued else 0)
            )
        )


def take_due(engine: Engine, now_ms: int, limit: int) -> list[Due]:
    """Up to `limit` deliveries whose job should be queued now, the longest overdue first. Each is given once."""
    waiting = (deliveries.c.state == State.PENDING) & (deliveries.c.sweep_ms <= now_ms)
    columns = (deliveries.c.endpoint_id, deliveries.c.event_id, deliveries.c.body)
    with writing(engine) as connection:
        chosen = select(*columns).where(waiting).order_by(deliveries.c.sweep_ms).limit(limit)
        due = [Due(*row) for row in connection.execute(chosen.with_for_update(skip_locked=True))]
        for row in due:
            connection.execute(_update(row.endpoint_id, row.event_id).values(sweep_ms=now_ms + REQUEUE_AFTER_MS))
    return due


def history(engine: Engine, endpoint_id: str, event_id: str) -> Sequence[Row[tuple[object, ...]]]:
    """The attempts of a delivery, the first one first."""
    wanted = (attempts.c.endpoint_id == endpoint_id) & (attempts.c.event_id == event_id)
    with reading(engine) as connection:
        return connection.execute(select(attempts).where(wanted).order_by(attempts.c.number)).all()


def remove_finished(engine: Engine, before_ms: int, limit: int) -> int:
    """Remove up to `limit` deliveries that ended before this moment, with their attempts. Returns how many."""
    columns = (deliveries.c.endpoint_id, deliveries.c.event_id)
    with writing(engine) as connection:
        old = connection.execute(select(*columns).where(deliveries.c.finished_ms < before_ms).limit(limit)).all()
        for endpoint_id, event_id in old:
            for table in (attempts, deliveries):
                of_delivery = (table.c.endpoint_id == endpoint_id) & (table.c.event_id == event_id)
                connection.execute(delete(table).where(of_delivery))
    return len(old)


def _locked(connection: Connection, endpoint_id: str, event_id: str) -> Row[tuple[object, ...]]:
    of_delivery = (deliveries.c.endpoint_id == endpoint_id) & (deliveries.c.event_id == event_id)
    return connection.execute(select(deliveries).where(of_delivery).with_for_update()).one()


def _hindrance(found: Row[tuple[object, ...]], endpoint: Endpoint, now_ms: int) -> Unclaimed | None:
    if found.state == State.DELIVERED:
        return Unclaimed.DELIVERED
    if found.state == State.FAILED:
        return Unclaimed.FAILED
    if found.leased_until_ms > now_ms:
        return Unclaimed.LEASED
    if found.due_ms > now_ms + _EARLY_MS:
        return Unclaimed.EARLY
    if found.attempts >= len(SCHEDULE_S):  # the worker of the last one died
        return Unclaimed.SPENT
    return None if endpoint.enabled else Unclaimed.DISABLED


def _end(connection: Connection, endpoint_id: str, event_id: str, state: State, now_ms: int) -> None:
    connection.execute(_update(endpoint_id, event_id).values(state=state, finished_ms=now_ms, leased_until_ms=0))


def _update(endpoint_id: str, event_id: str) -> Update:
    return update(deliveries).where(deliveries.c.endpoint_id == endpoint_id, deliveries.c.event_id == event_id)
