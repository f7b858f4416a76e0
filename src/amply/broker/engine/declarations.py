"""Queues are declared, changed, purged and deleted here: the rules of everything but messages (AWS API reference).

Attributes arrive valid in themselves; what depends on other queues is checked here.
"""

from typing import TYPE_CHECKING

import msgspec

from amply.broker.engine.records import QueuePut, QueueRecord, QueueRemoved
from amply.broker.sqs import faults
from amply.broker.sqs.attributes import redrive_allow_policy, redrive_policy
from amply.broker.sqs.faults import Fault, invalid_parameter
from amply.broker.sqs.names import is_fifo_name, parse_queue_arn, queue_arn

if TYPE_CHECKING:
    from collections.abc import Mapping

    from amply.broker.engine.commands import (
        CreateQueue,
        DeleteQueue,
        PurgeQueue,
        QueueKey,
        SetQueueAttributes,
        TagQueue,
        UntagQueue,
    )
    from amply.broker.engine.decision import Decision
    from amply.broker.engine.queue import Queue
    from amply.broker.engine.queues import Queues


def create_queue(queues: "Queues", command: "CreateQueue", now_ms: int, decision: "Decision") -> None:
    """A new queue, or nothing if it exists with the same values for all attributes given (AWS's CreateQueue)."""
    existing = queues.get(command.key)
    if existing is not None:
        _check_same(existing.attributes, command.attributes)
        return
    removed_ms = queues.removed.get(command.key)
    if removed_ms is not None and now_ms < removed_ms + queues.limits.recreate_interval_s * 1000:
        raise Fault(
            faults.QUEUE_DELETED_RECENTLY,
            f"You must wait {queues.limits.recreate_interval_s} seconds after deleting a queue before you can create "
            "another with the same name.",
        )
    _check_redrive(queues, command.key, command.attributes)
    queues.removed.pop(command.key, None)
    record = QueueRecord(
        queue_id=queues.new_id(),
        shelf=queues.new_id(),
        account=command.key[0],
        name=command.key[1],
        attributes={name: value for name, value in command.attributes.items() if value},
        tags=command.tags,
        created_ms=now_ms,
        modified_ms=now_ms,
    )
    queues.add(record)
    decision.changes.append(QueuePut(record))


def _check_same(current: "Mapping[str, str]", given: "Mapping[str, str]") -> None:
    for name, value in given.items():
        if current.get(name, "") != value and not _is_same_document(current.get(name, ""), value):
            raise Fault(
                faults.QUEUE_NAME_EXISTS,
                f"A queue already exists with the same name and a different value for attribute {name}",
            )


def _is_same_document(one: str, other: str) -> bool:
    """Policies are JSON: spacing and the order of members do not make them differ."""
    try:
        return bool(msgspec.json.decode(one) == msgspec.json.decode(other))
    except msgspec.DecodeError:
        return False


def set_queue_attributes(queues: "Queues", command: "SetQueueAttributes", now_ms: int, decision: "Decision") -> None:
    """Change attributes; an empty value takes one away. In force at once."""
    queue = queues.existing(command.key)
    record = queue.record
    _check_redrive(queues, command.key, command.attributes)
    queue.advance(now_ms, decision)  # delays that ended by now have ended
    attributes = {name: value for name, value in (record.attributes | command.attributes).items() if value}
    _declare(queues, msgspec.structs.replace(record, attributes=attributes, modified_ms=now_ms), decision)


def tag_queue(queues: "Queues", command: "TagQueue", now_ms: int, decision: "Decision") -> None:
    """Add tags; one with the same key is replaced (AWS API reference, TagQueue)."""
    record = queues.existing(command.key).record
    tags = record.tags | command.tags
    if len(tags) > queues.limits.tags_max:
        raise Fault(
            faults.INVALID_PARAMETER_VALUE,
            f"Too many tags added for queue {record.name}: at most {queues.limits.tags_max}.",
        )
    _declare(queues, msgspec.structs.replace(record, tags=tags, modified_ms=now_ms), decision)


def untag_queue(queues: "Queues", command: "UntagQueue", now_ms: int, decision: "Decision") -> None:
    """Take tags away; one that is not there is no error."""
    record = queues.existing(command.key).record
    tags = {key: value for key, value in record.tags.items() if key not in command.tag_keys}
    _declare(queues, msgspec.structs.replace(record, tags=tags, modified_ms=now_ms), decision)


def purge_queue(queues: "Queues", command: "PurgeQueue", now_ms: int, decision: "Decision") -> None:
    """Drop every message, whatever its state; not twice within 60 s (AWS API reference, PurgeQueue)."""
    queue = queues.existing(command.key)
    record = queue.record
    if record.purged_ms is not None and now_ms < record.purged_ms + queues.limits.purge_interval_s * 1000:
        raise Fault(
            faults.PURGE_QUEUE_IN_PROGRESS,
            f"Only one PurgeQueue operation on {record.name} is allowed every "
            f"{queues.limits.purge_interval_s} seconds.",
        )
    purged = msgspec.structs.replace(record, shelf=queues.new_id(), purged_ms=now_ms)
    queues.empty(queue, purged)
    decision.changes.append(QueuePut(purged))


def delete_queue(queues: "Queues", command: "DeleteQueue", now_ms: int, decision: "Decision") -> None:
    """Drop the queue and its messages. Who polls it is answered, empty: a poll never outlives its queue."""
    queue = queues.existing(command.key)
    record = queue.record
    queues.drop(command.key, now_ms)
    decision.woken += [(ticket, []) for ticket in queue.unpark_all()]
    decision.changes.append(QueueRemoved(record.queue_id, record.account, record.name, now_ms))


def _declare(queues: "Queues", record: QueueRecord, decision: "Decision") -> None:
    queues.existing((record.account, record.name)).declare(record)
    decision.changes.append(QueuePut(record))


def _check_redrive(queues: "Queues", key: "QueueKey", attributes: "Mapping[str, str]") -> None:
    """The dead letter queue must exist and accept this source (SetQueueAttributes, RedriveAllowPolicy).

    And its own dead letters must not come back: polls on the queues of a circle would move a message round and round.
    """
    text = attributes.get("RedrivePolicy")
    if not text:
        return
    target = queues.by_arn(redrive_policy(text).dead_letter_target_arn)
    if target is None:
        raise invalid_parameter("RedrivePolicy", text, "Dead letter target does not exist.")
    if target.record.account != key[0]:
        raise invalid_parameter("RedrivePolicy", text, "Dead letter target owner should be same as the source.")
    if target.record.is_fifo != is_fifo_name(key[1]):
        raise invalid_parameter("RedrivePolicy", text, "Dead-letter queue must be same type of queue as the source.")
    source_arn = queues.arn(key)
    if source_arn in _ways_on(queues, target):
        raise invalid_parameter("RedrivePolicy", text, "Dead letters would come back to this queue.")
    allow = target.attributes.get("RedriveAllowPolicy")
    if allow:
        policy = redrive_allow_policy(allow)
        is_allowed = policy.permission == "allowAll" or source_arn in policy.source_queue_arns
        if not is_allowed:
            raise invalid_parameter(
                "RedrivePolicy", text, "The dead letter target does not allow this queue as a source."
            )


def _ways_on(queues: "Queues", target: "Queue") -> set[str]:
    """The ARNs of a dead letter queue, of its own one, and so on; the last may be of a queue that is to come."""
    arns = {target.arn}
    queue: Queue | None = target
    while queue is not None and queue.redrive is not None:
        named = parse_queue_arn(queue.redrive.dead_letter_target_arn)
        if named is None or (onward := queue_arn(*named)) in arns:
            break
        arns.add(onward)
        queue = queues.by_arn(onward)
    return arns
