"""Payments: a pledge is settled once, and the organisation's webhook endpoints are told."""

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Row, select, update

from amply.errors import AmplyError
from amply.jobs import endpoints, runtime
from amply.jobs.celery_app import app
from amply.jobs.records import writing
from amply.jobs.schema import donations, payments
from amply.jobs.webhooks import dispatch_webhook

PLEDGED, SETTLED = "pledged", "settled"


class UnknownPaymentError(AmplyError):
    """No payment has this id."""

    exit_code = 3


@app.task  # type: ignore[untyped-decorator]
def capture_payment(payment_id: str) -> str:
    """Settle a pledged payment and tell the organisation's endpoints `payment.settled`. Returns its status.

    A second run settles nothing again and repeats the same event, which a delivery knows by its id.

    Raises:
        UnknownPaymentError: no payment has this id.
    """
    work = runtime.current()
    with writing(work.engine) as connection:
        connection.execute(
            update(payments)
            .where(payments.c.id == payment_id, payments.c.status == PLEDGED)
            .values(status=SETTLED, settled_ms=work.clock.now_ms())
        )
        found = connection.execute(
            select(payments, donations).join_from(payments, donations).where(payments.c.id == payment_id)
        ).first()
    if found is None:
        raise UnknownPaymentError(
            f"No payment has the id {payment_id!r}.", hint="Record its donation first; the payment is pledged with it."
        )
    event = _settled_event(found)
    for endpoint_id in endpoints.in_use(work.engine, found.organisation_id):
        dispatch_webhook.delay(endpoint_id, event)
    return str(found.status)


def _settled_event(found: Row[Any]) -> dict[str, Any]:
    return {
        "id": f"evt_{found.donation_id}_settled",
        "type": "payment.settled",
        "timestamp": datetime.fromtimestamp(found.settled_ms / 1000, UTC).isoformat(),
        "data": {
            "payment_id": f"pay_{found.donation_id}",
            "donation_id": found.donation_id,
            "organisation_id": found.organisation_id,
            "amount_minor": found.amount_minor,
            "currency": found.currency,
        },
    }
