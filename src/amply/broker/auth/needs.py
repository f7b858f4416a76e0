"""What each action asks for: which permissions, on which queues.

Knows requests and ARNs. Must not know who asks or what policies say. Sources: Service Authorization Reference,
"Actions, resources, and condition keys for Amazon SQS"; SQS guide, "Configure a dead-letter queue redrive".
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Protocol, cast

from amply.broker.auth.access import Access
from amply.broker.auth.grantable import permission_of
from amply.broker.auth.patterns import Context
from amply.broker.sqs import shapes
from amply.broker.sqs.calls import Call
from amply.broker.sqs.names import parse_queue_arn, parse_queue_url, queue_arn
from amply.broker.sqs.shapes import RequestShape
from amply.broker.sqs.task_handles import read_task_handle

# What an action on no queue in particular is asked for on.
_EVERYTHING = "*"


class Queues(Protocol):
    """What must be known of the queues there are. A queue that does not exist has no tags and no sources."""

    def tags(self, arn: str) -> Mapping[str, str]:
        """A queue's tags, for the condition keys aws:ResourceTag/<key>."""

    def dead_letter_sources(self, arn: str) -> Sequence[str]:
        """The ARNs of the queues whose dead-letter queue this is."""


def accesses(call: Call, *, region: str, keys: Context, queues: Queues) -> list[Access]:
    """Everything that must be granted for a call; it is refused if one of them is.

    `keys` are the condition keys, in lower case, that do not depend on the queue: time, address, transport, client.
    Raises the `Fault` of a request that names no queue at all: InvalidAddress for a queue URL that is none,
    InvalidParameterValue for a task handle that is none.
    """
    context = {**keys, **_request_tags(call.request)}
    found = []
    for permission, resource in _NEEDS[call.action](call, region, queues):
        resource_tags = _tag_keys("aws:resourcetag/", queues.tags(resource)) if resource != _EVERYTHING else {}
        found.append(Access(permission, resource, {**context, **resource_tags}))
    return found


def account_of(access: Access, default_account: str) -> str:
    """Whose the resource is; the default for `*` and for what is no queue's ARN."""
    parsed = parse_queue_arn(access.resource)
    return parsed[1] if parsed else default_account


# A permission and the resource that it is asked for on.
_Need = tuple[str, str]


def _on_queue(call: Call, region: str, _queues: Queues) -> Iterator[_Need]:
    """The action's own permission on the queue of its QueueUrl."""
    yield permission_of(call.action), _queue_of(call, region)


def _peek_messages(call: Call, region: str, _queues: Queues) -> Iterator[_Need]:
    """Whoever may receive messages may look at them. AWS has no permission for it, and roles must fit AWS too."""
    yield permission_of("ReceiveMessage"), _queue_of(call, region)


def _queue_of(call: Call, region: str) -> str:
    url = cast(shapes.SendMessageRequest, call.request).queue_url
    account, name = parse_queue_url(url, call.context.account)
    return queue_arn(region, account, name)


def _list_queues(call: Call, _region: str, _queues: Queues) -> Iterator[_Need]:
    yield permission_of(call.action), _EVERYTHING


def _create_queue(call: Call, region: str, _queues: Queues) -> Iterator[_Need]:
    request = cast(shapes.CreateQueueRequest, call.request)
    arn = queue_arn(region, call.context.account, request.queue_name)
    yield permission_of(call.action), arn
    if request.tags:
        yield permission_of("TagQueue"), arn


def _get_queue_url(call: Call, region: str, _queues: Queues) -> Iterator[_Need]:
    request = cast(shapes.GetQueueUrlRequest, call.request)
    account = request.queue_owner_aws_account_id or call.context.account
    yield permission_of(call.action), queue_arn(region, account, request.queue_name)


def _start_message_move_task(call: Call, _region: str, queues: Queues) -> Iterator[_Need]:
    """Whoever moves messages could also receive, delete and send them; so that must be granted."""
    request = cast(shapes.StartMessageMoveTaskRequest, call.request)
    for action in ("StartMessageMoveTask", "ReceiveMessage", "DeleteMessage", "GetQueueAttributes"):
        yield permission_of(action), request.source_arn
    destinations = (
        [request.destination_arn] if request.destination_arn else queues.dead_letter_sources(request.source_arn)
    )
    for arn in destinations:
        yield permission_of("SendMessage"), arn


def _cancel_message_move_task(call: Call, _region: str, _queues: Queues) -> Iterator[_Need]:
    handle = cast(shapes.CancelMessageMoveTaskRequest, call.request).task_handle
    yield permission_of(call.action), read_task_handle(handle).source_arn


def _list_message_move_tasks(call: Call, _region: str, _queues: Queues) -> Iterator[_Need]:
    yield permission_of(call.action), cast(shapes.ListMessageMoveTasksRequest, call.request).source_arn


def _tag_keys(prefix: str, tags: Mapping[str, str]) -> Context:
    """Tags as condition keys. Those whose keys differ in capitals alone are one condition key with many values."""
    keys: dict[str, tuple[str, ...]] = {}
    for tag, value in tags.items():
        key = f"{prefix}{tag}".lower()
        keys[key] = (*keys.get(key, ()), value)
    return keys


def _request_tags(request: RequestShape) -> Context:
    """The condition keys of the tags that a request sets or takes away."""
    if isinstance(request, shapes.UntagQueueRequest):
        return {"aws:tagkeys": tuple(request.tag_keys)}
    if isinstance(request, shapes.CreateQueueRequest | shapes.TagQueueRequest) and request.tags:
        return {"aws:tagkeys": tuple(request.tags), **_tag_keys("aws:requesttag/", request.tags)}
    return {}


# Every action has its line here.
_NEEDS: dict[str, Callable[[Call, str, Queues], Iterator[_Need]]] = {
    **dict.fromkeys(
        (
            *("AddPermission", "ChangeMessageVisibility", "ChangeMessageVisibilityBatch", "DeleteMessage"),
            *("DeleteMessageBatch", "DeleteQueue", "GetQueueAttributes", "ListDeadLetterSourceQueues"),
            *("ListQueueTags", "PurgeQueue", "ReceiveMessage", "RemovePermission", "SendMessage", "SendMessageBatch"),
            *("SetQueueAttributes", "TagQueue", "UntagQueue"),
        ),
        _on_queue,
    ),
    "CancelMessageMoveTask": _cancel_message_move_task,
    "CreateQueue": _create_queue,
    "GetQueueUrl": _get_queue_url,
    "ListMessageMoveTasks": _list_message_move_tasks,
    "ListQueues": _list_queues,
    "PeekMessages": _peek_messages,
    "StartMessageMoveTask": _start_message_move_task,
}
