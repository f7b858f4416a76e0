"""The same commands on an SQS that shows messages only to who receives them: moto's, in place of Amazon's."""

import json
import re
import subprocess
import sys
from pathlib import Path
from urllib.request import Request, urlopen

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from graveyards import DLQ, REPORT, Graveyard, celery_body

from amply.topology.load import load

MOTO = Path(__file__).parents[2] / "deadletters" / "moto_process.py"
COST = "shows letters only to who receives them: each look counts as one more receive of every letter"


@pytest.fixture(scope="module")
def moto_url():
    with subprocess.Popen([sys.executable, str(MOTO), "0"], stdout=-1, stderr=subprocess.DEVNULL, text=True) as process:
        yield process.stdout.readline().split()[-1]
        process.kill()


@pytest.fixture
def graveyard(moto_url, make_client, monkeypatch):
    """Moto's SQS with the queues of the packaged topology, empty."""
    monkeypatch.setenv("AWS_ENDPOINT_URL_SQS", moto_url)
    with urlopen(Request(f"{moto_url}/moto-api/reset", method="POST")) as answer:
        assert answer.status == 200
    sqs = make_client(moto_url)
    for queue in sorted(load(None).queues, key=lambda queue: queue.redrive is not None):
        sqs.create_queue(QueueName=queue.name)
        if queue.redrive is not None:
            url = sqs.get_queue_url(QueueName=queue.name)["QueueUrl"]
            policy = {"deadLetterTargetArn": f"arn:aws:sqs:eu-central-1:123456789012:{DLQ}", "maxReceiveCount": 5}
            sqs.set_queue_attributes(QueueUrl=url, Attributes={"RedrivePolicy": json.dumps(policy)})
    return Graveyard(sqs)


@pytest.fixture
def letters(graveyard):
    """Three dead reports, the first with a cause; their ids."""
    sent = [graveyard.die(celery_body(job_id=f"job-{number}")) for number in range(3)]
    graveyard.fail(sent[0], "KeyError", "gone", task=REPORT)
    return sent


def test_a_look_finds_everything_shows_it_again_and_tells_what_it_cost(letters, graveyard, amply):
    code, out, err = amply("groups")
    assert code == 0
    assert [line.split("\t")[1] for line in out.splitlines()[1:]] == ["2", "1"]
    assert COST in err
    assert re.search(r"hidden from others for up to \d+s\.$", err)
    assert len(err.splitlines()) == 2
    assert len(graveyard.messages(DLQ)) == 3


def test_a_list_stops_early_and_tells_how_many_more_there_are(letters, amply, amply_json):
    told = amply_json("ls", "--limit", "1")
    assert (len(told["letters"]), told["more"]) == (1, 2)
    assert COST in amply("ls", "--limit", "1")[2]


def test_one_is_shown_and_then_redriven_with_the_others(letters, graveyard, amply_json):
    # Moto does not tell where a letter came from; its job's routing key does.
    assert amply_json("show", letters[0])["error"] == "KeyError: gone"
    assert amply_json("redrive", "--id", letters[0], "--yes")["moved"] == 1
    assert amply_json("redrive", "--all", "--yes")["moved"] == 2
    assert (graveyard.count(), graveyard.count("amply-celery-low")) == (0, 3)
