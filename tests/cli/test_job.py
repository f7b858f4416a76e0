"""`amply job send` as a user runs it: a process of its own, against a running broker."""

import json
import subprocess
import sys

import pytest

from amply import envelope, settings

REPORT = "amply.jobs.reports.generate_monthly_report"


@pytest.fixture
def amply(tmp_path):
    """Run `amply` with an endpoint, without any credentials to be found."""

    def run(*arguments, endpoint="http://127.0.0.1:1"):
        changes = {
            "AWS_ENDPOINT_URL_SQS": endpoint,
            "AMPLY_DATA": str(tmp_path),
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_CONFIG_FILE": "/nonexistent",
            "AWS_SHARED_CREDENTIALS_FILE": "/nonexistent",
        }
        environment = settings.child_environment(changes)
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE", "AMPLY_TOPOLOGY", "REDIS_URL"):
            environment.pop(name, None)
        return subprocess.run(
            [sys.executable, "-m", "amply", "job", "send", *arguments],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )

    return run


def receive(sqs, queue):
    """The task, arguments and keyword arguments of the message that waits there."""
    url = sqs.get_queue_url(QueueName=queue)["QueueUrl"]
    messages = sqs.receive_message(QueueUrl=url, WaitTimeSeconds=0).get("Messages", [])
    if not messages:
        return None
    job = envelope.job(envelope.read(messages[0]["Body"]))
    return job.task, job.args, job.kwargs


def test_a_job_is_sent_to_the_queue_of_its_route(amply, broker, sqs):
    done = amply(REPORT, "--args", '["org-1"]', "--json", endpoint=broker.endpoint_url)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert (told["version"], told["task"], told["queue"]) == (1, REPORT, "low")
    assert receive(sqs, "amply-celery-low") == (REPORT, ["org-1"], {})


def test_a_job_goes_to_the_queue_that_is_asked_for_and_no_sooner_than_asked(amply, broker, sqs):
    done = amply(
        REPORT, "--kwargs", '{"org_id": "org-2"}', "--queue", "high", "--countdown", "30", endpoint=broker.endpoint_url
    )
    assert (done.returncode, done.stderr) == (0, "Sent to high.\n")
    assert len(done.stdout.strip()) == 36
    assert receive(sqs, "amply-celery-high") is None
    broker.advance(30)
    assert receive(sqs, "amply-celery-high") == (REPORT, [], {"org_id": "org-2"})


def test_waiting_in_vain_for_a_job_ends_with_1_and_says_so(amply, broker):
    done = amply(REPORT, "--args", '["org-1"]', "--wait", "0.2", "--json", endpoint=broker.endpoint_url)
    assert done.returncode == 1
    assert json.loads(done.stdout)["state"] == "PENDING"
    assert "is not done after 0.2 s" in done.stderr


def test_a_task_known_by_its_last_part_only_is_not_sent_but_suggested(amply):
    done = amply("generate_monthly_report")
    assert (done.returncode, done.stdout) == (3, "")
    assert f"Did you mean {REPORT}?" in done.stderr


def test_a_misspelt_queue_ends_with_3(amply):
    done = amply(REPORT, "--args", '["x"]', "--queue", "hihg")
    assert done.returncode == 3
    assert "Did you mean high?" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("--args", "{}"), "'{}' is JSON, but not an array."),
        (("--args", "[1"), "is not JSON"),
        (("--args", "[" * 100_000), "is not JSON"),
        (("--kwargs", "[]"), "'[]' is JSON, but not an object."),
        (("--args", "[]"), "missing 1 required positional argument: 'org_id'"),
        (("--countdown", "901"), "901 is not in the range"),
    ],
)
def test_arguments_that_cannot_be_right_are_usage_errors(amply, arguments, reason):
    done = amply(REPORT, *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert reason in done.stderr.replace("\n", " ")


def test_a_broker_that_does_not_answer_ends_with_5(amply):
    done = amply(REPORT, "--args", '["x"]')
    assert (done.returncode, done.stdout) == (5, "")
    assert "SQS at http://127.0.0.1:1 did not take the job" in done.stderr
