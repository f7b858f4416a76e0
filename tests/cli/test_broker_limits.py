"""`amply broker --limit`: other limits than AWS's, for tests."""

import re
import subprocess
import sys

import click
import pytest

from amply.broker.sqs.limits import AWS, CHANGEABLE, Limits
from amply.cli.broker_limits import read_limits


def test_limits_are_those_of_aws_unless_others_are_given():
    assert read_limits([]) == AWS
    given = ["purge_interval_s=0", "in_flight_max=3", "number_exponent_min=-200"]
    assert read_limits(given) == Limits(purge_interval_s=0, in_flight_max=3, number_exponent_min=-200)


def test_every_limit_can_be_changed_but_that_of_names():
    for name in CHANGEABLE:
        assert getattr(read_limits([f"{name}=7"]), name) == 7
    fixed = set(Limits.__struct_fields__) - set(CHANGEABLE)
    assert {name for name in fixed if not name.endswith("_default")} == {"queue_name_length_max"}


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("purge_intervall_s=0", "did you mean purge_interval_s?"),
        ("retention_s_default=1", "did you mean retention_s_m"),
        ("x=1", "docs/reference/limits.md"),
        ("purge_interval_s", "on AWS it is purge_interval_s=60"),
        ("purge_interval_s=", "on AWS it is purge_interval_s=60"),
        ("purge_interval_s=-1", "on AWS it is purge_interval_s=60"),
        ("purge_interval_s=1.5", "on AWS it is purge_interval_s=60"),
        ("purge_interval_s=" + "9" * 5000, "on AWS it is purge_interval_s=60"),
    ],
)
def test_a_limit_that_cannot_be_is_refused_with_what_could_be_meant(text, hint):
    with pytest.raises(click.UsageError) as caught:
        read_limits([text])
    assert hint in caught.value.message


def test_the_broker_keeps_to_the_limits_that_it_was_started_with(tmp_path, make_client):
    command = [sys.executable, "-m", "amply", "broker", "--port", "0", "--data", str(tmp_path / "data")]
    command += ["--limit", "retention_s_min=1", "--limit", "recreate_interval_s=0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            sqs = make_client(re.match(r"SQS endpoint (\S+),", process.stdout.readline())[1])
            for _ in range(2):
                url = sqs.create_queue(QueueName="brief", Attributes={"MessageRetentionPeriod": "1"})["QueueUrl"]
                sqs.delete_queue(QueueUrl=url)
        finally:
            process.terminate()
        errors = process.communicate(timeout=20)[1]
    assert process.returncode == 0
    assert "not a limit of SQS: retention_s_min=1" in errors
    assert "not a limit of SQS: recreate_interval_s=0" in errors
