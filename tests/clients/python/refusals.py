"""Errors: each as the exception that boto3 has for it, with the code that it had in every version of boto3."""

from expecting import Run

LEGACY = "AWS.SimpleQueueService."
ACTIONS = [
    "SendMessage",
    "ReceiveMessage",
    "DeleteMessage",
    "ChangeMessageVisibility",
    "GetQueueAttributes",
    "GetQueueUrl",
    "ListDeadLetterSourceQueues",
    "PurgeQueue",
]


def _entries(*ids: str, body: str = "gift") -> list[dict[str, str]]:
    return [{"Id": one, "MessageBody": body} for one in ids]


def queue_does_not_exist(run: Run) -> None:
    gone = run.queue("here").replace(run.name("here"), run.name("gone"))
    code = f"{LEGACY}NonExistentQueue"
    run.refused("QueueDoesNotExist", code, run.sqs.send_message, QueueUrl=gone, MessageBody="gift")
    run.refused("QueueDoesNotExist", code, run.sqs.receive_message, QueueUrl=gone)
    run.refused("QueueDoesNotExist", code, run.sqs.delete_queue, QueueUrl=gone)


def queue_deleted_recently(run: Run) -> None:
    run.sqs.delete_queue(QueueUrl=run.queue("brief"))
    code = f"{LEGACY}QueueDeletedRecently"
    run.refused("QueueDeletedRecently", code, run.sqs.create_queue, QueueName=run.name("brief"))


def receipt_handle_is_invalid(run: Run) -> None:
    handle = {"QueueUrl": run.queue("handles"), "ReceiptHandle": "garbage"}
    shape = "ReceiptHandleIsInvalid"
    run.refused(shape, shape, run.sqs.delete_message, **handle)
    run.refused(shape, shape, run.sqs.change_message_visibility, **handle, VisibilityTimeout=0)


def message_not_inflight(run: Run) -> None:
    url = run.fifo("back")
    run.sqs.send_message(QueueUrl=url, MessageBody="gift", MessageGroupId="group", MessageDeduplicationId="one")
    (message,) = run.receive(url)
    handle = {"QueueUrl": url, "ReceiptHandle": message["ReceiptHandle"]}
    run.sqs.change_message_visibility(**handle, VisibilityTimeout=0)
    hide = run.sqs.change_message_visibility
    run.refused("MessageNotInflight", f"{LEGACY}MessageNotInflight", hide, **handle, VisibilityTimeout=60)
    run.refused(None, "InvalidParameterValue", run.sqs.delete_message, **handle)


def empty_batch_request(run: Run) -> None:
    asked = {"QueueUrl": run.queue("empty"), "Entries": []}
    for call in (run.sqs.send_message_batch, run.sqs.delete_message_batch, run.sqs.change_message_visibility_batch):
        run.refused("EmptyBatchRequest", f"{LEGACY}EmptyBatchRequest", call, **asked)


def batch_entry_ids_not_distinct(run: Run) -> None:
    asked = {"QueueUrl": run.queue("twice"), "Entries": _entries("same", "same")}
    run.refused("BatchEntryIdsNotDistinct", f"{LEGACY}BatchEntryIdsNotDistinct", run.sqs.send_message_batch, **asked)


def invalid_batch_entry_id(run: Run) -> None:
    asked = {"QueueUrl": run.queue("odd"), "Entries": _entries("not an id")}
    run.refused("InvalidBatchEntryId", f"{LEGACY}InvalidBatchEntryId", run.sqs.send_message_batch, **asked)


def too_many_entries_in_batch_request(run: Run) -> None:
    asked = {"QueueUrl": run.queue("many"), "Entries": _entries(*map(str, range(11)))}
    shape = "TooManyEntriesInBatchRequest"
    run.refused(shape, LEGACY + shape, run.sqs.send_message_batch, **asked)


def batch_request_too_long(run: Run) -> None:
    asked = {"QueueUrl": run.queue("long"), "Entries": _entries("a", "b", body="x" * 600_000)}
    run.refused("BatchRequestTooLong", f"{LEGACY}BatchRequestTooLong", run.sqs.send_message_batch, **asked)


def invalid_attribute_name(run: Run) -> None:
    url = run.queue("named")
    shape = "InvalidAttributeName"
    run.refused(shape, shape, run.sqs.set_queue_attributes, QueueUrl=url, Attributes={"Colour": "red"})
    run.refused(shape, shape, run.sqs.get_queue_attributes, QueueUrl=url, AttributeNames=["Colour"])


def invalid_attribute_value(run: Run) -> None:
    url = run.queue("valued")
    shape = "InvalidAttributeValue"
    run.refused(shape, shape, run.sqs.set_queue_attributes, QueueUrl=url, Attributes={"VisibilityTimeout": "43201"})


def invalid_message_contents(run: Run) -> None:
    asked = {"QueueUrl": run.queue("contents"), "MessageBody": "a\x01b"}
    run.refused("InvalidMessageContents", "InvalidMessageContents", run.sqs.send_message, **asked)


def invalid_parameter_value(run: Run) -> None:
    url = run.queue("values")
    run.refused(None, "InvalidParameterValue", run.sqs.receive_message, QueueUrl=url, MaxNumberOfMessages=11)
    run.refused(None, "InvalidParameterValue", run.sqs.receive_message, QueueUrl=url, WaitTimeSeconds=21)
    run.refused(None, "InvalidParameterValue", run.sqs.send_message, QueueUrl=url, MessageBody="x", DelaySeconds=901)
    run.refused(None, "MissingParameter", run.sqs.send_message, QueueUrl=url, MessageBody="")


def unsupported_operation(run: Run) -> None:
    listed = {"tags": {"DataType": "String", "StringListValues": ["a", "b"]}}
    asked = {"QueueUrl": run.queue("lists"), "MessageBody": "gift", "MessageAttributes": listed}
    run.refused("UnsupportedOperation", f"{LEGACY}UnsupportedOperation", run.sqs.send_message, **asked)


def over_limit(run: Run) -> None:
    asked = {"QueueUrl": run.queue("crowded"), "Label": "all", "AWSAccountIds": ["111122223333"], "Actions": ACTIONS}
    run.refused("OverLimit", "OverLimit", run.sqs.add_permission, status=403, **asked)
