"""A file of lines that only grows: readable by its owner alone, durable when asked to be, whole after a kill.

Knows files. Must not know what the lines say.
"""

import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path

from amply.deadletters.gateway import RefusedError
from amply.errors import AmplyError

_READ_BYTES = 1 << 20
# Whoever looks has the lock for the time that it takes to read a line.
_LOOK_S = 0.02
_LOOKS_MAX = 25


class Lines:
    """A file of lines at `path`, made if it is missing. One process at a time, any of its threads after another.

    `tail` is what follows the last whole line: a kill can leave a part of one. AmplyError if the file cannot be used.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._file = open_private(path)
        except OSError as error:
            raise unusable(path, error) from error
        self.size_bytes = 0
        self.tail = b""

    def read(self) -> Iterator[bytes]:
        """The whole lines, without their ends. To be read to the end before anything is appended."""
        self.size_bytes = 0
        with os.fdopen(os.dup(self._file), "rb", _READ_BYTES) as file:
            file.seek(0)
            for line in file:
                if not line.endswith(b"\n"):
                    self.tail = line
                    return
                self.size_bytes += len(line)
                yield line[:-1]

    def cut(self) -> None:
        """Take the tail off."""
        os.ftruncate(self._file, self.size_bytes)
        self.tail = b""

    def append(self, lines: bytes) -> None:
        """Add lines, each with its end. If that fails nothing is added."""
        try:
            rest = memoryview(lines)
            while rest:
                rest = rest[os.pwrite(self._file, rest, self.size_bytes + len(lines) - len(rest)) :]
        except OSError as error:
            os.ftruncate(self._file, self.size_bytes)
            raise unusable(self.path, error) from error
        self.size_bytes += len(lines)

    def fileno(self) -> int:
        """The file's descriptor."""
        return self._file

    def sync(self) -> None:
        """Return when everything that was added is on the disk."""
        try:
            os.fsync(self._file)
        except OSError as error:
            raise unusable(self.path, error) from error

    def rename(self, path: Path) -> None:
        """Take another file's place."""
        self.path.replace(path)
        self.path = path
        sync_folder(path.parent)

    def close(self) -> None:
        """No more lines."""
        os.close(self._file)


class Lock:
    """A lock of a file's that only one process holds; the file says which. RefusedError while another has it.

    Any number may share it for a moment, to look; whoever wants it for itself waits for them.
    """

    def __init__(self, path: Path, what: str, *, is_shared: bool = False) -> None:
        try:
            self._file = open_private(path)
        except OSError as error:
            raise unusable(path, error) from error
        if not self._is_taken(is_shared=is_shared):
            owner = os.pread(self._file, 32, 0).decode("ascii", "replace").strip() or "unknown"
            os.close(self._file)
            raise RefusedError(
                f"{what} is being worked on by another amply (pid {owner})", hint="Wait until it has ended, or end it."
            )
        if not is_shared:
            os.ftruncate(self._file, 0)
            os.pwrite(self._file, f"{os.getpid()}\n".encode(), 0)

    def _is_taken(self, *, is_shared: bool) -> bool:
        for _ in range(_LOOKS_MAX):
            try:
                fcntl.flock(self._file, (fcntl.LOCK_SH if is_shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
            except BlockingIOError:
                if is_shared:
                    return False
                time.sleep(_LOOK_S)
            else:
                return True
        return False

    def release(self) -> None:
        """Let others have it."""
        os.close(self._file)


def open_private(path: Path) -> int:
    """A descriptor for a file that only this user can read; a symbolic link in its place is refused (OSError)."""
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)


def sync_folder(path: Path) -> None:
    """Make the names of a folder's files durable."""
    folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def unusable(path: Path, error: OSError) -> AmplyError:
    """The error for people where a file cannot be opened, read or written."""
    return AmplyError(
        f"{path} cannot be used: {error.strerror or error}",
        hint="Give this user the right to write there, or make room, and try again.",
    )
