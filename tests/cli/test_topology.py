"""`amply topology`, as a person runs it."""

import json
import subprocess
import sys

import pytest

from amply import __version__
from amply.cli.main import run
from amply.topology.load import PACKAGED


@pytest.fixture(autouse=True)
def without_own_topology(monkeypatch):
    monkeypatch.delenv("AMPLY_TOPOLOGY", raising=False)


@pytest.fixture
def wrong(tmp_path):
    path = tmp_path / "wrong.yaml"
    text = PACKAGED.read_text().replace("VisibilityTimeout: 600", "VisibilityTimeout: 50000")
    path.write_text(text.replace("concurrency: 2", "concurrency: two"))
    return path


def test_show_writes_one_line_a_queue_a_route_and_a_service(capsys):
    assert run(["topology", "show"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    rows = [line.split("\t") for line in out.splitlines()]
    assert [row[0] for row in rows if row[0].startswith("amply-celery")] == [
        "amply-celery",
        "amply-celery-high",
        "amply-celery-low",
        "amply-celery-dlq",
    ]
    assert ["amply.jobs.webhooks.*", "high"] in rows
    worker = "celery -A amply.jobs.celery_app worker -Q high,celery --concurrency=4 --loglevel=info"
    assert ["amply-worker-high", worker] in rows


def test_show_as_json_is_data_and_nothing_else(capsys):
    assert run(["topology", "show", "--json"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    data = json.loads(out)
    high = data["queues"][1]
    assert (high["QueueName"], high["CeleryName"]) == ("amply-celery-high", "high")
    assert high["QueueArn"] == "arn:aws:sqs:eu-central-1:000000000000:amply-celery-high"
    assert high["Attributes"]["VisibilityTimeout"] == "600"
    assert json.loads(high["Attributes"]["RedrivePolicy"])["maxReceiveCount"] == 5
    assert data["workers"][1]["queues"] == ["low"]
    assert {"task": "amply.jobs.reports.*", "queue": "low"} in data["routes"]


def test_check_says_that_a_file_can_be_used_and_lists_its_surprises(capsys):
    assert run(["topology", "check", str(PACKAGED)]) == 0
    out, err = capsys.readouterr()
    assert out == ""
    warning, verdict = err.splitlines()
    assert warning.startswith(f"Warning: {PACKAGED}:16: queues[0].Attributes.MessageRetentionPeriod: is 14 days")
    assert verdict == f"{PACKAGED} can be used: 5 queues, 6 routes, 2 worker services; warnings: 1."


@pytest.mark.parametrize("command", ["check", "show"])
def test_a_wrong_file_ends_with_1_and_all_its_errors(capsys, wrong, command):
    assert run(["topology", command, str(wrong)]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    first, second, hint = err.splitlines()
    assert first.startswith(f"Error: {wrong}:")
    assert first.endswith("queues[1].Attributes.VisibilityTimeout: 50000 is outside 0..43200")
    assert second.endswith("workers[1].concurrency: must be a whole number in 1..1000; it is 'two'")
    assert hint == f"Correct the file, then run: amply topology check {wrong}"


def test_the_environment_names_the_file_when_the_command_line_does_not(capsys, wrong, monkeypatch):
    monkeypatch.setenv("AMPLY_TOPOLOGY", str(wrong))
    assert run(["topology", "check"]) == 1
    assert str(wrong) in capsys.readouterr().err
    assert run(["topology", "check", str(PACKAGED)]) == 0


def test_what_a_file_says_cannot_steer_the_terminal(capsys, tmp_path):
    path = tmp_path / "evil.yaml"
    path.write_text('region: "\\e[2J\\u202Eevil"\n"\\e[31mkey": 1\n')
    assert run(["topology", "check", str(path)]) == 1
    err = capsys.readouterr().err
    assert "\x1b" not in err
    assert "\u202e" not in err
    assert "\\x1b[31mkey: unknown key" in err


def test_python_m_amply_is_the_command():
    command = [sys.executable, "-m", "amply"]
    version = subprocess.run([*command, "--version"], capture_output=True, text=True, check=True)
    assert version.stdout.strip() == f"amply, version {__version__}"
    checked = subprocess.run(
        [*command, "topology", "check", str(PACKAGED)], capture_output=True, text=True, check=False
    )
    assert (checked.returncode, checked.stdout) == (0, "")
    assert "can be used" in checked.stderr
    missing = subprocess.run([*command, "topology", "show", "none.yaml"], capture_output=True, text=True, check=False)
    assert (missing.returncode, missing.stdout) == (1, "")
    assert missing.stderr.startswith("Error: none.yaml: cannot be read: No such file or directory\n")


def test_a_role_whose_condition_cannot_be_enforced_is_no_topology_to_use(capsys, tmp_path):
    path = tmp_path / "amply.yaml"
    told = PACKAGED.read_text().replace(
        "        Action: sqs:*\n", "        Action: sqs:*\n        Condition: {Bool: {'aws:Odd': 'true'}}\n"
    )
    path.write_text(told)
    assert run(["topology", "check", str(path)]) == 1
    assert "roles, admin: " in capsys.readouterr().err
