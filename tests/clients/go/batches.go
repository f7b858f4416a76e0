package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
)

// batchSteps are about up to ten at a time, each entry with an outcome of its own.
var batchSteps = []step{
	{"send_message_batch", sendMessageBatch},
	{"send_message_batch_with_a_failed_entry", sendMessageBatchWithAFailedEntry},
	{"change_message_visibility_batch", changeMessageVisibilityBatch},
	{"delete_message_batch", deleteMessageBatch},
}

func (r *run) sendBatch(url *string, entries []types.SendMessageBatchRequestEntry) (*sqs.SendMessageBatchOutput, error) {
	return r.sqs.SendMessageBatch(ctx, &sqs.SendMessageBatchInput{QueueUrl: url, Entries: entries})
}

// entries have these ids and all the same body.
func entries(body string, ids ...string) []types.SendMessageBatchRequestEntry {
	made := []types.SendMessageBatchRequestEntry{}
	for _, id := range ids {
		made = append(made, types.SendMessageBatchRequestEntry{Id: &id, MessageBody: &body})
	}
	return made
}

// outcome tells an entry's failure by its id and code.
func outcome(failed []types.BatchResultErrorEntry) []string {
	told := []string{}
	for _, entry := range failed {
		told = append(told, *entry.Id+" "+*entry.Code)
	}
	return told
}

func sendMessageBatch(r *run) {
	url := r.queue("batch-sent", nil)
	asked := []types.SendMessageBatchRequestEntry{}
	for number := range 9 {
		asked = append(asked, entries(fmt.Sprint("gift ", number), fmt.Sprint("id-", number))...)
	}
	last := entries("with attributes", "last")[0]
	last.MessageAttributes = gift
	asked = append(asked, last)
	answer := must(r.sendBatch(url, asked))
	expect(len(answer.Failed), 0)
	expect(len(answer.Successful), len(asked))
	wanted := []string{}
	for number, entry := range answer.Successful {
		expect(*entry.Id, *asked[number].Id)
		expect(*entry.MD5OfMessageBody, md5Of(*asked[number].MessageBody))
		wanted = append(wanted, *asked[number].MessageBody)
	}
	expect(*answer.Successful[9].MD5OfMessageAttributes, giftMD5)
	received := r.receive(url)
	expect(slices.Sorted(slices.Values(bodies(received))), slices.Sorted(slices.Values(wanted)))
	for _, message := range received {
		expectTrue((*message.Body == *last.MessageBody) == (message.MessageAttributes != nil), "the last has attributes")
	}
}

func sendMessageBatchWithAFailedEntry(r *run) {
	url := r.queue("batch-partly", attributes{"MaximumMessageSize": "1024"})
	asked := append(entries("gift", "good"), entries(strings.Repeat("x", 1025), "long")...)
	answer := must(r.sendBatch(url, asked))
	expect(len(answer.Successful), 1)
	expect(*answer.Successful[0].Id, "good")
	expect(outcome(answer.Failed), []string{"long InvalidParameterValue"})
	expectTrue(answer.Failed[0].SenderFault, "the sender is to blame")
	expect(bodies(r.receive(url)), []string{"gift"})
}

// handles sends two messages, receives them, and adds a third handle that is none.
func (r *run) handles(url *string) (ids, handles []*string) {
	must(r.sendBatch(url, append(entries("one", "one"), entries("two", "two")...)))
	for _, message := range r.receive(url) {
		ids, handles = append(ids, message.Body), append(handles, message.ReceiptHandle)
	}
	return append(ids, aws.String("bad")), append(handles, aws.String("garbage"))
}

func changeMessageVisibilityBatch(r *run) {
	url := r.queue("batch-hidden", nil)
	asked := &sqs.ChangeMessageVisibilityBatchInput{QueueUrl: url}
	ids, handles := r.handles(url)
	for number := range ids {
		entry := types.ChangeMessageVisibilityBatchRequestEntry{Id: ids[number], ReceiptHandle: handles[number]}
		asked.Entries = append(asked.Entries, entry)
	}
	answer := must(r.sqs.ChangeMessageVisibilityBatch(ctx, asked))
	expect(len(answer.Successful), 2)
	expect(outcome(answer.Failed), []string{"bad ReceiptHandleIsInvalid"})
	expect(slices.Sorted(slices.Values(bodies(r.receive(url)))), []string{"one", "two"})
}

func deleteMessageBatch(r *run) {
	url := r.queue("batch-done", nil)
	asked := &sqs.DeleteMessageBatchInput{QueueUrl: url}
	ids, handles := r.handles(url)
	for number := range ids {
		entry := types.DeleteMessageBatchRequestEntry{Id: ids[number], ReceiptHandle: handles[number]}
		asked.Entries = append(asked.Entries, entry)
	}
	answer := must(r.sqs.DeleteMessageBatch(ctx, asked))
	expect(len(answer.Successful), 2)
	expect(outcome(answer.Failed), []string{"bad ReceiptHandleIsInvalid"})
	expect(r.attributes(url)["ApproximateNumberOfMessagesNotVisible"], "0")
}
