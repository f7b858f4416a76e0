"""What the pages say of the transport is so: options, records, reasons, actions, errors, and the brief's settings."""

import importlib
import json
import re

import pytest
from celery import Celery
from msgspec import Struct
from pages import ROOT, blocks, first_cells, name

from amply.broker.sqs.actions import ACTIONS
from amply.transport import transport
from amply.transport.failing import Failure
from amply.transport.options import BackoffPolicy, Options
from amply.transport.payloads import SIZE_ATTRIBUTE
from amply.transport.publishing import ATTEMPTS

PAGE = ROOT / "docs" / "reference" / "transport.md"
HOW_TO = ROOT / "docs" / "how-to" / "celery-on-sqs.md"
SOURCES = ROOT / "src" / "amply" / "transport"


def section(tmp_path, heading):
    """One section of the page as a page of its own, without those below it."""
    text = PAGE.read_text("utf-8").partition(f"\n{heading}\n")[2]
    file = tmp_path / "section.md"
    file.write_text(re.split(r"\n#+ ", text, maxsplit=1)[0])
    return file


def rows(page):
    """The cells of each row of the page's tables."""
    lines = [line for line in page.read_text().splitlines() if line.startswith("|") and "---" not in line]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[1:]]


@pytest.mark.parametrize(
    ("heading", "shape"),
    [("## Options", Options), ("### Backoff", BackoffPolicy), ("### Failure records", Failure)],
    ids=["options", "backoff", "failure records"],
)
def test_every_member_is_on_the_page_and_no_other(heading, shape, tmp_path):
    assert sorted(first_cells(section(tmp_path, heading))) == sorted(shape.__struct_fields__)


@pytest.mark.parametrize(("heading", "shape"), [("## Options", Options), ("### Backoff", BackoffPolicy)])
def written(default):
    """How the page writes a default that is no mapping and no list."""
    if isinstance(default, bool):
        return str(default).lower()
    return f"{default:g}" if isinstance(default, float) else str(default or ("none" if default != 0 else 0))


@pytest.mark.parametrize(("heading", "shape"), [("## Options", Options), ("### Backoff", BackoffPolicy)])
def test_defaults_are_as_the_page_says(heading, shape, tmp_path):
    for word, _, said, _ in rows(section(tmp_path, heading)):
        default = getattr(shape(), word.strip("`"))
        if isinstance(default, list | dict | Struct):
            assert said in {"none", "`{}`", "the order of `-Q`"}, word
        else:
            assert said.strip("`") == written(default) or (default is None and said == "botocore's"), word


def source(*but):
    """The transport's code, but for these modules."""
    return "\n".join(file.read_text() for file in SOURCES.glob("*.py") if file.stem not in but)


def test_every_reason_of_a_failure_is_on_the_page_and_no_other(tmp_path):
    given = set(re.findall(r'(?:\bCause\(|\breason = )"([^"]+)"', source("payloads"))) | {"rejected", "requeued"}
    said = {reason for row in rows(section(tmp_path, "### Reasons")) for reason in re.findall(r"`([^`]+)`", row[0])}
    assert said == given


def test_every_action_that_the_transport_uses_is_on_the_page():
    page = PAGE.read_text("utf-8")
    used = [action for action in ACTIONS if f'"{action}"' in source("client")]
    assert "SendMessage" in used
    assert [action for action in used if action not in page] == []
    assert set(re.findall(r"`sqs:(\w+)`", page)) <= set(ACTIONS)


def test_the_errors_on_the_page_are_there(tmp_path):
    for path, *_ in rows(section(tmp_path, "## Errors")):
        module, _, error = path.strip("`").rpartition(".")
        assert issubclass(getattr(importlib.import_module(module), error), Exception)


def test_our_message_attributes_are_on_the_page():
    page = PAGE.read_text("utf-8")
    assert f"`{ATTEMPTS}`" in page
    assert f"`{SIZE_ATTRIBUTE}`" in page


def brief_settings():
    """The settings that the how-to shows for an app that has some already."""
    (block,) = (block for block in blocks(HOW_TO) if "queue_name_prefix" in block.text)
    return block


def test_the_settings_of_the_how_to_send_to_the_queues_that_they_name(broker, sqs, aws_variables):
    block = brief_settings()
    names = {}
    exec(compile(block.text, name(block.page), "exec"), names)
    app: Celery = names["app"]
    app.conf.result_backend = None
    tasks = {"celery": "amply.jobs.checkpoints.x", "high": "amply.jobs.webhooks.x", "low": "amply.jobs.reports.x"}
    for task in tasks.values():
        app.send_task(task)
    app.close()
    for queue, task in tasks.items():
        sqs_name = "amply-celery" if queue == "celery" else f"amply-celery-{queue}"
        (message,) = sqs.receive_message(QueueUrl=sqs.get_queue_url(QueueName=sqs_name)["QueueUrl"])["Messages"]
        assert json.loads(message["Body"])["headers"]["task"] == task


def test_a_batch_of_the_how_to_takes_the_requests_that_it_tells_of(run, capsys):
    run(HOW_TO)
    assert "25 jobs with three requests" in capsys.readouterr().out
    (client,) = transport._clients.values()
    assert client.requests["SendMessageBatch"] == 3
