"""What people see of a running broker, read from memory and never on a message's path."""

from typing import TYPE_CHECKING

from msgspec import Struct
from msgspec.structs import asdict

if TYPE_CHECKING:
    from amply.broker.service.service import Service


class QueueView(Struct, frozen=True, kw_only=True):
    """One queue now, and what it has done since the broker started."""

    account: str
    name: str
    visible: int
    in_flight: int
    delayed: int
    parked_polls: int
    sent: int
    deduplicated: int
    received: int
    deleted: int
    empty_receives: int
    dead_lettered: int
    moved: int
    expired: int


class MoveView(Struct, frozen=True, kw_only=True):
    """A message move task that runs now."""

    source_arn: str
    destination_arn: str | None
    to_move: int
    moved: int


def move_views(service: "Service") -> list[MoveView]:
    """Every running move task."""
    return [
        MoveView(
            source_arn=task.source_arn,
            destination_arn=task.destination_arn,
            to_move=task.to_move,
            moved=task.moved,
        )
        for task in service.engine.moves.running()
    ]


def queue_views(service: "Service") -> list[QueueView]:
    """Every queue, by account and name."""
    return [
        QueueView(
            account=queue.record.account,
            name=queue.record.name,
            visible=queue.ready_count,
            in_flight=len(queue.in_flight),
            delayed=queue.delayed_count,
            parked_polls=len(queue.parking),
            **asdict(queue.totals),
        )
        for queue in sorted(service.engine.queues, key=lambda queue: queue.key)
    ]


def readiness(service: "Service") -> dict[str, object]:
    """What `/ready` shows on this machine: the condition of the broker, and its queues."""
    return {**condition(service), "queues": queue_views(service), "moves": move_views(service)}


def condition(service: "Service") -> dict[str, object]:
    """How the broker is. `reasons` says why no work is taken; `degraded`, what part of it."""
    degraded = []
    if service.room is not None and service.room.is_full:
        degraded.append("the disk is nearly full: new messages are refused, receiving and deleting go on")
    return {
        "reasons": ["the broker is stopping"] if service.is_stopping else [],
        "degraded": degraded,
    }
