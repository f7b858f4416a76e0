"""What ends a fleet's processes when the fleet itself is killed and can end nothing any more.

A second, tiny process listens on a pipe whose other end only the fleet holds. While the fleet lives, it is told which
process groups exist; when the pipe closes, it ends those that are left: first the leader alone, as a worker finishes
its running jobs on SIGTERM, then the whole group by force. This works wherever there are pipes and process groups.

Runs as a plain script too, so it imports the standard library only.
"""

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import IO

GRACE_S = 10.0
_LOOK_EVERY_S = 0.05


class Lifeline:
    """The fleet's end of the pipe."""

    def __init__(self) -> None:
        self._groups: set[int] = set()
        self._process: subprocess.Popen[bytes] | None = None

    def hold(self, group: int) -> None:
        """Have this process group ended when the fleet is gone."""
        self._groups.add(group)
        self._tell(f"+{group}\n")

    def release(self, group: int) -> None:
        """This process group has ended; its number may come to belong to somebody else."""
        self._groups.discard(group)
        self._tell(f"-{group}\n")

    def close(self) -> None:
        """Let go: groups that are still held are ended now."""
        if self._process is not None:
            self._process.communicate()
            self._process = None

    def _tell(self, line: str) -> None:
        # Without a listener (killed, or none could be started) the fleet works on; the next word starts another one.
        with contextlib.suppress(OSError):
            if self._process is None or self._process.poll() is not None:
                self._restart()
            elif self._process.stdin is not None:
                self._process.stdin.write(line.encode())

    def _restart(self) -> None:
        """Start a listener and tell it everything that is known."""
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.close()
        self._process = subprocess.Popen(  # noqa: S603 - our own file, our own interpreter
            [sys.executable, "-I", "-S", str(Path(__file__).resolve()), str(GRACE_S)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            bufsize=0,
            # Its own session: a Ctrl-C in the terminal is the fleet's to handle.
            start_new_session=True,
        )
        if self._process.stdin is not None:
            self._process.stdin.write("".join(f"+{group}\n" for group in sorted(self._groups)).encode())


def listen(lines: IO[str]) -> set[int]:
    """Read what the fleet says until it is gone; returns the process groups that were left."""
    groups: set[int] = set()
    for line in lines:
        # A line cut short by the fleet's death names a wrong number.
        if not line.endswith("\n"):
            break
        (groups.add if line[0] == "+" else groups.discard)(int(line[1:]))
    return groups


def end(groups: set[int], *, grace_s: float) -> None:
    """End these process groups: SIGTERM to each leader, and after the grace SIGKILL to whatever is left of a group."""
    for group in groups:
        with contextlib.suppress(ProcessLookupError):
            os.kill(group, signal.SIGTERM)
    deadline = time.monotonic() + grace_s
    left = set(groups)
    while left and time.monotonic() < deadline:
        # A group seen empty is never signalled again: its number is free for others.
        left = {group for group in left if _exists(group)}
        time.sleep(_LOOK_EVERY_S)
    for group in left:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(group, signal.SIGKILL)


def _exists(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


if __name__ == "__main__":
    # "Stop" may reach it as well when a whole machine goes down; it ends when the fleet has, not before.
    for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)
    end(listen(sys.stdin), grace_s=float(sys.argv[1]))
