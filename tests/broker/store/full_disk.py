"""A program, run by test_disk_full on a small disk of its own: fill it, keep working, say what was seen."""

import json
import sys
from pathlib import Path

from amply.broker.engine.records import Added, Content, Entry, QueuePut, QueueRecord, Removed, Rescheduled
from amply.broker.store import database
from amply.broker.store.port import StoreFull
from amply.broker.store.sqlite import SqliteStore

MIB = 1 << 20
FAR = 10**15
BATCH = 10

# The disk is small, so are the log and the ballast; their proportion is that of the defaults.
database._WAL_PAGES = 256


def open_store(folder):
    return SqliteStore(folder, reserve_bytes=MIB, ballast_bytes=MIB + MIB // 8)


def send(store, first):
    """Commit a batch of messages with 1 000-byte bodies."""
    batch = range(first, first + BATCH)
    store.commit([Added(Entry(s, 2, s, s), Content(f"id-{s}", f"{s:01000}", "AIDA", {})) for s in batch], first)
    return batch


def stored(store):
    """The seqs of the ready messages, read in full."""
    found, after = set(), (0, 0)
    while True:
        page = store.ready(2, after, FAR - 1, 500, FAR)
        if page.damaged:
            raise SystemExit("damaged messages")
        for entry, content in page.messages:
            found.add(entry.seq)
            after = (entry.visible_ms, entry.seq)
            if int(content.body) != entry.seq:
                raise SystemExit("a wrong body")
        if page.is_last:
            return found


def main(folder, heeds_tend):
    store = open_store(folder)
    queue = QueueRecord(
        queue_id=1, shelf=2, account="0" * 12, name="q", attributes={}, tags={}, created_ms=1, modified_ms=1
    )
    store.commit([QueuePut(queue)], 1)
    seen = {"refused": 0, "was_full": False, "deletes_refused": 0}
    acked, seq = set(), 1
    while not seen["was_full"] and not seen["refused"]:
        try:
            acked.update(send(store, seq))
        except StoreFull:
            seen["refused"] += 1
        seq += BATCH
        if heeds_tend:
            seen["was_full"] = store.tend().is_full
    seen["full_after_refusal"] = store.tend().is_full
    seen["sent"] = len(acked)
    seen["kept_when_full"] = stored(store) == acked

    for seq_gone in sorted(acked)[: len(acked) // 2]:
        try:
            store.commit([Rescheduled(Entry(seq_gone, 2, seq_gone, FAR, 1, 1))], seq)
            store.commit([Removed(seq_gone, 2)], seq)
            acked.discard(seq_gone)
        except StoreFull:
            seen["deletes_refused"] += 1
    seen["kept_after_deletes"] = stored(store) == acked
    store.close()
    store = open_store(folder)
    seen["kept_after_restart"] = stored(store) == acked and store.load(seq).queues[0].messages == len(acked)

    seen["tends_until_free"] = 0
    while store.tend().is_full and seen["tends_until_free"] < 50:
        seen["tends_until_free"] += 1
    try:
        acked.update(send(store, seq))
        seen["sends_again"] = stored(store) == acked and not store.tend().is_full
    except StoreFull:
        seen["sends_again"] = False
    store.close()
    sys.stdout.write(json.dumps(seen))


if __name__ == "__main__":
    main(Path(sys.argv[1]) / "data", heeds_tend=sys.argv[2] == "heeding")
