"""What jobs return, read by whoever sent them: with the embedded store, and with Redis when there is one."""

import pytest
from celery import chord, group

PATIENCE_S = 60


@pytest.fixture(params=["embedded", "redis"])
def any_system(request):
    return request.getfixturevalue({"embedded": "system", "redis": "impatient"}[request.param])


def counting(any_system, numbers):
    return group(any_system.app.signature("ledger.count", [number], queue="celery") for number in numbers)


def test_the_result_of_a_job_is_read_by_its_id(any_system):
    sent = any_system.app.send_task("ledger.count", [21], queue="celery")
    assert any_system.app.AsyncResult(sent.id).get(timeout=PATIENCE_S) == 42


def test_a_group_gives_the_results_of_its_jobs_in_order(any_system):
    done = counting(any_system, range(10)).apply_async()
    assert done.get(timeout=PATIENCE_S) == [2 * number for number in range(10)]


def test_a_chord_runs_its_last_job_once_with_all_results(any_system):
    before = sum(any_system.runs("ledger.add").values())
    last = any_system.app.signature("ledger.add", queue="celery")
    done = chord(counting(any_system, range(10)), last).apply_async()
    assert done.get(timeout=PATIENCE_S) == 2 * sum(range(10))
    assert sum(any_system.runs("ledger.add").values()) == before + 1


def test_what_a_task_raises_is_its_result(impatient):
    # Not on a queue with the declared visibility timeout: there a failed job waits half an hour for its next run.
    sent = impatient.app.send_task("amply.jobs.reports.generate_monthly_report", ["nobody"])
    error = sent.get(timeout=PATIENCE_S, propagate=False)
    assert sent.state == "FAILURE"
    assert "No organisation has the id 'nobody'" in str(error)
