package main

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
)

// fifoSteps are about order, groups that are locked, deduplication and sequence numbers.
var fifoSteps = []step{
	{"fifo_queue", fifoQueue},
	{"fifo_order_and_sequence_numbers", fifoOrderAndSequenceNumbers},
	{"fifo_group_is_locked", fifoGroupIsLocked},
	{"fifo_deduplication_id", fifoDeduplicationID},
	{"fifo_content_based_deduplication", fifoContentBasedDeduplication},
	{"fifo_batch", fifoBatch},
	{"fifo_receive_attempt", fifoReceiveAttempt},
	{"fifo_dead_letters", fifoDeadLetters},
	{"fifo_refusals", fifoRefusals},
}

// sendGrouped sends to a FIFO queue; an empty id is not sent.
func (r *run) sendGrouped(url *string, body, group, deduplication string) (*sqs.SendMessageOutput, error) {
	asked := &sqs.SendMessageInput{QueueUrl: url, MessageBody: &body}
	if group != "" {
		asked.MessageGroupId = &group
	}
	if deduplication != "" {
		asked.MessageDeduplicationId = &deduplication
	}
	return r.sqs.SendMessage(ctx, asked)
}

func fifoQueue(r *run) {
	kept := r.attributes(r.fifo("kept", attributes{
		"ContentBasedDeduplication": "true",
		"DeduplicationScope":        "messageGroup",
		"FifoThroughputLimit":       "perMessageGroupId",
	}))
	expect([]string{kept["FifoQueue"], kept["ContentBasedDeduplication"]}, []string{"true", "true"})
	expect(kept["DeduplicationScope"], "messageGroup")
	expect(kept["FifoThroughputLimit"], "perMessageGroupId")
	plain := r.attributes(r.fifo("plain", nil))
	expect([]string{plain["ContentBasedDeduplication"], plain["DeduplicationScope"]}, []string{"false", "queue"})
	nameless := &sqs.CreateQueueInput{
		QueueName:  aws.String(r.name("nameless")),
		Attributes: attributes{"FifoQueue": "true"},
	}
	refusedPlainly(failure(r.sqs.CreateQueue(ctx, nameless)), "InvalidParameterValue")
}

func fifoOrderAndSequenceNumbers(r *run) {
	url := r.fifo("order", nil)
	numbers := []string{}
	for _, body := range []string{"a1", "b1", "a2", "a3"} {
		number := *must(r.sendGrouped(url, body, body[:1], "id-"+body)).SequenceNumber
		expect(len(number), 20)
		numbers = append(numbers, number)
	}
	expectTrue(slices.IsSorted(numbers), "the sequence numbers grow")
	received := r.receive(url)
	expect(slices.Sorted(slices.Values(bodies(received))), []string{"a1", "a2", "a3", "b1"})
	first := slices.DeleteFunc(bodies(received), func(body string) bool { return body == "b1" })
	expect(first, []string{"a1", "a2", "a3"})
	told := received[0].Attributes
	expect([]string{told["MessageGroupId"], told["MessageDeduplicationId"]}, []string{"a", "id-a1"})
	expect(told["SequenceNumber"], numbers[0])
}

func fifoGroupIsLocked(r *run) {
	url := r.fifo("locked", nil)
	for _, body := range []string{"a1", "a2", "b1"} {
		must(r.sendGrouped(url, body, body[:1], body))
	}
	first := only(r.receive(url, one))
	expect(*first.Body, "a1")
	expect(bodies(r.receive(url)), []string{"b1"})
	expect(len(r.receive(url)), 0)
	must(0, r.hide(url, first.ReceiptHandle, 0))
	again := only(r.receive(url, one))
	expect(*again.Body, "a1")
	r.delete(url, again.ReceiptHandle)
	expect(bodies(r.receive(url)), []string{"a2"})
}

func fifoDeduplicationID(r *run) {
	url := r.fifo("once", nil)
	first := must(r.sendGrouped(url, "first", "group", "same"))
	second := must(r.sendGrouped(url, "second", "group", "same"))
	expect(*second.MessageId, *first.MessageId)
	message := only(r.receive(url))
	expect(*message.Body, "first")
	r.delete(url, message.ReceiptHandle)
	must(r.sendGrouped(url, "third", "group", "same"))
	expect(len(r.receive(url)), 0)
}

func fifoContentBasedDeduplication(r *run) {
	url := r.fifo("content", attributes{"ContentBasedDeduplication": "true"})
	first := must(r.sendGrouped(url, "same", "group", ""))
	second := must(r.sendGrouped(url, "same", "group", ""))
	expect(*second.MessageId, *first.MessageId)
	must(r.sendGrouped(url, "same", "group", "another-id"))
	received := r.receive(url)
	expect(bodies(received), []string{"same", "same"})
	sum := sha256.Sum256([]byte("same"))
	expect(received[0].Attributes["MessageDeduplicationId"], hex.EncodeToString(sum[:]))
	expect(received[1].Attributes["MessageDeduplicationId"], "another-id")
}

func fifoBatch(r *run) {
	url := r.fifo("batch", attributes{"ContentBasedDeduplication": "true"})
	texts, asked := []string{}, []types.SendMessageBatchRequestEntry{}
	for number := range 10 {
		text := fmt.Sprint("text ", number)
		entry := entries(text, fmt.Sprint(number))[0]
		entry.MessageGroupId = aws.String("group")
		texts, asked = append(texts, text), append(asked, entry)
	}
	last := ""
	for _, entry := range must(r.sendBatch(url, asked)).Successful {
		expectTrue(*entry.SequenceNumber > last, "the sequence numbers grow")
		last = *entry.SequenceNumber
	}
	received := r.receive(url)
	expect(bodies(received), texts)
	done := &sqs.DeleteMessageBatchInput{QueueUrl: url}
	for number, message := range received {
		id := fmt.Sprint(number)
		entry := types.DeleteMessageBatchRequestEntry{Id: &id, ReceiptHandle: message.ReceiptHandle}
		done.Entries = append(done.Entries, entry)
	}
	expect(len(must(r.sqs.DeleteMessageBatch(ctx, done)).Successful), 10)
}

func fifoReceiveAttempt(r *run) {
	url := r.fifo("attempt", nil)
	must(r.sendGrouped(url, "gift", "group", "one"))
	attempt := func(id string) []types.Message {
		return r.receive(url, func(asked *sqs.ReceiveMessageInput) { asked.ReceiveRequestAttemptId = &id })
	}
	first, again := only(attempt("attempt")), only(attempt("attempt"))
	expect([]string{*again.Body, *again.ReceiptHandle}, []string{"gift", *first.ReceiptHandle})
	expect(len(attempt("another")), 0)
}

func fifoDeadLetters(r *run) {
	sick := r.fifo("ill-dlq", nil)
	source := r.fifo("ill", r.redrive(sick, 1))
	for _, body := range []string{"one", "two"} {
		must(r.sendGrouped(source, body, "group", body))
	}
	first := only(r.receive(source, one))
	expect(*first.Body, "one")
	must(0, r.hide(source, first.ReceiptHandle, 0))
	expect(bodies(r.receive(source)), []string{"two"})
	message := only(r.receive(sick))
	expect([]string{*message.Body, message.Attributes["MessageGroupId"]}, []string{"one", "group"})
	expectTrue(message.Attributes["SequenceNumber"] != "", "it has a sequence number")
}

func fifoRefusals(r *run) {
	url := r.fifo("strict", nil)
	refusedPlainly(failure(r.sendGrouped(url, "x", "", "a")), "MissingParameter")
	refusedPlainly(failure(r.sendGrouped(url, "x", "group", "")), "InvalidParameterValue")
	refusedPlainly(failure(r.sendGrouped(url, "x", "a group", "a")), "InvalidParameterValue")
	refusedPlainly(failure(r.sqs.SendMessage(ctx, &sqs.SendMessageInput{
		QueueUrl:               url,
		MessageBody:            aws.String("x"),
		MessageGroupId:         aws.String("group"),
		MessageDeduplicationId: aws.String("a"),
		DelaySeconds:           1,
	})), "InvalidParameterValue")
}
