"""The Python of the pages that is marked `run` runs, against a broker in this process."""

import base64
import json

import pytest
from pages import PAGES, ROOT, blocks, name

from amply.topology.document import TopologyError
from amply.topology.load import load

MARKED = [page for page in PAGES if any(block.info == "python run" for block in blocks(page))]

# A Celery message as kombu puts it on a queue, of a report that could not be made.
DEAD_LETTER = base64.b64encode(
    json.dumps(
        {
            "body": base64.b64encode(b'[["org-1"], {}, {"chain": null}]').decode(),
            "content-encoding": "utf-8",
            "content-type": "application/json",
            "headers": {"task": "amply.jobs.reports.generate_monthly_report", "id": "abc123", "retries": 0},
            "properties": {"body_encoding": "base64", "delivery_info": {"exchange": "", "routing_key": "low"}},
        }
    ).encode()
).decode()


@pytest.mark.parametrize("page", MARKED, ids=name)
def test_the_marked_python_of_a_page_runs(page, run):
    run(page)


def test_the_readme_s_python_gets_its_message_back(run, capsys):
    run(ROOT / "README.md")
    assert capsys.readouterr().out == "hello\n"


@pytest.mark.parametrize("letter", [DEAD_LETTER, base64.b64decode(DEAD_LETTER).decode()], ids=["stock", "brief"])
def test_the_script_for_dead_letters_tells_their_causes_and_sends_them_back(
    letter, run, sqs, caplog, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    urls = {end: sqs.get_queue_url(QueueName=f"amply-{end}")["QueueUrl"] for end in ("celery-low", "telemetry")}
    attempts = {"AmplyAttempts": {"DataType": "Number", "StringValue": "2"}}
    sqs.send_message(QueueUrl=urls["celery-low"], MessageBody=letter, MessageAttributes=attempts)
    receives = [
        sqs.receive_message(QueueUrl=urls["celery-low"], VisibilityTimeout=0, WaitTimeSeconds=0) for _ in range(6)
    ]
    assert "Messages" not in receives[5], "the last one moves it"
    message_id = receives[0]["Messages"][0]["MessageId"]
    record = {"message_id": message_id, "timestamp_ms": 1, "attempt": 5, "reason": "raised", "exception": "ValueError"}
    for body in (record, [{"type": "task-started"}]):
        sqs.send_message(QueueUrl=urls["telemetry"], MessageBody=json.dumps(body))
    run(ROOT / "docs" / "how-to" / "dead-letters.md")
    (line,) = [entry.getMessage() for entry in caplog.records if entry.name == "dlq"]
    assert line.startswith("DLQ message amply.jobs.reports.generate_monthly_report abc123, received 5 times: ")
    assert line.endswith("ValueError")
    receive = {"QueueUrl": urls["celery-low"], "MessageAttributeNames": ["All"], "WaitTimeSeconds": 0}
    (back,) = sqs.receive_message(**receive)["Messages"]
    assert back["Body"] == letter
    marks = {"amply-redriven-from", "amply-redriven-at", "amply-redriven-count"}
    assert back["MessageAttributes"].keys() == marks, "and all runs begin anew"


def test_a_topology_in_a_page_can_be_used(tmp_path):
    pieces = [block for page in PAGES for block in blocks(page) if block.info == "yaml"]
    for block in pieces:
        file = tmp_path / "topology.yaml"
        file.write_text(block.text)
        try:
            load(file)
        except TopologyError as error:
            pytest.fail(f"{name(block.page)}:{block.line}: {error.message}")
    assert pieces


def test_a_block_of_a_kind_that_nobody_checks_is_a_mistake():
    checked = {"", "python run", "python", "sh", "text", "yaml"}
    kinds = [block for page in PAGES for block in blocks(page) if block.info not in checked]
    odd = [f"{name(block.page)}:{block.line}: a block of the kind {block.info!r}" for block in kinds]
    assert not odd, "\n".join(odd)


def test_python_that_does_not_run_is_at_least_python():
    for block in (block for page in PAGES for block in blocks(page) if block.info.startswith("python")):
        try:
            compile("\n" * (block.line - 1) + block.text, name(block.page), "exec")
        except SyntaxError as error:
            pytest.fail(f"{name(block.page)}:{error.lineno}: {error.msg}")
