"""The SQS client against the embedded broker, beside boto3, and against answers that only a sick SQS gives."""

import base64
import json
import pickle
import subprocess
import sys
import threading
from unittest.mock import Mock

import msgspec
import pytest

from amply.transport.client import SqsClient
from amply.transport.endpoint import Endpoint, resolve
from amply.transport.faults import Aborted, SqsFault, Transient, Unreachable, fault
from amply.transport.signing import Keys

PATIENCE_S = 10.0


@pytest.fixture
def connect():
    """Make clients of a URL."""
    clients: list[SqsClient] = []

    def make(url: str) -> SqsClient:
        clients.append(SqsClient(resolve(endpoint_url=url, userid="test", password="test", region="eu-central-1")))
        return clients[-1]

    yield make
    for client in clients:
        client.close()


@pytest.fixture
def client(broker, connect) -> SqsClient:
    return connect(broker.endpoint_url)


@pytest.fixture
def queue_url(client) -> str:
    return client.call("CreateQueue", {"QueueName": "letters", "Attributes": {"VisibilityTimeout": "30"}})["QueueUrl"]


def answer(status: int, body: bytes, *headers: str) -> bytes:
    lines = "".join(f"{header}\r\n" for header in (*headers, f"Content-Length: {len(body)}"))
    return f"HTTP/1.1 {status} Whatever\r\n{lines}\r\n".encode() + body


def told(answer: dict) -> dict:
    """boto3's answer without what boto3 adds."""
    return {name: value for name, value in answer.items() if name != "ResponseMetadata"}


def test_a_message_goes_through_its_life(client, queue_url):
    sent = client.call("SendMessage", {"QueueUrl": queue_url, "MessageBody": "grüße ☃ \U0001f600 \"'\\ \n"})
    (message,) = client.call("ReceiveMessage", {"QueueUrl": queue_url, "MaxNumberOfMessages": 10})["Messages"]
    assert (message["MessageId"], message["Body"]) == (sent["MessageId"], "grüße ☃ \U0001f600 \"'\\ \n")
    handle = {"QueueUrl": queue_url, "ReceiptHandle": message["ReceiptHandle"]}
    assert client.call("ChangeMessageVisibility", {**handle, "VisibilityTimeout": 60}) == {}
    assert client.call("DeleteMessage", handle) == {}
    assert client.call("ReceiveMessage", {"QueueUrl": queue_url}).get("Messages") in (None, [])


def test_answers_are_boto3_s(client, queue_url, sqs):
    for action, method, members in (
        ("GetQueueUrl", sqs.get_queue_url, {"QueueName": "letters"}),
        ("ListQueues", sqs.list_queues, {"QueueNamePrefix": "letters"}),
        ("GetQueueAttributes", sqs.get_queue_attributes, {"QueueUrl": queue_url, "AttributeNames": ["All"]}),
        ("SetQueueAttributes", sqs.set_queue_attributes, {"QueueUrl": queue_url, "Attributes": {"DelaySeconds": "0"}}),
        ("ListQueueTags", sqs.list_queue_tags, {"QueueUrl": queue_url}),
    ):
        assert client.call(action, members) == told(method(**members)), action


def test_what_boto3_sends_is_received_and_the_other_way_round(client, queue_url, sqs):
    entries = [
        {
            "Id": str(number),
            "MessageBody": f"body {number}",
            "MessageAttributes": {"Kind": {"DataType": "String", "StringValue": "é"}},
        }
        for number in range(10)
    ]
    question = {"QueueUrl": queue_url, "MaxNumberOfMessages": 10, "MessageAttributeNames": ["All"]}
    wanted = [(entry["MessageBody"], entry["MessageAttributes"]) for entry in entries]
    sqs.send_message_batch(QueueUrl=queue_url, Entries=entries)
    received = client.call("ReceiveMessage", question)["Messages"]
    assert [(message["Body"], message["MessageAttributes"]) for message in received] == wanted
    assert len(client.call("SendMessageBatch", {"QueueUrl": queue_url, "Entries": entries})["Successful"]) == 10
    received = sqs.receive_message(**question)["Messages"]
    assert [(message["Body"], message["MessageAttributes"]) for message in received] == wanted


def test_bytes_go_out_as_base64_and_come_back_as_its_text(client, queue_url):
    attributes = {"Blob": {"DataType": "Binary", "BinaryValue": b"\x00\xff"}}
    client.call("SendMessage", {"QueueUrl": queue_url, "MessageBody": "x", "MessageAttributes": attributes})
    (message,) = client.call("ReceiveMessage", {"QueueUrl": queue_url, "MessageAttributeNames": ["All"]})["Messages"]
    assert base64.b64decode(message["MessageAttributes"]["Blob"]["BinaryValue"]) == b"\x00\xff"


def test_messages_of_the_greatest_size_are_received_together(client):
    attributes = {"MaximumMessageSize": "1048576"}
    queue_url = client.call("CreateQueue", {"QueueName": "large", "Attributes": attributes})["QueueUrl"]
    for letter in "abc":
        client.call("SendMessage", {"QueueUrl": queue_url, "MessageBody": letter * 1_048_576})
    received = client.call("ReceiveMessage", {"QueueUrl": queue_url, "MaxNumberOfMessages": 10})["Messages"]
    assert [(message["Body"][0], len(message["Body"])) for message in received] == [(one, 1_048_576) for one in "abc"]


def test_a_refusal_has_the_reference_s_code(client):
    with pytest.raises(SqsFault, match="GetQueueUrl failed: QueueDoesNotExist") as raised:
        client.call("GetQueueUrl", {"QueueName": "nowhere"})
    refused = raised.value
    assert (refused.action, refused.status, refused.code) == ("GetQueueUrl", 400, "QueueDoesNotExist")
    assert not isinstance(refused, Transient)


def test_requests_are_counted_and_share_a_connection(start_peer, parts, connect):
    peer = start_peer(parts.always(answer(200, b"{}")))
    client = connect(peer.url)
    for action in ("ListQueues", "GetQueueUrl", "ListQueues"):
        client.call(action, {})
    assert client.requests == {"ListQueues": 2, "GetQueueUrl": 1}
    assert peer.connections == 1


def test_threads_do_not_share_connections_and_few_stay_open(client, queue_url):
    def send(number: int) -> None:
        for _ in range(10):
            client.call("SendMessage", {"QueueUrl": queue_url, "MessageBody": str(number)})

    threads = [threading.Thread(target=send, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_S)
    question = {"QueueUrl": queue_url, "AttributeNames": ["ApproximateNumberOfMessages"]}
    assert client.call("GetQueueAttributes", question)["Attributes"] == {"ApproximateNumberOfMessages": "80"}
    assert 1 <= len(client._idle) <= 4


def test_a_long_poll_has_a_connection_of_its_own_and_can_be_aborted(broker, client, queue_url):
    connection, raised = client.connection(), []

    def poll() -> None:
        try:
            question = {"QueueUrl": queue_url, "WaitTimeSeconds": 20}
            client.call("ReceiveMessage", question, timeout_s=25, connection=connection)
        except Unreachable as error:
            raised.append(type(error))

    thread = threading.Thread(target=poll)
    thread.start()
    broker.wait_for_polls("letters")
    connection.abort()
    thread.join(PATIENCE_S)
    assert raised == [Aborted]
    broker.wait_for_polls("letters", 0)


FORKING = """
import os, sys
from amply.transport.client import SqsClient
from amply.transport.endpoint import resolve

client = SqsClient(resolve(endpoint_url=sys.argv[1], userid="test", password="test"))
own = client.connection()
client.call("Parent", {})
client.call("Parent", {}, connection=own)
child = os.fork()
if not child:
    client.call("Child", {})
    client.call("Child", {}, connection=own)
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
client.call("Parent", {})
client.call("Parent", {}, connection=own)
own.close()
client.close()
"""


def test_a_forked_child_leaves_its_parent_s_connections_alone(start_peer):
    asked: list[list[bytes]] = []

    def play(peer, connection):
        asked.append(mine := [])
        while request := peer.read(connection):
            mine.append(request.partition(b"AmazonSQS.")[2].partition(b"\r\n")[0])
            connection.sendall(answer(200, b"{}"))

    peer = start_peer(play)
    subprocess.run([sys.executable, "-c", FORKING, peer.url], check=True, timeout=60)
    assert asked == [[b"Parent"] * 2, [b"Parent"] * 2, [b"Child"], [b"Child"]]


FAULTS = {
    "a namespace": (400, b'{"__type":"com.amazonaws.sqs#OverLimit","message":"full"}', (), SqsFault, "OverLimit"),
    "no namespace": (403, b'{"__type":"AccessDeniedException","Message":"no"}', (), SqsFault, "AccessDeniedException"),
    "a header": (400, b"{}", ("x-amzn-query-error: InvalidParameterValue;Sender",), SqsFault, "InvalidParameterValue"),
    "throttled": (403, b'{"__type":"com.amazonaws.sqs#RequestThrottled"}', (), Transient, "RequestThrottled"),
    "throttled by name": (400, b'{"__type":"ThrottlingException"}', (), Transient, "ThrottlingException"),
    "throttled by header": (
        *(400, b'{"__type":"com.amazonaws.sqs#Unheard"}', ("x-amzn-query-error: Throttling;Sender",)),
        *(Transient, "Throttling"),
    ),
    "the key's service": (400, b'{"__type":"com.amazonaws.sqs#KmsThrottled"}', (), Transient, "KmsThrottled"),
    "a fault of SQS": (500, b'{"__type":"InternalFailure"}', (), Transient, "InternalFailure"),
    "a proxy": (502, b"<html>Bad Gateway</html>", ("Content-Type: text/html",), Transient, "HTTP502"),
    "a proxy's refusal": (403, b"<html>No</html>", ("Content-Type: text/html",), SqsFault, "HTTP403"),
    "a redirect": (301, b"", ("Location: https://login/",), SqsFault, "HTTP301"),
    "too slow": (408, b"", (), Transient, "HTTP408"),
    "too many": (429, b"slow down", (), Transient, "HTTP429"),
    "odd JSON": (400, b'{"__type":7}', (), SqsFault, "HTTP400"),
    "a list": (400, b"[]", (), SqsFault, "HTTP400"),
    "bytes": (503, b"\xff\xfe", (), Transient, "HTTP503"),
}


@pytest.mark.parametrize(("status", "body", "headers", "kind", "code"), FAULTS.values(), ids=FAULTS.keys())
def test_a_fault_is_told_from_one_that_may_pass(start_peer, parts, connect, status, body, headers, kind, code):
    peer = start_peer(parts.always(answer(status, body, *headers)))
    with pytest.raises(SqsFault) as raised:
        connect(peer.url).call("SendMessage", {"MessageBody": "x"})
    assert (type(raised.value), raised.value.code, raised.value.status) == (kind, code, status)
    assert len(peer.requests) == 1


@pytest.mark.parametrize("code", ["ExpiredToken", "ExpiredTokenException", "InvalidClientTokenId", "RequestExpired"])
def test_keys_that_aws_does_not_take_any_more_are_looked_for_anew(start_peer, parts, code):
    peer = start_peer(parts.always(answer(403, msgspec.json.encode({"__type": f"com.amazon.coral.service#{code}"}))))
    credentials = Mock(keys=lambda: Keys("key", "secret"))
    client = SqsClient(Endpoint(peer.url, "eu-central-1", credentials))
    with pytest.raises(Transient, match=code):
        client.call("ListQueues", {})
    client.close()
    credentials.renew.assert_called_once_with()


@pytest.mark.parametrize("body", [b"<html>welcome</html>", b"[]", b'{"a":', b"\xff"])
def test_a_success_that_is_no_json_is_unreachable(start_peer, parts, connect, body):
    with pytest.raises(Unreachable, match="is not JSON"):
        connect(start_peer(parts.always(answer(200, body))).url).call("ListQueues", {})


@pytest.mark.parametrize(
    ("action", "members", "answered"),
    [
        ("SendMessage", {"MessageBody": "x"}, {"MessageId": "m-1", "MD5OfMessageBody": "0" * 32}),
        (
            "SendMessageBatch",
            {"Entries": [{"Id": "a", "MessageBody": "x"}]},
            {"Successful": [{"Id": "a", "MessageId": "m-1", "MD5OfMessageBody": "0" * 32}]},
        ),
        ("ReceiveMessage", {}, {"Messages": [{"MessageId": "m-1", "Body": "x", "MD5OfBody": "0" * 32}]}),
    ],
)
def test_a_body_that_changed_on_its_way_is_noticed(start_peer, parts, connect, action, members, answered):
    peer = start_peer(parts.always(answer(200, json.dumps(answered).encode())))
    with pytest.raises(Unreachable, match=r"another body's MD5 \(m-1\)"):
        connect(peer.url).call(action, members)


@pytest.mark.parametrize(("action", "times"), [("SendMessage", 1), ("ReceiveMessage", 1), ("DeleteMessage", 2)])
def test_only_what_is_the_same_done_twice_is_sent_again(start_peer, parts, connect, action, times):
    peer = start_peer(parts.answers(answer(200, b"{}"), b""), parts.always(answer(200, b"{}")))
    client = connect(peer.url)
    client.call("ListQueues", {})
    if times == 1:
        with pytest.raises(Unreachable, match="closed without an answer"):
            client.call(action, {})
    else:
        assert client.call(action, {}) == {}
    assert len(peer.requests) == 1 + times


@pytest.mark.parametrize("kind", [SqsFault, Transient])
def test_a_fault_survives_the_way_between_processes(kind):
    sent = fault("SendMessage", 503 if kind is Transient else 400, "Code", "text")
    received = pickle.loads(pickle.dumps(sent))
    assert (type(received), str(received), received.status) == (kind, str(sent), sent.status)
