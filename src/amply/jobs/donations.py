"""Donations: recorded once, with the payment that was pledged for each."""

from datetime import datetime
from typing import Annotated, Any

import msgspec
from sqlalchemy import select

from amply.errors import AmplyError
from amply.jobs import organisations, runtime
from amply.jobs.celery_app import app
from amply.jobs.organisations import OrganisationId
from amply.jobs.payments import PLEDGED, capture_payment
from amply.jobs.records import insert_new, writing
from amply.jobs.schema import donations, payments


class InvalidDonationError(AmplyError):
    """The donation of a job is not one."""


class DonationConflictError(AmplyError):
    """A donation id was used twice for different donations."""


class NewDonation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A donation as it comes in. `amount_minor` counts the currency's smallest unit: 1250 with EUR is 12.50 euros."""

    id: Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9_-]{1,64}\Z")]
    organisation_id: OrganisationId
    amount_minor: Annotated[int, msgspec.Meta(gt=0, le=10**15)]
    currency: Annotated[str, msgspec.Meta(pattern=r"^[A-Z]{3}\Z")]
    donor: Annotated[str, msgspec.Meta(max_length=200, pattern=r"^[^\x00]*\Z")] = ""
    donated_at: Annotated[datetime, msgspec.Meta(tz=True)] | None = None  # ISO 8601 with an offset; by default, now


@app.task  # type: ignore[untyped-decorator]
def record_donation(donation: dict[str, Any]) -> str:
    """Record a donation and its pledged payment, then have the payment captured. Returns the payment's id.

    Raises:
        InvalidDonationError, DonationConflictError: the job can never succeed as it is.
    """
    try:
        new = msgspec.convert(donation, NewDonation)
    except msgspec.ValidationError as error:
        raise InvalidDonationError(
            f"The donation cannot be recorded: {error}.",
            hint="It has id, organisation_id, amount_minor and currency, and may have donor and donated_at.",
        ) from error
    work = runtime.current()
    now_ms = work.clock.now_ms()
    payment_id = f"pay_{new.id}"
    facts = {
        "id": new.id,
        "organisation_id": new.organisation_id,
        "donor": new.donor,
        "amount_minor": new.amount_minor,
        "currency": new.currency,
    }
    if new.donated_at is not None:
        facts["donated_ms"] = round(new.donated_at.timestamp() * 1000)
    with writing(work.engine) as connection:
        organisations.ensure(connection, new.organisation_id, now_ms)
        if insert_new(connection, donations, {"donated_ms": now_ms, **facts, "recorded_ms": now_ms}):
            pledge = {"id": payment_id, "donation_id": new.id, "status": PLEDGED, "pledged_ms": now_ms}
            insert_new(connection, payments, pledge)
        else:
            found = connection.execute(select(donations).where(donations.c.id == new.id)).mappings().one()
            if any(found[name] != value for name, value in facts.items()):
                raise DonationConflictError(
                    f"Donation {new.id!r} was recorded before, with other facts.",
                    hint="Give every donation an id of its own.",
                )
    # After the commit: should this worker die in between, the job runs again and comes to this line again.
    capture_payment.delay(payment_id)
    return payment_id
