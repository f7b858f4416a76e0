"""`amply broker` as a process: started, asked, killed. Knows nothing of messages."""

import json
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Self

from json_client import JsonClient

PATIENCE_S = 20.0


class BrokerProcess:
    """`start` it as often as you like; the port differs each time. `within` is a command to run the broker under."""

    def __init__(self, folder: Path, within: Sequence[str] = ()) -> None:
        self.command = [*within, sys.executable, "-m", "amply", "broker", "--port", "0", "--data", str(folder)]
        self.process: subprocess.Popen[str] | None = None
        self.port = 0

    def start(self) -> Self:
        """Returns when the broker takes requests."""
        self.process = subprocess.Popen(self.command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        line = self.process.stdout.readline()
        if "SQS endpoint http://127.0.0.1:" not in line:
            raise RuntimeError(f"the broker did not start: {line}{self.process.communicate()[1]}")
        self.port = int(line.partition("127.0.0.1:")[2].partition(",")[0])
        return self

    def client(self) -> JsonClient:
        """A new connection."""
        return JsonClient(self.port)

    def kill(self) -> None:
        """SIGKILL: the broker gets no chance to do anything more."""
        if self.process is not None:
            self.process.kill()
            self._reap()

    def terminate(self) -> tuple[int, str]:
        """SIGTERM; returns the exit code and what was said on stderr."""
        self.process.terminate()
        process = self.process
        errors = self._reap()
        return process.returncode, errors

    def _reap(self) -> str:
        try:
            _, errors = self.process.communicate(timeout=PATIENCE_S)
        finally:
            self.process.kill()
        self.process = None
        return errors

    def queue(self, name: str) -> dict[str, Any]:
        """What `/ready` shows of a queue."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/ready") as answer:
            views = json.load(answer)["queues"]
        return next(view for view in views if view["name"] == name)


def until(happened: Callable[[], bool], what: str) -> None:
    """Wait for something that another process does."""
    deadline = time.monotonic() + PATIENCE_S
    while not happened():
        if time.monotonic() > deadline:
            raise TimeoutError(f"in {PATIENCE_S} s it did not happen that {what}")
        time.sleep(0.005)
