"""boto3: FIFO queues are declared. What they do with messages is elsewhere."""

import json

import pytest

ARN = "arn:aws:sqs:eu-central-1:000000000000:"
DEFAULTS = {
    "FifoQueue": "true",
    "ContentBasedDeduplication": "false",
    "DeduplicationScope": "queue",
    "FifoThroughputLimit": "perQueue",
}


@pytest.fixture
def fifo(sqs):
    """The URL of a FIFO queue with nothing but defaults."""
    return sqs.create_queue(QueueName="work.fifo", Attributes={"FifoQueue": "true"})["QueueUrl"]


@pytest.fixture
def shown(sqs):
    """The attributes of a queue that only FIFO queues have."""

    def read(url):
        attributes = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
        return {name: attributes[name] for name in DEFAULTS if name in attributes}

    return read


def test_a_fifo_queue_shows_what_only_it_has(broker, sqs, fifo, queue, shown):
    assert fifo == f"{broker.endpoint_url}/000000000000/work.fifo"
    assert shown(fifo) == DEFAULTS
    assert shown(queue) == {}
    asked = sqs.get_queue_attributes(QueueUrl=fifo, AttributeNames=["FifoQueue", "QueueArn"])["Attributes"]
    assert asked == {"FifoQueue": "true", "QueueArn": f"{ARN}work.fifo"}
    assert "Attributes" not in sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["FifoQueue"])


def test_a_fifo_queue_is_found_and_listed_beside_the_standard_one_of_its_name(sqs, fifo, queue):
    assert sqs.get_queue_url(QueueName="work.fifo")["QueueUrl"] == fifo
    assert sqs.list_queues(QueueNamePrefix="work")["QueueUrls"] == [queue, fifo]


def test_a_fifo_queue_takes_every_attribute_at_once(sqs, shown):
    given = {
        "FifoQueue": "True",
        "ContentBasedDeduplication": "TRUE",
        "DeduplicationScope": "messageGroup",
        "FifoThroughputLimit": "perMessageGroupId",
        "VisibilityTimeout": "60",
    }
    url = sqs.create_queue(QueueName="work.fifo", Attributes=given)["QueueUrl"]
    assert shown(url) == {
        "FifoQueue": "true",
        "ContentBasedDeduplication": "true",
        "DeduplicationScope": "messageGroup",
        "FifoThroughputLimit": "perMessageGroupId",
    }
    assert sqs.create_queue(QueueName="work.fifo", Attributes=given)["QueueUrl"] == url


def test_a_fifo_queue_is_created_again_as_long_as_nothing_differs(sqs, fifo, refused):
    same = DEFAULTS | {"VisibilityTimeout": "30"}
    for attributes in ({}, {"FifoQueue": "true"}, {"ContentBasedDeduplication": "false"}, same):
        assert sqs.create_queue(QueueName="work.fifo", Attributes=attributes)["QueueUrl"] == fifo
    message = "A queue already exists with the same name and a different value for attribute ContentBasedDeduplication"
    other = {"FifoQueue": "true", "ContentBasedDeduplication": "true"}
    refusal = refused(sqs.create_queue, QueueName="work.fifo", Attributes=other)
    assert refusal == (400, "QueueAlreadyExists", message)


def test_the_attributes_of_a_fifo_queue_are_changed(sqs, fifo, shown):
    sqs.set_queue_attributes(QueueUrl=fifo, Attributes={"FifoQueue": "true", "ContentBasedDeduplication": "true"})
    assert shown(fifo) == DEFAULTS | {"ContentBasedDeduplication": "true"}
    high = {"DeduplicationScope": "messageGroup", "FifoThroughputLimit": "perMessageGroupId"}
    sqs.set_queue_attributes(QueueUrl=fifo, Attributes=high)
    assert shown(fifo) == DEFAULTS | {"ContentBasedDeduplication": "true"} | high
    low = {"FifoThroughputLimit": "perQueue", "ContentBasedDeduplication": "false"}
    sqs.set_queue_attributes(QueueUrl=fifo, Attributes=low)
    assert shown(fifo) == DEFAULTS | {"DeduplicationScope": "messageGroup"}


TYPE = "Invalid value for the parameter FifoQueue. Reason: Modifying queue type is not supported."


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ({"FifoQueue": "false"}, TYPE),
        ({"ContentBasedDeduplication": "x"}, "Invalid value for the parameter ContentBasedDeduplication."),
        ({"DeduplicationScope": "group"}, "Invalid value for the parameter DeduplicationScope."),
        ({"FifoThroughputLimit": "perGroup"}, "Invalid value for the parameter FifoThroughputLimit."),
        ({"FifoThroughputLimit": "perMessageGroupId"}, "Invalid value for the parameter FifoThroughputLimit."),
    ],
)
def test_an_attribute_that_no_fifo_queue_can_have_is_refused(sqs, fifo, refused, shown, attributes, message):
    status, code, text = refused(sqs.set_queue_attributes, QueueUrl=fifo, Attributes={"DelaySeconds": "1"} | attributes)
    assert (status, code) == (400, "InvalidAttributeValue")
    assert text.startswith(message)
    assert shown(fifo) == DEFAULTS
    assert sqs.get_queue_attributes(QueueUrl=fifo, AttributeNames=["DelaySeconds"])["Attributes"] == {
        "DelaySeconds": "0"
    }


def test_high_throughput_keeps_its_scope(sqs, fifo, refused):
    high = {"DeduplicationScope": "messageGroup", "FifoThroughputLimit": "perMessageGroupId"}
    sqs.set_queue_attributes(QueueUrl=fifo, Attributes=high)
    refusal = refused(sqs.set_queue_attributes, QueueUrl=fifo, Attributes={"DeduplicationScope": "queue"})
    assert refusal[:2] == (400, "InvalidAttributeValue")


def test_dead_letters_stay_among_queues_of_one_kind(sqs, fifo, queue, refused):
    def to(name):
        return {"RedrivePolicy": json.dumps({"deadLetterTargetArn": ARN + name, "maxReceiveCount": 3})}

    for url, name in ((fifo, "work"), (queue, "work.fifo")):
        status, code, message = refused(sqs.set_queue_attributes, QueueUrl=url, Attributes=to(name))
        assert (status, code) == (400, "InvalidParameterValue")
        assert message.endswith("Reason: Dead-letter queue must be same type of queue as the source.")
    sqs.create_queue(QueueName="dead.fifo", Attributes={"FifoQueue": "true"})
    sqs.set_queue_attributes(QueueUrl=fifo, Attributes=to("dead.fifo"))
    assert sqs.list_dead_letter_source_queues(QueueUrl="dead.fifo")["queueUrls"] == [fifo]


def test_a_fifo_queue_by_form(query):
    attributes = {"Attribute.1.Name": "FifoQueue", "Attribute.1.Value": "true"}
    url = query("CreateQueue", {"QueueName": "work.fifo", **attributes}).text("CreateQueueResult/QueueUrl")
    assert url.endswith("/000000000000/work.fifo")
    path = "/000000000000/work.fifo"
    answer = query("GetQueueAttributes", {"AttributeName.1": "DeduplicationScope"}, path=path)
    assert answer.texts("GetQueueAttributesResult/Attribute/Value") == ["queue"]
