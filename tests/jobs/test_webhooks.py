import json

import httpcore
import pytest
import standardwebhooks
from sqlalchemy import select

from amply.errors import AmplyError
from amply.jobs import deliveries, endpoints, webhooks
from amply.jobs.deliveries import EventConflictError
from amply.jobs.endpoints import UnknownEndpointError
from amply.jobs.posting import UNREACHABLE
from amply.jobs.records import reading
from amply.jobs.retries import SCHEDULE_S
from amply.jobs.schema import deliveries as delivery_rows
from amply.jobs.webhooks import InvalidEventError, dispatch_due_webhooks, dispatch_webhook

EVENT = {"id": "evt_1", "type": "donation.received", "timestamp": "2026-11-05T12:00:00Z", "data": {"amount": "ü"}}


@pytest.fixture
def queued(monkeypatch):
    """The follow-up jobs of dispatch_webhook, as (arguments, DelaySeconds); none of them runs."""
    seen = []

    def apply_async(args=(), kwargs=None, **options):
        seen.append((args, options.get("delay_seconds")))

    monkeypatch.setattr(dispatch_webhook, "apply_async", apply_async)
    return seen


def delivery(work):
    with reading(work.engine) as connection:
        return connection.execute(select(delivery_rows)).one()


def outcomes(work):
    return [row.outcome for row in deliveries.history(work.engine, "ep1", "evt_1")]


def test_an_event_arrives_signed_so_that_the_public_library_verifies_it(work, endpoint, receiver):
    assert dispatch_webhook.apply(("ep1", EVENT)).get() == "delivered"
    (request,) = receiver.requests
    told = standardwebhooks.Webhook(endpoint.secrets[0]).verify(request.body, request.headers)
    assert told == {"type": "donation.received", "timestamp": "2026-11-05T12:00:00Z", "data": {"amount": "ü"}}
    assert request.headers["webhook-id"] == "evt_1"
    assert request.headers["content-type"] == "application/json"
    assert delivery(work).state == "delivered"


def test_while_a_secret_is_exchanged_the_old_and_the_new_one_verify(work, endpoint, receiver):
    exchanged = endpoints.exchange_secret(work.engine, "ep1")
    assert exchanged.secrets[1:] == endpoint.secrets
    dispatch_webhook("ep1", EVENT)
    (request,) = receiver.requests
    for secret in exchanged.secrets:
        standardwebhooks.Webhook(secret).verify(request.body, request.headers)
    assert len(endpoints.exchange_secret(work.engine, "ep1").secrets) == 2


def test_an_event_that_was_delivered_is_not_sent_again(work, endpoint, receiver):
    dispatch_webhook("ep1", EVENT)
    before = delivery(work)
    assert dispatch_webhook("ep1", EVENT) == "already delivered"
    assert len(receiver.requests) == 1
    assert delivery(work) == before


def test_a_second_copy_of_the_job_sends_nothing_while_the_first_is_sending(work, endpoint, receiver):
    said = []

    def run_the_copy(connection, _):
        said.append(dispatch_webhook("ep1", EVENT))
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    receiver.script = [run_the_copy]
    assert dispatch_webhook("ep1", EVENT) == "delivered"
    assert said == ["being sent by another job"]
    assert len(receiver.requests) == 1


@pytest.mark.parametrize("status", [300, 301, 400, 404, 500, 503])
def test_anything_but_2xx_is_tried_again_five_seconds_later(work, endpoint, receiver, queued, status):
    receiver.script = [receiver.answer(status), receiver.answer(204)]
    assert dispatch_webhook("ep1", EVENT) == f"answered {status}"
    ((arguments, delay_seconds),) = queued
    assert (arguments, delay_seconds) == (("ep1", EVENT), 6)
    assert dispatch_webhook(*arguments) == "not due yet"
    work.clock.advance(delay_seconds)
    assert dispatch_webhook(*arguments) == "delivered"
    first, second = receiver.requests
    assert first.body == second.body
    assert first.headers["webhook-id"] == second.headers["webhook-id"]
    assert outcomes(work) == [f"answered {status}", "delivered"]


def test_ten_attempts_over_some_75_hours_and_then_the_delivery_has_failed(work, endpoint, receiver, queued):
    receiver.script = [receiver.answer(500) for _ in range(20)]
    start_ms = work.clock.now_ms()
    dispatch_webhook("ep1", EVENT)
    while delivery(work).state == "pending":
        due_ms = delivery(work).due_ms
        work.clock.advance((due_ms - work.clock.now_ms()) / 1000 - 3)
        assert dispatch_webhook("ep1", EVENT) == "not due yet"
        work.clock.advance(3)
        if not queued:
            assert dispatch_due_webhooks() == 1
        dispatch_webhook(*queued.pop()[0])
    assert len(receiver.requests) == len(SCHEDULE_S) == 10
    assert sum(SCHEDULE_S) <= (work.clock.now_ms() - start_ms) / 1000 <= sum(SCHEDULE_S) * 1.11
    assert delivery(work).state == "failed"
    assert outcomes(work) == ["answered 500"] * 10
    assert dispatch_webhook("ep1", EVENT) == "already failed"
    assert dispatch_due_webhooks() == 0
    assert endpoints.in_use(work.engine, "org1") == ["ep1"]


def test_a_delay_beyond_what_sqs_can_hold_is_left_to_the_sweep(work, endpoint, receiver, queued):
    receiver.script = [receiver.answer(429, "Retry-After: 901")]
    dispatch_webhook("ep1", EVENT)
    assert queued == []
    assert dispatch_due_webhooks() == 0
    work.clock.advance(901)
    assert dispatch_due_webhooks() == 1
    assert queued == [(("ep1", {**EVENT}), None)]
    assert dispatch_due_webhooks() == 0


def test_a_receiver_that_asks_for_time_gets_it(work, endpoint, receiver, queued):
    receiver.script = [receiver.answer(429, "Retry-After: 120")]
    dispatch_webhook("ep1", EVENT)
    assert queued == [(("ep1", EVENT), 120)]


def test_the_sweep_makes_up_for_a_delayed_message_that_was_lost(work, endpoint, receiver, queued):
    receiver.script = [receiver.answer(500)]
    dispatch_webhook("ep1", EVENT)
    queued.clear()
    work.clock.advance(60)
    assert dispatch_due_webhooks() == 0
    work.clock.advance(600)
    assert dispatch_due_webhooks() == 1
    ((arguments, _),) = queued
    assert dispatch_webhook(*arguments) == "delivered"


def test_a_worker_that_died_while_sending_leaves_its_attempt_on_record_and_the_next_one_goes_on(
    work, endpoint, receiver, monkeypatch
):
    def die(*_, **__):
        raise MemoryError

    with monkeypatch.context() as dying:
        dying.setattr(webhooks, "post", die)
        with pytest.raises(MemoryError):
            dispatch_webhook("ep1", EVENT)
    assert dispatch_webhook("ep1", EVENT) == "being sent by another job"
    work.clock.advance(60)
    assert dispatch_webhook("ep1", EVENT) == "delivered"
    assert outcomes(work) == [None, "delivered"]


def test_an_event_that_kills_every_worker_ends_as_failed(work, endpoint, monkeypatch):
    def die(*_, **__):
        raise MemoryError

    monkeypatch.setattr(webhooks, "post", die)
    for _ in range(10):
        with pytest.raises(MemoryError):
            dispatch_webhook("ep1", EVENT)
        work.clock.advance(60)
    assert dispatch_webhook("ep1", EVENT) == "all attempts used up"
    assert delivery(work).state == "failed"


def test_a_late_answer_does_not_undo_what_a_later_attempt_reached(work, endpoint, receiver):
    told = webhooks._read_event(EVENT)
    claimed = deliveries.claim(
        work.engine,
        "ep1",
        event_id=told.id,
        event_type=told.type,
        body=webhooks._body(told),
        now_ms=work.clock.now_ms(),
    )
    work.clock.advance(61)
    assert dispatch_webhook("ep1", EVENT) == "delivered"
    late = deliveries.Outcome(500, "answered 500", "", 1, delivered=False, gone=False)
    deliveries.conclude(work.engine, claimed, late, work.clock.now_ms(), due_ms=work.clock.now_ms(), queued=False)
    assert delivery(work).state == "delivered"
    assert outcomes(work) == ["answered 500", "delivered"]


def test_a_late_failure_does_not_put_off_the_attempt_that_a_later_one_planned(work, endpoint, receiver, queued):
    told = webhooks._read_event(EVENT)
    event = {"event_id": told.id, "event_type": told.type, "body": webhooks._body(told)}
    claimed = deliveries.claim(work.engine, "ep1", **event, now_ms=work.clock.now_ms())
    work.clock.advance(61)
    receiver.script = [receiver.answer(500)]
    assert dispatch_webhook("ep1", EVENT) == "answered 500"
    planned = delivery(work)
    late = deliveries.Outcome(500, "answered 500", "", 1, delivered=False, gone=False)
    deliveries.conclude(work.engine, claimed, late, work.clock.now_ms(), due_ms=0, queued=False)
    assert delivery(work) == planned


def test_410_puts_the_endpoint_out_of_use_until_it_is_registered_again(work, endpoint, receiver, queued):
    receiver.script = [receiver.answer(410)]
    assert dispatch_webhook("ep1", EVENT) == "answered 410"
    assert delivery(work).state == "failed"
    assert endpoints.in_use(work.engine, "org1") == []
    other = {**EVENT, "id": "evt_2"}
    assert dispatch_webhook("ep1", other) == "endpoint disabled"
    assert dispatch_webhook("ep1", other) == "already failed"
    assert queued == []
    assert len(receiver.requests) == 1
    endpoints.register(
        work.engine, organisation_id="org1", url=receiver.url, now_ms=0, endpoint_id="ep1", allow_private=True
    )
    assert dispatch_webhook("ep1", {**EVENT, "id": "evt_3"}) == "delivered"


def test_blocked_and_unreachable_read_the_same_to_a_customer(work, endpoint, canary, receiver, queued):
    unreachable = f"http://127.0.0.1:{canary.port}/"
    with_permission = {"organisation_id": "org1", "now_ms": 0, "allow_private": True}
    endpoints.register(work.engine, url=unreachable, endpoint_id="open", **with_permission)
    with work.engine.begin() as connection:  # a permission that was withdrawn after registration
        connection.exec_driver_sql("UPDATE endpoints SET allow_private = 0 WHERE id = 'open'")
    assert dispatch_webhook("open", EVENT) == UNREACHABLE
    endpoints.register(work.engine, url="http://localhost/", endpoint_id="named", organisation_id="org1", now_ms=0)
    assert dispatch_webhook("named", EVENT) == UNREACHABLE
    assert canary.count() == 0


def test_a_public_endpoint_whose_name_leads_inside_is_never_connected_to(work, monkeypatch, queued):
    connects = []
    monkeypatch.setattr(httpcore.SyncBackend, "connect_tcp", lambda *arguments: connects.append(arguments))
    endpoints.register(work.engine, organisation_id="org1", url="http://localhost/", endpoint_id="ep1", now_ms=0)
    assert dispatch_webhook("ep1", EVENT) == UNREACHABLE
    assert connects == []


def test_the_start_of_an_answer_is_kept_with_everything_unprintable_escaped(work, endpoint, receiver, queued):
    receiver.script = [receiver.answer(500, body="no \x1b[31m \u202e ü \n".encode() + b"\xff" + b"x" * 5000)]
    dispatch_webhook("ep1", EVENT)
    (attempt,) = deliveries.history(work.engine, "ep1", "evt_1")
    assert attempt.status == 500
    assert attempt.answer.startswith(r"no \x1b[31m \u202e \xfc \x0a\ufffdxx")
    assert attempt.answer.isascii()
    assert attempt.answer.isprintable()
    assert len(attempt.answer) == 1024


@pytest.mark.parametrize(
    "event",
    [
        {},
        "evt_1",
        {**EVENT, "id": ""},
        {**EVENT, "id": "a.b"},
        {**EVENT, "id": "a b"},
        {**EVENT, "id": "a\r\nX: y"},
        {**EVENT, "id": "evt_1\n"},
        {**EVENT, "id": "x" * 129},
        {**EVENT, "id": 1},
        {**EVENT, "type": ""},
        {**EVENT, "type": None},
        {**EVENT, "timestamp": "yesterday"},
        {**EVENT, "timestamp": "2026-11-05T12:00:00"},
        {**EVENT, "timestamp": 1},
        {**EVENT, "data": []},
        {**EVENT, "data": {"x": float("nan")}},
        {name: value for name, value in EVENT.items() if name != "data"},
    ],
)
def test_what_is_no_event_fails_and_is_neither_sent_nor_stored(work, endpoint, receiver, event):
    with pytest.raises(InvalidEventError):
        dispatch_webhook("ep1", event)
    assert receiver.requests == []
    with reading(work.engine) as connection:
        assert connection.execute(select(delivery_rows)).all() == []


def test_an_endpoint_that_nobody_registered_fails_the_job(work):
    with pytest.raises(UnknownEndpointError, match="ep9"):
        dispatch_webhook("ep9", EVENT)


def test_one_event_id_with_two_contents_fails_the_job(work, endpoint, receiver):
    dispatch_webhook("ep1", EVENT)
    with pytest.raises(EventConflictError):
        dispatch_webhook("ep1", {**EVENT, "data": {}})
    assert len(receiver.requests) == 1


def test_a_registration_is_refused_with_an_unsafe_url_or_secret(work):
    for url, secret in [("http://127.0.0.1/", None), ("https://hooks.example/", "secret")]:
        with pytest.raises(AmplyError):
            endpoints.register(work.engine, organisation_id="org1", url=url, secret=secret, now_ms=0)
    assert endpoints.in_use(work.engine, "org1") == []


def test_an_endpoint_does_not_show_its_secrets(work, endpoint):
    assert endpoint.secrets[0] not in repr(endpoint)
    assert endpoint.secrets[0] not in str(endpoint)


def test_the_sweep_sends_the_stored_event_word_for_word(work, endpoint, receiver, queued):
    receiver.script = [receiver.answer(503, "Retry-After: 1000")]
    event = {**EVENT, "data": {"b": 1, "a": [None, 1.5, "\u2028"]}}
    dispatch_webhook("ep1", event)
    work.clock.advance(1000)
    dispatch_due_webhooks()
    ((arguments, _),) = queued
    assert json.dumps(arguments[1]) == json.dumps(
        {"id": "evt_1", **{k: event[k] for k in ("type", "timestamp", "data")}}
    )
    assert dispatch_webhook(*arguments) == "delivered"
