package main

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
)

const (
	account = "111122223333"
	legacy  = "AWS.SimpleQueueService."
)

// queueSteps are about queues: their lives, attributes, tags, permissions, and lists of them.
var queueSteps = []step{
	{"create_queue", createQueue},
	{"queue_name_exists", queueNameExists},
	{"get_queue_url", getQueueURL},
	{"queue_attributes", queueAttributes},
	{"list_queues_in_pages", listQueuesInPages},
	{"queue_tags", queueTags},
	{"permissions", permissions},
	{"list_dead_letter_source_queues_in_pages", listDeadLetterSourceQueuesInPages},
	{"purge_queue", purgeQueue},
	{"delete_queue", deleteQueue},
}

func createQueue(r *run) {
	asked := &sqs.CreateQueueInput{
		QueueName:  aws.String(r.name("created")),
		Attributes: attributes{"VisibilityTimeout": "60", "DelaySeconds": "0"},
		Tags:       map[string]string{"team": "giving"},
	}
	url := must(r.sqs.CreateQueue(ctx, asked)).QueueUrl
	expectTrue(strings.HasSuffix(*url, "/"+r.name("created")), "the URL ends with the name")
	expect(must(r.sqs.CreateQueue(ctx, asked)).QueueUrl, url)
	expect(r.queue("created", nil), url)
	expect(r.tags(url), map[string]string{"team": "giving"})
}

func queueNameExists(r *run) {
	r.queue("taken", attributes{"VisibilityTimeout": "60"})
	other := &sqs.CreateQueueInput{
		QueueName:  aws.String(r.name("taken")),
		Attributes: attributes{"VisibilityTimeout": "61"},
	}
	refused[*types.QueueNameExists](failure(r.sqs.CreateQueue(ctx, other)), "QueueAlreadyExists", 400)
}

func getQueueURL(r *run) {
	url := r.queue("found", nil)
	asked := &sqs.GetQueueUrlInput{QueueName: aws.String(r.name("found"))}
	expect(must(r.sqs.GetQueueUrl(ctx, asked)).QueueUrl, url)
}

func queueAttributes(r *run) {
	url := r.queue("attributes", attributes{"VisibilityTimeout": "60"})
	changed := attributes{"DelaySeconds": "5", "MessageRetentionPeriod": "3600"}
	must(r.sqs.SetQueueAttributes(ctx, &sqs.SetQueueAttributesInput{QueueUrl: url, Attributes: changed}))
	every := r.attributes(url)
	expect(
		[]string{every["VisibilityTimeout"], every["DelaySeconds"], every["MessageRetentionPeriod"]},
		[]string{"60", "5", "3600"},
	)
	expect(every["ApproximateNumberOfMessages"], "0")
	expectTrue(strings.HasSuffix(every["QueueArn"], ":"+r.name("attributes")), "the ARN ends with the name")
	expect(r.attributes(url, "DelaySeconds"), attributes{"DelaySeconds": "5"})
}

func listQueuesInPages(r *run) {
	urls := []string{}
	for number := range 3 {
		urls = append(urls, *r.queue(fmt.Sprint("page-", number), nil))
	}
	listed, lengths := []string{}, []int{}
	asked := &sqs.ListQueuesInput{QueueNamePrefix: aws.String(r.name("page-")), MaxResults: aws.Int32(2)}
	for pages := sqs.NewListQueuesPaginator(r.sqs, asked); pages.HasMorePages(); {
		page := must(pages.NextPage(ctx)).QueueUrls
		listed, lengths = append(listed, page...), append(lengths, len(page))
	}
	expect(lengths, []int{2, 1})
	expect(slices.Sorted(slices.Values(listed)), slices.Sorted(slices.Values(urls)))
	none := &sqs.ListQueuesInput{QueueNamePrefix: aws.String(r.name("nothing-"))}
	expect(len(must(r.sqs.ListQueues(ctx, none)).QueueUrls), 0)
}

func (r *run) tags(url *string) map[string]string {
	return must(r.sqs.ListQueueTags(ctx, &sqs.ListQueueTagsInput{QueueUrl: url})).Tags
}

func queueTags(r *run) {
	url := r.queue("tagged", nil)
	tags := map[string]string{"team": "giving", "tier": "Größe 1"}
	must(r.sqs.TagQueue(ctx, &sqs.TagQueueInput{QueueUrl: url, Tags: tags}))
	must(r.sqs.UntagQueue(ctx, &sqs.UntagQueueInput{QueueUrl: url, TagKeys: []string{"team", "none"}}))
	expect(r.tags(url), map[string]string{"tier": "Größe 1"})
}

func permissions(r *run) {
	url, label := r.queue("permitted", nil), aws.String("partner")
	asked := &sqs.AddPermissionInput{
		QueueUrl:      url,
		Label:         label,
		AWSAccountIds: []string{account},
		Actions:       []string{"SendMessage", "GetQueueUrl"},
	}
	must(r.sqs.AddPermission(ctx, asked))
	var policy struct {
		Statement []struct {
			Sid, Effect, Resource string
			Principal             map[string]string
			Action                []string
		}
	}
	err := json.Unmarshal([]byte(r.attributes(url, "Policy")["Policy"]), &policy)
	expectTrue(err == nil && len(policy.Statement) == 1, "the policy is one statement")
	statement := policy.Statement[0]
	expect([]string{statement.Sid, statement.Effect, statement.Resource}, []string{*label, "Allow", *r.arn(url)})
	expect(statement.Principal, map[string]string{"AWS": "arn:aws:iam::" + account + ":root"})
	expect(statement.Action, []string{"SQS:SendMessage", "SQS:GetQueueUrl"})
	refusedPlainly(failure(r.sqs.AddPermission(ctx, asked)), "InvalidParameterValue")
	removed := &sqs.RemovePermissionInput{QueueUrl: url, Label: label}
	must(r.sqs.RemovePermission(ctx, removed))
	expect(len(r.attributes(url, "Policy")), 0)
	refusedPlainly(failure(r.sqs.RemovePermission(ctx, removed)), "InvalidParameterValue")
}

func listDeadLetterSourceQueuesInPages(r *run) {
	sick := r.queue("sick", nil)
	sources := []string{}
	for number := range 3 {
		sources = append(sources, *r.queue(fmt.Sprint("source-", number), r.redrive(sick, 3)))
	}
	listed, lengths := []string{}, []int{}
	asked := &sqs.ListDeadLetterSourceQueuesInput{QueueUrl: sick, MaxResults: aws.Int32(2)}
	for pages := sqs.NewListDeadLetterSourceQueuesPaginator(r.sqs, asked); pages.HasMorePages(); {
		page := must(pages.NextPage(ctx)).QueueUrls
		listed, lengths = append(listed, page...), append(lengths, len(page))
	}
	expect(lengths, []int{2, 1})
	expect(slices.Sorted(slices.Values(listed)), slices.Sorted(slices.Values(sources)))
}

func purgeQueue(r *run) {
	url := r.queue("purged", nil)
	r.send(url, "in flight")
	r.receive(url)
	r.send(url, "ready")
	later := &sqs.SendMessageInput{QueueUrl: url, MessageBody: aws.String("later"), DelaySeconds: 900}
	must(r.sqs.SendMessage(ctx, later))
	purge := &sqs.PurgeQueueInput{QueueUrl: url}
	must(r.sqs.PurgeQueue(ctx, purge))
	counts := r.attributes(url)
	for _, kind := range []string{"", "NotVisible", "Delayed"} {
		expect(counts["ApproximateNumberOfMessages"+kind], "0")
	}
	refused[*types.PurgeQueueInProgress](failure(r.sqs.PurgeQueue(ctx, purge)), legacy+"PurgeQueueInProgress", 403)
}

func deleteQueue(r *run) {
	must(r.sqs.DeleteQueue(ctx, &sqs.DeleteQueueInput{QueueUrl: r.queue("deleted", nil)}))
	err := failure(r.sqs.GetQueueUrl(ctx, &sqs.GetQueueUrlInput{QueueName: aws.String(r.name("deleted"))}))
	refused[*types.QueueDoesNotExist](err, legacy+"NonExistentQueue", 400)
}
