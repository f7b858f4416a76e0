"""SendMessage and SendMessageBatch."""

import hashlib
from typing import TYPE_CHECKING, TypeAlias, TypedDict

from amply.broker.engine.commands import Outgoing, Send, Sent
from amply.broker.engine.records import Content
from amply.broker.service.batches import check_batch, sort_out
from amply.broker.sqs import faults
from amply.broker.sqs.digests import md5_of_attributes, md5_of_body
from amply.broker.sqs.faults import Fault, invalid_parameter, missing_parameter
from amply.broker.sqs.messages import TRACE_HEADER, check_message, sequence_number, size_bytes
from amply.broker.sqs.shapes import (
    SendMessageBatchRequest,
    SendMessageBatchRequestEntry,
    SendMessageBatchResult,
    SendMessageBatchResultEntry,
    SendMessageRequest,
    SendMessageResult,
)

if TYPE_CHECKING:
    from amply.broker.engine.queue import Queue
    from amply.broker.service.service import Respond, Service
    from amply.broker.sqs.calls import Context


SentMessage: TypeAlias = SendMessageRequest | SendMessageBatchRequestEntry


def send_message(service: "Service", request: SendMessageRequest, context: "Context", respond: "Respond") -> None:
    """Answered when the message is on disk."""
    key = service.key(request.queue_url, context)
    queue = service.engine.queues.existing(key)
    service.check_takes_messages()
    size = size_bytes(request.message_body, request.message_attributes)
    check_message(request, size, queue.maximum_message_size_bytes, service.limits, in_batch=False)
    if queue.is_fifo:
        _check_fifo(queue, request, in_batch=False)
    else:
        _check_standard(request)
    outgoing = _outgoing(service, queue, request, context)

    def result(sent: list[Sent]) -> SendMessageResult:
        return SendMessageResult(
            message_id=sent[0].message_id, sequence_number=_sequence_number(queue, sent[0]), **_digests(request)
        )

    service.execute(Send(key, [outgoing]), respond, result, size_bytes=size)


def send_message_batch(
    service: "Service", request: SendMessageBatchRequest, context: "Context", respond: "Respond"
) -> None:
    """Each message succeeds or fails by itself; those that succeed are on disk when the answer leaves."""
    key = service.key(request.queue_url, context)
    queue = service.engine.queues.existing(key)
    service.check_takes_messages()
    entries = request.entries
    check_batch("SendMessageBatch", entries, service.limits)
    sizes = {entry.id: size_bytes(entry.message_body, entry.message_attributes) for entry in entries}
    total, total_max = sum(sizes.values()), service.limits.batch_size_bytes_max
    if total > total_max:
        raise Fault(
            faults.BATCH_REQUEST_TOO_LONG,
            f"Batch requests cannot be longer than {total_max} bytes. You have sent {total} bytes.",
        )

    if queue.is_fifo:
        for entry in entries:  # what would break the order fails the whole request
            _check_fifo(queue, entry, in_batch=True)

    def outgoing(entry: SendMessageBatchRequestEntry) -> Outgoing:
        check_message(entry, sizes[entry.id], queue.maximum_message_size_bytes, service.limits, in_batch=True)
        if not queue.is_fifo:
            _check_standard(entry)
        return _outgoing(service, queue, entry, context)

    made, failed = sort_out(entries, outgoing)

    def result(sent: list[Sent]) -> SendMessageBatchResult:
        return SendMessageBatchResult(
            successful=[
                SendMessageBatchResultEntry(
                    id=entry.id,
                    message_id=one.message_id,
                    sequence_number=_sequence_number(queue, one),
                    **_digests(entry),
                )
                for (entry, _), one in zip(made, sent, strict=True)
            ],
            failed=failed,
        )

    service.execute(Send(key, [message for _, message in made]), respond, result, size_bytes=total)


class _Digests(TypedDict):
    md5_of_message_body: str
    md5_of_message_attributes: str | None
    md5_of_message_system_attributes: str | None


def _digests(message: SentMessage) -> _Digests:
    """What the answer says of the message, so that its sender can tell whether it arrived whole."""
    attributes, system_attributes = message.message_attributes, message.message_system_attributes
    return {
        "md5_of_message_body": md5_of_body(message.message_body),
        "md5_of_message_attributes": md5_of_attributes(attributes) if attributes else None,
        "md5_of_message_system_attributes": md5_of_attributes(system_attributes) if system_attributes else None,
    }


def _check_standard(message: SentMessage) -> None:
    """A group id marks a tenant; a deduplication id is for FIFO queues (AWS's SendMessage)."""
    if message.message_deduplication_id is not None:
        reason = "The request includes a parameter that is not valid for this queue type."
        raise invalid_parameter("MessageDeduplicationId", message.message_deduplication_id, reason)


def _check_fifo(queue: "Queue", message: SentMessage, *, in_batch: bool) -> None:
    """What a FIFO queue asks for, and that a message of it has no delay (AWS's SendMessage and SendMessageBatch)."""
    if message.message_group_id is None:
        fault = missing_parameter("MessageGroupId")
        raise Fault(faults.INVALID_PARAMETER_VALUE, fault.message) if in_batch else fault
    if message.message_deduplication_id is None and queue.attributes["ContentBasedDeduplication"] != "true":
        raise Fault(
            faults.INVALID_PARAMETER_VALUE,
            "The queue should either have ContentBasedDeduplication enabled or MessageDeduplicationId provided "
            "explicitly",
        )
    if message.delay_seconds:
        reason = "The request include parameter that is not valid for this queue type."
        raise invalid_parameter("DelaySeconds", message.delay_seconds, reason)


def _sequence_number(queue: "Queue", sent: Sent) -> str | None:
    return sequence_number(sent.seq) if queue.is_fifo else None


def _outgoing(service: "Service", queue: "Queue", message: SentMessage, context: "Context") -> Outgoing:
    trace = (message.message_system_attributes or {}).get(TRACE_HEADER)
    deduplication_id = message.message_deduplication_id
    if queue.is_fifo and deduplication_id is None:
        deduplication_id = hashlib.sha256(message.message_body.encode()).hexdigest()  # as AWS makes it
    content = Content(
        service.ids.message_id(),
        message.message_body,
        context.sender_id,
        message.message_attributes or {},
        trace.string_value if trace else context.trace_header,
        message.message_group_id,
        deduplication_id,
    )
    return Outgoing(content, None if queue.is_fifo else message.delay_seconds)
