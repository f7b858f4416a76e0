package main

import (
	"fmt"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
)

const (
	longest = 20 * time.Second
	gone    = "ResourceNotFoundException"
)

// deadLetterSteps are about how dead letters come about, and the tasks that move them away again.
var deadLetterSteps = []step{
	{"dead_letter_after_max_receive_count", deadLetterAfterMaxReceiveCount},
	{"move_task_back_to_the_sources", moveTaskBackToTheSources},
	{"move_task_to_a_destination", moveTaskToADestination},
	{"move_task_cancelled", moveTaskCancelled},
	{"move_task_refusals", moveTaskRefusals},
}

// drop receives the only message and gives it back at once. The SDK cannot ask for a visibility timeout of 0.
func (r *run) drop(url *string) types.Message {
	message := only(r.receive(url))
	must(0, r.hide(url, message.ReceiptHandle, 0))
	return message
}

// dead gives the URLs of a source and its dead letter queue, in which these messages have landed.
func (r *run) dead(name string, texts ...string) (source, sick *string) {
	sick = r.queue(name+"-dlq", nil)
	source = r.queue(name, r.redrive(sick, 1))
	for _, text := range texts {
		r.send(source, text)
		expect(*r.drop(source).Body, text)
		expect(len(r.receive(source)), 0)
	}
	return source, sick
}

func (r *run) start(source, destination *string, rate *int32) (*sqs.StartMessageMoveTaskOutput, error) {
	return r.sqs.StartMessageMoveTask(ctx, &sqs.StartMessageMoveTaskInput{
		SourceArn:                    source,
		DestinationArn:               destination,
		MaxNumberOfMessagesPerSecond: rate,
	})
}

// task gives the newest move task of the queue, once it has that status.
func (r *run) task(sick *string, status string) types.ListMessageMoveTasksResultEntry {
	deadline := time.Now().Add(longest)
	for {
		asked := &sqs.ListMessageMoveTasksInput{SourceArn: r.arn(sick), MaxResults: aws.Int32(10)}
		newest := must(r.sqs.ListMessageMoveTasks(ctx, asked)).Results[0]
		if *newest.Status == status {
			return newest
		}
		expectTrue(time.Now().Before(deadline), fmt.Sprintf("the task becomes %s; it is %s", status, *newest.Status))
		time.Sleep(50 * time.Millisecond)
	}
}

func deadLetterAfterMaxReceiveCount(r *run) {
	sick := r.queue("lost-dlq", nil)
	source := r.queue("lost", r.redrive(sick, 2))
	sent := r.send(source, "gift")
	for _, count := range []string{"1", "2"} {
		expect(r.drop(source).Attributes["ApproximateReceiveCount"], count)
	}
	expect(len(r.receive(source)), 0)
	message := only(r.receive(sick, waiting(20)))
	expect([]string{*message.MessageId, *message.Body}, []string{*sent.MessageId, "gift"})
	expect(message.Attributes["DeadLetterQueueSourceArn"], *r.arn(source))
	expect(message.Attributes["ApproximateReceiveCount"], "3")
}

func moveTaskBackToTheSources(r *run) {
	source, sick := r.dead("back", "one", "two")
	expectTrue(must(r.start(r.arn(sick), nil, nil)).TaskHandle != nil, "the task has a handle")
	done := r.task(sick, "COMPLETED")
	expect(*done.SourceArn, *r.arn(sick))
	expectTrue(done.TaskHandle == nil, "a task that is done has no handle")
	expect([]int64{done.ApproximateNumberOfMessagesMoved, *done.ApproximateNumberOfMessagesToMove}, []int64{2, 2})
	expectTrue(done.StartedTimestamp > recentMS, "the time of the start is in milliseconds")
	expect(slices.Sorted(slices.Values(bodies(r.receive(source)))), []string{"one", "two"})
	expect(len(r.receive(sick)), 0)
}

func moveTaskToADestination(r *run) {
	_, sick := r.dead("away", "gift")
	other := r.queue("away-other", nil)
	must(r.start(r.arn(sick), r.arn(other), aws.Int32(500)))
	expect(bodies(r.receive(other, waiting(20))), []string{"gift"})
	done := r.task(sick, "COMPLETED")
	expect(*done.DestinationArn, *r.arn(other))
	expect(*done.MaxNumberOfMessagesPerSecond, 500)
}

func moveTaskCancelled(r *run) {
	_, sick := r.dead("slow")
	must(r.sendBatch(sick, entries("gift", "0", "1", "2", "3", "4", "5", "6", "7", "8", "9")))
	arn := r.arn(sick)
	handle := must(r.start(arn, r.arn(r.queue("slow-other", nil)), aws.Int32(1))).TaskHandle
	expect(*r.task(sick, "RUNNING").TaskHandle, *handle)
	refusedPlainly(failure(r.start(arn, nil, aws.Int32(1))), "InvalidParameterValue")
	asked := &sqs.CancelMessageMoveTaskInput{TaskHandle: handle}
	moved := must(r.sqs.CancelMessageMoveTask(ctx, asked)).ApproximateNumberOfMessagesMoved
	done := r.task(sick, "CANCELLED")
	expectTrue(done.TaskHandle == nil, "a task that is cancelled has no handle")
	every := done.ApproximateNumberOfMessagesMoved
	expectTrue(moved <= every && every < 10, fmt.Sprintf("of %d, then %d, some were never moved", moved, every))
}

func moveTaskRefusals(r *run) {
	_, sick := r.dead("unmoved")
	healthy := r.arn(r.queue("no-dlq", nil))
	nowhere := aws.String(*healthy + "-gone")
	refused[*types.ResourceNotFoundException](failure(r.start(nowhere, nil, nil)), gone, 404)
	refused[*types.ResourceNotFoundException](failure(r.start(r.arn(sick), nowhere, nil)), gone, 404)
	refusedPlainly(failure(r.start(healthy, nil, nil)), "InvalidParameterValue")
	err := failure(r.sqs.ListMessageMoveTasks(ctx, &sqs.ListMessageMoveTasksInput{SourceArn: nowhere}))
	refused[*types.ResourceNotFoundException](err, gone, 404)
	garbage := &sqs.CancelMessageMoveTaskInput{TaskHandle: aws.String("garbage")}
	refusedPlainly(failure(r.sqs.CancelMessageMoveTask(ctx, garbage)), "InvalidParameterValue")
}
