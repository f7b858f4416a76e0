"""The transport holds under Celery 5.6 as under 5.7: the same checks there, and real workers under both.

Celery 5.6 has an environment of its own, which `make install` makes beside this one (`locks/celery56.txt`).
"""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from running import Running

from amply import settings
from amply.topology import load as topology_load

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
OTHER = ROOT / ".venv" / "celery56" / "bin" / "python"
CHECKS = [str(path) for path in sorted(HERE.glob("test_*.py")) if path.name != "test_versions.py"]
SLOTS = {"prefork": 2, "threads": 2, "solo": 1, "gevent": 2}
RECEIVES = 3


def other_python():
    """The interpreter that has Celery 5.6."""
    if not OTHER.exists():
        raise FileNotFoundError(f"{OTHER} is not there; `make install` makes it")
    return str(OTHER)


PYTHONS = {"5.7": lambda: sys.executable, "5.6": other_python}


@pytest.fixture(params=PYTHONS)
def version(request):
    """A version of Celery."""
    return request.param


@pytest.fixture
def python(version):
    """The interpreter that has it."""
    return PYTHONS[version]()


def test_each_environment_has_its_celery_and_its_kombu(version, python):
    look = "import celery, kombu; print(celery.__version__, kombu.__version__)"
    said = subprocess.run([python, "-c", look], capture_output=True, text=True, check=True).stdout
    assert [found.rpartition(".")[0] for found in said.split()] == [version, version]


def test_what_holds_here_holds_under_celery_5_6():
    command = [other_python(), "-m", "pytest", "-p", "no:cacheprovider", "-q", f"--confcutdir={HERE}", *CHECKS]
    ran = subprocess.run(command, check=False, cwd=ROOT, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stdout + ran.stderr


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory):
    """A broker whose dead letters are dead after few receives. Gives its URL."""
    folder = tmp_path_factory.mktemp("contract")
    declared = yaml.safe_load(Path(topology_load.__file__).with_name("amply.yaml").read_text())
    for queue in declared["queues"]:
        if "RedrivePolicy" in queue["Attributes"]:
            queue["Attributes"]["RedrivePolicy"]["maxReceiveCount"] = RECEIVES
    topology = folder / "topology.yaml"
    topology.write_text(yaml.safe_dump(declared))
    command = [str(Path(sys.executable).with_name("amply")), "broker", "--port=0", f"--topology={topology}"]
    broker = Running([*command, f"--data={folder / 'data'}"], settings.child_environment({}), folder / "broker.log")
    try:
        said = broker.wait_until_says("SQS endpoint ")
        yield said.partition("SQS endpoint ")[2].partition(",")[0]
    finally:
        broker.stop(signal.SIGTERM)
        broker.kill()


@pytest.fixture
def sqs(endpoint, make_client):
    """boto3's client of the broker."""
    return make_client(endpoint)


@pytest.fixture
def environment(endpoint, sqs, tmp_path):
    """What worker and sender are told."""
    queues = {name: {"url": url_of(sqs, f"amply-celery-{name}")} for name in ("high", "low")}
    return settings.child_environment(
        {
            "AWS_ENDPOINT_URL_SQS": endpoint,
            "AWS_ACCESS_KEY_ID": "any",
            "AWS_SECRET_ACCESS_KEY": "any",
            "AWS_EC2_METADATA_DISABLED": "true",
            "CONTRACT_QUEUES": json.dumps(queues),
            "CONTRACT_RESULTS": str(tmp_path),
            "PYTHONPATH": os.pathsep.join([str(HERE), *filter(None, [os.environ.get("PYTHONPATH")])]),
        }
    )


def url_of(sqs, name):
    """A queue's URL."""
    return sqs.get_queue_url(QueueName=name)["QueueUrl"]


def left_in(sqs, name):
    """How many messages a queue has: waiting, in flight, delayed."""
    wanted = [
        "ApproximateNumberOfMessages",
        "ApproximateNumberOfMessagesNotVisible",
        "ApproximateNumberOfMessagesDelayed",
    ]
    found = sqs.get_queue_attributes(QueueUrl=url_of(sqs, name), AttributeNames=wanted)["Attributes"]
    return [int(found[attribute]) for attribute in wanted]


def dead_letters(sqs):
    """The ids of jobs in the dead letter queue, which is empty afterwards."""
    found = sqs.receive_message(QueueUrl=url_of(sqs, "amply-celery-dlq"), MaxNumberOfMessages=10, WaitTimeSeconds=20)
    for message in found.get("Messages", ()):
        sqs.delete_message(QueueUrl=url_of(sqs, "amply-celery-dlq"), ReceiptHandle=message["ReceiptHandle"])
    return [json.loads(message["Body"])["headers"]["id"] for message in found.get("Messages", ())]


@pytest.mark.parametrize("pool", SLOTS)
def test_a_worker_does_its_jobs_side_by_side_and_stops_in_order(python, pool, environment, sqs, tmp_path):
    celery = [python, "-m", "celery", "-A", "contract_app", "worker", "-Q", "high,low", "--loglevel=info"]
    worker = Running([*celery, f"--pool={pool}", f"--concurrency={SLOTS[pool]}"], environment, tmp_path / "worker.log")
    try:
        worker.wait_until_says(" ready.")
        command = [python, "-m", "contract_app", str(SLOTS[pool])]
        sender = subprocess.run(command, check=False, env=environment, capture_output=True, text=True)
        assert sender.returncode == 0, sender.stderr + worker.said()
        answer = json.loads(sender.stdout)
        assert answer["doubled"] == [2 * number for number in range(len(answer["doubled"]))]
        assert answer["retried"] == 2
        assert dead_letters(sqs) == [answer["doomed"]], worker.said()
        assert worker.said().count("contract.fail") >= RECEIVES
        assert worker.stop(signal.SIGTERM) == 0, worker.said()
    finally:
        worker.kill()
    assert [left_in(sqs, f"amply-celery-{name}") for name in ("high", "low")] == [[0, 0, 0], [0, 0, 0]], worker.said()
