"""The actions on queues themselves: create, delete, find, attributes, tags, purge."""

from typing import TYPE_CHECKING

from amply.broker.auth.policies import PolicyError, parse
from amply.broker.engine.commands import (
    CreateQueue,
    DeleteQueue,
    Observe,
    PurgeQueue,
    SetQueueAttributes,
    TagQueue,
    UntagQueue,
)
from amply.broker.sqs.attributes import check_names, invalid_value, validate
from amply.broker.sqs.faults import INVALID_PARAMETER_VALUE, Fault
from amply.broker.sqs.names import check_queue_name, is_fifo_name, queue_url
from amply.broker.sqs.shapes import (
    CreateQueueRequest,
    CreateQueueResult,
    DeleteQueueRequest,
    GetQueueAttributesRequest,
    GetQueueAttributesResult,
    GetQueueUrlRequest,
    GetQueueUrlResult,
    ListQueueTagsRequest,
    ListQueueTagsResult,
    PurgeQueueRequest,
    SetQueueAttributesRequest,
    TagQueueRequest,
    UntagQueueRequest,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from amply.broker.engine.queue import Queue
    from amply.broker.service.service import Respond, Service
    from amply.broker.sqs.calls import Context
    from amply.broker.sqs.limits import Limits


def create_queue(service: "Service", request: CreateQueueRequest, context: "Context", respond: "Respond") -> None:
    """The same request again answers the same URL; one with other attributes is refused."""
    name, attributes, tags = request.queue_name, request.attributes or {}, request.tags or {}
    key = (context.account, name)
    is_fifo = attributes.get("FifoQueue", "").lower() == "true" or (
        is_fifo_name(name) and service.engine.queues.get(key) is not None
    )
    check_queue_name(name, is_fifo=is_fifo)
    valid = validate(attributes, is_fifo=is_fifo, creating=True, limits=service.limits)
    _check_policy(valid, service.limits)
    _check_tags(tags, service.limits)
    command = CreateQueue(key, valid, tags)
    result = CreateQueueResult(queue_url=queue_url(context.base_url, context.account, name))
    service.execute(command, respond, lambda _: result)


def delete_queue(service: "Service", request: DeleteQueueRequest, context: "Context", respond: "Respond") -> None:
    """The queue and its messages are gone when this is answered."""
    service.execute(DeleteQueue(service.key(request.queue_url, context)), respond, lambda _: None)


def get_queue_url(service: "Service", request: GetQueueUrlRequest, context: "Context", respond: "Respond") -> None:
    """Where a queue answers, by its name."""
    account = request.queue_owner_aws_account_id or context.account
    record = service.engine.queues.existing((account, request.queue_name)).record
    respond(GetQueueUrlResult(queue_url=queue_url(context.base_url, record.account, record.name)))


def get_queue_attributes(
    service: "Service", request: GetQueueAttributesRequest, context: "Context", respond: "Respond"
) -> None:
    """The attributes asked for, as far as they have a value (AWS API reference, GetQueueAttributes)."""
    key = service.key(request.queue_url, context)
    names = request.attribute_names or []

    def result(queue: "Queue") -> GetQueueAttributesResult:
        values = _attribute_values(queue)
        if "All" in names:
            return GetQueueAttributesResult(attributes=values)
        return GetQueueAttributesResult(attributes={name: values[name] for name in names if name in values})

    service.engine.queues.existing(key)
    check_names(names)
    service.execute(Observe(key), respond, result)


def _attribute_values(queue: "Queue") -> dict[str, str]:
    record = queue.record
    return {
        "QueueArn": queue.arn,
        "ApproximateNumberOfMessages": str(queue.ready_count),
        "ApproximateNumberOfMessagesNotVisible": str(len(queue.in_flight)),
        "ApproximateNumberOfMessagesDelayed": str(queue.delayed_count),
        "CreatedTimestamp": str(record.created_ms // 1000),
        "LastModifiedTimestamp": str(record.modified_ms // 1000),
        **queue.attributes,
    }


def set_queue_attributes(
    service: "Service", request: SetQueueAttributesRequest, context: "Context", respond: "Respond"
) -> None:
    """In force at once."""
    key = service.key(request.queue_url, context)
    record = service.engine.queues.existing(key).record
    attributes = validate(
        request.attributes,
        is_fifo=record.is_fifo,
        creating=False,
        current=record.attributes,
        limits=service.limits,
    )
    _check_policy(attributes, service.limits)
    service.execute(SetQueueAttributes(key, attributes), respond, lambda _: None)


def purge_queue(service: "Service", request: PurgeQueueRequest, context: "Context", respond: "Respond") -> None:
    """Every message is gone when this is answered."""
    service.execute(PurgeQueue(service.key(request.queue_url, context)), respond, lambda _: None)


def tag_queue(service: "Service", request: TagQueueRequest, context: "Context", respond: "Respond") -> None:
    """Set tags; the others stay."""
    key = service.key(request.queue_url, context)
    service.engine.queues.existing(key)
    _check_tags(request.tags, service.limits)
    service.execute(TagQueue(key, request.tags), respond, lambda _: None)


def untag_queue(service: "Service", request: UntagQueueRequest, context: "Context", respond: "Respond") -> None:
    """Take tags away."""
    key = service.key(request.queue_url, context)
    service.execute(UntagQueue(key, request.tag_keys), respond, lambda _: None)


def list_queue_tags(service: "Service", request: ListQueueTagsRequest, context: "Context", respond: "Respond") -> None:
    """All tags of a queue."""
    record = service.engine.queues.existing(service.key(request.queue_url, context)).record
    respond(ListQueueTagsResult(tags=record.tags))


def _check_policy(attributes: "Mapping[str, str]", limits: "Limits") -> None:
    """A policy that could not be enforced is not taken."""
    if text := attributes.get("Policy"):
        try:
            parse(text, kind="resource", limits=limits)
        except PolicyError as error:
            raise invalid_value("Policy", f"{error.message}.") from None


def _check_tags(tags: "Mapping[str, str]", limits: "Limits") -> None:
    """AWS developer guide, "Amazon SQS cost allocation tags": lengths in characters, `aws:` is AWS's own."""
    if len(tags) > limits.tags_max:
        raise Fault(INVALID_PARAMETER_VALUE, f"Too many tags: at most {limits.tags_max} on a queue.")
    for key, value in tags.items():
        if not 1 <= len(key) <= limits.tag_key_length_max:
            raise Fault(
                INVALID_PARAMETER_VALUE, f"Tag keys must be between 1 and {limits.tag_key_length_max} characters long."
            )
        if key.lower().startswith("aws:"):
            raise Fault(INVALID_PARAMETER_VALUE, f"Tag key {key} is invalid: the prefix aws: is reserved.")
        if len(value) > limits.tag_value_length_max:
            raise Fault(
                INVALID_PARAMETER_VALUE, f"Tag values can be at most {limits.tag_value_length_max} characters long."
            )
