import pytest
from sqlalchemy import select

from amply.jobs import endpoints, payments, schema
from amply.jobs.donations import DonationConflictError, InvalidDonationError, record_donation
from amply.jobs.payments import UnknownPaymentError, capture_payment

DONATION = {"id": "d1", "organisation_id": "org1", "amount_minor": 1250, "currency": "EUR", "donor": "Zoë"}


def rows(work, table):
    with work.engine.connect() as connection:
        return connection.execute(select(table)).all()


def test_a_donation_is_recorded_with_its_payment_which_is_settled(work, clock):
    assert record_donation.apply((DONATION,)).get() == "pay_d1"
    (donation,) = rows(work, schema.donations)
    assert (donation.amount_minor, donation.currency, donation.donor) == (1250, "EUR", "Zoë")
    assert donation.donated_ms == donation.recorded_ms == clock.now_ms()
    (payment,) = rows(work, schema.payments)
    assert (payment.id, payment.donation_id, payment.status) == ("pay_d1", "d1", "settled")


def test_a_second_run_changes_nothing(work, clock):
    record_donation(DONATION)
    before = rows(work, schema.donations), rows(work, schema.payments)
    clock.advance(60)
    assert record_donation(DONATION) == "pay_d1"
    assert capture_payment("pay_d1") == "settled"
    assert (rows(work, schema.donations), rows(work, schema.payments)) == before


def test_a_worker_that_died_before_the_capture_was_queued_is_made_up_for_by_the_next_run(work, monkeypatch):
    def die(*_, **__):
        raise MemoryError

    with monkeypatch.context() as dying:
        dying.setattr(capture_payment, "apply_async", die)
        with pytest.raises(MemoryError):
            record_donation(DONATION)
    (payment,) = rows(work, schema.payments)
    assert payment.status == payments.PLEDGED
    record_donation(DONATION)
    (payment,) = rows(work, schema.payments)
    assert payment.status == payments.SETTLED


def test_one_id_for_two_donations_is_refused(work):
    record_donation(DONATION)
    for changed in ({"amount_minor": 1}, {"donor": ""}, {"donated_at": "2026-01-01T00:00:00Z"}):
        with pytest.raises(DonationConflictError):
            record_donation({**DONATION, **changed})
    assert len(rows(work, schema.donations)) == 1


def test_the_moment_of_the_donation_may_be_given(work):
    record_donation({**DONATION, "donated_at": "2026-10-01T02:00:00.5+02:00"})
    (donation,) = rows(work, schema.donations)
    assert donation.donated_ms == 1_790_812_800_500


@pytest.mark.parametrize(
    "changed",
    [
        {"id": ""},
        {"id": "../x"},
        {"id": "d1\n"},
        {"id": "x" * 65},
        {"organisation_id": ""},
        {"organisation_id": "a\x00"},
        {"amount_minor": 0},
        {"amount_minor": -1},
        {"amount_minor": 12.5},
        {"amount_minor": "1250"},
        {"amount_minor": 10**16},
        {"currency": "eur"},
        {"currency": "EURO"},
        {"currency": "EUR\n"},
        {"donor": "x" * 201},
        {"donor": "\x00"},
        {"donated_at": "2026-10-01T00:00:00"},
        {"donated_at": "soon"},
        {"colour": "red"},
    ],
)
def test_what_is_no_donation_fails_and_is_not_recorded(work, changed):
    with pytest.raises(InvalidDonationError):
        record_donation({**DONATION, **changed})
    assert rows(work, schema.donations) == []


def test_an_unknown_payment_fails_the_job(work):
    with pytest.raises(UnknownPaymentError, match="pay_x"):
        capture_payment("pay_x")


def test_a_settled_payment_is_told_to_the_organisations_endpoints_once(work, endpoint, receiver):
    other = {"organisation_id": "org2", "url": receiver.url, "allow_private": True, "now_ms": 0}
    endpoints.register(work.engine, endpoint_id="ep2", **other)
    record_donation(DONATION)
    record_donation(DONATION)
    (request,) = receiver.requests
    assert b'"type":"payment.settled"' in request.body
    assert b'"amount_minor":1250' in request.body
    assert request.headers["webhook-id"] == "evt_d1_settled"
