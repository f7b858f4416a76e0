"""The largest messages of SQS, in the bulkiest form in which a client may write them: all of them pass."""

import base64
import json

from amply.broker.server.listener import MAX_BODY_BYTES
from amply.broker.sqs.limits import AWS

LARGEST = AWS.message_size_bytes_max
FORM = {"Content-Type": "application/x-www-form-urlencoded"}


def receive(sqs, queue):
    (message,) = sqs.receive_message(QueueUrl=queue, MessageAttributeNames=["All"])["Messages"]
    return message


def test_json_of_which_every_character_is_escaped(sqs, post_json, queue):
    body = b'{"QueueUrl":"work","MessageBody":"' + b"\\u0022" * LARGEST + b'"}'
    assert len(body) < MAX_BODY_BYTES
    assert post_json("SendMessage", raw=body).status == 200
    assert receive(sqs, queue)["Body"] == '"' * LARGEST


def test_a_form_of_which_every_character_is_escaped(sqs, ask, queue):
    body = b"Action=SendMessage&QueueUrl=work&MessageBody=" + b"%22" * LARGEST
    assert ask("POST", "/", body, FORM).status == 200
    assert receive(sqs, queue)["Body"] == '"' * LARGEST


def test_bytes_in_a_form_whose_base64_is_escaped(sqs, ask, queue):
    size_bytes = (LARGEST - 10) // 3 * 3
    value = b"\xfb\xef\xbe" * (size_bytes // 3)  # base64: nothing but plus signs
    assert set(base64.b64encode(value)) == {ord("+")}
    attribute = b"MessageAttribute.1.Name=a&MessageAttribute.1.Value.DataType=Binary"
    body = b"Action=SendMessage&QueueUrl=work&MessageBody=x&%b&MessageAttribute.1.Value.BinaryValue=%b" % (
        attribute,
        b"%2B" * (size_bytes // 3 * 4),
    )
    assert len(body) > 4_000_000
    assert ask("POST", "/", body, FORM).status == 200
    assert receive(sqs, queue)["MessageAttributes"]["a"]["BinaryValue"] == value


def test_a_batch_with_all_its_names(post_json, queue):
    size_bytes = LARGEST // 10 - 10 * 300
    entries = [
        {
            "Id": f"{entry:080}",
            "MessageBody": "\u007f" * size_bytes,
            "MessageAttributes": {
                f"{'a' * 255}{number}": {"DataType": "String", "StringValue": "v"} for number in range(10)
            },
        }
        for entry in range(10)
    ]
    answer = post_json("SendMessageBatch", raw=json.dumps({"QueueUrl": queue, "Entries": entries}).encode())
    assert (answer.status, len(answer.json["Successful"])) == (200, 10)
