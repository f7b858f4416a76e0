"""A system whose senders and workers use Amply's transport, with workers of any shape. Knows no test's jobs."""

import json
import urllib.request
from pathlib import Path
from typing import Any

import yaml
from ledger_checks import Run, runs
from running import Running, until
from system import BIN, System

from amply.topology import load as topology_load

TRANSPORT = "amply.transport:Transport"
STOCK = "sqs"
TELEMETRY = "amply-telemetry"
# Soon enough for a test, with room for a machine that does other things as well.
LEASE_S = 10


def topology(folder: Path, **attributes: Any) -> Path:
    """A copy of the packaged topology in which every queue with a Celery name has these attributes."""
    declared = yaml.safe_load(Path(topology_load.__file__).with_name("amply.yaml").read_text())
    for queue in declared["queues"]:
        if "CeleryName" in queue:
            queue["Attributes"].update(attributes)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "topology.yaml"
    path.write_text(yaml.safe_dump(declared))
    return path


class Transported(System):
    """A system on Amply's transport. `options` are added to the transport options of senders and workers."""

    def __init__(
        self, folder: Path, *, topology: Path | None = None, transport: str = TRANSPORT, **options: Any
    ) -> None:
        super().__init__(folder, topology=topology)
        self.options = options
        self.app.conf.update(
            broker_transport=transport,
            broker_transport_options={**self.app.conf.broker_transport_options, **options},
        )

    def start_worker(self, name: str, *arguments: str, **shape: Any) -> Running:
        """Start a worker as `launch_worker` does; returns when it is ready."""
        worker = self.launch_worker(name, *arguments, **shape)
        worker.wait_until_says(" ready.")
        return worker

    def launch_worker(
        self,
        name: str,
        *arguments: str,
        queues: str = "high,celery",
        concurrency: int = 4,
        transport: str = TRANSPORT,
        **changes: str,
    ) -> Running:
        """Start a worker's process. `arguments` go to its command, `changes` to its environment."""
        command = [str(BIN / "celery"), "-A", "amply.jobs.celery_app", "worker", "-Q", queues]
        command += [f"--concurrency={concurrency}", "--loglevel=info", "-n", f"{name}@%h", *arguments]
        ours = {"broker_transport": transport, "broker_transport_options": self.options}
        surroundings = {**self.environment, "CELERY_CHANGES": json.dumps(ours), **changes}
        self.workers[name] = Running(command, surroundings, self.folder / f"worker-{name}.log")
        return self.workers[name]

    def send(self, task: str, *arguments: Any, queue: str = "celery", **sending: Any) -> str:
        """Send a job; gives its id."""
        return str(self.app.send_task(f"ledger.{task}", arguments, queue=queue, **sending).id)

    def ask(self, action: str, queue: str, **members: Any) -> dict[str, Any]:
        """One request to the broker about a queue, past every client."""
        headers = {"Content-Type": "application/x-amz-json-1.0", "X-Amz-Target": f"AmazonSQS.{action}"}
        content = json.dumps({"QueueUrl": f"{self.endpoint_url}/000000000000/{queue}", **members}).encode()
        with urllib.request.urlopen(urllib.request.Request(self.endpoint_url, content, headers)) as answer:
            return dict(json.loads(answer.read() or b"{}"))

    def visible_and_in_flight(self, queue: str) -> tuple[int, int]:
        """How many messages of a queue are visible and in flight by SQS's own count, which lets leases end."""
        told = self.ask("GetQueueAttributes", queue, AttributeNames=["All"])["Attributes"]
        return int(told["ApproximateNumberOfMessages"]), int(told["ApproximateNumberOfMessagesNotVisible"])

    def take_all(self, queue: str) -> list[dict[str, Any]]:
        """Every visible message of a queue, deleted from it."""
        taken: list[dict[str, Any]] = []
        asked = {"MaxNumberOfMessages": 10, "MessageSystemAttributeNames": ["All"], "WaitTimeSeconds": 0}
        while messages := self.ask("ReceiveMessage", queue, **asked).get("Messages"):
            taken += messages
            for message in messages:
                self.ask("DeleteMessage", queue, ReceiptHandle=message["ReceiptHandle"])
        return taken

    def found(self) -> list[Run]:
        """Every run until now."""
        return runs(self.folder)

    def wait_until_running(self, count: int) -> None:
        """Return when so many runs have started and not ended."""
        until(
            lambda: sum(run.ended_ns is None for run in self.found()) == count,
            lambda: f"{count} jobs run; {self.said()}",
        )

    def said(self) -> str:
        """The last that the workers said."""
        return "\n".join(f"{name}: {worker.said()[-2000:]}" for name, worker in self.workers.items())
