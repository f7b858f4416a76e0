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


def ask(tmp_path, expression, **environment):
    code = f"from amply.jobs.celery_app import app; print({expression})"
    inherited = {"PATH": os.environ["PATH"], "PYTHONPATH": os.pathsep.join(sys.path)}
    environment = {**inherited, "AMPLY_DATA": str(tmp_path / "data"), **environment}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_results_go_to_the_data_folder_and_to_redis_when_there_is_one(tmp_path):
    assert ask(tmp_path, "app.conf.result_backend") == f"db+sqlite:///{tmp_path / 'data' / 'results.db'}"
    assert ask(tmp_path, "app.conf.result_backend", REDIS_URL="redis://127.0.0.1:1/0") == "redis://127.0.0.1:1/0"
    assert not (tmp_path / "data").exists()


STORE = """
import sys
from amply.jobs.celery_app import app
for number in range(20):
    app.backend.store_result(f"{sys.argv[1]}-{number}", {"number": number}, "SUCCESS")
"""


def test_several_processes_keep_results_in_one_file(tmp_path):
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": os.pathsep.join(sys.path), "AMPLY_DATA": str(tmp_path)}
    running = [subprocess.Popen([sys.executable, "-c", STORE, str(n)], env=environment) for n in range(4)]
    assert [process.wait(60) for process in running] == [0] * 4
    assert (tmp_path / "results.db").stat().st_mode & 0o777 == 0o600
    read = 'sum(app.AsyncResult(f"{a}-{b}").get(timeout=5)["number"] for a in range(4) for b in range(20))'
    assert ask(tmp_path, read, AMPLY_DATA=str(tmp_path)) == str(4 * sum(range(20)))
