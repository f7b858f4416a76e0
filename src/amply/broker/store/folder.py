"""The data folder: who may look into it, and that only one process owns it. Knows files, not what is in them."""

import fcntl
import os
import stat
from pathlib import Path

from amply.broker.store.port import StoreError, StoreLocked

LOCK_NAME = "lock"


class Folder:
    """The data folder, made if it is missing and owned by this process until `release`.

    Raises `StoreError` if others could have written into it and `StoreLocked` if another process owns it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
            _check_private(path)
            self._lock = open_private(path / LOCK_NAME)
        except OSError as error:
            raise StoreError(
                f"the data folder {path} cannot be used: {error.strerror}",
                hint="Choose another folder, or give this user the right to write there.",
            ) from error
        try:
            self._own()
        except BaseException:
            os.close(self._lock)
            raise

    def _own(self) -> None:
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = os.pread(self._lock, 32, 0).decode("ascii", "replace").strip() or "unknown"
            raise StoreLocked(
                f"another amply broker (pid {owner}) owns {self.path}",
                hint="Stop that broker first, or choose another data folder.",
            ) from None
        os.ftruncate(self._lock, 0)
        os.pwrite(self._lock, f"{os.getpid()}\n".encode(), 0)

    def sync(self) -> None:
        """Make the names of new files durable."""
        descriptor = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def release(self) -> None:
        """Give the ownership up."""
        os.close(self._lock)


def open_private(path: Path) -> int:
    """A descriptor for reading and writing a file that only this user can read; made if it is missing.

    A symbolic link in its place is refused.
    """
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)


def _check_private(path: Path) -> None:
    status = path.lstat()
    if stat.S_ISLNK(status.st_mode):
        raise StoreError(f"the data folder {path} is a symbolic link", hint="Name the folder that it points to.")
    if status.st_uid != os.geteuid():
        raise StoreError(
            f"the data folder {path} belongs to user {status.st_uid}, not to this process's user {os.geteuid()}",
            hint="Run the broker as its owner, or choose another data folder.",
        )
    if status.st_mode & 0o022:
        raise StoreError(
            f"others may write into the data folder {path} (mode {stat.S_IMODE(status.st_mode):04o})",
            hint=f"Run: chmod 700 {path}",
        )
