"""An engine from what the store knows."""

from typing import TYPE_CHECKING

from amply.broker.engine.engine import Engine
from amply.broker.engine.fifo import FifoQueue

if TYPE_CHECKING:
    from amply.broker.sqs.limits import Limits
    from amply.broker.store.port import Snapshot


def restored(snapshot: "Snapshot", region: str, limits: "Limits") -> Engine:
    """The engine in the state of the snapshot."""
    engine = Engine(region, limits=limits, last_seq=snapshot.last_seq, last_id=snapshot.last_id)
    engine.queues.removed = dict(snapshot.removed_queues)
    for state in snapshot.queues:
        queue = engine.queues.add(state.queue)
        queue.restore(
            messages=state.messages,
            in_flight=state.in_flight,
            delayed=state.delayed,
            oldest_ms=state.oldest_sent_ms,
        )
        if isinstance(queue, FifoQueue):
            shelf = state.queue.shelf
            queue.deduplication.restore(one for one in snapshot.deduplicated if one.shelf == shelf)
            queue.attempts.restore(one for one in snapshot.attempts if one.shelf == shelf)
    engine.set_alarms()
    return engine
