"""Whatever a job dies of, the record of it says what, where and when, for as long as the worker itself lives."""

import json
import socket

import pytest
from running import until
from transported import TELEMETRY, Transported

from amply.clock import wall_ms
from amply.deadletters.collecting import collect
from amply.deadletters.failures import Failures
from amply.deadletters.gateway import Gateway
from amply.transport.endpoint import resolve

LEASE_S = 600


@pytest.fixture(scope="module")
def system(tmp_path_factory):
    """A worker whose failed jobs wait longer than the tests take."""
    options = {"telemetry_queue": TELEMETRY, "lease_seconds": LEASE_S, "backoff": {"first_s": 600}}
    system = Transported(tmp_path_factory.mktemp("recording"), **options)
    try:
        system.start_broker()
        system.start_worker("all", queues="celery", concurrency=2)
        yield system
    finally:
        system.stop()


@pytest.fixture(scope="module")
def cause_of(system, tmp_path_factory):
    """The cause of a job's first failure, and its whole record, once they are collected."""
    failures = Failures(tmp_path_factory.mktemp("data") / "failures.sqlite")
    gateway = Gateway(resolve(endpoint_url=system.endpoint_url, region="eu-central-1", userid="any", password="any"))

    def find(job, message_id="none"):
        def found():
            collect(gateway, TELEMETRY, failures, now_ms=wall_ms(), limit_s=5.0)
            return failures.causes([(message_id, job)])[0]

        until(found, lambda: f"a cause of {job}; {system.said()}")
        (record,) = failures.history(message_id, job)
        assert failures.traceback(found().kind) == record.traceback
        return found(), record

    yield find
    failures.close()
    gateway.close()


def check_worker(system, cause, record):
    """It was the worker that runs, now, in its first run."""
    pid = system.workers["all"].process.pid
    host = socket.gethostname()
    assert (record.nodename, record.hostname, record.pid) == (f"all@{host}", host, pid)
    assert cause.worker == f"all@{host} {pid}"
    assert (record.attempt, record.receive_count, record.queue) == (1, 1, "amply-celery")
    assert (cause.attempt, cause.failures, cause.is_last) == (1, 1, False)
    assert abs(wall_ms() - record.timestamp_ms) < 120_000
    assert record.message_id


def test_a_task_that_raises(system, cause_of):
    cause, record = cause_of(system.send("break_down", 1))
    check_worker(system, cause, record)
    assert (cause.reason, cause.exception, cause.message) == ("raised", "RuntimeError", "number 1 always breaks")
    assert record.task == "ledger.break_down"
    assert "ledger_tasks.py" in record.traceback
    assert record.traceback.rstrip().endswith("RuntimeError: number 1 always breaks")


def test_a_child_that_is_killed(system, cause_of):
    cause, record = cause_of(system.send("be_killed", 2))
    check_worker(system, cause, record)
    assert (cause.reason, cause.exception) == ("worker process lost", "WorkerLostError")
    assert "SIGKILL" in cause.message


def test_a_hard_time_limit(system, cause_of):
    cause, record = cause_of(system.send("work", 3, 600.0, time_limit=1))
    check_worker(system, cause, record)
    assert (cause.reason, cause.exception) == ("time limit", "TimeLimitExceeded")
    assert cause.message == "it ran longer than 1 s"


def test_a_soft_time_limit_is_an_exception_like_others(system, cause_of):
    cause, record = cause_of(system.send("work", 4, 600.0, soft_time_limit=1))
    check_worker(system, cause, record)
    assert (cause.reason, cause.exception) == ("raised", "SoftTimeLimitExceeded")
    assert "ledger_tasks.py" in record.traceback


def test_a_task_that_nobody_knows(system, cause_of):
    cause, record = cause_of(system.send("unheard_of", 5))
    check_worker(system, cause, record)
    assert (cause.reason, cause.exception) == ("unknown task", "NotRegistered")
    assert "ledger.unheard_of" in cause.message
    assert record.task == "ledger.unheard_of"


def test_arguments_that_the_task_does_not_take(system, cause_of):
    cause, record = cause_of(system.send("break_down", 6, 7, 8))
    check_worker(system, cause, record)
    assert (cause.reason, cause.exception) == ("raised", "TypeError")
    assert "takes 2 positional arguments" in cause.message


def test_a_body_that_is_no_job(system, cause_of):
    message_id = system.ask("SendMessage", "amply-celery", MessageBody="no job")["MessageId"]
    cause, record = cause_of(None, message_id)
    check_worker(system, cause, record)
    assert cause.reason == "unreadable message"
    assert (record.id, record.task) == ("", "")


def test_content_that_is_not_accepted(system, cause_of):
    envelope = {
        "body": "gASVAAAAAAAAAAAu",
        "content-type": "application/x-python-serialize",
        "content-encoding": "binary",
        "headers": {"task": "ledger.count", "id": "pickled"},
        "properties": {"body_encoding": "base64", "delivery_tag": "1", "delivery_info": {"routing_key": "celery"}},
    }
    system.ask("SendMessage", "amply-celery", MessageBody=json.dumps(envelope))
    cause, record = cause_of("pickled")
    check_worker(system, cause, record)
    assert cause.reason == "content that is not accepted or cannot be decoded"
    assert cause.exception == "ContentDisallowed"
