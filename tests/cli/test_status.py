"""`amply status` against a running broker, and against none."""

import json

import pytest

from amply.cli.main import run
from amply.clock import wall_ms

URL = "http://127.0.0.1:1"


@pytest.fixture(autouse=True)
def nothing_configured(monkeypatch):
    for name in ("AWS_ENDPOINT_URL_SQS", "AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_PROFILE", "AMPLY_TOPOLOGY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nonexistent")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")


def send(sqs, queue, count, **options):
    url = sqs.get_queue_url(QueueName=queue)["QueueUrl"]
    for _ in range(count):
        sqs.send_message(QueueUrl=url, MessageBody="x", **options)
    return url


def test_status_counts_what_is_visible_in_flight_delayed_and_dead(broker, clock, sqs, capsys):
    url = send(sqs, "amply-celery-high", 3)
    send(sqs, "amply-celery-high", 1, DelaySeconds=60)
    sent_ms = clock.now_ms()
    send(sqs, "amply-celery-dlq", 2)
    sqs.receive_message(QueueUrl=url)
    assert run(["status", "--json", "--endpoint", broker.endpoint_url]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["version"], told["endpoint"], told["dead_letters"]) == (1, broker.endpoint_url, 2)
    assert told["dead_letters_expire_ms"] == sent_ms + 14 * 86_400_000
    high = next(queue for queue in told["queues"] if queue["name"] == "amply-celery-high")
    assert high == {
        "name": "amply-celery-high",
        "celery_name": "high",
        "exists": True,
        "visible": 2,
        "in_flight": 1,
        "delayed": 1,
        "visibility_timeout_s": 600,
        "retention_s": 345_600,
        "dead_letter_queue": "amply-celery-dlq",
        "receive_count_max": 5,
    }


def test_status_shows_a_table_and_the_endpoint_of_the_environment_is_used(broker, monkeypatch, capsys):
    monkeypatch.setenv("AWS_ENDPOINT_URL_SQS", broker.endpoint_url)
    assert run(["status"]) == 0
    shown = capsys.readouterr()
    assert "amply-celery-low\t0\t0\t0\t1800 s\t4 days\t5 receives, to amply-celery-dlq" in shown.out
    assert shown.err == "No dead letters.\n"


def test_status_tells_when_the_first_dead_letter_expires(broker, clock, sqs, capsys):
    four_days_ago_ms = wall_ms() - 4 * 86_400_000
    broker.advance((four_days_ago_ms - clock.now_ms()) / 1000 + 3600)
    send(sqs, "amply-celery-dlq", 1)
    broker.advance(86_400)
    send(sqs, "amply-celery-dlq", 1)
    assert run(["status", "--endpoint", broker.endpoint_url]) == 0
    assert "2 dead letters, the first expires in 10d: amply dlq groups" in capsys.readouterr().err


def test_a_declared_queue_that_is_not_there_is_shown_and_ends_with_3(broker, sqs, capsys):
    sqs.delete_queue(QueueUrl=sqs.get_queue_url(QueueName="amply-celery-low")["QueueUrl"])
    assert run(["status", "--endpoint", broker.endpoint_url]) == 3
    shown = capsys.readouterr()
    assert "amply-celery-low\tdoes not exist" in shown.out
    assert "amply-celery\t0" in shown.out
    assert f"Declared, but not at {broker.endpoint_url}: amply-celery-low" in shown.err


def test_an_endpoint_that_does_not_answer_is_named_and_ends_with_5(capsys):
    assert run(["status", "--endpoint", URL]) == 5
    said = capsys.readouterr().err
    assert f"SQS does not answer at {URL}" in said
    assert "amply up" in said


def test_without_credentials_for_aws_status_is_refused_with_4(capsys):
    assert run(["status"]) == 4
    assert "no AWS credentials to ask https://sqs.eu-central-1.amazonaws.com" in capsys.readouterr().err


@pytest.mark.parametrize("endpoint", ["127.0.0.1:9324", "http://", "http://[::1", "ftp://x"])
def test_an_endpoint_that_is_no_url_is_a_usage_error(endpoint, capsys):
    assert run(["status", "--endpoint", endpoint]) == 2
    assert "is not a URL" in capsys.readouterr().err
