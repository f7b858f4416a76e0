"""Processes as a user starts them: each with its output in a file, stopped by its own id. Knows nothing of jobs."""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import psutil

# Celery takes seconds to start, and many more on a machine that does other things as well.
PATIENCE_S = 120.0


def until(happened: Callable[[], object], what: Callable[[], str] | str) -> None:
    """Wait for something that another process does."""
    deadline = time.monotonic() + PATIENCE_S
    while not happened():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not in {PATIENCE_S} s: {what if isinstance(what, str) else what()}")
        time.sleep(0.05)


class Running:
    """A process in a group of its own. `output` is the file with everything that it says."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], output: Path) -> None:
        self.command = list(command)
        self.output = output
        with output.open("ab") as file:
            self._from = file.tell()
            self.process = subprocess.Popen(
                self.command,
                env=dict(environment),
                cwd=output.parent,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def said(self) -> str:
        """What this process has said so far, without those that wrote to the same file before it."""
        return self.output.read_bytes()[self._from :].decode(errors="replace")

    def wait_until_says(self, text: str) -> str:
        """Everything that it has said, once the text is in it."""

        def has_said() -> bool:
            if text in self.said():
                return True
            if self.process.poll() is not None:
                raise RuntimeError(f"{self.command} ended ({self.process.returncode}) before {text!r}:\n{self.said()}")
            return False

        until(has_said, lambda: f"{self.command} says {text!r}; it said:\n{self.said()[-4000:]}")
        return self.said()

    def family(self) -> list[psutil.Process]:
        """The process and all that it started."""
        own = psutil.Process(self.process.pid)
        return [own, *own.children(recursive=True)]

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send the signal to this process alone, wait for its end, and give its exit code."""
        self.process.send_signal(number)
        return self.process.wait(PATIENCE_S)

    def kill(self) -> None:
        """End it and what is left of its group, whatever state they are in."""
        if self.process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait(PATIENCE_S)
