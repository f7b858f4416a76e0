"""A whole system on this machine: the broker's process, the workers' processes, and a sender of jobs.

The workers are started by the commands that the deployment's description gives, letter for letter.
"""

import contextlib
import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import urllib.request
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from celery import Celery
from running import PATIENCE_S, Running, until

from amply import settings
from amply.topology.derive import celery_settings
from amply.topology.load import load

BIN = Path(sys.executable).parent

WORKER_COMMANDS = {
    "high": "celery -A amply.jobs.celery_app worker -Q high,celery --concurrency=4 --loglevel=info",
    "low": "celery -A amply.jobs.celery_app worker -Q low --concurrency=2 --loglevel=info",
}

QUEUES = {"high": "amply-celery-high", "celery": "amply-celery", "low": "amply-celery-low"}
DEAD_LETTERS = "amply-celery-dlq"


def free_port() -> int:
    """A port of this machine that nobody listens on at the moment."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def environment(folder: Path, **changes: str) -> dict[str, str]:
    """This process's environment, but for what would lead to another system, with these changes."""
    cleared = dict.fromkeys(settings.VARIABLES, "")
    own = {
        "AMPLY_DATA": str(folder / "data"),
        "LEDGER": str(folder / "ledger"),
        "CELERY_LOADER": "ledger_tasks:Loader",
        "PYTHONPATH": os.pathsep.join(filter(None, [str(Path(__file__).parent), os.environ.get("PYTHONPATH")])),
        "AWS_ACCESS_KEY_ID": "any",
        "AWS_SECRET_ACCESS_KEY": "any",
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    return settings.child_environment({**cleared, **own, **changes})


class System:
    """`start` it; what it started is gone after `stop`. A broker that is started again has the port it had before."""

    def __init__(self, folder: Path, *, topology: Path | None = None, redis_url: str = "") -> None:
        self.folder = folder
        folder.mkdir(exist_ok=True)
        self.port = free_port()
        self.endpoint_url = f"http://127.0.0.1:{self.port}"
        self.environment = environment(
            folder,
            AWS_ENDPOINT_URL_SQS=self.endpoint_url,
            AMPLY_TOPOLOGY=str(topology or ""),
            REDIS_URL=redis_url,
        )
        self.broker: Running | None = None
        self.workers: dict[str, Running] = {}
        self.app = self._sender(topology, redis_url)

    def _sender(self, topology: Path | None, redis_url: str) -> Celery:
        """An app with the topology's settings, but for the endpoint: this process's environment names none."""
        app = Celery("sender", set_as_current=False)
        app.conf.update(celery_settings(load(topology), endpoint_url=self.endpoint_url))
        app.conf.update(
            broker_url=f"sqs://any:any@127.0.0.1:{self.port}",
            result_backend=redis_url or f"amply+sqlite:///{self.folder / 'data' / 'results.sqlite'}",
        )
        return app

    def start(self, *workers: str) -> None:
        """Start the broker, then these workers; returns when all of them are ready."""
        self.start_broker()
        self.start_workers(*workers)

    def start_broker(self) -> None:
        """Start the broker's process; returns when it takes requests."""
        command = [str(BIN / "amply"), "broker", "--port", str(self.port), "--data", str(self.folder / "data")]
        self.broker = Running(command, self.environment, self.folder / "broker.log")
        self.broker.wait_until_says("SQS endpoint http")

    def start_workers(self, *names: str) -> None:
        """Start these workers; returns when all of them are ready."""
        for name in names:
            program, *arguments = shlex.split(WORKER_COMMANDS[name])
            command = [str(BIN / program), *arguments]
            self.workers[name] = Running(command, self.environment, self.folder / f"worker-{name}.log")
        for name in names:
            self.workers[name].wait_until_says(" ready.")

    def stop_worker(self, name: str, number: signal.Signals = signal.SIGTERM) -> int:
        """Stop a worker in its own way; gives its exit code."""
        return self.workers.pop(name).stop(number)

    def stop(self) -> None:
        """Stop what runs, the broker last."""
        for worker in self.workers.values():
            worker.process.terminate()
        for worker in self.workers.values():
            with contextlib.suppress(subprocess.TimeoutExpired):
                worker.process.wait(PATIENCE_S)
            worker.kill()
        self.workers.clear()
        self.app.close()
        if self.broker is not None:
            self.broker.stop()

    def runs(self, task: str) -> Counter[tuple[int, str]]:
        """How often the task ran, by its number and the queue that it came from."""
        ledger = self.folder / "ledger"
        lines = ledger.read_text().splitlines() if ledger.exists() else []
        noted = (line.split() for line in lines)
        return Counter((int(number), queue) for name, number, _, queue in noted if name == task)

    def queue(self, name: str) -> dict[str, Any]:
        """What the broker's `/ready` shows of a queue."""
        with urllib.request.urlopen(f"{self.endpoint_url}/ready") as answer:
            views = json.load(answer)["queues"]
        return next(view for view in views if view["name"] == name)

    def waiting(self, name: str) -> int:
        """All messages of a queue: visible, in flight, delayed."""
        view = self.queue(name)
        return int(view["visible"] + view["in_flight"] + view["delayed"])

    def wait_until_idle(self) -> None:
        """Return when no work queue has a message any more: everything was acknowledged."""
        until(
            lambda: not any(self.waiting(name) for name in QUEUES.values()),
            lambda: f"the queues drain: { {name: self.queue(name) for name in QUEUES.values()} }",
        )

    def amply(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """Run the command `amply` to its end."""
        return run_amply(self.environment, *arguments)


def run_amply(surroundings: Mapping[str, str], *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run the command `amply` to its end, in this environment."""
    command = [str(BIN / "amply"), *arguments]
    return subprocess.run(command, env=dict(surroundings), capture_output=True, text=True, check=False)
