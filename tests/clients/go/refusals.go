package main

import (
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
	"github.com/aws/smithy-go"
)

// refusalSteps are about errors: each as the type that the SDK has for it, with its code.
var refusalSteps = []step{
	{"queue_does_not_exist", queueDoesNotExist},
	{"queue_deleted_recently", queueDeletedRecently},
	{"receipt_handle_is_invalid", receiptHandleIsInvalid},
	{"message_not_inflight", messageNotInflight},
	{"empty_batch_request", emptyBatchRequest},
	{"batch_entry_ids_not_distinct", func(r *run) {
		refusedBatch[*types.BatchEntryIdsNotDistinct](r, "BatchEntryIdsNotDistinct", entries("gift", "same", "same"))
	}},
	{"invalid_batch_entry_id", func(r *run) {
		refusedBatch[*types.InvalidBatchEntryId](r, "InvalidBatchEntryId", entries("gift", "not an id"))
	}},
	{"too_many_entries_in_batch_request", func(r *run) {
		eleven := entries("gift", strings.Split("a b c d e f g h i j k", " ")...)
		refusedBatch[*types.TooManyEntriesInBatchRequest](r, "TooManyEntriesInBatchRequest", eleven)
	}},
	{"batch_request_too_long", func(r *run) {
		long := entries(strings.Repeat("x", 600_000), "a", "b")
		refusedBatch[*types.BatchRequestTooLong](r, "BatchRequestTooLong", long)
	}},
	{"invalid_attribute_name", invalidAttributeName},
	{"invalid_attribute_value", invalidAttributeValue},
	{"invalid_message_contents", invalidMessageContents},
	{"invalid_parameter_value", invalidParameterValue},
	{"unsupported_operation", unsupportedOperation},
	{"over_limit", overLimit},
}

// refusedBatch is refused as a whole, for a queue of its own.
func refusedBatch[E smithy.APIError](r *run, shape string, asked []types.SendMessageBatchRequestEntry) {
	refused[E](failure(r.sendBatch(r.queue(shape, nil), asked)), legacy+shape, 400)
}

func queueDoesNotExist(r *run) {
	nowhere := aws.String(strings.Replace(*r.queue("here", nil), r.name("here"), r.name("gone"), 1))
	for _, err := range []error{
		failure(r.sqs.SendMessage(ctx, &sqs.SendMessageInput{QueueUrl: nowhere, MessageBody: aws.String("gift")})),
		failure(r.sqs.ReceiveMessage(ctx, &sqs.ReceiveMessageInput{QueueUrl: nowhere})),
		failure(r.sqs.DeleteQueue(ctx, &sqs.DeleteQueueInput{QueueUrl: nowhere})),
	} {
		refused[*types.QueueDoesNotExist](err, legacy+"NonExistentQueue", 400)
	}
}

func queueDeletedRecently(r *run) {
	must(r.sqs.DeleteQueue(ctx, &sqs.DeleteQueueInput{QueueUrl: r.queue("brief", nil)}))
	err := failure(r.sqs.CreateQueue(ctx, &sqs.CreateQueueInput{QueueName: aws.String(r.name("brief"))}))
	refused[*types.QueueDeletedRecently](err, legacy+"QueueDeletedRecently", 400)
}

func receiptHandleIsInvalid(r *run) {
	url, garbage := r.queue("handles", nil), aws.String("garbage")
	asked := &sqs.DeleteMessageInput{QueueUrl: url, ReceiptHandle: garbage}
	err := failure(r.sqs.DeleteMessage(ctx, asked))
	refused[*types.ReceiptHandleIsInvalid](err, "ReceiptHandleIsInvalid", 400)
	refused[*types.ReceiptHandleIsInvalid](failure(0, r.hide(url, garbage, 0)), "ReceiptHandleIsInvalid", 400)
}

func messageNotInflight(r *run) {
	url := r.fifo("back", nil)
	must(r.sendGrouped(url, "gift", "group", "one"))
	handle := only(r.receive(url)).ReceiptHandle
	must(0, r.hide(url, handle, 0))
	refused[*types.MessageNotInflight](failure(0, r.hide(url, handle, 60)), legacy+"MessageNotInflight", 400)
	late := &sqs.DeleteMessageInput{QueueUrl: url, ReceiptHandle: handle}
	refusedPlainly(failure(r.sqs.DeleteMessage(ctx, late)), "InvalidParameterValue")
}

func emptyBatchRequest(r *run) {
	url := r.queue("empty", nil)
	hidden := &sqs.ChangeMessageVisibilityBatchInput{
		QueueUrl: url,
		Entries:  []types.ChangeMessageVisibilityBatchRequestEntry{},
	}
	deleted := &sqs.DeleteMessageBatchInput{QueueUrl: url, Entries: []types.DeleteMessageBatchRequestEntry{}}
	for _, err := range []error{
		failure(r.sendBatch(url, entries(""))),
		failure(r.sqs.ChangeMessageVisibilityBatch(ctx, hidden)),
		failure(r.sqs.DeleteMessageBatch(ctx, deleted)),
	} {
		refused[*types.EmptyBatchRequest](err, legacy+"EmptyBatchRequest", 400)
	}
}

func invalidAttributeName(r *run) {
	url := r.queue("named", nil)
	set := &sqs.SetQueueAttributesInput{QueueUrl: url, Attributes: attributes{"Colour": "red"}}
	get := &sqs.GetQueueAttributesInput{QueueUrl: url, AttributeNames: []types.QueueAttributeName{"Colour"}}
	shape := "InvalidAttributeName"
	refused[*types.InvalidAttributeName](failure(r.sqs.SetQueueAttributes(ctx, set)), shape, 400)
	refused[*types.InvalidAttributeName](failure(r.sqs.GetQueueAttributes(ctx, get)), shape, 400)
}

func invalidAttributeValue(r *run) {
	long := attributes{"VisibilityTimeout": "43201"}
	asked := &sqs.SetQueueAttributesInput{QueueUrl: r.queue("valued", nil), Attributes: long}
	err := failure(r.sqs.SetQueueAttributes(ctx, asked))
	refused[*types.InvalidAttributeValue](err, "InvalidAttributeValue", 400)
}

func invalidMessageContents(r *run) {
	asked := &sqs.SendMessageInput{QueueUrl: r.queue("contents", nil), MessageBody: aws.String("a\x01b")}
	refused[*types.InvalidMessageContents](failure(r.sqs.SendMessage(ctx, asked)), "InvalidMessageContents", 400)
}

func invalidParameterValue(r *run) {
	url := r.queue("values", nil)
	code := "InvalidParameterValue"
	many := &sqs.ReceiveMessageInput{QueueUrl: url, MaxNumberOfMessages: 11}
	refusedPlainly(failure(r.sqs.ReceiveMessage(ctx, many)), code)
	long := &sqs.ReceiveMessageInput{QueueUrl: url, WaitTimeSeconds: 21}
	refusedPlainly(failure(r.sqs.ReceiveMessage(ctx, long)), code)
	late := &sqs.SendMessageInput{QueueUrl: url, MessageBody: aws.String("x"), DelaySeconds: 901}
	refusedPlainly(failure(r.sqs.SendMessage(ctx, late)), code)
	empty := &sqs.SendMessageInput{QueueUrl: url, MessageBody: aws.String("")}
	refusedPlainly(failure(r.sqs.SendMessage(ctx, empty)), "MissingParameter")
}

func unsupportedOperation(r *run) {
	listed := types.MessageAttributeValue{DataType: aws.String("String"), StringListValues: []string{"a", "b"}}
	asked := &sqs.SendMessageInput{
		QueueUrl:          r.queue("lists", nil),
		MessageBody:       aws.String("gift"),
		MessageAttributes: map[string]types.MessageAttributeValue{"tags": listed},
	}
	err := failure(r.sqs.SendMessage(ctx, asked))
	refused[*types.UnsupportedOperation](err, legacy+"UnsupportedOperation", 400)
}

func overLimit(r *run) {
	asked := &sqs.AddPermissionInput{
		QueueUrl:      r.queue("crowded", nil),
		Label:         aws.String("all"),
		AWSAccountIds: []string{account},
		Actions: []string{
			"SendMessage", "ReceiveMessage", "DeleteMessage", "ChangeMessageVisibility",
			"GetQueueAttributes", "GetQueueUrl", "ListDeadLetterSourceQueues", "PurgeQueue",
		},
	}
	refused[*types.OverLimit](failure(r.sqs.AddPermission(ctx, asked)), "OverLimit", 403)
}
