"""A worker with a worker's key and a sender with a producer's, over TLS: nothing that they need is denied."""

import json
import shlex
from pathlib import Path

import pytest
from celery import Celery
from running import Running, until
from system import BIN, WORKER_COMMANDS, environment, free_port, run_amply

from amply.topology.derive import celery_settings
from amply.topology.load import load

CERTIFICATE = Path(__file__).parents[1] / "compat" / "strict" / "localhost_test.pem"
COUNT = 20


class StrictSystem:
    """The broker's process on TLS, strict, and one worker's."""

    def __init__(self, folder):
        self.folder = folder
        self.port = free_port()
        self.endpoint_url = f"https://localhost:{self.port}"
        self.running = []
        self.surroundings = environment(
            folder, AWS_ENDPOINT_URL_SQS=self.endpoint_url, AWS_CA_BUNDLE=str(CERTIFICATE), AMPLY_TOPOLOGY=""
        )

    def key(self, role):
        """A new key's variables."""
        made = run_amply(self.surroundings, "key", "create", role)
        assert made.returncode == 0, made.stderr
        return dict(line.split("=", 1) for line in made.stdout.splitlines())

    def start(self, command, name, says, **changes):
        program, *arguments = command
        surroundings = {**self.surroundings, **changes}
        running = Running([str(BIN / program), *arguments], surroundings, self.folder / f"{name}.log")
        self.running.append(running)
        running.wait_until_says(says)

    def app(self, role):
        """A sender's app with a key of that role."""
        key = self.key(role)
        app = Celery("sender", set_as_current=False)
        app.conf.update(celery_settings(load(None), endpoint_url=self.endpoint_url))
        access_key, secret = key["AWS_ACCESS_KEY_ID"], key["AWS_SECRET_ACCESS_KEY"]
        app.conf.update(
            broker_url=f"sqs://{access_key}:{secret}@",
            broker_transport_options={**app.conf.broker_transport_options, "endpoint_url": self.endpoint_url},
            result_backend=f"amply+sqlite:///{self.folder / 'data' / 'results.sqlite'}",
        )
        return app

    def stop(self):
        for running in reversed(self.running):
            running.stop()

    def audit(self, *events):
        """The lines of these events."""
        lines = (self.folder / "data" / "audit.jsonl").read_text().splitlines()
        return [line for line in map(json.loads, lines) if line["event"] in events]


@pytest.fixture
def strict(tmp_path, monkeypatch):
    monkeypatch.setenv("AWS_CA_BUNDLE", str(CERTIFICATE))
    system = StrictSystem(tmp_path)
    broker = ("amply", "broker", "--auth", "strict", "--port", str(system.port), "--data", str(tmp_path / "data"))
    try:
        system.start((*broker, "--tls-cert", str(CERTIFICATE)), "broker", "SQS endpoint https")
        system.start(shlex.split(WORKER_COMMANDS["high"]), "worker", " ready.", **system.key("worker"))
        yield system
    finally:
        system.stop()


def test_20_jobs_are_done_over_tls_without_one_denial(strict):
    producer, admin = strict.app("producer"), strict.app("admin")
    try:
        for number in range(COUNT):
            producer.send_task("ledger.count", [number], queue="high" if number % 2 else "celery")
        ledger = strict.folder / "ledger"
        until(lambda: ledger.exists() and len(ledger.read_text().splitlines()) >= COUNT, "the jobs run")
        assert {int(line.split()[1]) for line in ledger.read_text().splitlines()} == set(range(COUNT))
        # Remote control and events too: an operator's command, the worker's answer over its own mailbox.
        assert [list(answer.values()) for answer in admin.control.ping(timeout=20, limit=1)] == [[{"ok": "pong"}]]
    finally:
        producer.close()
        admin.close()
    said = (strict.folder / "worker.log").read_text()
    assert "denied" not in said.lower()
    strict.stop()
    strict.running.clear()
    assert strict.audit("refused", "denied") == []
    assert [line["role"] for line in strict.audit("key-created")] == ["worker", "producer", "admin"]
