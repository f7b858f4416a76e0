"""`amply up` keeps the causes of failures, and goes on when it cannot."""

import json
import time

import pytest

from amply.broker.store.memory import MemoryStore
from amply.cli.up_causes import CausesCollector
from amply.clock import ManualClock, SystemClock
from amply.deadletters.failures import FILE_NAME, Failures
from amply.topology.load import load

PATIENCE_S = 30.0
RECORD = json.dumps({"type": "delivery-failed", "timestamp_ms": 1, "message_id": "m", "reason": "raised"})


@pytest.fixture
def start(tmp_path):
    """Make a collector for an endpoint; it is stopped in the end."""
    made = []

    def make(endpoint_url, clock=None):
        made.append(CausesCollector(endpoint_url, load(), tmp_path, clock or SystemClock()))
        return made[-1]

    yield make
    for one in made:
        one.stop()


def test_what_workers_record_is_kept_while_it_runs(start, broker, sqs, tmp_path):
    collector = start(broker.endpoint_url)
    url = sqs.get_queue_url(QueueName="amply-telemetry")["QueueUrl"]
    sqs.send_message(QueueUrl=url, MessageBody=RECORD)
    collector.start()
    failures = Failures(tmp_path / FILE_NAME)
    end = time.monotonic() + PATIENCE_S
    while failures.counts() == (0, 0) and time.monotonic() < end:
        time.sleep(0.02)
    failures.close()
    assert failures.causes([("m", None)])[0].reason == "raised"
    assert not collector.warnings


def test_trouble_is_told_once_a_minute_and_ends_nothing(start, start_broker):
    clock = ManualClock()
    broker = start_broker(MemoryStore())
    collector = start(broker.endpoint_url, clock)
    assert collector.collect()
    broker.stop()
    for told in (1, 1, 2):
        assert collector.collect()
        assert len(collector.warnings) == told
        clock.advance(30)
    assert "SQS does not answer" in collector.warnings[0]


def test_a_file_that_cannot_be_used_is_told_and_the_records_wait(start, broker, sqs, tmp_path):
    (tmp_path / FILE_NAME).write_bytes(b"no database " * 1000)
    url = sqs.get_queue_url(QueueName="amply-telemetry")["QueueUrl"]
    sqs.send_message(QueueUrl=url, MessageBody=RECORD)
    collector = start(broker.endpoint_url)
    assert collector.collect()
    assert "is not a file of failures" in collector.warnings[0]


def test_without_a_queue_for_records_nothing_is_asked(tmp_path):
    from msgspec.structs import replace

    collector = CausesCollector("http://127.0.0.1:1", replace(load(), telemetry_queue=""), tmp_path, SystemClock())
    collector.start()
    collector.stop()
    assert not collector.warnings
