package main

import (
	"crypto/md5"
	"encoding/hex"
	"strconv"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
)

// gift has the same attributes as in the other languages; python/messages.py works their digest out.
var gift = map[string]types.MessageAttributeValue{
	"kind":   {DataType: aws.String("String"), StringValue: aws.String("Spende für Öl")},
	"amount": {DataType: aws.String("Number.cents"), StringValue: aws.String("2500")},
	"seal":   {DataType: aws.String("Binary"), BinaryValue: []byte{0x00, 0xff, 0x10}},
}

const (
	giftMD5 = "43d2e4abbf3f8b3076e32501727b30ff"
	trace   = "Root=1-5759e988-bd862e3fe1be46a994272793"
	// Year 2020 in milliseconds; in seconds it would be far in the future.
	recentMS = 1_600_000_000_000
)

// messageSteps are about single messages. The SDK itself compares the digests of bodies.
var messageSteps = []step{
	{"send_and_receive", sendAndReceive},
	{"message_attributes", messageAttributes},
	{"message_system_attributes", messageSystemAttributes},
	{"message_group_on_a_standard_queue", messageGroupOnAStandardQueue},
	{"long_poll", longPoll},
	{"delay_seconds", delaySeconds},
	{"change_message_visibility", changeMessageVisibility},
	{"delete_message", deleteMessage},
}

func md5Of(text string) string {
	sum := md5.Sum([]byte(text))
	return hex.EncodeToString(sum[:])
}

func sendAndReceive(r *run) {
	url, body := r.queue("simple", nil), "Grüße, \"Welt\" <&>\r\n\t🎁"
	sent := r.send(url, body)
	expect(*sent.MD5OfMessageBody, md5Of(body))
	expectTrue(sent.SequenceNumber == nil, "it has no sequence number")
	message := only(r.receive(url))
	expect([]string{*message.MessageId, *message.Body, *message.MD5OfBody}, []string{*sent.MessageId, body, md5Of(body)})
	expect(message.Attributes["ApproximateReceiveCount"], "1")
	sentMS := must(strconv.Atoi(message.Attributes["SentTimestamp"]))
	expectTrue(sentMS > recentMS, "the time of sending is in milliseconds")
	expectTrue(message.Attributes["SenderId"] != "", "the sender is named")
	counts := r.attributes(url)
	expect(counts["ApproximateNumberOfMessages"], "0")
	expect(counts["ApproximateNumberOfMessagesNotVisible"], "1")
}

func only(messages []types.Message) types.Message {
	expect(len(messages), 1)
	return messages[0]
}

func messageAttributes(r *run) {
	url := r.queue("attributed", nil)
	asked := &sqs.SendMessageInput{QueueUrl: url, MessageBody: aws.String("gift"), MessageAttributes: gift}
	expect(*must(r.sqs.SendMessage(ctx, asked)).MD5OfMessageAttributes, giftMD5)
	message := only(r.receive(url))
	expect(message.MessageAttributes, gift)
	expect(*message.MD5OfMessageAttributes, giftMD5)
	must(0, r.hide(url, message.ReceiptHandle, 0))
	message = only(r.receive(url, func(asked *sqs.ReceiveMessageInput) {
		asked.MessageAttributeNames = []string{"seal", "none"}
	}))
	expect(message.MessageAttributes, map[string]types.MessageAttributeValue{"seal": gift["seal"]})
}

func messageSystemAttributes(r *run) {
	url := r.queue("traced", nil)
	header := types.MessageSystemAttributeValue{DataType: aws.String("String"), StringValue: aws.String(trace)}
	sent := must(r.sqs.SendMessage(ctx, &sqs.SendMessageInput{
		QueueUrl:                url,
		MessageBody:             aws.String("gift"),
		MessageSystemAttributes: map[string]types.MessageSystemAttributeValue{"AWSTraceHeader": header},
	}))
	expectTrue(sent.MD5OfMessageSystemAttributes != nil, "they have a digest")
	expectTrue(sent.MD5OfMessageAttributes == nil, "it has no other attributes")
	message := only(r.receive(url, func(asked *sqs.ReceiveMessageInput) {
		asked.MessageSystemAttributeNames = []types.MessageSystemAttributeName{"AWSTraceHeader"}
	}))
	expect(message.Attributes, map[string]string{"AWSTraceHeader": trace})
}

func messageGroupOnAStandardQueue(r *run) {
	url := r.queue("fair", nil)
	asked := &sqs.SendMessageInput{QueueUrl: url, MessageBody: aws.String("gift"), MessageGroupId: aws.String("tenant-1")}
	must(r.sqs.SendMessage(ctx, asked))
	expect(only(r.receive(url)).Attributes["MessageGroupId"], "tenant-1")
}

func longPoll(r *run) {
	url := r.queue("polled", nil)
	expect(len(r.receive(url)), 0)
	r.send(url, "again")
	hidden := r.receive(url, func(asked *sqs.ReceiveMessageInput) { asked.VisibilityTimeout = 1 })
	expect(bodies(hidden), []string{"again"})
	expect(len(r.receive(url)), 0)
	expect(only(r.receive(url, waiting(20))).Attributes["ApproximateReceiveCount"], "2")
}

func delaySeconds(r *run) {
	url := r.queue("delayed", attributes{"DelaySeconds": "900"})
	r.send(url, "much later")
	soon := &sqs.SendMessageInput{QueueUrl: url, MessageBody: aws.String("soon"), DelaySeconds: 1}
	must(r.sqs.SendMessage(ctx, soon))
	expect(r.attributes(url)["ApproximateNumberOfMessagesDelayed"], "2")
	expect(len(r.receive(url)), 0)
	expect(bodies(r.receive(url, waiting(20))), []string{"soon"})
}

func changeMessageVisibility(r *run) {
	url := r.queue("hidden", nil)
	r.send(url, "gift")
	handle := only(r.receive(url)).ReceiptHandle
	must(0, r.hide(url, handle, 600))
	expect(len(r.receive(url)), 0)
	must(0, r.hide(url, handle, 0))
	message := only(r.receive(url))
	expect(message.Attributes["ApproximateReceiveCount"], "2")
	r.delete(url, message.ReceiptHandle)
	refusedPlainly(failure(0, r.hide(url, message.ReceiptHandle, 1)), "InvalidParameterValue")
}

func deleteMessage(r *run) {
	url := r.queue("done", nil)
	r.send(url, "gift")
	handle := only(r.receive(url)).ReceiptHandle
	r.delete(url, handle)
	r.delete(url, handle)
	expect(r.attributes(url)["ApproximateNumberOfMessagesNotVisible"], "0")
}
