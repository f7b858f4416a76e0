"""A second memory of how many commits there were: the file `commits`, outside the database.

SQLite opens a database whose log lost its end without a word. This file tells: it is written after each commit and so
never says more than what was committed. It is never synced; saying less is harmless.
"""

import os
import struct
import zlib
from pathlib import Path

from amply.broker.store.ballast import NO_ROOM
from amply.broker.store.folder import open_private

_MARK = struct.Struct("<QI4x")  # commits, CRC-32 of the first eight bytes; 16 bytes


class CommitsFile:
    """The number of commits, in 16 bytes with a checksum."""

    def __init__(self, path: Path) -> None:
        self.name = path.name
        self._descriptor = open_private(path)

    def read(self) -> int:
        """The number last written; 0 if there is none or it was torn by a power cut."""
        raw = os.pread(self._descriptor, _MARK.size, 0)
        if len(raw) < _MARK.size:
            return 0
        commits, checksum = _MARK.unpack(raw)
        return int(commits) if zlib.crc32(raw[:8]) == checksum else 0

    def write(self, commits: int) -> None:
        """Remember this number. A full disk is no error: the file then says less than is true."""
        count = commits.to_bytes(8, "little")
        try:
            os.pwrite(self._descriptor, _MARK.pack(commits, zlib.crc32(count)), 0)
        except OSError as error:
            if error.errno not in NO_ROOM:
                raise

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)
