"""AWS JSON by hand: headers, error shapes, and which members an answer leaves out."""

import re

import pytest


def test_an_answer_is_json_and_carries_its_request_id(post_json):
    answers = [post_json("CreateQueue", QueueName="work") for _ in range(2)]
    for answer in answers:
        assert answer.status == 200
        assert answer.headers["content-type"] == "application/x-amz-json-1.0"
        assert re.fullmatch("[0-9a-f-]{36}", answer.headers["x-amzn-requestid"])
    assert answers[0].headers["x-amzn-requestid"] != answers[1].headers["x-amzn-requestid"]


def test_empty_results_leave_their_members_out(post_json):
    post_json("CreateQueue", QueueName="work")
    assert post_json("ReceiveMessage", QueueUrl="work").json == {}
    assert post_json("ListQueues", QueueNamePrefix="none").json == {}
    assert post_json("GetQueueAttributes", QueueUrl="work").json == {}
    assert post_json("ListQueueTags", QueueUrl="work").json == {}


@pytest.mark.parametrize(
    ("action", "members"),
    [
        ("SetQueueAttributes", {"Attributes": {"DelaySeconds": "0"}}),
        ("TagQueue", {"Tags": {"a": "b"}}),
        ("UntagQueue", {"TagKeys": ["a"]}),
        ("PurgeQueue", {}),
        ("DeleteQueue", {}),
    ],
)
def test_an_action_without_a_result_answers_an_empty_object(post_json, queue, action, members):
    answer = post_json(action, QueueUrl=queue, **members)
    assert (answer.status, answer.body) == (200, b"{}")


def test_an_error_names_its_shape_and_in_a_header_its_query_code(post_json):
    assert post_json("ReceiveMessage", QueueUrl="nowhere").json_error == (
        400,
        "com.amazonaws.sqs#QueueDoesNotExist",
        "AWS.SimpleQueueService.NonExistentQueue;Sender",
        "The specified queue does not exist.",
    )
    assert post_json("CreateQueue").json_error == (
        400,
        "com.amazon.coral.service#MissingRequiredParameterException",
        "MissingParameter;Sender",
        "The request must contain the parameter QueueName.",
    )
    post_json("CreateQueue", QueueName="work")
    assert post_json("SendMessageBatch", QueueUrl="work", Entries=[]).json_error == (
        400,
        "com.amazonaws.sqs#EmptyBatchRequest",
        "AWS.SimpleQueueService.EmptyBatchRequest;Sender",
        "There should be at least one SendMessageBatchRequestEntry in the request.",
    )


def test_the_exception_classes_of_boto3_are_raised(sqs, queue):
    with pytest.raises(sqs.exceptions.QueueDoesNotExist) as caught:
        sqs.receive_message(QueueUrl="http://localhost/000000000000/nowhere")
    error = caught.value.response["Error"]
    assert error["Code"] == "AWS.SimpleQueueService.NonExistentQueue"
    assert error["QueryErrorCode"] == "QueueDoesNotExist"
    with pytest.raises(sqs.exceptions.ReceiptHandleIsInvalid):
        sqs.delete_message(QueueUrl=queue, ReceiptHandle="garbage")
    sqs.delete_queue(QueueUrl=queue)
    with pytest.raises(sqs.exceptions.QueueDeletedRecently):
        sqs.create_queue(QueueName="work")


@pytest.mark.parametrize(
    "url",
    [
        "https://sqs.eu-central-1.amazonaws.com/000000000000/work",
        "https://eu-central-1.queue.amazonaws.com/000000000000/work",
        "http://broker.internal:9324/000000000000/work",
        "http://[::1]:9324/000000000000/work",
        "http://localhost:4566/queue/eu-central-1/000000000000/work",
        "https://sqs.eu-central-1.amazonaws.com/xxxx/work",
        "/000000000000/work",
        "000000000000/work",
        "work",
    ],
)
def test_a_queue_url_means_its_account_and_name_whatever_the_host(post_json, queue, url):
    assert post_json("SendMessage", QueueUrl=url, MessageBody="x").status == 200
    assert len(post_json("ReceiveMessage", QueueUrl=url).json["Messages"]) == 1


def test_queue_urls_are_made_of_the_host_that_the_caller_used(ask, queue):
    headers = {
        "Content-Type": "application/x-amz-json-1.0",
        "X-Amz-Target": "AmazonSQS.GetQueueUrl",
        "Host": "localhost:1234",
    }
    answer = ask("POST", "/", b'{"QueueName": "work"}', headers)
    assert answer.json == {"QueueUrl": "http://localhost:1234/000000000000/work"}


def test_json_may_be_posted_to_the_queue_itself(post_json, queue):
    assert post_json("SendMessage", path="/000000000000/work", QueueUrl=queue, MessageBody="x").status == 200
    assert len(post_json("ReceiveMessage", path="/000000000000/work").json["Messages"]) == 1


def test_the_trace_header_of_a_request_travels_with_the_message_unless_the_message_has_its_own(ask, post_json, queue):
    headers = {
        "Content-Type": "application/x-amz-json-1.0",
        "X-Amz-Target": "AmazonSQS.SendMessage",
        "X-Amzn-Trace-Id": "Root=1-from-header",
    }
    ask("POST", "/", b'{"QueueUrl": "work", "MessageBody": "x"}', headers)
    own = {"AWSTraceHeader": {"DataType": "String", "StringValue": "Root=1-own"}}
    body = (
        f'{{"QueueUrl": "work", "MessageBody": "y", "MessageSystemAttributes": {str(own).replace(chr(39), chr(34))}}}'
    )
    ask("POST", "/", body.encode(), headers)
    answer = post_json("ReceiveMessage", QueueUrl="work", MaxNumberOfMessages=10, AttributeNames=["AWSTraceHeader"])
    traces = [message["Attributes"]["AWSTraceHeader"] for message in answer.json["Messages"]]
    assert traces == ["Root=1-from-header", "Root=1-own"]
