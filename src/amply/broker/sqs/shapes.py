"""The requests and results of SQS's 23 actions, under AWS's names in Python spelling.

Knows the shapes only: no ranges, no texts, no bytes. Source: AWS's service model of 2012-11-05; a test compares them.
Members that an action requires are typed as present: whoever makes a request from bytes checks that first and answers
`MissingParameter`. An empty or absent member of a result is left out of the answer, as SQS does.
"""

from typing import Annotated, Any

from msgspec import Meta, Struct, field

_CAPITALS = {"aws": "AWS", "md5": "MD5"}

# What a required member holds until the check for it has been made.
_ABSENT: Any = None

Integer = Annotated[int, Meta(ge=-(2**31), le=2**31 - 1)]


def _aws_name(member: str) -> str:
    return "".join(_CAPITALS.get(word, word.capitalize()) for word in member.split("_"))


# No shape can be part of a reference cycle, so none needs the garbage collector.
class RequestShape(Struct, frozen=True, kw_only=True, rename=_aws_name, gc=False):
    """Base of every request."""


class ResultShape(Struct, frozen=True, kw_only=True, rename=_aws_name, omit_defaults=True, gc=False):
    """Base of every result and of what results hold."""


class MessageAttributeValue(Struct, frozen=True, rename=_aws_name, omit_defaults=True, gc=False):
    """A message attribute or a message system attribute. The list values exist in the model; SQS refuses them."""

    data_type: str = ""
    string_value: str | None = None
    binary_value: bytes | None = None
    string_list_values: list[str] | None = None
    binary_list_values: list[bytes] | None = None


class BatchResultErrorEntry(ResultShape, frozen=True, kw_only=True):
    """Why one entry of a batch failed."""

    id: str
    sender_fault: bool
    code: str
    message: str | None = None


class SendMessageRequest(RequestShape, frozen=True, kw_only=True):
    """`delay_seconds` 0-900."""

    queue_url: str = _ABSENT
    message_body: str = _ABSENT
    delay_seconds: Integer | None = None
    message_attributes: dict[str, MessageAttributeValue] | None = None
    message_system_attributes: dict[str, MessageAttributeValue] | None = None
    message_deduplication_id: str | None = None
    message_group_id: str | None = None


class SendMessageResult(ResultShape, frozen=True, kw_only=True):
    """The digests are lower-case hex MD5."""

    message_id: str
    md5_of_message_body: str
    md5_of_message_attributes: str | None = None
    md5_of_message_system_attributes: str | None = None
    sequence_number: str | None = None


class SendMessageBatchRequestEntry(RequestShape, frozen=True, kw_only=True):
    """One message of a batch."""

    id: str = _ABSENT
    message_body: str = _ABSENT
    delay_seconds: Integer | None = None
    message_attributes: dict[str, MessageAttributeValue] | None = None
    message_system_attributes: dict[str, MessageAttributeValue] | None = None
    message_deduplication_id: str | None = None
    message_group_id: str | None = None


class SendMessageBatchRequest(RequestShape, frozen=True, kw_only=True):
    """1-10 entries."""

    queue_url: str = _ABSENT
    entries: list[SendMessageBatchRequestEntry] = _ABSENT


class SendMessageBatchResultEntry(ResultShape, frozen=True, kw_only=True):
    """One message that was sent."""

    id: str
    message_id: str
    md5_of_message_body: str
    md5_of_message_attributes: str | None = None
    md5_of_message_system_attributes: str | None = None
    sequence_number: str | None = None


class SendMessageBatchResult(ResultShape, frozen=True, kw_only=True):
    """Every entry of the request is in one of the two lists."""

    successful: list[SendMessageBatchResultEntry] = []
    failed: list[BatchResultErrorEntry] = []


class ReceiveMessageRequest(RequestShape, frozen=True, kw_only=True):
    """`max_number_of_messages` 1-10, `visibility_timeout` 0-43200 s, `wait_time_seconds` 0-20 s."""

    queue_url: str = _ABSENT
    attribute_names: list[str] | None = None
    message_system_attribute_names: list[str] | None = None
    message_attribute_names: list[str] | None = None
    max_number_of_messages: Integer | None = None
    visibility_timeout: Integer | None = None
    wait_time_seconds: Integer | None = None
    receive_request_attempt_id: str | None = None


class Message(ResultShape, frozen=True, kw_only=True):
    """A received message. `attributes` are the system attributes that were asked for."""

    message_id: str
    receipt_handle: str
    md5_of_body: str
    body: str
    attributes: dict[str, str] = {}
    md5_of_message_attributes: str | None = None
    message_attributes: dict[str, MessageAttributeValue] = {}


class ReceiveMessageResult(ResultShape, frozen=True, kw_only=True):
    """0-10 messages."""

    messages: list[Message] = []


class DeleteMessageRequest(RequestShape, frozen=True, kw_only=True):
    """Delete what a receipt handle stands for."""

    queue_url: str = _ABSENT
    receipt_handle: str = _ABSENT


class DeleteMessageBatchRequestEntry(RequestShape, frozen=True, kw_only=True):
    """One message to delete."""

    id: str = _ABSENT
    receipt_handle: str = _ABSENT


class DeleteMessageBatchRequest(RequestShape, frozen=True, kw_only=True):
    """1-10 entries."""

    queue_url: str = _ABSENT
    entries: list[DeleteMessageBatchRequestEntry] = _ABSENT


class DeleteMessageBatchResultEntry(ResultShape, frozen=True, kw_only=True):
    """One message that is deleted."""

    id: str


class DeleteMessageBatchResult(ResultShape, frozen=True, kw_only=True):
    """Every entry of the request is in one of the two lists."""

    successful: list[DeleteMessageBatchResultEntry] = []
    failed: list[BatchResultErrorEntry] = []


class ChangeMessageVisibilityRequest(RequestShape, frozen=True, kw_only=True):
    """`visibility_timeout` 0-43200 s from now."""

    queue_url: str = _ABSENT
    receipt_handle: str = _ABSENT
    visibility_timeout: Integer = _ABSENT


class ChangeMessageVisibilityBatchRequestEntry(RequestShape, frozen=True, kw_only=True):
    """`visibility_timeout` 0-43200 s from now."""

    id: str = _ABSENT
    receipt_handle: str = _ABSENT
    visibility_timeout: Integer | None = None


class ChangeMessageVisibilityBatchRequest(RequestShape, frozen=True, kw_only=True):
    """1-10 entries."""

    queue_url: str = _ABSENT
    entries: list[ChangeMessageVisibilityBatchRequestEntry] = _ABSENT


class ChangeMessageVisibilityBatchResultEntry(ResultShape, frozen=True, kw_only=True):
    """One message whose visibility changed."""

    id: str


class ChangeMessageVisibilityBatchResult(ResultShape, frozen=True, kw_only=True):
    """Every entry of the request is in one of the two lists."""

    successful: list[ChangeMessageVisibilityBatchResultEntry] = []
    failed: list[BatchResultErrorEntry] = []


class CreateQueueRequest(RequestShape, frozen=True, kw_only=True):
    """Attribute values are strings, numbers too."""

    queue_name: str = _ABSENT
    attributes: dict[str, str] | None = None
    tags: dict[str, str] | None = field(default=None, name="tags")


class CreateQueueResult(ResultShape, frozen=True, kw_only=True):
    """Where the queue answers."""

    queue_url: str


class DeleteQueueRequest(RequestShape, frozen=True, kw_only=True):
    """Delete a queue with all its messages."""

    queue_url: str = _ABSENT


class GetQueueUrlRequest(RequestShape, frozen=True, kw_only=True):
    """The owner is a 12-digit account id; absent means the caller's own."""

    queue_name: str = _ABSENT
    queue_owner_aws_account_id: str | None = None


class GetQueueUrlResult(ResultShape, frozen=True, kw_only=True):
    """Where the queue answers."""

    queue_url: str


class ListQueuesRequest(RequestShape, frozen=True, kw_only=True):
    """`max_results` 1-1000."""

    queue_name_prefix: str | None = None
    next_token: str | None = None
    max_results: Integer | None = None


class ListQueuesResult(ResultShape, frozen=True, kw_only=True):
    """`next_token` only where `max_results` was given and more queues remain."""

    queue_urls: list[str] = []
    next_token: str | None = None


class ListDeadLetterSourceQueuesRequest(RequestShape, frozen=True, kw_only=True):
    """`max_results` 1-1000."""

    queue_url: str = _ABSENT
    next_token: str | None = None
    max_results: Integer | None = None


class ListDeadLetterSourceQueuesResult(ResultShape, frozen=True, kw_only=True):
    """The list is there even when it is empty."""

    queue_urls: list[str] = field(name="queueUrls")
    next_token: str | None = None


class GetQueueAttributesRequest(RequestShape, frozen=True, kw_only=True):
    """`All` names every attribute."""

    queue_url: str = _ABSENT
    attribute_names: list[str] | None = None


class GetQueueAttributesResult(ResultShape, frozen=True, kw_only=True):
    """The attributes that were asked for and have a value."""

    attributes: dict[str, str] = {}


class SetQueueAttributesRequest(RequestShape, frozen=True, kw_only=True):
    """Attribute values are strings, numbers too."""

    queue_url: str = _ABSENT
    attributes: dict[str, str] = _ABSENT


class PurgeQueueRequest(RequestShape, frozen=True, kw_only=True):
    """Delete all messages of a queue."""

    queue_url: str = _ABSENT


class TagQueueRequest(RequestShape, frozen=True, kw_only=True):
    """Set tags; the others stay."""

    queue_url: str = _ABSENT
    tags: dict[str, str] = _ABSENT


class UntagQueueRequest(RequestShape, frozen=True, kw_only=True):
    """Take tags away."""

    queue_url: str = _ABSENT
    tag_keys: list[str] = _ABSENT


class ListQueueTagsRequest(RequestShape, frozen=True, kw_only=True):
    """All tags of a queue."""

    queue_url: str = _ABSENT


class ListQueueTagsResult(ResultShape, frozen=True, kw_only=True):
    """All tags of a queue."""

    tags: dict[str, str] = {}


class AddPermissionRequest(RequestShape, frozen=True, kw_only=True):
    """Let other accounts call actions on a queue."""

    queue_url: str = _ABSENT
    label: str = _ABSENT
    aws_account_ids: list[str] = field(default=_ABSENT, name="AWSAccountIds")
    actions: list[str] = _ABSENT


class RemovePermissionRequest(RequestShape, frozen=True, kw_only=True):
    """Take back what AddPermission gave under this label."""

    queue_url: str = _ABSENT
    label: str = _ABSENT


class StartMessageMoveTaskRequest(RequestShape, frozen=True, kw_only=True):
    """`max_number_of_messages_per_second` 1-500."""

    source_arn: str = _ABSENT
    destination_arn: str | None = None
    max_number_of_messages_per_second: Integer | None = None


class StartMessageMoveTaskResult(ResultShape, frozen=True, kw_only=True):
    """Base64 of the task's id and source."""

    task_handle: str


class CancelMessageMoveTaskRequest(RequestShape, frozen=True, kw_only=True):
    """Stop a running task; what was moved stays moved."""

    task_handle: str = _ABSENT


class CancelMessageMoveTaskResult(ResultShape, frozen=True, kw_only=True):
    """How many messages had been moved."""

    approximate_number_of_messages_moved: int


class ListMessageMoveTasksRequest(RequestShape, frozen=True, kw_only=True):
    """`max_results` 1-10."""

    source_arn: str = _ABSENT
    max_results: Integer | None = None


class ListMessageMoveTasksResultEntry(ResultShape, frozen=True, kw_only=True):
    """`status` is RUNNING, COMPLETED, CANCELLING, CANCELLED or FAILED; `started_timestamp` in epoch milliseconds."""

    task_handle: str | None = None
    status: str
    source_arn: str
    destination_arn: str | None = None
    max_number_of_messages_per_second: int | None = None
    approximate_number_of_messages_moved: int
    approximate_number_of_messages_to_move: int | None = None
    failure_reason: str | None = None
    started_timestamp: int


class ListMessageMoveTasksResult(ResultShape, frozen=True, kw_only=True):
    """Newest first."""

    results: list[ListMessageMoveTasksResultEntry]
