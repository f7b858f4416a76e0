"""One process of the fleet: started in a process group of its own, its lines read, its group ended with it.

Knows pipes, signals and exit codes. Must not know why the process runs or whether it runs again.
"""

import contextlib
import os
import signal
import subprocess
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence

# A line longer than this is passed on in pieces, so that a process cannot make its reader hold everything it says.
LINE_SIZE_BYTES_MAX = 16_384
LAST_WORDS_LINES = 20


class Process:
    """A running process; `on_line` gets each line it writes, without its end, on a thread of its own."""

    def __init__(
        self, command: Sequence[str], environment: Mapping[str, str] | None, on_line: Callable[[str], None]
    ) -> None:
        """Start it. Raises OSError when the command cannot be run."""
        self.last_words: deque[str] = deque(maxlen=LAST_WORDS_LINES)
        self._on_line = on_line
        self._popen = subprocess.Popen(  # noqa: S603 - the command is the topology's or our own
            list(command),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=environment,
            # A group of its own: a terminal's Ctrl-C does not go past the fleet, and what it starts ends with it.
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read, name=f"lines of {self.pid}", daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int:
        """Its process id, which is also the number of its group."""
        return self._popen.pid

    def ended(self) -> int | None:
        """Its exit code (negative: the signal that ended it) once it has ended, None while it runs.

        What it left behind in its group is killed: an orphan of a dead worker can neither finish nor acknowledge a job.
        """
        if self._popen.returncode is not None:
            return self._popen.returncode
        if not self._has_exited():
            return None
        self._signal_group(signal.SIGKILL)
        return self.wait()

    def send(self, number: signal.Signals) -> None:
        """Send a signal to this process alone, so that it can end what it started in its own way."""
        if self._popen.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def kill(self) -> None:
        """Kill it and everything in its group."""
        if self._popen.returncode is None:
            self._signal_group(signal.SIGKILL)

    def wait(self) -> int:
        """Wait for its end, without bound, and give its exit code."""
        code = self._popen.wait()
        # Its last lines may say why it ended; they are all in the pipe by now.
        self._reader.join(timeout=1.0)
        return code

    def _has_exited(self) -> bool:
        if not hasattr(os, "waitid"):  # macOS before Python 3.13
            return self._popen.poll() is not None
        # Not reaped yet: until it is, its number cannot pass to a process that is not ours.
        return os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None

    def _signal_group(self, number: signal.Signals) -> None:
        # macOS answers "not permitted" for a group that holds nothing but the unreaped leader.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, number)

    def _read(self) -> None:
        stream = self._popen.stdout
        if stream is None:
            return
        with stream:
            while line := stream.readline(LINE_SIZE_BYTES_MAX):
                text = line.decode(errors="replace").rstrip("\r\n")
                self.last_words.append(text)
                # A full disk or a closed terminal must not stop the reading: the process would block on a full pipe.
                with contextlib.suppress(OSError, ValueError):
                    self._on_line(text)


def exit_text(code: int) -> str:
    """An exit code in words: `exit 3`, or `SIGKILL` for a process ended by a signal."""
    if code >= 0:
        return f"exit {code}"
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"signal {-code}"
