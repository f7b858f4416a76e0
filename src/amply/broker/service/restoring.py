"""An engine from what the store knows."""

from typing import TYPE_CHECKING

from amply.broker.engine.engine import Engine

if TYPE_CHECKING:
    from amply.broker.sqs.limits import Limits
    from amply.broker.store.port import Snapshot


def restored(snapshot: "Snapshot", region: str, limits: "Limits") -> Engine:
    """The engine in the state of the snapshot."""
    engine = Engine(region, limits=limits, last_seq=snapshot.last_seq, last_id=snapshot.last_id)
    engine.queues.removed = dict(snapshot.removed_queues)
    for state in snapshot.queues:
        engine.queues.add(state.queue).restore(
            messages=state.messages,
            in_flight=state.in_flight,
            delayed=state.delayed,
            oldest_ms=state.oldest_sent_ms,
        )
    engine.set_alarms()
    return engine
