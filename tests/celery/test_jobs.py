"""Jobs done by the workers' two commands over stock kombu, through the broker's own process."""

import json
import threading
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from standardwebhooks import Webhook
from system import DEAD_LETTERS, QUEUES

from amply.clock import wall_ms
from amply.jobs import endpoints
from amply.jobs.records import open_store

PATIENCE_S = 60


@pytest.fixture
def receiver():
    """A webhook receiver; `received` has the headers and the body of each webhook."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            received.append((dict(self.headers), self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_):
            """It keeps silent."""

    received = []
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.received = received
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def endpoint(system, receiver):
    """The endpoint of an organisation, at the receiver."""
    engine = open_store(f"sqlite:///{system.folder / 'data' / 'amply.db'}")
    yield endpoints.register(
        engine,
        organisation_id="org-1",
        url=f"http://127.0.0.1:{receiver.server_port}/hook",
        now_ms=wall_ms(),
        allow_private=True,
    )
    engine.dispose()


def test_of_1000_jobs_on_three_queues_each_is_done_once_and_its_result_read(system):
    queues = list(QUEUES)
    with system.app.connection_for_write() as connection, system.app.amqp.Producer(connection) as producer:
        jobs = [
            system.app.send_task("ledger.count", [number], queue=queues[number % 3], producer=producer)
            for number in range(1000)
        ]
    results = [job.get(timeout=PATIENCE_S) for job in jobs]
    system.wait_until_idle()
    assert results == [2 * number for number in range(1000)]
    assert system.runs("ledger.count") == {(number, queues[number % 3]): 1 for number in range(1000)}
    assert system.waiting(DEAD_LETTERS) == 0


def test_a_donation_ends_as_a_settled_payment_and_a_signed_webhook(system, receiver, endpoint):
    system.wait_until_idle()
    before = {name: system.queue(queue)["sent"] for name, queue in QUEUES.items()}
    donation = {"id": "don-1", "organisation_id": "org-1", "amount_minor": 1250, "currency": "EUR"}
    sent = system.app.send_task("amply.jobs.donations.record_donation", [donation])
    assert sent.get(timeout=PATIENCE_S) == "pay_don-1"
    system.wait_until_idle()
    ((headers, body),) = receiver.received
    event = Webhook(endpoint.secrets[0]).verify(body, headers)
    assert (event["type"], event["data"]["payment_id"]) == ("payment.settled", "pay_don-1")
    assert headers["webhook-id"] == "evt_don-1_settled"
    # The donation on `celery`, the payment and the webhook on `high`.
    after = {name: system.queue(queue)["sent"] for name, queue in QUEUES.items()}
    assert {name: after[name] - before[name] for name in QUEUES} == {"high": 2, "celery": 1, "low": 0}


def test_a_webhook_is_dispatched_from_the_high_queue(system, receiver, endpoint):
    event = {"id": "news-1", "type": "organisation.news", "timestamp": "2026-11-01T10:00:00Z", "data": {"a": 1}}
    name = "amply.jobs.webhooks.dispatch_webhook"
    for outcome in ("delivered", "already delivered"):
        sent = system.app.send_task(name, [endpoint.id, event])
        assert sent.get(timeout=PATIENCE_S) == outcome
        system.workers["high"].wait_until_says(f"Task {name}[{sent.id}] succeeded")
    assert [json.loads(body)["data"] for _, body in receiver.received] == [{"a": 1}]


def test_checkpoints_reports_and_cleanup_run_on_the_queues_of_their_routes(system):
    last_month = datetime.fromtimestamp(wall_ms() / 1000, UTC).replace(day=1) - timedelta(days=1)
    donation = {
        "id": "don-2",
        "organisation_id": "org-2",
        "amount_minor": 990,
        "currency": "EUR",
        "donor": "Ada",
        "donated_at": last_month.isoformat(),
    }
    system.app.send_task("amply.jobs.donations.record_donation", [donation]).get(timeout=PATIENCE_S)
    system.wait_until_idle()
    before = {name: system.queue(queue)["sent"] for name, queue in QUEUES.items()}
    sealed = system.app.send_task("amply.jobs.checkpoints.generate_checkpoint").get(timeout=PATIENCE_S)
    assert sealed["checkpoint"] >= 1
    assert sealed["donations"] >= 1
    report = system.app.send_task("amply.jobs.reports.generate_monthly_report", ["org-2"]).get(timeout=PATIENCE_S)
    assert (report["period"], report["donations"]) == (last_month.strftime("%Y-%m"), 1)
    assert "don-2" in Path(report["csv"]).read_text()
    assert system.app.send_task("amply.jobs.cleanup.remove_expired_records").get(timeout=PATIENCE_S) == 0
    after = {name: system.queue(queue)["sent"] for name, queue in QUEUES.items()}
    assert {name: after[name] - before[name] for name in QUEUES} == {"high": 0, "celery": 1, "low": 2}
    system.workers["low"].wait_until_says("Task amply.jobs.cleanup.remove_expired_records[")
    assert "amply.jobs.reports" not in system.workers["high"].said().partition(" ready.")[2]
    checked = system.amply("checkpoint", "verify")
    assert checked.returncode == 0, checked.stderr


def test_job_send_waits_for_the_result_and_status_shows_every_queue(system):
    done = system.amply("job", "send", "amply.jobs.cleanup.remove_expired_records", "--wait", "60", "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert (told["queue"], told["state"], told["result"]) == ("low", "SUCCESS", 0)
    system.wait_until_idle()
    shown = system.amply("status", "--json")
    assert shown.returncode == 0, shown.stderr
    status = json.loads(shown.stdout)
    assert status["endpoint"] == system.endpoint_url
    assert status["dead_letters"] == 0
    queues = {queue["name"]: queue for queue in status["queues"]}
    assert set(queues) == {*QUEUES.values(), DEAD_LETTERS, "amply-telemetry"}
    for name in QUEUES.values():
        queue = queues[name]
        assert (queue["exists"], queue["visible"], queue["in_flight"], queue["delayed"]) == (True, 0, 0, 0)
        assert (queue["dead_letter_queue"], queue["receive_count_max"]) == (DEAD_LETTERS, 5)
