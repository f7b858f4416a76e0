package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
	"github.com/aws/smithy-go"
)

// What the steps share: queues of their own, and answers that are either as expected or end the run. A wrong answer
// panics: the trace names the step and its line.

// all asks for every attribute.
const all = "All"

type attributes map[string]string

// run is one run of the program: the SDK's client, and queues whose names start with the prefix.
type run struct {
	sqs    *sqs.Client
	prefix string
	urls   []string
}

// must gives the answer of a call that must not fail.
func must[T any](answer T, err error) T {
	if err != nil {
		panic(err)
	}
	return answer
}

// failure gives the error of a call that must fail.
func failure[T any](_ T, err error) error {
	if err == nil {
		panic("there is no error")
	}
	return err
}

// expect ends the run if these differ.
func expect[T any](got, wanted T) {
	if !reflect.DeepEqual(got, wanted) {
		panic(fmt.Sprintf("got %+v, expected %+v", got, wanted))
	}
}

// expectTrue ends the run if this is not so.
func expectTrue(fact bool, what string) {
	if !fact {
		panic("it is not so that " + what)
	}
}

// refused expects the SDK's own type of error, this code and this HTTP status.
func refused[E smithy.APIError](err error, code string, status int) {
	var typed E
	if !errors.As(err, &typed) {
		panic(fmt.Sprintf("got %v, expected %T", err, typed))
	}
	expect(typed.ErrorCode(), code)
	// AWS's model gives this one no message, so the SDK reads none.
	_, silent := any(typed).(*types.MessageNotInflight)
	expectTrue(silent || typed.ErrorMessage() != "", "the error has a message")
	var response *awshttp.ResponseError
	expectTrue(errors.As(err, &response), "the error came with a response")
	expect(response.HTTPStatusCode(), status)
}

// refusedPlainly expects an error that the SDK has no type for.
func refusedPlainly(err error, code string) {
	refused[*smithy.GenericAPIError](err, code, 400)
}

func (r *run) name(queue string) string {
	return r.prefix + "-" + queue
}

// queue creates one, and gives its URL.
func (r *run) queue(queue string, given attributes) *string {
	asked := &sqs.CreateQueueInput{QueueName: aws.String(r.name(queue)), Attributes: given}
	url := must(r.sqs.CreateQueue(ctx, asked)).QueueUrl
	r.urls = append(r.urls, *url)
	return url
}

// fifo creates a FIFO queue, and gives its URL.
func (r *run) fifo(queue string, given attributes) *string {
	wanted := attributes{"FifoQueue": "true"}
	for name, value := range given {
		wanted[name] = value
	}
	return r.queue(queue+".fifo", wanted)
}

// attributes of a queue; without names, all.
func (r *run) attributes(url *string, names ...types.QueueAttributeName) attributes {
	if len(names) == 0 {
		names = []types.QueueAttributeName{all}
	}
	return must(r.sqs.GetQueueAttributes(ctx, &sqs.GetQueueAttributesInput{QueueUrl: url, AttributeNames: names})).Attributes
}

func (r *run) arn(url *string) *string {
	return aws.String(r.attributes(url, "QueueArn")["QueueArn"])
}

// redrive gives the attributes of a queue with a redrive policy to the queue of that URL.
func (r *run) redrive(deadLetters *string, count int) attributes {
	policy := map[string]any{"deadLetterTargetArn": *r.arn(deadLetters), "maxReceiveCount": count}
	return attributes{"RedrivePolicy": string(must(json.Marshal(policy)))}
}

// send a message without any more to it.
func (r *run) send(url *string, body string) *sqs.SendMessageOutput {
	return must(r.sqs.SendMessage(ctx, &sqs.SendMessageInput{QueueUrl: url, MessageBody: &body}))
}

// receive up to ten messages with all their attributes; changes may ask otherwise.
func (r *run) receive(url *string, changes ...func(*sqs.ReceiveMessageInput)) []types.Message {
	asked := &sqs.ReceiveMessageInput{
		QueueUrl:                    url,
		MaxNumberOfMessages:         10,
		MessageSystemAttributeNames: []types.MessageSystemAttributeName{all},
		MessageAttributeNames:       []string{all},
	}
	for _, change := range changes {
		change(asked)
	}
	return must(r.sqs.ReceiveMessage(ctx, asked)).Messages
}

// waiting makes a long poll of a receive.
func waiting(seconds int32) func(*sqs.ReceiveMessageInput) {
	return func(asked *sqs.ReceiveMessageInput) { asked.WaitTimeSeconds = seconds }
}

// one makes a receive ask for a single message.
func one(asked *sqs.ReceiveMessageInput) {
	asked.MaxNumberOfMessages = 1
}

func (r *run) delete(url, handle *string) {
	must(r.sqs.DeleteMessage(ctx, &sqs.DeleteMessageInput{QueueUrl: url, ReceiptHandle: handle}))
}

func (r *run) hide(url, handle *string, seconds int32) error {
	asked := &sqs.ChangeMessageVisibilityInput{QueueUrl: url, ReceiptHandle: handle, VisibilityTimeout: seconds}
	_, err := r.sqs.ChangeMessageVisibility(ctx, asked)
	return err
}

// deleteQueues takes away what was created, as far as it is still there.
func (r *run) deleteQueues() {
	for _, url := range r.urls {
		_, err := r.sqs.DeleteQueue(ctx, &sqs.DeleteQueueInput{QueueUrl: &url})
		var gone *types.QueueDoesNotExist
		if err != nil && !errors.As(err, &gone) {
			panic(err)
		}
	}
}

// bodies are what the messages say, in their order.
func bodies(messages []types.Message) []string {
	texts := []string{}
	for _, message := range messages {
		texts = append(texts, *message.Body)
	}
	return texts
}
