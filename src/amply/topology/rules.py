"""What the parts of a topology must be to each other, and what is allowed but surprising.

Pure. Every rule yields a field, as in `queues[1].Attributes.RedrivePolicy`, and a reason. A rule skips what is empty:
the loader has already said why.
"""

from collections.abc import Iterable, Iterator
from typing import TypeAlias

from amply.broker.sqs.attributes import SETTABLE, validate
from amply.broker.sqs.faults import Fault
from amply.broker.sqs.limits import AWS
from amply.broker.sqs.names import FIFO_SUFFIX
from amply.topology import roles
from amply.topology.model import DEFAULT_CELERY_QUEUE, Queue, RedrivePolicy, Topology

Broken: TypeAlias = tuple[str, str]

_DAY_S = 86_400


def broken(topology: Topology) -> Iterator[Broken]:
    """Every rule that the topology breaks."""
    yield from _repeated((f"queues[{i}].QueueName", q.name) for i, q in enumerate(topology.queues))
    yield from _repeated((f"queues[{i}].CeleryName", q.celery_name or "") for i, q in enumerate(topology.queues))
    yield from _repeated((f"routes[{i}].task", route.task) for i, route in enumerate(topology.routes))
    yield from _repeated((f"workers[{i}].service", worker.name) for i, worker in enumerate(topology.workers))
    yield from _repeated((f"roles[{i}].role", role.name) for i, role in enumerate(topology.roles))
    yield from _attributes(topology)
    yield from _celery_names(topology)
    yield from _redrives(topology)
    yield from _references(topology)
    yield from _telemetry(topology)


def surprises(topology: Topology) -> Iterator[Broken]:
    """What a topology without errors does that its author may not expect."""
    served = {name for worker in topology.workers for name in worker.queues}
    for i, queue in enumerate(topology.queues):
        if queue.redrive:
            target = topology.queue(queue.redrive.dead_letter_queue)
            yield from _redrive_surprises(f"queues[{i}].Attributes", queue, queue.redrive, target)
        if queue.celery_name is None:
            continue
        if not queue.redrive:
            yield f"queues[{i}]", "has no RedrivePolicy: a job that always fails runs again and again until it expires"
        if "VisibilityTimeout" not in queue.attributes:
            default_s = AWS.visibility_timeout_s_default
            yield (
                f"queues[{i}]",
                f"has no VisibilityTimeout: with SQS's {default_s} s, a job that runs longer runs twice",
            )
        if topology.workers and queue.celery_name not in served:
            yield f"queues[{i}].CeleryName", f"no worker service serves {queue.celery_name}: its jobs wait for ever"
    for field, name in roles.unknown_queues(topology):
        yield field, f"there is no queue {name} in this file; the permission is for one that somebody else creates"


def _repeated(named: Iterable[tuple[str, str]]) -> Iterator[Broken]:
    first: dict[str, str] = {}
    for field, name in named:
        if name and first.setdefault(name, field) != field:
            yield field, f"{name} is already the name of {first[name].rpartition('.')[0]}"


def _attributes(topology: Topology) -> Iterator[Broken]:
    for i, queue in enumerate(topology.queues):
        field = f"queues[{i}].Attributes"
        if queue.is_fifo and "FifoQueue" not in queue.attributes:
            yield field, f"{queue.name} ends with {FIFO_SUFFIX}, so it must have FifoQueue: true"
        misplaced = [name for name in queue.attributes if SETTABLE[name].is_fifo_only and not queue.is_fifo]
        for name in misplaced:
            yield f"{field}.{name}", f"is only for FIFO queues, whose QueueName ends with {FIFO_SUFFIX}"
        if not misplaced:
            try:
                validate(queue.attributes, is_fifo=queue.is_fifo, creating=True)
            except Fault as fault:
                yield field, fault.message
        if queue.celery_name and queue.celery_name.endswith(FIFO_SUFFIX) != queue.is_fifo:
            yield f"queues[{i}].CeleryName", f"kombu wants {FIFO_SUFFIX} at the end of both names or of neither"


def _celery_names(topology: Topology) -> Iterator[Broken]:
    names = {queue.celery_name for queue in topology.queues}
    if DEFAULT_CELERY_QUEUE not in names:
        yield "queues", f"one needs CeleryName: {DEFAULT_CELERY_QUEUE}, where tasks that fit no route go"
    prefix = topology.queue_name_prefix
    for i, queue in enumerate(topology.queues):
        if prefix and queue.celery_name and prefix + queue.celery_name in names:
            clash = prefix + queue.celery_name
            yield f"queues[{i}].CeleryName", f"with queue_name_prefix it reads {clash}, which is another queue's"


def _redrives(topology: Topology) -> Iterator[Broken]:
    queues = {queue.name: queue for queue in topology.queues}
    for i, queue in enumerate(topology.queues):
        if not queue.redrive or not queue.redrive.dead_letter_queue:
            continue
        field = f"queues[{i}].Attributes.RedrivePolicy.deadLetterTargetArn"
        target = queues.get(queue.redrive.dead_letter_queue)
        if target is None:
            yield field, f"there is no queue {queue.redrive.dead_letter_queue} in this file"
        elif target.name == queue.name:
            yield field, "a queue cannot be its own dead letter queue"
        elif target.is_fifo != queue.is_fifo:
            yield field, f"{target.name} and {queue.name} must both be FIFO queues or both be standard queues"
        elif _comes_back(queue, queues):
            yield field, f"dead letters would go round in a circle and come back to {queue.name}"


def _comes_back(start: Queue, queues: dict[str, Queue]) -> bool:
    at: Queue | None = start
    for _ in queues:
        if at is None or at.redrive is None:
            return False
        at = queues.get(at.redrive.dead_letter_queue)
        if at is start:
            return True
    return False


def _references(topology: Topology) -> Iterator[Broken]:
    names = {queue.celery_name for queue in topology.queues if queue.celery_name}
    said = f"there is no queue with that CeleryName; there are {', '.join(sorted(names))}"
    for i, route in enumerate(topology.routes):
        if route.queue and route.queue not in names:
            yield f"routes[{i}].queue", f"{route.queue}: {said}"
    for i, worker in enumerate(topology.workers):
        for j, name in enumerate(worker.queues):
            if name and name not in names:
                yield f"workers[{i}].queues[{j}]", f"{name}: {said}"
        yield from _repeated((f"workers[{i}].queues[{j}]", name) for j, name in enumerate(worker.queues))


def _telemetry(topology: Topology) -> Iterator[Broken]:
    name = topology.telemetry_queue
    if not name:
        return
    queue = next((queue for queue in topology.queues if queue.name == name), None)
    if queue is None:
        yield "telemetry_queue", f"there is no queue {name} in this file"
    elif queue.celery_name:
        yield "telemetry_queue", f"{name} is a work queue of Celery's; records need one of their own"
    elif queue.is_fifo:
        yield "telemetry_queue", f"{name} is a FIFO queue; records go to a standard queue"


def _redrive_surprises(field: str, queue: Queue, redrive: RedrivePolicy, target: Queue) -> Iterator[Broken]:
    retention_s, target_s = _retention_s(queue), _retention_s(target)
    if not queue.is_fifo and retention_s >= target_s:
        reason = (
            f"is {_days(retention_s)}, and {target.name}'s is {_days(target_s)}: SQS counts from the first send, so a "
            f"message that waited here for long has little or no time left in the dead letter queue"
        )
        yield f"{field}.MessageRetentionPeriod", reason
    visibility_s = int(queue.attributes.get("VisibilityTimeout", AWS.visibility_timeout_s_default))
    if visibility_s * redrive.max_receive_count >= retention_s:
        reason = (
            f"{redrive.max_receive_count} receives of {visibility_s} s each take longer than the retention of "
            f"{_days(retention_s)}: a failing message expires before it is a dead letter"
        )
        yield f"{field}.RedrivePolicy.maxReceiveCount", reason


def _retention_s(queue: Queue) -> int:
    return int(queue.attributes.get("MessageRetentionPeriod", AWS.retention_s_default))


def _days(seconds: int) -> str:
    return f"{seconds // _DAY_S} days" if seconds % _DAY_S == 0 and seconds > _DAY_S else f"{seconds} s"
