"""What SQLite's errors mean for the broker. The only module that reads them."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import apsw
import msgspec

from amply.broker.store.ballast import NO_ROOM
from amply.broker.store.port import StoreBroken, StoreDamaged, StoreError


class NoRoom(Exception):
    """The disk is full; SQLite has rolled back or can."""


@contextmanager
def told_apart(connection: apsw.Connection | None, folder: Path) -> Iterator[None]:
    """Raise `NoRoom`, `StoreDamaged` or `StoreBroken` for whatever SQLite or the system says inside the block."""
    try:
        yield
    except (StoreError, NoRoom):
        raise
    except (apsw.CorruptError, apsw.NotADBError, UnicodeDecodeError, msgspec.DecodeError) as error:
        raise damaged(folder, f"the database cannot be read ({error})") from error
    except (apsw.Error, OSError) as error:
        if _is_room_wanting(error, connection):
            raise NoRoom(str(error)) from error
        raise StoreBroken(
            f"the disk refused a read, a write or a sync in {folder}: {error}",
            hint="Look at the disk and the system log, then start the broker again: it carries on from what is safe.",
        ) from error


def _is_room_wanting(error: Exception, connection: apsw.Connection | None) -> bool:
    if isinstance(error, apsw.FullError):
        return True
    if isinstance(error, OSError):
        return error.errno in NO_ROOM
    if not isinstance(error, apsw.IOError) or connection is None:
        return False
    # SQLite calls only ENOSPC full; a quota and a shared memory file that cannot grow are I/O errors to it.
    code = getattr(error, "extendedresult", 0)  # missing in apsw's types
    return code == apsw.SQLITE_IOERR_SHMSIZE or (code == apsw.SQLITE_IOERR_WRITE and connection.system_errno in NO_ROOM)


def damaged(folder: Path, what: str) -> StoreDamaged:
    """What to raise when the disk does not hold what was written."""
    return StoreDamaged(
        f"the store in {folder} is damaged: {what}",
        hint="Nothing was changed. Copy the folder away, then restore a back-up of it.",
    )
