"""Log files of processes: one file a process, none larger than a bound, the older ones kept a few deep.

Knows files and lines. Must not know processes or what the lines say.
"""

import itertools
import os
import threading
from pathlib import Path
from typing import IO

SIZE_BYTES_MAX = 10 * 1024 * 1024
# `worker.log.1` is the one before `worker.log`, and so on.
OLDER_FILES_KEPT = 3


class LogFolder:
    """The `.log` files in a folder, written line by line from any thread. Lines survive the writer's own end."""

    def __init__(self, folder: Path, *, size_bytes_max: int = SIZE_BYTES_MAX) -> None:
        """Make the folder if need be. Raises OSError when it cannot be made."""
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._folder = folder
        self._size_bytes_max = size_bytes_max
        self._files: dict[str, IO[bytes]] = {}
        self._lock = threading.Lock()

    def path(self, name: str) -> Path:
        """Where the lines of `name` go."""
        return self._folder / f"{name}.log"

    def write(self, name: str, line: str) -> None:
        """Add a line to `<name>.log`. Raises OSError when the disk does not take it."""
        data = line.encode(errors="replace") + b"\n"
        with self._lock:
            file = self._files.get(name)
            if file is None:
                file = self._files[name] = self._open(name)
            if file.tell() and file.tell() + len(data) > self._size_bytes_max:
                file.close()
                self._rotate(name)
                file = self._files[name] = self._open(name)
            file.write(data)

    def close(self) -> None:
        """Close the files; a later line opens its file again."""
        with self._lock:
            for file in self._files.values():
                file.close()
            self._files.clear()

    def _open(self, name: str) -> IO[bytes]:
        # Readable by the owner alone: a worker logs the arguments of jobs.
        descriptor = os.open(self.path(name), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        file = os.fdopen(descriptor, "ab", buffering=0)
        file.seek(0, os.SEEK_END)
        return file

    def _rotate(self, name: str) -> None:
        path = self.path(name)
        older = [path, *(path.with_name(f"{path.name}.{number}") for number in range(1, OLDER_FILES_KEPT + 1))]
        for source, target in reversed(list(itertools.pairwise(older))):
            if source.exists():
                source.replace(target)
