"""Facts to keep, and the stores to keep them in."""

from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from amply.broker.engine.records import Added, Content, Entry, QueuePut, QueueRecord
from amply.broker.store.memory import MemoryStore
from amply.broker.store.port import Store
from amply.broker.store.sqlite import SqliteStore

ACCOUNT = "000000000000"
T0 = 1_700_000_000_000


def queue(queue_id: int = 1, shelf: int = 2, **other: object) -> QueueRecord:
    declared = {"account": ACCOUNT, "name": f"queue-{queue_id}", "attributes": {"DelaySeconds": "0"}, "tags": {}}
    return QueueRecord(queue_id=queue_id, shelf=shelf, created_ms=T0, modified_ms=T0, **{**declared, **other})


def entry(seq: int, shelf: int = 2, **other: object) -> Entry:
    return Entry(**{"seq": seq, "shelf": shelf, "sent_ms": T0 + seq, "visible_ms": T0 + seq, **other})


def content(seq: int, **other: object) -> Content:
    return Content(
        **{"message_id": f"id-{seq}", "body": f"body of {seq} é✓", "sender_id": "AIDA", "attributes": {}, **other}
    )


def added(seq: int, shelf: int = 2, **other: object) -> Added:
    return Added(entry(seq, shelf, **other), content(seq))


FACTS = SimpleNamespace(ACCOUNT=ACCOUNT, T0=T0, queue=queue, entry=entry, content=content, added=added)


@pytest.fixture(scope="session")
def facts() -> SimpleNamespace:
    """Makers of records with everything filled in."""
    return FACTS


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Callable[..., SqliteStore]]:
    """Open SQLite stores that are closed in the end; the ballast is small, so that tests are quick."""
    stores: list[SqliteStore] = []

    def open_store(folder: Path = tmp_path / "data", **settings: int) -> SqliteStore:
        stores.append(SqliteStore(folder, **{"ballast_bytes": 65_536, **settings}))
        return stores[-1]

    yield open_store
    for store in stores:
        store.close()


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, opened: Callable[..., SqliteStore]) -> Store:
    """Each of the two stores, with queue 1 on shelf 2 and queue 3 on shelf 4."""
    made: Store = MemoryStore() if request.param == "memory" else opened()
    made.commit([QueuePut(queue(1, 2)), QueuePut(queue(3, 4))], T0)
    return made
