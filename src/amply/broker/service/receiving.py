"""ReceiveMessage, DeleteMessage, ChangeMessageVisibility, and the batches of the last two."""

from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING

from amply.broker.engine.commands import ChangeVisibility, Delete, Deletion, Receive, VisibilityChange
from amply.broker.engine.decision import Delivery
from amply.broker.engine.records import Content
from amply.broker.service.batches import check_batch, outcomes, sort_out
from amply.broker.service.service import NOTHING
from amply.broker.sqs.digests import md5_of_attributes, md5_of_body
from amply.broker.sqs.faults import (
    Fault,
    invalid_parameter,
    missing_parameter,
    receipt_handle_is_invalid,
    unknown_attribute,
)
from amply.broker.sqs.limits import Limits
from amply.broker.sqs.messages import TRACE_HEADER, check_fifo_id, sequence_number
from amply.broker.sqs.receipts import Receipt
from amply.broker.sqs.shapes import (
    ChangeMessageVisibilityBatchRequest,
    ChangeMessageVisibilityBatchRequestEntry,
    ChangeMessageVisibilityBatchResult,
    ChangeMessageVisibilityBatchResultEntry,
    ChangeMessageVisibilityRequest,
    DeleteMessageBatchRequest,
    DeleteMessageBatchRequestEntry,
    DeleteMessageBatchResult,
    DeleteMessageBatchResultEntry,
    DeleteMessageRequest,
    Message,
    MessageAttributeValue,
    ReceiveMessageRequest,
    ReceiveMessageResult,
)

if TYPE_CHECKING:
    from amply.broker.engine.queue import Queue
    from amply.broker.service.service import Cancel, Respond, Service
    from amply.broker.sqs.calls import Context

_SYSTEM_ATTRIBUTES: dict[str, Callable[[Delivery], str | int | None]] = {
    "SenderId": lambda delivery: delivery.content.sender_id,
    "SentTimestamp": lambda delivery: delivery.entry.sent_ms,
    "ApproximateReceiveCount": lambda delivery: delivery.entry.receive_count,
    "ApproximateFirstReceiveTimestamp": lambda delivery: delivery.entry.first_received_ms,
    "MessageGroupId": lambda delivery: delivery.content.group_id,
    "MessageDeduplicationId": lambda delivery: delivery.content.deduplication_id,
    "SequenceNumber": lambda delivery: sequence_number(delivery.entry.seq) if _is_fifo(delivery) else None,
    TRACE_HEADER: lambda delivery: delivery.content.trace_header,
    "DeadLetterQueueSourceArn": lambda delivery: delivery.entry.dead_letter_source_arn,
}

# A tool that goes through a whole queue takes and deletes what it means in a tenth of the requests.
PEEKED_ENTRIES_MAX = 100

# kombu puts the names that it is told to fetch into capitals.
_ALL = frozenset({"All", "ALL"})


def _is_fifo(delivery: Delivery) -> bool:
    return delivery.content.deduplication_id is not None


def receive_message(
    service: "Service", request: ReceiveMessageRequest, context: "Context", respond: "Respond"
) -> "Cancel":
    """Answered when the receive counts are on disk; waits for messages if the request or the queue says so."""
    key = service.key(request.queue_url, context)
    service.engine.queues.existing(key)  # a queue that does not exist is named before any other mistake
    limits = service.limits
    count, wait_s = request.max_number_of_messages, request.wait_time_seconds
    if count is not None and not 1 <= count <= limits.receive_messages_max:
        reason = f"Must be between 1 and {limits.receive_messages_max}, if provided."
        raise invalid_parameter("MaxNumberOfMessages", count, reason)
    if wait_s is not None and not 0 <= wait_s <= limits.wait_time_s_max:
        reason = f"Must be >= 0 and <= {limits.wait_time_s_max}, if provided."
        raise invalid_parameter("WaitTimeSeconds", wait_s, reason)
    _check_visibility_timeout(request.visibility_timeout, limits)
    if request.receive_request_attempt_id is not None:
        check_fifo_id("ReceiveRequestAttemptId", request.receive_request_attempt_id, limits.attempt_id_length_max)
    system_names = _system_names(request)
    attribute_names = request.message_attribute_names or ()

    def result(deliveries: list[Delivery]) -> ReceiveMessageResult:
        if not deliveries:
            return NOTHING
        return ReceiveMessageResult(
            messages=[_message(service, delivery, system_names, attribute_names) for delivery in deliveries]
        )

    poll = Receive(
        key,
        service.new_ticket(),
        count=1 if count is None else count,
        visibility_timeout_s=request.visibility_timeout,
        wait_s=wait_s if service.may_park() else 0,
        attempt_id=request.receive_request_attempt_id,
    )
    return service.poll(poll, respond, result)


def _system_names(request: ReceiveMessageRequest) -> Collection[str]:
    """Which system attributes to return; the newer member wins over the older (AWS API reference, ReceiveMessage)."""
    names = request.message_system_attribute_names or request.attribute_names
    if not names:
        return ()
    if not _ALL.isdisjoint(names):
        return _SYSTEM_ATTRIBUTES
    for name in names:
        if name not in _SYSTEM_ATTRIBUTES:
            raise unknown_attribute(name)
    return names


def _message(
    service: "Service", delivery: Delivery, system_names: Collection[str], attribute_names: Collection[str]
) -> Message:
    entry, content = delivery.entry, delivery.content
    receipt = Receipt(delivery.queue_id, entry.seq, entry.receive_count, delivery.received_ms)
    selected = _selected(content, attribute_names) if attribute_names and content.attributes else {}
    return Message(
        message_id=content.message_id,
        receipt_handle=service.receipts.issue(receipt),
        md5_of_body=md5_of_body(content.body),
        body=content.body,
        attributes=system_attributes(delivery, system_names),
        md5_of_message_attributes=md5_of_attributes(selected) if selected else None,
        message_attributes=selected,
    )


def system_attributes(delivery: Delivery, names: Collection[str] = _SYSTEM_ATTRIBUTES.keys()) -> dict[str, str]:
    """Those of a message's system attributes that have a value, by name."""
    attributes: dict[str, str] = {}
    for name in names:
        value = _SYSTEM_ATTRIBUTES[name](delivery)
        if value is not None:
            attributes[name] = str(value)
    return attributes


def _selected(content: Content, names: Collection[str]) -> dict[str, MessageAttributeValue]:
    """`All`, `.*` and `*` mean every attribute, `Foo.*` those that begin with `Foo.` (AWS's ReceiveMessage)."""
    if not _ALL.isdisjoint(names) or ".*" in names or "*" in names:
        return content.attributes
    prefixes = tuple(name[:-1] for name in names if name.endswith(".*"))
    return {
        name: value
        for name, value in content.attributes.items()
        if name in names or (prefixes and name.startswith(prefixes))
    }


def delete_message(service: "Service", request: DeleteMessageRequest, context: "Context", respond: "Respond") -> None:
    """Answered when the deletion is on disk: the message never comes back."""
    key = service.key(request.queue_url, context)
    receipt = _receipt(service, service.engine.queues.existing(key), request.receipt_handle)
    deletion = Deletion(receipt, request.receipt_handle)
    service.execute(Delete(key, [deletion]), respond, lambda faults: faults[0])


def delete_message_batch(
    service: "Service", request: DeleteMessageBatchRequest, context: "Context", respond: "Respond"
) -> None:
    """Each deletion succeeds or fails by itself."""
    key = service.key(request.queue_url, context)
    queue = service.engine.queues.existing(key)
    check_batch("DeleteMessageBatch", request.entries, service.limits, _entries_max(service, request.entries))

    def deletion(entry: DeleteMessageBatchRequestEntry) -> Deletion:
        return Deletion(_receipt(service, queue, entry.receipt_handle), entry.receipt_handle)

    made, failed = sort_out(request.entries, deletion)

    def result(faults: list[Fault | None]) -> DeleteMessageBatchResult:
        done, refused = outcomes(made, faults)
        successful = [DeleteMessageBatchResultEntry(id=name) for name in done]
        return DeleteMessageBatchResult(successful=successful, failed=failed + refused)

    service.execute(Delete(key, [deletion for _, deletion in made]), respond, result)


def change_message_visibility(
    service: "Service", request: ChangeMessageVisibilityRequest, context: "Context", respond: "Respond"
) -> None:
    """Answered when the new visibility is on disk."""
    key = service.key(request.queue_url, context)
    queue = service.engine.queues.existing(key)
    _check_visibility_timeout(request.visibility_timeout, service.limits)
    receipt = _receipt(service, queue, request.receipt_handle)
    change = VisibilityChange(receipt, request.receipt_handle, request.visibility_timeout)
    service.execute(ChangeVisibility(key, [change]), respond, lambda faults: faults[0])


def change_message_visibility_batch(
    service: "Service", request: ChangeMessageVisibilityBatchRequest, context: "Context", respond: "Respond"
) -> None:
    """Each change succeeds or fails by itself."""
    key = service.key(request.queue_url, context)
    queue = service.engine.queues.existing(key)
    check_batch("ChangeMessageVisibilityBatch", request.entries, service.limits, _entries_max(service, request.entries))

    for number, entry in enumerate(request.entries, 1):
        if entry.visibility_timeout is None:
            raise missing_parameter(f"ChangeMessageVisibilityBatchRequestEntry.{number}.VisibilityTimeout")

    def change(entry: ChangeMessageVisibilityBatchRequestEntry) -> VisibilityChange:
        _check_visibility_timeout(entry.visibility_timeout, service.limits)
        receipt = _receipt(service, queue, entry.receipt_handle)
        return VisibilityChange(receipt, entry.receipt_handle, entry.visibility_timeout or 0)

    made, failed = sort_out(request.entries, change)

    def result(faults: list[Fault | None]) -> ChangeMessageVisibilityBatchResult:
        done, refused = outcomes(made, faults)
        successful = [ChangeMessageVisibilityBatchResultEntry(id=name) for name in done]
        return ChangeMessageVisibilityBatchResult(successful=successful, failed=failed + refused)

    service.execute(ChangeVisibility(key, [change for _, change in made]), respond, result)


def _entries_max(
    service: "Service",
    entries: Sequence[DeleteMessageBatchRequestEntry] | Sequence[ChangeMessageVisibilityBatchRequestEntry],
) -> int:
    """SQS's own number; more where all handles come from PeekMessages, which SQS does not have."""
    if service.limits.batch_entries_max < len(entries) <= PEEKED_ENTRIES_MAX and all(
        _is_peeked(service, entry.receipt_handle) for entry in entries
    ):
        return PEEKED_ENTRIES_MAX
    return service.limits.batch_entries_max


def _is_peeked(service: "Service", handle: str) -> bool:
    try:
        return service.receipts.read(handle).is_peeked
    except Fault:
        return False


def _receipt(service: "Service", queue: "Queue", handle: str) -> Receipt:
    """What the handle stands for; one that another queue gave out is not valid here (ReceiptHandleIsInvalid)."""
    receipt = service.receipts.read(handle)
    if receipt.queue_id != queue.record.queue_id:
        raise receipt_handle_is_invalid(handle)
    return receipt


def _check_visibility_timeout(timeout_s: int | None, limits: Limits) -> None:
    if timeout_s is not None and not 0 <= timeout_s <= limits.visibility_timeout_s_max:
        reason = f"Must be >= 0 and <= {limits.visibility_timeout_s_max}, if provided."
        raise invalid_parameter("VisibilityTimeout", timeout_s, reason)
