"""The processes of a measurement: a real broker, and the load generator beside it.

Knows how they are started, watched and ended. Does not know what is measured with them.
"""

import http.client
import json
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import psutil  # type: ignore[import-untyped]

from bench import ROOT
from bench.calls import QUEUE_NAME, Key, signing
from bench.load import Outcome, Plan
from bench.report import say

_START_S = 60.0
_STOP_S = 30.0
_AMPLY = (sys.executable, "-m", "amply")


@contextmanager
def scratch() -> Iterator[Path]:
    """A folder for data, on the repository's disk: /tmp is often memory, and then a sync costs nothing."""
    results = ROOT / "bench" / "results"
    results.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="data-", dir=results))
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


class Broker:
    """A broker process on a data folder. It can be killed and started again. With a key in the folder, it is strict.

    Its queue is standard, or FIFO if the messages come in `groups`.
    """

    def __init__(self, data: Path, command: tuple[str, ...] = _AMPLY, key: Key | None = None, groups: int = 0) -> None:
        self.data = data
        self.key = key
        self.groups = groups
        self.host = ""
        self.queue_url = ""
        self._command = command
        self._process: subprocess.Popen[bytes]

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def rss_bytes(self) -> int:
        """The memory that the process holds."""
        return int(psutil.Process(self.pid).memory_info().rss)

    def start(self) -> float:
        """Start it; returns the seconds until the first answer to a ReceiveMessage (before that, to a CreateQueue).

        The port is the same after a restart, so that the clock stops at a client's answer and not at a line of log.
        """
        port = self.host.rpartition(":")[2] or str(free_port())
        self.host = f"127.0.0.1:{port}"
        self.data.mkdir(parents=True, exist_ok=True)
        with (self.data / "broker.log").open("ab") as log:
            started = time.perf_counter()
            auth = "open" if self.key is None else "strict"
            self._process = subprocess.Popen(
                [*self._command, "broker", "--port", port, "--data", str(self.data), "--auth", auth],
                stdout=log,
                stderr=log,
                cwd=ROOT,
            )
        if self.queue_url:
            # Visible again at once: the measurement takes nothing away.
            self._first_answer(started, "ReceiveMessage", QueueUrl=self.queue_url, VisibilityTimeout=0)
        else:
            queue: dict[str, Any] = {"QueueName": QUEUE_NAME}
            if self.groups:
                queue = {"QueueName": f"{QUEUE_NAME}.fifo", "Attributes": {"FifoQueue": "true"}}
            self.queue_url = self._first_answer(started, "CreateQueue", **queue)["QueueUrl"]
        return time.perf_counter() - started

    def call(self, action: str, **parameters: Any) -> dict[str, Any]:
        """One request on a connection of its own. RuntimeError if the answer is not a success."""
        connection = http.client.HTTPConnection(self.host, timeout=_STOP_S)
        try:
            body = json.dumps(parameters).encode()
            headers = {
                "Content-Type": "application/x-amz-json-1.0",
                "X-Amz-Target": f"AmazonSQS.{action}",
                "X-Amzn-Query-Mode": "true",
            }
            if self.key is not None:
                signed = signing(self.host, action, body, self.key)
                headers |= {"X-Amz-Date": signed["date"], "Authorization": signed["authorization"]}
            connection.request("POST", "/", body, headers)
            response = connection.getresponse()
            answer = response.read()
        finally:
            connection.close()
        if response.status != 200:
            raise RuntimeError(f"{action} was answered {response.status}: {answer.decode(errors='replace')}")
        return dict(json.loads(answer or b"{}"))

    def depth(self) -> int:
        """How many messages wait in the queue."""
        names = ["ApproximateNumberOfMessages"]
        answer = self.call("GetQueueAttributes", QueueUrl=self.queue_url, AttributeNames=names)
        return int(answer["Attributes"][names[0]])

    def kill(self) -> None:
        """As a crash would end it."""
        self._process.kill()
        self._process.wait(_STOP_S)

    def stop(self) -> None:
        """As a person would end it."""
        self._process.terminate()
        try:
            self._process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            self.kill()

    def _first_answer(self, started: float, action: str, **parameters: Any) -> dict[str, Any]:
        while True:
            try:
                return self.call(action, **parameters)
            except (OSError, http.client.HTTPException) as error:
                if self._process.poll() is not None or time.perf_counter() - started > _START_S:
                    log = (self.data / "broker.log").read_text(encoding="utf-8", errors="replace")
                    raise RuntimeError(f"the broker did not start; its log: {log[-2000:]}") from error
            time.sleep(0.002)


@contextmanager
def broker(data: Path, command: tuple[str, ...] = _AMPLY, key: Key | None = None, groups: int = 0) -> Iterator[Broker]:
    """A broker that has a queue, stopped at the end."""
    running = Broker(data, command, key, groups)
    running.start()
    try:
        yield running
    finally:
        running.stop()


def new_key(data: Path) -> Key:
    """A key for everything, for a broker on that folder."""
    made = subprocess.run(
        [*_AMPLY, "key", "create", "admin", "--data", str(data), "--json"], stdout=subprocess.PIPE, cwd=ROOT, check=True
    )
    told = json.loads(made.stdout)
    return Key(told["AccessKeyId"], told["SecretAccessKey"])


def run(running: Broker, **plan: Any) -> Outcome:
    """Put a load on a broker: the members of `load.Plan`, without where the broker is."""
    whole = Plan(
        host=running.host,
        queue_url=running.queue_url,
        server_pid=running.pid,
        key=running.key,
        groups=running.groups,
        **plan,
    )
    return generate(whole)


def generate(plan: Plan) -> Outcome:
    """Carry out a plan in a process of its own. RuntimeError if it ended without figures."""
    ended = subprocess.run(
        [sys.executable, "-m", "bench.load"],
        input=msgspec.json.encode(plan),
        stdout=subprocess.PIPE,
        cwd=ROOT,
        check=False,
    )
    if ended.returncode:
        raise RuntimeError(f"the load generator ended with {ended.returncode}")
    outcome = msgspec.json.decode(ended.stdout, type=Outcome)
    for fault in outcome.faults:
        say(f"one of {outcome.errors:,} errors: {fault}")
    return outcome


def free_port() -> int:
    """A port of this machine's loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
