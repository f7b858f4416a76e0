"""What holds in both protocols, and where they meet: the order of errors, queue URLs, answers in the other's dress."""

from urllib.parse import urlencode

import pytest

FORM = {"Content-Type": "application/x-www-form-urlencoded"}
JSON = {"Accept": "application/json"}
NOWHERE = "http://localhost/000000000000/nowhere"
NO_SUCH_QUEUE = (400, "com.amazonaws.sqs#QueueDoesNotExist")

# A call on a queue with a value that cannot be.
WRONG = {
    "AddPermission": {"Label": "a b", "AWSAccountIds": ["x"], "Actions": ["Nonsense"]},
    "ChangeMessageVisibility": {"ReceiptHandle": "garbage", "VisibilityTimeout": -1},
    "ChangeMessageVisibilityBatch": {"Entries": []},
    "DeleteMessage": {"ReceiptHandle": "garbage"},
    "DeleteMessageBatch": {"Entries": []},
    "GetQueueAttributes": {"AttributeNames": ["Foobar"]},
    "ListDeadLetterSourceQueues": {"MaxResults": 0},
    "ReceiveMessage": {"MaxNumberOfMessages": 11},
    "RemovePermission": {"Label": "none"},
    "SendMessage": {"MessageBody": "\x00"},
    "SendMessageBatch": {"Entries": [{"Id": "a b", "MessageBody": "x"}]},
    "SetQueueAttributes": {"Attributes": {"Foobar": "1"}},
    "TagQueue": {"Tags": {"aws:x": ""}},
}


@pytest.mark.parametrize("action", WRONG)
def test_a_queue_that_does_not_exist_is_told_before_a_value_that_cannot_be(post_json, queue, action):
    nowhere = post_json(action, QueueUrl=NOWHERE, **WRONG[action])
    assert (nowhere.status, nowhere.json["__type"]) == NO_SUCH_QUEUE
    here = post_json(action, QueueUrl=queue, **WRONG[action])
    assert here.status == 400
    assert here.json["__type"] != NO_SUCH_QUEUE[1]


@pytest.mark.parametrize("action", WRONG)
def test_a_parameter_that_is_missing_is_told_before_a_queue_that_does_not_exist(post_json, action):
    answer = post_json(action, QueueUrl=NOWHERE)
    optional = action in {"GetQueueAttributes", "ListDeadLetterSourceQueues", "ReceiveMessage"}
    missing = (400, "com.amazon.coral.service#MissingRequiredParameterException")
    assert (answer.status, answer.json["__type"]) == (NO_SUCH_QUEUE if optional else missing)


def test_a_state_is_told_after_all_values(sqs, queue, post_json, refused):
    sqs.purge_queue(QueueUrl=queue)
    assert refused(sqs.purge_queue, QueueUrl=queue)[0] == 403
    sqs.delete_queue(QueueUrl=queue)
    assert refused(sqs.purge_queue, QueueUrl=queue)[1] == "AWS.SimpleQueueService.NonExistentQueue"
    wrong = post_json("CreateQueue", QueueName="work", Attributes={"DelaySeconds": "901"})
    assert wrong.json["__type"] == "com.amazonaws.sqs#InvalidAttributeValue"
    right = post_json("CreateQueue", QueueName="work", Attributes={"DelaySeconds": "900"})
    assert right.json["__type"] == "com.amazonaws.sqs#QueueDeletedRecently"


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_form_may_be_answered_in_json(ask, sqs, queue, method):
    def answer(action, path="/000000000000/work", **fields):
        form = urlencode({"Action": action, "Version": "2012-11-05"} | fields)
        if method == "GET":
            return ask("GET", f"{path}?{form}", headers=JSON)
        return ask("POST", path, form.encode(), FORM | JSON)

    listed = answer("ListQueues", path="/", QueueNamePrefix="work")
    assert listed.headers["content-type"] == "application/json"
    assert listed.json["ListQueuesResponse"]["ListQueuesResult"]["queueUrls"] == [queue]
    sqs.send_message(QueueUrl=queue, MessageBody="x")
    received = answer("ReceiveMessage").json["ReceiveMessageResponse"]["ReceiveMessageResult"]["messages"]
    assert [message["Body"] for message in received] == ["x"]
    deleted = answer("DeleteMessage", ReceiptHandle=received[0]["ReceiptHandle"])
    assert list(deleted.json["DeleteMessageResponse"]) == ["ResponseMetadata"]
    attributes = answer("GetQueueAttributes", **{"AttributeName.1": "DelaySeconds"}).json
    attributes = attributes["GetQueueAttributesResponse"]["GetQueueAttributesResult"]["Attributes"]
    assert attributes == [{"Name": "DelaySeconds", "Value": "0"}]
    wrong = answer("GetQueueAttributes", **{"AttributeName.1": "Foobar"})
    assert (wrong.status, wrong.json["Error"]["Code"]) == (400, "InvalidAttributeName")
    assert wrong.json["Error"]["Message"] == "Unknown Attribute Foobar."
    nowhere = answer("PurgeQueue", path="/000000000000/nowhere")
    assert nowhere.json["Error"]["Code"] == "AWS.SimpleQueueService.NonExistentQueue"
    answer("PurgeQueue")
    again = answer("PurgeQueue")
    assert (again.status, again.json["Error"]["Code"]) == (403, "AWS.SimpleQueueService.PurgeQueueInProgress")


@pytest.mark.parametrize("mode", [{}, {"x-amzn-query-mode": "true"}])
def test_the_query_code_is_sent_to_those_who_ask_for_it_and_to_all_others(ask, queue, mode):
    headers = {"Content-Type": "application/x-amz-json-1.0", "X-Amz-Target": "AmazonSQS.DeleteMessage"}
    answer = ask("POST", "/", b'{"QueueUrl": "work", "ReceiptHandle": "garbage"}', headers | mode)
    assert answer.json_error == (
        400,
        "com.amazonaws.sqs#ReceiptHandleIsInvalid",
        "ReceiptHandleIsInvalid;Sender",
        'The input receipt handle "garbage" is not a valid receipt handle.',
    )
    assert "x-amzn-errortype" not in answer.headers


@pytest.mark.parametrize(
    "path",
    ["/000000000000/work", "/queue/eu-central-1/000000000000/work", "/xxxx/work", "/work", "/000000000000/work" + "/"],
)
def test_a_form_may_be_posted_to_every_form_of_a_queue_s_path(query, queue, path):
    assert query("SendMessage", {"MessageBody": "x"}, path=path).status == 200
    assert query("ReceiveMessage", path=path).texts("ReceiveMessageResult/Message/Body") == ["x"]


@pytest.mark.parametrize("path", ["//", "/a/b/c/d", "/000000000000/a%20b", "/.."])
def test_a_path_that_is_no_queue_s_is_no_address(query, queue, path):
    status, code, message = query("ReceiveMessage", path=path).error
    assert (status, code) == (400, "InvalidAddress")
    assert message.endswith("is not valid for this endpoint.")


def test_an_action_without_a_version_or_with_another_is_taken(ask, queue):
    for version in ("", "&Version=2009-02-01"):
        assert ask("GET", f"/?Action=GetQueueUrl&QueueName=work{version}").text("GetQueueUrlResult/QueueUrl") == queue


def test_the_examples_of_the_api_reference_work(ask, sqs, queue):
    """As gateways in front of SQS and plain HTTP clients send them: a number is left out where there is one element."""
    path = "/000000000000/work" + "/"
    assert ask("GET", f"{path}?Action=SetQueueAttributes&Attribute.Name=DelaySeconds&Attribute.Value=0").status == 200
    assert ask("GET", f"{path}?Action=TagQueue&Tag.Key=QueueType&Tag.Value=Production").status == 200
    assert sqs.list_queue_tags(QueueUrl=queue)["Tags"] == {"QueueType": "Production"}
    sqs.send_message(QueueUrl=queue, MessageBody="x")
    asked = f"{path}?Action=ReceiveMessage&MaxNumberOfMessages=5&VisibilityTimeout=15&AttributeName=All"
    received = ask("GET", asked, headers=JSON).json["ReceiveMessageResponse"]["ReceiveMessageResult"]
    assert {"Name": "ApproximateReceiveCount", "Value": "1"} in received["messages"][0]["Attributes"]
