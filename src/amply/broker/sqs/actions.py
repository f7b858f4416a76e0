"""The 23 actions of SQS and what this broker adds to them.

Of each the shapes, what they require, and what the Query protocol calls their lists and maps.
"""

from collections.abc import Mapping

from msgspec import Struct

from amply.broker.sqs import extensions, shapes
from amply.broker.sqs.shapes import RequestShape, ResultShape


class Action(Struct, frozen=True):
    """One action. `result` None means that it answers nothing.

    `required` are Python member names, of the request and of each entry of a batch. `query_names` tells, by JSON member
    name, what the Query protocol and its XML call one element of that list or map, in requests and in results.
    """

    name: str
    request: type[RequestShape]
    result: type[ResultShape] | None
    required: tuple[str, ...]
    entry_required: tuple[str, ...]
    query_names: Mapping[str, str]


# The members that every action calls the same, from the last Query model of SQS. A map is a list of pairs: `Tag` has a
# Key and a Value, every other map a Name and a Value.
_QUERY_NAMES = {
    "AWSAccountIds": "AWSAccountId",
    "Actions": "ActionName",
    "AttributeNames": "AttributeName",
    "Attributes": "Attribute",
    "BinaryListValues": "BinaryListValue",
    "Failed": "BatchResultErrorEntry",
    "MessageAttributeNames": "MessageAttributeName",
    "MessageAttributes": "MessageAttribute",
    "MessageSystemAttributeNames": "MessageSystemAttributeName",
    "MessageSystemAttributes": "MessageSystemAttribute",
    "Messages": "Message",
    "QueueUrls": "QueueUrl",
    "Results": "ListMessageMoveTasksResultEntry",
    "StringListValues": "StringListValue",
    "TagKeys": "TagKey",
    "Tags": "Tag",
    "queueUrls": "QueueUrl",
    "tags": "Tag",
}


def _action(request: type[RequestShape], result: type[ResultShape] | None, *required: str) -> Action:
    return Action(request.__name__.removesuffix("Request"), request, result, required, (), _QUERY_NAMES)


def _batch(request: type[RequestShape], result: type[ResultShape], *entry_required: str) -> Action:
    name = request.__name__.removesuffix("Request")
    names = _QUERY_NAMES | {"Entries": f"{name}RequestEntry", "Successful": f"{name}ResultEntry"}
    return Action(name, request, result, ("queue_url", "entries"), entry_required, names)


_ALL = (
    _action(shapes.AddPermissionRequest, None, "queue_url", "label", "aws_account_ids", "actions"),
    _action(shapes.CancelMessageMoveTaskRequest, shapes.CancelMessageMoveTaskResult, "task_handle"),
    _action(shapes.ChangeMessageVisibilityRequest, None, "queue_url", "receipt_handle", "visibility_timeout"),
    _batch(
        shapes.ChangeMessageVisibilityBatchRequest, shapes.ChangeMessageVisibilityBatchResult, "id", "receipt_handle"
    ),
    _action(shapes.CreateQueueRequest, shapes.CreateQueueResult, "queue_name"),
    _action(shapes.DeleteMessageRequest, None, "queue_url", "receipt_handle"),
    _batch(shapes.DeleteMessageBatchRequest, shapes.DeleteMessageBatchResult, "id", "receipt_handle"),
    _action(shapes.DeleteQueueRequest, None, "queue_url"),
    _action(shapes.GetQueueAttributesRequest, shapes.GetQueueAttributesResult, "queue_url"),
    _action(shapes.GetQueueUrlRequest, shapes.GetQueueUrlResult, "queue_name"),
    _action(shapes.ListDeadLetterSourceQueuesRequest, shapes.ListDeadLetterSourceQueuesResult, "queue_url"),
    _action(shapes.ListMessageMoveTasksRequest, shapes.ListMessageMoveTasksResult, "source_arn"),
    _action(shapes.ListQueueTagsRequest, shapes.ListQueueTagsResult, "queue_url"),
    _action(shapes.ListQueuesRequest, shapes.ListQueuesResult),
    _action(shapes.PurgeQueueRequest, None, "queue_url"),
    _action(shapes.ReceiveMessageRequest, shapes.ReceiveMessageResult, "queue_url"),
    _action(shapes.RemovePermissionRequest, None, "queue_url", "label"),
    _action(shapes.SendMessageRequest, shapes.SendMessageResult, "queue_url", "message_body"),
    _batch(shapes.SendMessageBatchRequest, shapes.SendMessageBatchResult, "id", "message_body"),
    _action(shapes.SetQueueAttributesRequest, None, "queue_url", "attributes"),
    _action(shapes.StartMessageMoveTaskRequest, shapes.StartMessageMoveTaskResult, "source_arn"),
    _action(shapes.TagQueueRequest, None, "queue_url", "tags"),
    _action(shapes.UntagQueueRequest, None, "queue_url", "tag_keys"),
)

# SQS's own, and nothing else.
ACTIONS: dict[str, Action] = {action.name: action for action in _ALL}
# This broker's own. They go the same road, and need permissions of SQS's actions.
EXTENSIONS: dict[str, Action] = {
    "PeekMessages": _action(extensions.PeekMessagesRequest, extensions.PeekMessagesResult, "queue_url"),
}
ANSWERED = ACTIONS | EXTENSIONS
