"""SendMessage and SendMessageBatch."""

from typing import TYPE_CHECKING, TypedDict

from amply.broker.engine.commands import Outgoing, Send
from amply.broker.engine.records import Content
from amply.broker.service.batches import check_batch, sort_out
from amply.broker.sqs import faults
from amply.broker.sqs.digests import md5_of_attributes, md5_of_body
from amply.broker.sqs.faults import Fault, invalid_parameter
from amply.broker.sqs.messages import TRACE_HEADER, check_message, size_bytes
from amply.broker.sqs.shapes import (
    SendMessageBatchRequest,
    SendMessageBatchRequestEntry,
    SendMessageBatchResult,
    SendMessageBatchResultEntry,
    SendMessageRequest,
    SendMessageResult,
)

if TYPE_CHECKING:
    from amply.broker.service.service import Respond, Service
    from amply.broker.sqs.calls import Context


def send_message(service: "Service", request: SendMessageRequest, context: "Context", respond: "Respond") -> None:
    """Answered when the message is on disk."""
    key = service.key(request.queue_url, context)
    queue = service.engine.queues.existing(key)
    service.check_takes_messages()
    size = size_bytes(request.message_body, request.message_attributes)
    check_message(request, size, queue.maximum_message_size_bytes, in_batch=False)
    _check_standard(request)
    outgoing = _outgoing(service, request, context)
    result = SendMessageResult(message_id=outgoing.content.message_id, **_digests(request))
    service.execute(Send(key, [outgoing]), respond, lambda _: result, size_bytes=size)


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

    def outgoing(entry: SendMessageBatchRequestEntry) -> Outgoing:
        check_message(entry, sizes[entry.id], queue.maximum_message_size_bytes, in_batch=True)
        _check_standard(entry)
        return _outgoing(service, entry, context)

    made, failed = sort_out(entries, outgoing)
    result = SendMessageBatchResult(
        successful=[
            SendMessageBatchResultEntry(id=entry.id, message_id=message.content.message_id, **_digests(entry))
            for entry, message in made
        ],
        failed=failed,
    )
    service.execute(Send(key, [message for _, message in made]), respond, lambda _: result, size_bytes=total)


class _Digests(TypedDict):
    md5_of_message_body: str
    md5_of_message_attributes: str | None
    md5_of_message_system_attributes: str | None


def _digests(message: SendMessageRequest | SendMessageBatchRequestEntry) -> _Digests:
    """What the answer says of the message, so that its sender can tell whether it arrived whole."""
    attributes, system_attributes = message.message_attributes, message.message_system_attributes
    return {
        "md5_of_message_body": md5_of_body(message.message_body),
        "md5_of_message_attributes": md5_of_attributes(attributes) if attributes else None,
        "md5_of_message_system_attributes": md5_of_attributes(system_attributes) if system_attributes else None,
    }


def _check_standard(message: SendMessageRequest | SendMessageBatchRequestEntry) -> None:
    """A group id marks a tenant on standard queues too; a deduplication id is for FIFO queues (AWS's SendMessage)."""
    if message.message_deduplication_id is not None:
        raise invalid_parameter(
            "MessageDeduplicationId",
            message.message_deduplication_id,
            "The request includes a parameter that is not valid for this queue type.",
        )


def _outgoing(
    service: "Service", message: SendMessageRequest | SendMessageBatchRequestEntry, context: "Context"
) -> Outgoing:
    trace = (message.message_system_attributes or {}).get(TRACE_HEADER)
    content = Content(
        service.ids.message_id(),
        message.message_body,
        context.sender_id,
        message.message_attributes or {},
        trace.string_value if trace else context.trace_header,
        message.message_group_id,
    )
    return Outgoing(content, message.delay_seconds)
