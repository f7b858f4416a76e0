"""The file of results: values under keys, each until its time is over; every change is one transaction.

Knows nothing of Celery: whoever calls makes the keys and says what time it is. All times are epoch milliseconds. Every
method raises `ResultsFault`. Each write also removes a few rows whose time is over, so that the file stays as large as
what is kept, and no write has much to clear.
"""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import apsw

from amply.results import connections
from amply.results.statements import STATEMENTS

# More than one, so that what is over does not pile up; few, so that a write stays short.
_CLEARED_A_WRITE = 4
_PAGES_A_STEP = 1000


class ResultsFile:
    """Safe to share among threads, and processes forked or not; the file is opened and made at its first use."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def get(self, key: str, now_ms: int) -> bytes | None:
        """The value, unless there is none or its time is over. A count comes as its digits."""
        with connections.connected(self.path) as connection:
            found = connection.execute(STATEMENTS["get"], {"key": key, "now_ms": now_ms}).get
        return cast("bytes | None", found)

    def get_many(self, keys: Sequence[str], now_ms: int) -> dict[str, bytes]:
        """All values at one moment, of the keys that have one."""
        wanted = {"keys": json.dumps(keys), "now_ms": now_ms}
        with connections.connected(self.path) as connection:
            return dict(cast("list[tuple[str, bytes]]", connection.execute(STATEMENTS["get_many"], wanted).fetchall()))

    def put(self, key: str, value: bytes, *, expires_ms: int | None, now_ms: int) -> None:
        """Give the key this value, whatever it had; None for as long as there is the file."""
        with self._writing(now_ms) as connection:
            connection.execute(STATEMENTS["put"], {"key": key, "value": value, "expires_ms": expires_ms})

    def remove(self, key: str, now_ms: int) -> None:
        """Remove the key, if it is there."""
        with self._writing(now_ms) as connection:
            connection.execute(STATEMENTS["remove"], {"key": key})

    def remove_under(self, prefix: str, now_ms: int) -> None:
        """Remove every key that begins with this text, which ends in an ASCII character."""
        end = prefix[:-1] + chr(ord(prefix[-1]) + 1)
        with self._writing(now_ms) as connection:
            connection.execute(STATEMENTS["remove_between"], {"first": prefix, "end": end})

    def keep_until(self, key: str, *, expires_ms: int | None, now_ms: int) -> None:
        """Change when the key's time is over, if it is there and that time has not come."""
        with self._writing(now_ms) as connection:
            connection.execute(STATEMENTS["keep_until"], {"key": key, "expires_ms": expires_ms, "now_ms": now_ms})

    def count_up(self, key: str, now_ms: int) -> int:
        """Add one to the key's count, which begins at 0, and give it."""
        with self._writing(now_ms) as connection:
            return self._counted_up(connection, key, now_ms)

    def count_once(self, key: str, mark: str, *, expires_ms: int | None, now_ms: int) -> int:
        """The key's count, raised by one unless the mark was there already; the mark stays until its time is over.

        0 if the mark was there and the count is gone.
        """
        with self._writing(now_ms) as connection:
            connection.execute(STATEMENTS["put_new"], {"key": mark, "value": b"", "expires_ms": expires_ms})
            if connection.changes():
                return self._counted_up(connection, key, now_ms)
            return int(connection.execute(STATEMENTS["get"], {"key": key, "now_ms": now_ms}).get or 0)

    def remove_expired(self, now_ms: int, most: int) -> int:
        """Remove so many rows whose time is over, in one transaction. Returns how many there were."""
        with self._writing(now_ms) as connection:
            connection.execute(STATEMENTS["remove_expired"], {"now_ms": now_ms, "most": most})
            return connection.changes()

    def give_back_room(self) -> None:
        """Make the file smaller by what removed rows left free, step by step, so that others can write in between."""
        with connections.connected(self.path) as connection:
            free = connection.pragma("freelist_count")
            for _ in range(0, free, _PAGES_A_STEP):
                connection.execute(f"PRAGMA incremental_vacuum({_PAGES_A_STEP})").fetchall()

    @contextmanager
    def _writing(self, now_ms: int) -> Iterator[apsw.Connection]:
        with connections.connected(self.path) as connection:
            connection.execute("BEGIN IMMEDIATE")
            yield connection
            connection.execute(STATEMENTS["remove_expired"], {"now_ms": now_ms, "most": _CLEARED_A_WRITE})
            connection.execute("COMMIT")

    @staticmethod
    def _counted_up(connection: apsw.Connection, key: str, now_ms: int) -> int:
        counted: Any = connection.execute(STATEMENTS["count_up"], {"key": key, "now_ms": now_ms}).get
        return int(counted)
