"""What no client should send: each gets the right error, changes nothing, and the broker goes on."""

import json
from urllib.parse import urlencode

import pytest

FORM = {"Content-Type": "application/x-www-form-urlencoded"}
SERIALIZATION = 400, "com.amazon.coral.service#SerializationException"
DEEP = 100_000


@pytest.fixture(autouse=True)
def nothing_changed(sqs, queue):
    """After every test there is still the one queue it began with, as it was, with the one message in it."""
    sqs.send_message(QueueUrl=queue, MessageBody="still here")
    before = sqs.list_queues(), sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["All"])["Attributes"]
    yield
    after = sqs.list_queues(), sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["All"])["Attributes"]
    assert [after[0]["QueueUrls"], after[1]] == [before[0]["QueueUrls"], before[1]]
    (message,) = sqs.receive_message(QueueUrl=queue, MaxNumberOfMessages=10, AttributeNames=["All"])["Messages"]
    assert message["Body"] == "still here"
    assert message["Attributes"]["ApproximateReceiveCount"] == "1"


def nested(opening: str, closing: str) -> str:
    return opening * DEEP + closing * DEEP


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"nonsense",
        b"[]",
        b'"text"',
        b"null",
        b'{"QueueUrl": "work", "MessageBody": "x"',
        b'{"QueueUrl": "work", "MessageBody": "x"} trailing',
        b"\xef\xbb\xbf" + b'{"QueueUrl": "work", "MessageBody": "x"}',
        b'{"QueueUrl": "work", "MessageBody": "\xff"}',
        b'{"QueueUrl": "work", "MessageBody": 1}',
        b'{"QueueUrl": "work", "MessageBody": ["x"]}',
        b'{"QueueUrl": {"a": 1}, "MessageBody": "x"}',
        b'{"QueueUrl": "work", "MessageBody": "x", "DelaySeconds": "1"}',
        b'{"QueueUrl": "work", "MessageBody": "x", "DelaySeconds": true}',
        b'{"QueueUrl": "work", "MessageBody": "x", "DelaySeconds": 1.5}',
        b'{"QueueUrl": "work", "MessageBody": "x", "DelaySeconds": NaN}',
        b'{"QueueUrl": "work", "MessageBody": "x", "DelaySeconds": Infinity}',
        b'{"QueueUrl": "work", "MessageBody": "x", "DelaySeconds": 1e400}',
        b'{"QueueUrl": "work", "MessageBody": "x", "DelaySeconds": 99999999999}',
        b'{"QueueUrl": "work", "MessageBody": "x", "DelaySeconds": ' + b"9" * 5000 + b"}",
        b'{"QueueUrl": "work", "MessageBody": "x", "MessageAttributes": []}',
        b'{"QueueUrl": "work", "MessageBody": "x", "MessageAttributes": {"a": "b"}}',
        b'{"QueueUrl":"work","MessageBody":"x","MessageAttributes":{"a":{"DataType":"Binary","BinaryValue":"%"}}}',
        f'{{"QueueUrl": "work", "MessageBody": "x", "MessageAttributes": {nested("[", "]")}}}'.encode(),
        f'{{"QueueUrl": "work", "MessageBody": "x", "Unknown": {nested("[", "]")}}}'.encode(),
        nested('{"a":', "}").encode(),
    ],
)
def test_json_that_cannot_be_read_is_a_serialization_error(post_json, body):
    status, shape, code, _ = post_json("SendMessage", raw=body).json_error
    assert (status, shape) == SERIALIZATION
    assert code == "SerializationException;Sender"


@pytest.mark.parametrize("body", [b'"\\ud800"', b'"a\\u0000b"', b'"\\uffff"', b'"\\u001f"'])
def test_characters_that_no_message_may_hold_are_refused(post_json, body):
    status, shape, _, _ = post_json("SendMessage", raw=b'{"QueueUrl": "work", "MessageBody": ' + body + b"}").json_error
    # A lone surrogate is no text at all; whether the JSON or the message is to blame is nobody's rule.
    assert status == 400
    assert shape in {SERIALIZATION[1], "com.amazonaws.sqs#InvalidMessageContents"}


def test_members_that_the_action_does_not_know_are_ignored(post_json):
    answer = post_json("GetQueueUrl", QueueName="work", Unknown={"a": [1]})
    assert answer.status == 200


def test_a_body_is_missing(post_json):
    answer = post_json("SendMessage", raw=b"")
    status, _, code, message = answer.json_error
    assert (status, code) == (400, "MissingParameter;Sender")
    assert message == "The request must contain the parameter QueueUrl."


@pytest.mark.parametrize(
    ("action", "members", "missing"),
    [
        ("SendMessage", {}, "MessageBody"),
        ("DeleteMessage", {}, "ReceiptHandle"),
        ("ChangeMessageVisibility", {"ReceiptHandle": "x"}, "VisibilityTimeout"),
        ("SetQueueAttributes", {}, "Attributes"),
        ("TagQueue", {}, "Tags"),
        ("UntagQueue", {}, "TagKeys"),
    ],
)
def test_a_missing_member_is_named(post_json, action, members, missing):
    answer = post_json(action, QueueUrl="work", **members)
    assert answer.json_error == (
        400,
        "com.amazon.coral.service#MissingRequiredParameterException",
        "MissingParameter;Sender",
        f"The request must contain the parameter {missing}.",
    )


@pytest.mark.parametrize(
    "target", ["AmazonSQS.Nothing", "AmazonSQS.", "SendMessage", "DynamoDB_20120810.ListTables", ""]
)
def test_a_target_that_is_no_action_is_unknown(ask, target):
    headers = {"Content-Type": "application/x-amz-json-1.0", "X-Amz-Target": target}
    answer = ask("POST", "/", b"{}", headers)
    assert answer.status in {400, 404}
    assert answer.json["__type"].endswith("#UnknownOperationException")


@pytest.mark.parametrize(
    "form",
    [
        b"Action=SendMessage&QueueUrl=work&MessageBody=%ff",
        b"Action=SendMessage&QueueUrl=work&MessageBody=\xff",
        b"Action=SendMessage&QueueUrl=work&MessageBody=x&" + b"&".join(b"Field.%d=x" % n for n in range(2000)),
    ],
    ids=["escaped", "plain", "too many fields"],
)
def test_a_form_that_cannot_be_read_is_malformed(ask, form):
    answer = ask("POST", "/", form, FORM)
    assert answer.error[:2] == (400, "MalformedQueryString")


@pytest.mark.parametrize(
    "fields",
    [
        {"MessageAttribute.999999999.Name": "a"},
        {"MessageAttribute.2.Name": "a", "MessageAttribute.2.Value.DataType": "String"},
        {"MessageAttribute.0.Name": "a", "MessageAttribute.0.Value.DataType": "String"},
        {"MessageAttribute.-1.Name": "a"},
        {"MessageAttribute.1": "a"},
        {"MessageAttribute": "a"},
        {"MessageAttribute.1.Name": "a"},
        {"MessageAttribute..Name": "a"},
        {"MessageBody.1": "x"},
        {"DelaySeconds": "1e1"},
        {"DelaySeconds": "ten"},
        {"DelaySeconds": ""},
        {"DelaySeconds": "9" * 5000},
        {
            "MessageAttribute.1.Name": "a",
            "MessageAttribute.1.Value.DataType": "Binary",
            "MessageAttribute.1.Value.BinaryValue": "%",
        },
        {"MessageAttribute." + "1." * 5000: "a"},
    ],
)
def test_fields_that_make_no_request_are_refused(query, fields):
    answer = query("SendMessage", {"QueueUrl": "work", "MessageBody": "x", **fields})
    status, code, _ = answer.error
    assert status == 400
    assert code in {"InvalidParameterValue", "MissingParameter", "MalformedQueryString"}


@pytest.mark.parametrize(
    "url",
    [
        "http://host/000000000000/work?x=1",
        "http://host/000000000000/work#x",
        "http://user:secret@host/000000000000/work",
        "http://host/a/b/c/work",
        "http://host/000000000000/%77ork",
        "../work",
        "",
        "http://host/000000000000/",
        "work\n",
        "w" * 100_000,
    ],
)
def test_a_queue_url_that_cannot_be_one_is_refused(post_json, url):
    status, shape, _, _ = post_json("SendMessage", QueueUrl=url, MessageBody="x").json_error
    assert status in {400, 404}
    assert shape.partition("#")[2] in {"InvalidAddress", "QueueDoesNotExist", "MissingRequiredParameterException"}


NAMES = [
    "a\0",
    "work\0",
    "x.fifo.fifo",
    ".",
    "..",
    "%2e%2e",
    "\u0461ork",
    "work\u200b",
    " work",
    "C:\\work",
    "a" * 100_000,
]


@pytest.mark.parametrize("name", NAMES, ids=ascii)
def test_a_name_that_could_be_taken_for_another_or_for_a_path_is_refused(post_json, query, name):
    status, _, code, _ = post_json("CreateQueue", QueueName=name).json_error
    assert (status, code) == (400, "InvalidParameterValue;Sender")
    assert query("CreateQueue", {"QueueName": name}).error[:2] == (400, "InvalidParameterValue")


def test_of_a_member_that_comes_twice_the_last_counts(post_json):
    assert post_json("GetQueueUrl", raw=b'{"QueueName": "other", "QueueName": "work"}').status == 200
    assert post_json("GetQueueUrl", raw=b'{"QueueName": "work", "QueueName": "other"}').status == 400


@pytest.mark.parametrize("count", ["0", "11", "-1", "2147483648", "99999999999", "1e1", "0x1", "", "\u0661"])
def test_a_number_of_messages_out_of_range_is_refused(query, count):
    answer = query("ReceiveMessage", {"QueueUrl": "work", "MaxNumberOfMessages": count})
    assert answer.error[:2] == (400, "InvalidParameterValue")


@pytest.mark.parametrize("url", ["/111111111111/work", "Work", "WORK", "/000000000000/work2"])
def test_a_queue_that_is_almost_this_one_does_not_exist(post_json, url):
    status, shape, _, _ = post_json("SendMessage", QueueUrl=url, MessageBody="x").json_error
    assert (status, shape) == (400, "com.amazonaws.sqs#QueueDoesNotExist")


def test_a_message_over_every_limit_is_refused(post_json, query):
    body = "x" * 1_048_577
    text = "One or more parameters are invalid. Reason: Message must be shorter than 1048576 bytes."
    status, _, code, message = post_json("SendMessage", QueueUrl="work", MessageBody=body).json_error
    assert (status, code, message) == (400, "InvalidParameterValue;Sender", text)
    answer = query("SendMessage", {"QueueUrl": "work", "MessageBody": body})
    assert answer.error == (400, "InvalidParameterValue", text)


def test_a_request_over_the_servers_limit_is_refused_before_it_is_read(ask):
    headers = {"Content-Type": "application/x-amz-json-1.0", "X-Amz-Target": "AmazonSQS.SendMessage"}
    answer = ask("POST", "/", b"x" * (7 << 20), headers)
    assert answer.status == 413


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"])
def test_other_methods_are_not_allowed(ask, method):
    assert ask(method, "/").status == 405


def test_a_compressed_body_is_refused(ask):
    headers = {
        "Content-Type": "application/x-amz-json-1.0",
        "X-Amz-Target": "AmazonSQS.ListQueues",
        "Content-Encoding": "gzip",
    }
    assert ask("POST", "/", b"\x1f\x8b", headers).status in {400, 415}


@pytest.mark.parametrize("content_type", ["application/xml", "multipart/form-data; boundary=x", "text/plain"])
def test_a_body_of_no_protocol_names_no_operation(ask, content_type):
    body = urlencode({"Action": "SendMessage", "QueueUrl": "work", "MessageBody": "x"}).encode()
    answer = ask("POST", "/", body, {"Content-Type": content_type})
    assert answer.status == 404


def test_a_wrong_value_never_comes_back_in_a_json_error(post_json):
    secret = "do-not-repeat-me"
    answer = post_json("SendMessage", raw=json.dumps({"QueueUrl": "work", "MessageBody": [secret]}).encode())
    assert secret.encode() not in answer.body
