// Command clients drives every family of SQS's actions with the AWS SDK for Go.
//
// The endpoint, region and keys are the SDK's own: AWS_ENDPOINT_URL_SQS and its fellows. Says "ok <step>" after each
// step, and ends at the first wrong answer.
package main

import (
	"context"
	"fmt"
	"reflect"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsmiddleware "github.com/aws/aws-sdk-go-v2/aws/middleware"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/smithy-go/middleware"
)

var ctx = context.Background()

type step struct {
	name string
	do   func(*run)
}

func main() {
	settings := must(config.LoadDefaultConfig(ctx))
	asked := map[string]bool{}
	client := sqs.NewFromConfig(settings, func(options *sqs.Options) {
		// One attempt: an error is an answer, not a reason to ask again.
		options.Retryer = aws.NopRetryer{}
		options.APIOptions = append(options.APIOptions, noting(asked))
	})
	r := &run{sqs: client, prefix: "go"}
	defer r.deleteQueues()
	for _, one := range slices.Concat(queueSteps, messageSteps, batchSteps, deadLetterSteps, fifoSteps, refusalSteps) {
		one.do(r)
		fmt.Println("ok", one.name)
	}
	for _, action := range actions(client) {
		expectTrue(asked[action], action+" was asked for")
	}
	fmt.Println("ok every_action")
}

// noting has the SDK write down the action of each request.
func noting(asked map[string]bool) func(*middleware.Stack) error {
	note := func(ctx context.Context, in middleware.InitializeInput, next middleware.InitializeHandler) (
		middleware.InitializeOutput, middleware.Metadata, error,
	) {
		asked[awsmiddleware.GetOperationName(ctx)] = true
		return next.HandleInitialize(ctx, in)
	}
	return func(stack *middleware.Stack) error {
		return stack.Initialize.Add(middleware.InitializeMiddlewareFunc("Noting", note), middleware.After)
	}
}

// actions lists those that the client has a method for.
func actions(client *sqs.Client) []string {
	var names []string
	kind := reflect.TypeOf(client)
	for number := range kind.NumMethod() {
		if name := kind.Method(number).Name; name != "Options" {
			names = append(names, name)
		}
	}
	return names
}
