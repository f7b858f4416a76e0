import os
import subprocess
import sys

import pytest

from amply.jobs.celery_app import app
from amply.jobs.schedule import beat_schedule

TASKS = {
    "amply.jobs.webhooks.dispatch_webhook": "high",
    "amply.jobs.webhooks.dispatch_due_webhooks": "high",
    "amply.jobs.payments.capture_payment": "high",
    "amply.jobs.checkpoints.generate_checkpoint": "celery",
    "amply.jobs.donations.record_donation": "celery",
    "amply.jobs.reports.generate_monthly_report": "low",
    "amply.jobs.reports.generate_monthly_reports": "low",
    "amply.jobs.cleanup.remove_expired_records": "low",
}


def test_the_tasks_are_known_under_their_names():
    app.loader.import_default_modules()
    assert {name for name in app.tasks if name.startswith("amply.")} == set(TASKS)


@pytest.mark.parametrize(("task", "queue"), TASKS.items())
def test_a_task_goes_to_the_queue_that_the_topology_routes_it_to(task, queue):
    assert app.amqp.router.route({}, task)["queue"].name == queue


def test_the_schedule_sends_tasks_that_exist():
    assert {entry["task"] for entry in beat_schedule().values()} <= set(TASKS)
    assert app.conf.beat_schedule == beat_schedule()


def test_a_failing_task_is_not_acknowledged():
    assert app.conf.task_acks_late
    assert not app.conf.task_acks_on_failure_or_timeout


def python(tmp_path, code, **environment):
    inherited = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": os.pathsep.join(sys.path),
        "AMPLY_DATA": str(tmp_path / "data"),
    }
    command = [sys.executable, "-c", f"from amply.jobs.celery_app import app\n{code}"]
    return subprocess.Popen(command, env={**inherited, **environment}, stdout=subprocess.PIPE, text=True)


def test_results_go_to_redis_when_there_is_one_and_looking_at_the_app_makes_no_files(tmp_path):
    asked = python(tmp_path, "print(app.conf.result_backend)", REDIS_URL="redis://127.0.0.1:1/0")
    assert asked.communicate(timeout=60) == ("redis://127.0.0.1:1/0\n", None)
    assert not (tmp_path / "data").exists()


def test_several_processes_keep_results_in_one_file(tmp_path):
    store = "for n in range(10): app.backend.store_result(f'{name}-{n}', {'n': n}, 'SUCCESS')"
    storing = [python(tmp_path, f"name = {name}\n{store}") for name in range(2)]
    for process in storing:
        process.communicate(timeout=60)
    assert [process.returncode for process in storing] == [0] * 2
    read = "print(sum(app.AsyncResult(f'{a}-{b}').get(timeout=5)['n'] for a in range(2) for b in range(10)))"
    assert python(tmp_path, read).communicate(timeout=60)[0] == f"{2 * sum(range(10))}\n"
    assert (tmp_path / "data" / "results.sqlite").stat().st_mode & 0o777 == 0o600
