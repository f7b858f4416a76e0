"""`amply doctor celery` against a running broker, and against none."""

import json

import pytest

from amply.cli.main import run

APP = "amply.jobs.celery_app"


@pytest.fixture(autouse=True)
def nothing_configured(monkeypatch, tmp_path):
    for name in ("AWS_ENDPOINT_URL_SQS", "AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_PROFILE", "REDIS_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nonexistent")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")


@pytest.fixture
def shop(tmp_path, monkeypatch):
    """Write a module with an app of one queue; gives its name. `lines` are added to it."""
    # The tasks that other tests' apps share with all apps of the process.
    monkeypatch.setattr("celery._state._on_app_finalizers", set())

    def write(endpoint_url, *lines):
        name = f"shop_{tmp_path.name}".replace("-", "_")
        module = tmp_path / f"{name}.py"
        module.write_text(
            "from celery import Celery\n"
            "app = Celery('shop', set_as_current=False)\n"
            "app.conf.broker_url = 'amply://'\n"
            f"app.conf.broker_transport_options = {{'endpoint_url': {endpoint_url!r}, 'region': 'eu-central-1'}}\n"
            "app.conf.task_default_queue = 'amply-celery-high'\n"
            "app.conf.update(task_acks_late=True, task_reject_on_worker_lost=True, worker_prefetch_multiplier=1)\n"
            "app.conf.update(task_acks_on_failure_or_timeout=False, worker_enable_remote_control=False)\n"
            "@app.task(name='shop.ship', shared=False)\n"
            "def ship(order):\n"
            "    return order\n" + "".join(f"{line}\n" for line in lines)
        )
        monkeypatch.syspath_prepend(tmp_path)
        return name

    return write


def test_the_application_that_comes_with_amply_has_no_problems(broker, capsys, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL_SQS", broker.endpoint_url)
    assert run(["doctor", "celery"]) == 0
    shown = capsys.readouterr()
    assert shown.err == "No problems.\n"
    assert f"SQS          {broker.endpoint_url} (AWS_ENDPOINT_URL_SQS)\n" in shown.out
    assert "credentials  any, for a broker on this machine\n" in shown.out
    assert "\nok  queue high " in shown.out


def test_a_problem_is_told_with_its_mend_and_ends_with_1(broker, sqs, shop, capsys, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL_SQS", broker.endpoint_url)
    sqs.delete_queue(QueueUrl=sqs.get_queue_url(QueueName="amply-celery-dlq")["QueueUrl"])
    assert run(["doctor", "celery", "--app", shop(broker.endpoint_url, "app.conf.task_acks_late = False")]) == 1
    shown = capsys.readouterr()
    assert shown.err == (
        "Error: queue amply-celery-high: its dead letter queue amply-celery-dlq does not exist. SQS cannot move a job "
        "there: it stays and runs again. Create it.\n"
        "Error: task_acks_late: is off for all tasks. A job is deleted before it runs: it is lost when it fails, or "
        "when its worker is killed. Set task_acks_late = True.\n"
    )


def test_json_has_everything_with_a_version_and_no_secret(broker, shop, capsys, monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "a-key-of-somebody")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "a-secret-of-somebody")
    assert run(["doctor", "celery", "--json", "--app", shop(broker.endpoint_url)]) == 0
    out = capsys.readouterr().out
    told = json.loads(out)
    assert (told["version"], told["is_reachable"]) == (1, True)
    assert told["place"] == {
        "url": broker.endpoint_url,
        "url_from": "transport option endpoint_url",
        "region": "eu-central-1",
        "region_from": "transport option region",
        "credentials": "environment",
    }
    (queue,) = told["queues"]
    assert (queue["name"], queue["state"], queue["max_receive_count"]) == ("amply-celery-high", "there", 5)
    assert queue["dead_letter_queue"] == {"name": "amply-celery-dlq", "is_there": True, "retention_s": 1_209_600}
    assert queue["permissions"]["ChangeMessageVisibility"] == "allowed"
    assert {finding["level"] for finding in told["findings"]} == {"ok"}
    assert set(told["findings"][0]) == {"level", "subject", "what", "why", "mend"}
    assert "somebody" not in out


def test_a_broker_that_does_not_answer_ends_with_5(shop, capsys, monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "any")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "any")
    name = shop("http://127.0.0.1:1")
    assert run(["doctor", "celery", "--app", name]) == 5
    assert "Error: SQS: does not answer: http://127.0.0.1:1" in capsys.readouterr().err
    assert run(["doctor", "celery", "--json", "--app", name]) == 5
    assert json.loads(capsys.readouterr().out)["is_reachable"] is False


def test_tables_are_drawn_on_a_terminal(broker, shop, capsys, monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "any")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "any")
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "200")
    assert run(["doctor", "celery", "--app", shop(broker.endpoint_url)]) == 0
    out = capsys.readouterr().out
    assert "Permissions" in out
    assert "│ ok    │" in out


def test_an_app_that_is_not_there_ends_with_3(capsys):
    assert run(["doctor", "celery", "--app", "no.such.module"]) == 3
    assert "There is no Celery app no.such.module" in capsys.readouterr().err


def test_an_app_on_another_transport_is_refused(shop, capsys):
    name = shop("http://127.0.0.1:1", "app.conf.broker_url = 'memory://'")
    assert run(["doctor", "celery", "--app", name]) == 2
    assert "amply.transport:Transport" in capsys.readouterr().err
