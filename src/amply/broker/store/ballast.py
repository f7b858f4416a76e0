"""A file that holds disk room in reserve. Knows its size and place, not when it is needed.

On a full disk SQLite cannot even delete: that too is a write. Giving the ballast up makes the room to get out.
"""

import errno
import os
from pathlib import Path

from amply.broker.store.folder import open_private

NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


class Ballast:
    """`size_bytes` of really allocated disk at `path`, if there was room for it."""

    def __init__(self, path: Path, size_bytes: int) -> None:
        self._path = path
        self.size_bytes = size_bytes
        self.is_held = path.exists() and path.stat().st_blocks * 512 >= size_bytes

    def hold(self) -> bool:
        """Take the room, if it is not taken yet; False if the disk has too little."""
        if self.is_held:
            return True
        descriptor = open_private(self._path)
        try:
            _allocate(descriptor, self.size_bytes)
        except OSError as error:
            self.release()
            if error.errno not in NO_ROOM:
                raise
        else:
            self.is_held = True
        finally:
            os.close(descriptor)
        return self.is_held

    def release(self) -> None:
        """Give the room back."""
        self._path.unlink(missing_ok=True)
        self.is_held = False


def _allocate(descriptor: int, size_bytes: int) -> None:
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(descriptor, 0, size_bytes)
        return
    chunk = bytes(1 << 20)  # macOS has no posix_fallocate
    for start in range(0, size_bytes, len(chunk)):
        os.pwrite(descriptor, chunk[: size_bytes - start], start)
