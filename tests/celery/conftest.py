"""The systems that the tests of Celery run against. Starting one takes seconds, so the tests share them."""

import gc
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

# The workers import the ledger's tasks from here as well.
sys.path.insert(0, str(Path(__file__).parent))

from running import Running, until
from system import DEAD_LETTERS, System, free_port

from amply import envelope
from amply.topology import load as topology_load


@pytest.fixture(scope="session")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """The declared system with both of its workers, results in the embedded store."""
    system = System(tmp_path_factory.mktemp("system"))
    try:
        system.start("high", "low")
        yield system
    finally:
        system.stop()


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Redis server of our own that keeps nothing."""
    program = shutil.which("redis-server")
    if program is None:
        raise FileNotFoundError("redis-server is not installed; `make install` does it or says how")
    port = free_port()
    folder = tmp_path_factory.mktemp("redis")
    command = [program, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
    server = Running(command, {}, folder / "redis.log")
    try:
        server.wait_until_says("Ready to accept connections")
        yield f"redis://127.0.0.1:{port}/0"
    finally:
        gc.collect()  # a forgotten result says good-bye to Redis when it is collected
        server.kill()


@pytest.fixture(scope="session")
def impatient(tmp_path_factory: pytest.TempPathFactory, redis_url: str) -> Iterator[System]:
    """A system with its results in Redis, and with jobs in it that will never succeed.

    The broker is killed and started again under the workers before the first test sees it.
    """
    folder = tmp_path_factory.mktemp("impatient")
    topology = folder / "topology.yaml"
    topology.write_text(_impatient_topology())
    system = System(folder, topology=topology, redis_url=redis_url)
    try:
        system.start("high", "low")
        doomed = [("ledger.fail", 1, "low"), ("ledger.fail", 2, "high"), ("ledger.die", 3, "celery")]
        for task, number, queue in doomed:
            system.app.send_task(task, [number], queue=queue)
        until(lambda: all(system.runs(task)[number, queue] for task, number, queue in doomed), "the doomed jobs run")
        system.broker.kill()
        system.start_broker()
        yield system
    finally:
        system.stop()


def _impatient_topology() -> str:
    """The packaged topology, but that on two queues jobs are dead letters after 3 receives."""
    declared = yaml.safe_load(Path(topology_load.__file__).with_name("amply.yaml").read_text())
    queues = {queue["QueueName"]: queue["Attributes"] for queue in declared["queues"]}
    for name in ("amply-celery-low", "amply-celery"):
        queues[name]["RedrivePolicy"]["maxReceiveCount"] = 3
    return str(yaml.safe_dump(declared))


@pytest.fixture
def dead_letters(impatient: System, make_client: Callable[..., Any]) -> Callable[[str, int], dict[str, Any]]:
    """Wait for the dead letter of a job, by its task and number; gives the message, which stays where it is."""
    sqs = make_client(impatient.endpoint_url)
    url = sqs.get_queue_url(QueueName=DEAD_LETTERS)["QueueUrl"]

    def wait_for(task: str, number: int) -> dict[str, Any]:
        found: list[dict[str, Any]] = []

        def look() -> bool:
            answer = sqs.receive_message(
                QueueUrl=url,
                MaxNumberOfMessages=10,
                VisibilityTimeout=0,
                MessageSystemAttributeNames=["All"],
            )
            for message in answer.get("Messages", []):
                payload = envelope.read(message["Body"])
                job = envelope.job(payload)
                if (job.task, job.args) == (task, [number]):
                    found.append({**message, "envelope": payload})
            return bool(found)

        until(look, lambda: f"{task} {number} is a dead letter; runs: {impatient.runs(task)}")
        return found[0]

    return wait_for
