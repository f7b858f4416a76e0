"""Queues: their lives, attributes, tags, permissions, and lists of them."""

import json

from expecting import Run, expect, expect_true

ACCOUNT = "111122223333"


def create_queue(run: Run) -> None:
    attributes = {"VisibilityTimeout": "60", "DelaySeconds": "0"}
    asked = {"QueueName": run.name("created"), "Attributes": attributes, "tags": {"team": "giving"}}
    url = run.sqs.create_queue(**asked)["QueueUrl"]
    expect(url.rpartition("/")[2], run.name("created"))
    expect(run.sqs.create_queue(**asked)["QueueUrl"], url)
    expect(run.queue("created"), url)
    expect(run.sqs.list_queue_tags(QueueUrl=url)["Tags"], {"team": "giving"})


def queue_name_exists(run: Run) -> None:
    run.queue("taken", VisibilityTimeout="60")
    other = {"QueueName": run.name("taken"), "Attributes": {"VisibilityTimeout": "61"}}
    run.refused("QueueNameExists", "QueueAlreadyExists", run.sqs.create_queue, **other)


def get_queue_url(run: Run) -> None:
    url = run.queue("found")
    expect(run.sqs.get_queue_url(QueueName=run.name("found"))["QueueUrl"], url)


def queue_attributes(run: Run) -> None:
    url = run.queue("attributes", VisibilityTimeout="60")
    run.sqs.set_queue_attributes(QueueUrl=url, Attributes={"DelaySeconds": "5", "MessageRetentionPeriod": "3600"})
    every = run.attributes(url)
    expect(
        {name: every[name] for name in ("VisibilityTimeout", "DelaySeconds", "MessageRetentionPeriod")},
        {"VisibilityTimeout": "60", "DelaySeconds": "5", "MessageRetentionPeriod": "3600"},
    )
    expect(every["ApproximateNumberOfMessages"], "0")
    expect_true(every["QueueArn"].endswith(f":{run.name('attributes')}"), "the ARN ends with the name")
    expect(run.attributes(url, "DelaySeconds"), {"DelaySeconds": "5"})


def list_queues_in_pages(run: Run) -> None:
    urls = [run.queue(f"page-{number}") for number in range(3)]
    pages = run.sqs.get_paginator("list_queues").paginate(
        QueueNamePrefix=run.name("page-"), PaginationConfig={"PageSize": 2}
    )
    listed = [page["QueueUrls"] for page in pages]
    expect([len(page) for page in listed], [2, 1])
    expect(sorted(listed[0] + listed[1]), sorted(urls))
    expect("QueueUrls" in run.sqs.list_queues(QueueNamePrefix=run.name("nothing-")), False)


def queue_tags(run: Run) -> None:
    url = run.queue("tagged")
    run.sqs.tag_queue(QueueUrl=url, Tags={"team": "giving", "tier": "Größe 1"})
    run.sqs.untag_queue(QueueUrl=url, TagKeys=["team", "none"])
    expect(run.sqs.list_queue_tags(QueueUrl=url)["Tags"], {"tier": "Größe 1"})


def permissions(run: Run) -> None:
    url = run.queue("permitted")
    asked = {"QueueUrl": url, "Label": "partner", "AWSAccountIds": [ACCOUNT], "Actions": ["SendMessage", "GetQueueUrl"]}
    run.sqs.add_permission(**asked)
    (statement,) = json.loads(run.attributes(url, "Policy")["Policy"])["Statement"]
    expect((statement["Sid"], statement["Effect"], statement["Resource"]), ("partner", "Allow", run.arn(url)))
    expect(statement["Principal"], {"AWS": f"arn:aws:iam::{ACCOUNT}:root"})
    expect(statement["Action"], ["SQS:SendMessage", "SQS:GetQueueUrl"])
    run.refused(None, "InvalidParameterValue", run.sqs.add_permission, **asked)
    run.sqs.remove_permission(QueueUrl=url, Label="partner")
    expect(run.attributes(url, "Policy"), {})
    run.refused(None, "InvalidParameterValue", run.sqs.remove_permission, QueueUrl=url, Label="partner")


def list_dead_letter_source_queues_in_pages(run: Run) -> None:
    sick = run.queue("sick")
    sources = [run.queue(f"source-{number}", RedrivePolicy=run.redrive(sick, 3)) for number in range(3)]
    pages = run.sqs.get_paginator("list_dead_letter_source_queues").paginate(
        QueueUrl=sick, PaginationConfig={"PageSize": 2}
    )
    listed = [page["queueUrls"] for page in pages]
    expect([len(page) for page in listed], [2, 1])
    expect(sorted(listed[0] + listed[1]), sorted(sources))


def purge_queue(run: Run) -> None:
    url = run.queue("purged")
    run.sqs.send_message(QueueUrl=url, MessageBody="in flight")
    run.receive(url)
    run.sqs.send_message(QueueUrl=url, MessageBody="ready")
    run.sqs.send_message(QueueUrl=url, MessageBody="later", DelaySeconds=900)
    run.sqs.purge_queue(QueueUrl=url)
    counts = run.attributes(url)
    numbers = [counts[f"ApproximateNumberOfMessages{kind}"] for kind in ("", "NotVisible", "Delayed")]
    expect(numbers, ["0", "0", "0"])
    code = "AWS.SimpleQueueService.PurgeQueueInProgress"
    run.refused("PurgeQueueInProgress", code, run.sqs.purge_queue, status=403, QueueUrl=url)


def delete_queue(run: Run) -> None:
    url = run.queue("deleted")
    run.sqs.delete_queue(QueueUrl=url)
    code = "AWS.SimpleQueueService.NonExistentQueue"
    run.refused("QueueDoesNotExist", code, run.sqs.get_queue_url, QueueName=run.name("deleted"))
