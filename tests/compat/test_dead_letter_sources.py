"""boto3: ListDeadLetterSourceQueues tells whose dead letters a queue takes."""

import json

import pytest


@pytest.fixture
def dead(sqs):
    """The URL of a queue for dead letters."""
    return sqs.create_queue(QueueName="dead")["QueueUrl"]


@pytest.fixture
def make_sources(sqs):
    """Make queues whose dead letters go to `dead`; their URLs in order of their names."""

    def make(*names):
        policy = {"deadLetterTargetArn": "arn:aws:sqs:eu-central-1:000000000000:dead", "maxReceiveCount": 3}
        attributes = {"RedrivePolicy": json.dumps(policy)}
        return [sqs.create_queue(QueueName=name, Attributes=attributes)["QueueUrl"] for name in sorted(names)]

    return make


def test_the_sources_of_a_dead_letter_queue_are_listed_while_they_are(sqs, dead, make_sources):
    sqs.create_queue(QueueName="other")
    urls = make_sources("b", "a")
    assert sqs.list_dead_letter_source_queues(QueueUrl=dead)["queueUrls"] == urls
    sqs.set_queue_attributes(QueueUrl=urls[0], Attributes={"RedrivePolicy": ""})
    assert sqs.list_dead_letter_source_queues(QueueUrl=dead)["queueUrls"] == urls[1:]
    sqs.delete_queue(QueueUrl=urls[1])
    assert sqs.list_dead_letter_source_queues(QueueUrl=dead)["queueUrls"] == []


def test_the_list_is_there_when_it_is_empty(post_json, query, queue):
    assert post_json("ListDeadLetterSourceQueues", QueueUrl=queue).json == {"queueUrls": []}
    answer = query("ListDeadLetterSourceQueues", {"QueueUrl": queue})
    assert [child.tag for child in answer.xml] == ["ListDeadLetterSourceQueuesResult", "ResponseMetadata"]


def test_the_sources_come_in_pages_that_together_are_all(sqs, query, dead, make_sources):
    urls = make_sources(*(f"page-{number}" for number in range(7)))
    pages = sqs.get_paginator("list_dead_letter_source_queues").paginate(
        QueueUrl=dead, PaginationConfig={"PageSize": 3}
    )
    assert [page["queueUrls"] for page in pages] == [urls[:3], urls[3:6], urls[6:]]
    assert "NextToken" not in sqs.list_dead_letter_source_queues(QueueUrl=dead)
    assert "NextToken" not in sqs.list_dead_letter_source_queues(QueueUrl=dead, MaxResults=7)
    first = query("ListDeadLetterSourceQueues", {"QueueUrl": dead, "MaxResults": 5})
    assert first.texts("ListDeadLetterSourceQueuesResult/QueueUrl") == urls[:5]
    token = first.text("ListDeadLetterSourceQueuesResult/NextToken")
    second = query("ListDeadLetterSourceQueues", {"QueueUrl": dead, "MaxResults": 5, "NextToken": token})
    assert second.texts("ListDeadLetterSourceQueuesResult/QueueUrl") == urls[5:]


def test_a_page_begins_after_the_last_name_whatever_was_deleted_in_between(sqs, dead, make_sources):
    urls = make_sources("a", "b", "c", "d")
    first = sqs.list_dead_letter_source_queues(QueueUrl=dead, MaxResults=2)
    assert first["queueUrls"] == urls[:2]
    sqs.delete_queue(QueueUrl=urls[1])
    rest = sqs.list_dead_letter_source_queues(QueueUrl=dead, MaxResults=2, NextToken=first["NextToken"])
    assert rest["queueUrls"] == urls[2:]


@pytest.mark.parametrize("members", [{"MaxResults": 0}, {"MaxResults": 1001}, {"MaxResults": 2, "NextToken": "!"}])
def test_sources_are_refused_for_a_page_that_cannot_be(sqs, refused, queue, members):
    refusal = refused(sqs.list_dead_letter_source_queues, QueueUrl=queue, **members)
    assert refusal[:2] == (400, "InvalidParameterValue")
