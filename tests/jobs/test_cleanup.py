from sqlalchemy import func, select

from amply.jobs import cleanup, schema
from amply.jobs.cleanup import remove_expired_records
from amply.jobs.webhooks import dispatch_webhook

DAY_S = 24 * 3600


def told(number):
    return {"id": f"evt_{number}", "type": "t", "timestamp": "2026-11-05T12:00:00Z", "data": {}}


def count(work, table):
    with work.engine.connect() as connection:
        return connection.execute(select(func.count()).select_from(table)).scalar_one()


def test_deliveries_are_kept_for_90_days_after_their_end(work, clock, endpoint, monkeypatch):
    monkeypatch.setattr(cleanup, "_BATCH", 2)
    for number in range(5):
        dispatch_webhook("ep1", told(number))
    clock.advance(10)
    dispatch_webhook("ep1", told("young"))
    clock.advance(90 * DAY_S - 10)
    assert remove_expired_records() == 0
    clock.advance(1)
    assert remove_expired_records.apply().get() == 5
    assert remove_expired_records() == 0
    assert count(work, schema.deliveries) == count(work, schema.attempts) == 1
    assert dispatch_webhook("ep1", told("young")) == "already delivered"


def test_a_delivery_that_is_still_tried_is_kept_however_old_it_is(work, clock, endpoint, receiver):
    receiver.script = [receiver.answer(500)]
    dispatch_webhook("ep1", told(1))
    clock.advance(1000 * DAY_S)
    assert remove_expired_records() == 0
    assert count(work, schema.deliveries) == 1
