"""An engine from what the store knows."""

from collections import defaultdict
from typing import TYPE_CHECKING

from amply.broker.engine.engine import Engine
from amply.broker.engine.fifo import FifoQueue

if TYPE_CHECKING:
    from collections.abc import Callable

    from amply.broker.engine.records import Deduplicated
    from amply.broker.sqs.limits import Limits
    from amply.broker.store.port import Snapshot


def restored(snapshot: "Snapshot", region: str, limits: "Limits", new_message_id: "Callable[[], str]") -> Engine:
    """The engine in the state of the snapshot; move tasks that ran go on."""
    engine = Engine(
        region, limits=limits, last_seq=snapshot.last_seq, last_id=snapshot.last_id, new_message_id=new_message_id
    )
    engine.queues.removed = dict(snapshot.removed_queues)
    # There may be a million of them, and many queues.
    deduplicated: defaultdict[int, list[Deduplicated]] = defaultdict(list)
    for one in snapshot.deduplicated:
        deduplicated[one.shelf].append(one)
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
            queue.deduplication.restore(deduplicated[shelf])
            queue.attempts.restore(attempted for attempted in snapshot.attempts if attempted.shelf == shelf)
    engine.moves.restore(snapshot.move_tasks)
    engine.set_alarms()
    return engine
