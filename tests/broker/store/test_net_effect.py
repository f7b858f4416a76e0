"""However a sequence of changes is cut into commits, it ends the same, and as the twin in memory says."""

import tempfile
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from amply.broker.engine.records import Moved, QueuePut, QueueRemoved, Removed, Rescheduled
from amply.broker.store.memory import MemoryStore
from amply.broker.store.sqlite import SqliteStore

FAR = 10**15


class Life:
    """Makes changes that a broker could decide on: messages sent, received, moved, deleted; queues come and go."""

    def __init__(self, facts, draw):
        self.facts, self.draw = facts, draw
        self.shelves = {}
        self.entries = {}
        self.last_seq = self.last_id = 0

    def change(self):
        verb = self.draw(
            st.sampled_from(["send"] * 4 + ["receive"] * 3 + ["move", "delete", "delete", "queue", "purge", "drop"])
        )
        if not self.shelves or verb == "queue":
            return self.put_queue(self.new_id())
        queue_id = self.draw(st.sampled_from(sorted(self.shelves)))
        if verb == "purge":
            self.forget(self.shelves[queue_id])
            return self.put_queue(queue_id)
        if verb == "drop":
            self.forget(self.shelves.pop(queue_id))
            return QueueRemoved(queue_id, self.facts.ACCOUNT, f"queue-{queue_id}", self.facts.T0)
        if verb == "send" or not self.entries:
            self.last_seq += 1
            change = self.facts.added(self.last_seq, self.shelves[queue_id], visible_ms=self.moment())
            self.entries[self.last_seq] = change.entry
            return change
        return self.touch(verb, self.entries[self.draw(st.sampled_from(sorted(self.entries)))], self.shelves[queue_id])

    def touch(self, verb, entry, shelf):
        if verb == "delete":
            del self.entries[entry.seq]
            return Removed(entry.seq, entry.shelf)
        placed = self.facts.entry(
            entry.seq,
            shelf if verb == "move" else entry.shelf,
            sent_ms=entry.sent_ms,
            visible_ms=self.moment(),
            receive_count=entry.receive_count + 1,
            first_received_ms=entry.first_received_ms or self.facts.T0,
            dead_letter_source_arn="arn:source" if verb == "move" else entry.dead_letter_source_arn,
        )
        self.entries[entry.seq] = placed
        return Moved(placed, entry.shelf) if verb == "move" else Rescheduled(placed)

    def put_queue(self, queue_id):
        self.shelves[queue_id] = self.new_id()
        return QueuePut(self.facts.queue(queue_id, self.shelves[queue_id]))

    def new_id(self):
        self.last_id += 1
        return self.last_id

    def forget(self, shelf):
        self.entries = {seq: entry for seq, entry in self.entries.items() if entry.shelf != shelf}

    def moment(self):
        return self.facts.T0 + self.draw(st.integers(-3, 3))


def everything(store, facts, last_seq):
    snapshot = store.load(facts.T0)
    shelves = [state.queue.shelf for state in snapshot.queues]
    pages = [store.ready(shelf, (0, 0), FAR, 1000, 10**9) for shelf in shelves]
    aged = [store.sent_before(shelf, facts.T0 + 10, 5) for shelf in shelves]
    return snapshot, pages, aged, store.find(range(last_seq + 1))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(st.data())
def test_random_changes_in_random_batches_end_as_in_memory(facts, data):
    life = Life(facts, data.draw)
    changes = [life.change() for _ in range(data.draw(st.integers(1, 60)))]
    with tempfile.TemporaryDirectory() as folder:
        durable = SqliteStore(Path(folder) / "data", ballast_bytes=4096)
        memory = MemoryStore(durable.load(0).secret)
        try:
            while changes:
                cut = data.draw(st.integers(1, len(changes)))
                batch, changes = changes[:cut], changes[cut:]
                durable.commit(batch, facts.T0)
                memory.commit(batch, facts.T0)
                if data.draw(st.booleans()):
                    durable.tend()
            expected = everything(memory, facts, life.last_seq)
            assert everything(durable, facts, life.last_seq) == expected
            durable.close()
            durable = SqliteStore(Path(folder) / "data", ballast_bytes=4096)
            assert everything(durable, facts, life.last_seq) == expected
        finally:
            durable.close()
