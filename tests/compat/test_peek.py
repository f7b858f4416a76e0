"""PeekMessages and claims over HTTP, signed as boto3 signs. SQS itself has neither."""

import json
from xml.etree import ElementTree as ET

import pytest
import urllib3
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from msgspec.structs import replace

from amply.broker.sqs.limits import AWS
from amply.broker.store.memory import MemoryStore
from amply.broker.store.sqlite import SqliteStore

SYSTEM = {"ApproximateReceiveCount", "SenderId", "SentTimestamp"}


class Refused(Exception):
    """What an error says: its status, shape and message."""


def peek_at(endpoint_url):
    """`peek(url, ...)`: the answer to PeekMessages, of the broker there."""

    def peek(url, **members):
        body = json.dumps({"QueueUrl": url, **members}).encode()
        headers = {"Content-Type": "application/x-amz-json-1.0", "X-Amz-Target": "AmazonSQS.PeekMessages"}
        request = AWSRequest("POST", endpoint_url + "/", headers=headers, data=body)
        SigV4Auth(Credentials("test", "test"), "sqs", "eu-central-1").add_auth(request)
        sent = request.prepare()
        with urllib3.PoolManager(retries=False, timeout=10) as pool:
            answer = pool.request(sent.method, sent.url, body=sent.body, headers=dict(sent.headers))
        told = json.loads(answer.data)
        if answer.status != 200:
            raise Refused(answer.status, told["__type"].rpartition("#")[2], told["message"])
        return told

    return peek


@pytest.fixture
def peek(broker):
    return peek_at(broker.endpoint_url)


@pytest.fixture
def fifo(sqs):
    return sqs.create_queue(QueueName="work.fifo", Attributes={"FifoQueue": "true"})["QueueUrl"]


def send(sqs, queue, *bodies, **members):
    for body in bodies:
        ids = {"MessageGroupId": body[0], "MessageDeduplicationId": body} if queue.endswith(".fifo") else {}
        sqs.send_message(QueueUrl=queue, MessageBody=body, **ids, **members)


def receive(sqs, queue, **members):
    given = {"MaxNumberOfMessages": 10, "MessageSystemAttributeNames": ["All"], **members}
    return sqs.receive_message(QueueUrl=queue, **given).get("Messages", [])


def bodies(messages):
    return [message["Body"] for message in messages]


def handles(peek, queue):
    """The receipt of a look, by body."""
    return {one["Body"]: one["ReceiptHandle"] for one in peek(queue, WithReceiptHandles=True)["Messages"]}


def hide(sqs, queue, handle, timeout_s=30):
    sqs.change_message_visibility(QueueUrl=queue, ReceiptHandle=handle, VisibilityTimeout=timeout_s)


def counts(sqs, queue):
    asked = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["All"])["Attributes"]
    return [int(asked[f"ApproximateNumberOfMessages{which}"]) for which in ("", "NotVisible", "Delayed")]


def walk(peek, queue, **members):
    pages, token = [], {}
    while True:
        page = peek(queue, **members, **token)
        pages.append(page["Messages"])
        if "NextToken" not in page:
            return pages
        token = {"NextToken": page["NextToken"]}


NOT_IN_FLIGHT = (400, "AWS.SimpleQueueService.MessageNotInflight", "The specified message isn't in flight.")


def test_a_look_tells_all_that_a_receive_would_and_when_the_message_is_visible(sqs, peek, queue):
    attributes = {
        "who": {"DataType": "String", "StringValue": "ada"},
        "raw": {"DataType": "Binary", "BinaryValue": b"\x00\xff"},
    }
    trace = {"AWSTraceHeader": {"DataType": "String", "StringValue": "Root=1-2"}}
    send(sqs, queue, "a\r é", MessageAttributes=attributes, MessageSystemAttributes=trace)
    send(sqs, queue, "later", DelaySeconds=60)
    page = peek(queue)
    seen, delayed = page["Messages"]
    assert page["Now"] >= seen["VisibleTimestamp"]
    assert delayed["VisibleTimestamp"] >= page["Now"] + 60_000
    assert "NextToken" not in page
    assert "Damaged" not in page
    (received,) = receive(sqs, queue, MessageAttributeNames=["All"])
    assert seen.keys() == {"MessageId", "Body", "Attributes", "MessageAttributes", "VisibleTimestamp"}
    assert (seen["MessageId"], seen["Body"]) == (received["MessageId"], received["Body"])
    assert seen["MessageAttributes"] == {
        "raw": {"DataType": "Binary", "BinaryValue": "AP8="},
        "who": {"DataType": "String", "StringValue": "ada"},
    }
    first = received["Attributes"].pop("ApproximateFirstReceiveTimestamp")
    assert seen["Attributes"] | {"ApproximateReceiveCount": "1"} == received["Attributes"]
    again = peek(queue)["Messages"][0]
    assert again["Attributes"] == received["Attributes"] | {"ApproximateFirstReceiveTimestamp": first}
    assert again["VisibleTimestamp"] == page["Now"] + 30_000


def test_looking_at_three_pages_changes_nothing(sqs, peek, queue):
    send(sqs, queue, *map(str, range(10)), MessageAttributes={"n": {"DataType": "Number", "StringValue": "1"}})
    in_flight = receive(sqs, queue, MaxNumberOfMessages=2)
    before = counts(sqs, queue)
    for _ in range(2):
        pages = walk(peek, queue, MaxNumberOfMessages=4, WithReceiptHandles=True)
        assert [len(page) for page in pages] == [4, 4, 2]
        told = [one for page in pages for one in page]
        assert bodies(told) == [str(number) for number in range(10)]
        counted = [one["Attributes"]["ApproximateReceiveCount"] for one in told]
        assert sorted(counted) == ["0"] * 8 + ["1"] * 2
    assert counts(sqs, queue) == before == [8, 2, 0]
    for message in receive(sqs, queue):
        assert message["Attributes"]["ApproximateReceiveCount"] == "1"
    for message in in_flight:
        sqs.delete_message(QueueUrl=queue, ReceiptHandle=message["ReceiptHandle"])


def test_a_page_is_cut_at_a_mebibyte_and_has_at_least_one_message(sqs, peek, queue):
    send(sqs, queue, "x" * 1_048_576, *["y" * 400_000] * 3)
    assert [len(page) for page in walk(peek, queue, MaxNumberOfMessages=1000)] == [1, 2, 1]


def test_messages_that_come_and_go_between_pages_shift_no_others(broker, sqs, peek, queue):
    send(sqs, queue, "a", "b", "c", "d")
    page = peek(queue, MaxNumberOfMessages=2)
    broker.advance(1)
    for message in receive(sqs, queue, MaxNumberOfMessages=2):
        sqs.delete_message(QueueUrl=queue, ReceiptHandle=message["ReceiptHandle"])
    send(sqs, queue, "e")
    rest = peek(queue, NextToken=page["NextToken"])
    assert bodies(rest["Messages"]) == ["c", "d", "e"]


def test_what_is_past_its_retention_is_not_told(broker, sqs, peek):
    queue = sqs.create_queue(QueueName="short", Attributes={"MessageRetentionPeriod": "60"})["QueueUrl"]
    send(sqs, queue, "old")
    broker.advance(59)
    send(sqs, queue, "new")
    assert bodies(peek(queue)["Messages"]) == ["old", "new"]
    broker.advance(1)
    assert bodies(peek(queue)["Messages"]) == ["new"]


def test_a_look_shows_what_was_sent_just_before(sqs, peek, queue):
    for number in range(20):
        send(sqs, queue, str(number))
        assert len(peek(queue)["Messages"]) == number + 1


@pytest.mark.parametrize("count", [0, -1, 1001])
def test_a_count_that_is_no_count_is_refused(peek, queue, count):
    with pytest.raises(Refused, match=f"Value {count} for parameter MaxNumberOfMessages is invalid") as caught:
        peek(queue, MaxNumberOfMessages=count)
    assert caught.value.args[:2] == (400, "InvalidParameterValueException")


@pytest.mark.parametrize("token", ["", "x", "1", "1.2.3", "-1.2", "1.2\n", "9" * 30 + ".1", "\u0661.\u0662"])
def test_a_token_that_is_none_is_refused(peek, queue, token):
    with pytest.raises(Refused, match="Invalid or expired NextToken") as caught:
        peek(queue, NextToken=token)
    assert caught.value.args[:2] == (400, "InvalidParameterValueException")


def test_requests_that_say_nothing_useful_are_refused_as_those_of_sqs_are(broker, peek, post_json):
    with pytest.raises(Refused, match="The specified queue does not exist") as caught:
        peek(broker.endpoint_url + "/000000000000/nowhere")
    assert caught.value.args[:2] == (400, "QueueDoesNotExist")
    assert post_json("PeekMessages").json_error[:2] == (
        400,
        "com.amazon.coral.service#MissingRequiredParameterException",
    )
    wrong = post_json("PeekMessages", QueueUrl="q", WithReceiptHandles="yes")
    assert wrong.json_error[:2] == (400, "com.amazon.coral.service#SerializationException")


def test_the_query_protocol_has_it_too(sqs, query, queue):
    send(sqs, queue, "a", "b")
    asked = {"QueueUrl": queue, "MaxNumberOfMessages": 1, "WithReceiptHandles": "true"}
    answer = query("PeekMessages", asked)
    assert answer.status == 200, ET.tostring(answer.xml)
    told = "PeekMessagesResult/Message/"
    assert answer.texts(told + "Body") == ["a"]
    assert len(answer.text(told + "ReceiptHandle")) == 54
    assert set(answer.texts(told + "Attribute/Name")) == SYSTEM
    rest = query("PeekMessages", {**asked, "NextToken": answer.text("PeekMessagesResult/NextToken")})
    assert rest.texts(told + "Body") == ["b"]
    assert query("PeekMessages", {**asked, "WithReceiptHandles": "maybe"}).error[:2] == (400, "InvalidParameterValue")


def test_boto3_does_not_know_it(sqs):
    assert "PeekMessages" not in sqs.meta.service_model.operation_names


# Claims


@pytest.fixture(params=["standard", "fifo"])
def some_queue(request, queue, fifo):
    return queue if request.param == "standard" else fifo


def test_a_claim_hides_exactly_what_was_seen_and_counts_no_receive(broker, sqs, peek, some_queue):
    send(sqs, some_queue, "a", "b", "c")
    hide(sqs, some_queue, handles(peek, some_queue)["b"])
    assert counts(sqs, some_queue) == [2, 1, 0]
    got = receive(sqs, some_queue, VisibilityTimeout=60)
    assert sorted(bodies(got)) == ["a", "c"]
    seen = {one["Body"]: one for one in peek(some_queue)["Messages"]}
    assert seen["b"]["Attributes"]["ApproximateReceiveCount"] == "0"
    assert "ApproximateFirstReceiveTimestamp" not in seen["b"]["Attributes"]
    broker.advance(30)
    (b,) = receive(sqs, some_queue)
    assert (b["Body"], b["Attributes"]["ApproximateReceiveCount"]) == ("b", "1")


def test_of_two_tools_that_claim_a_message_one_gets_it(sqs, peek, some_queue, refused):
    send(sqs, some_queue, "a")
    one, other = handles(peek, some_queue)["a"], handles(peek, some_queue)["a"]
    hide(sqs, some_queue, one)
    change = sqs.change_message_visibility
    assert refused(change, QueueUrl=some_queue, ReceiptHandle=other, VisibilityTimeout=30) == NOT_IN_FLIGHT
    assert refused(change, QueueUrl=some_queue, ReceiptHandle=one, VisibilityTimeout=30) == NOT_IN_FLIGHT


def test_a_receive_between_the_look_and_the_claim_wins(broker, sqs, peek, some_queue, refused):
    send(sqs, some_queue, "a")
    handle = handles(peek, some_queue)["a"]
    receive(sqs, some_queue, VisibilityTimeout=10)
    for timeout_s in (30, 0):
        call = {"QueueUrl": some_queue, "ReceiptHandle": handle, "VisibilityTimeout": timeout_s}
        assert refused(sqs.change_message_visibility, **call) == NOT_IN_FLIGHT
    broker.advance(10)
    assert refused(sqs.change_message_visibility, **call) == NOT_IN_FLIGHT
    hide(sqs, some_queue, handles(peek, some_queue)["a"])


def test_a_claim_can_be_given_up(sqs, peek, some_queue):
    send(sqs, some_queue, "a")
    handle = handles(peek, some_queue)["a"]
    hide(sqs, some_queue, handle)
    assert receive(sqs, some_queue) == []
    hide(sqs, some_queue, handle, 0)
    hide(sqs, some_queue, handle, 0)
    assert bodies(receive(sqs, some_queue)) == ["a"]


def test_whoever_claimed_a_message_deletes_it(sqs, peek, some_queue):
    send(sqs, some_queue, "a", "b")
    handle = handles(peek, some_queue)["a"]
    hide(sqs, some_queue, handle)
    sqs.delete_message(QueueUrl=some_queue, ReceiptHandle=handle)
    assert counts(sqs, some_queue) == [1, 0, 0]
    assert bodies(peek(some_queue)["Messages"]) == ["b"]


def test_a_batch_claims_what_it_can(sqs, peek, queue):
    send(sqs, queue, "a", "b", "c")
    seen = handles(peek, queue)
    (got,) = receive(sqs, queue, MaxNumberOfMessages=1)
    entries = [{"Id": body, "ReceiptHandle": handle, "VisibilityTimeout": 30} for body, handle in seen.items()]
    answer = sqs.change_message_visibility_batch(QueueUrl=queue, Entries=entries)
    assert {one["Id"] for one in answer["Successful"]} == {"a", "b", "c"} - {got["Body"]}
    assert [(one["Id"], one["Code"]) for one in answer["Failed"]] == [(got["Body"], NOT_IN_FLIGHT[1])]


def test_a_hundred_letters_that_were_seen_are_claimed_and_deleted_with_one_request_each(sqs, peek, queue, refused):
    send(sqs, queue, *map(str, range(101)))
    page = peek(queue, WithReceiptHandles=True, MaxNumberOfMessages=200)["Messages"]
    (got,) = receive(sqs, queue, MaxNumberOfMessages=1)
    entries = [{"Id": str(index), "ReceiptHandle": one["ReceiptHandle"]} for index, one in enumerate(page)]
    claims = [entry | {"VisibilityTimeout": 30} for entry in entries]
    too_many = (400, "AWS.SimpleQueueService.TooManyEntriesInBatchRequest")
    for wrong in (claims, [*claims[:10], {"Id": "x", "ReceiptHandle": got["ReceiptHandle"], "VisibilityTimeout": 30}]):
        assert refused(sqs.change_message_visibility_batch, QueueUrl=queue, Entries=wrong)[:2] == too_many
    assert counts(sqs, queue) == [100, 1, 0]
    assert len(sqs.change_message_visibility_batch(QueueUrl=queue, Entries=claims[:100])["Successful"]) == 99
    assert len(sqs.delete_message_batch(QueueUrl=queue, Entries=entries[1:])["Successful"]) == 100
    assert counts(sqs, queue) == [0, 1, 0]


def test_what_is_delayed_is_seen_and_cannot_be_claimed(broker, sqs, peek, queue, refused):
    send(sqs, queue, "a", DelaySeconds=10)
    handle = handles(peek, queue)["a"]
    for timeout_s in (30, 0):
        call = {"QueueUrl": queue, "ReceiptHandle": handle, "VisibilityTimeout": timeout_s}
        assert refused(sqs.change_message_visibility, **call) == NOT_IN_FLIGHT
    broker.advance(10.1)
    hide(sqs, queue, handle)


def test_a_claim_of_what_is_gone_is_refused_as_any_change_is(sqs, peek, some_queue, refused):
    send(sqs, some_queue, "a")
    handle = handles(peek, some_queue)["a"]
    (message,) = receive(sqs, some_queue)
    sqs.delete_message(QueueUrl=some_queue, ReceiptHandle=message["ReceiptHandle"])
    call = {"QueueUrl": some_queue, "ReceiptHandle": handle, "VisibilityTimeout": 30}
    status, code, text = refused(sqs.change_message_visibility, **call)
    assert (status, code) == (400, "InvalidParameterValue")
    assert "Message does not exist or is not available for visibility timeout change." in text


def test_a_claim_locks_its_group_until_it_ends(broker, sqs, peek, fifo):
    send(sqs, fifo, "a1", "a2", "a3", "b1")
    seen = handles(peek, fifo)
    for body in ("a2", "a3"):  # one group, one tool: it takes as many as it likes
        hide(sqs, fifo, seen[body], 60)
    assert bodies(receive(sqs, fifo)) == ["b1"]
    sqs.delete_message(QueueUrl=fifo, ReceiptHandle=seen["a2"])
    assert receive(sqs, fifo) == []
    broker.advance(60)
    assert bodies(receive(sqs, fifo, MaxNumberOfMessages=1)) == ["a1"]


def test_on_a_fifo_queue_a_look_deletes_nothing_unless_it_is_claimed(broker, sqs, peek, fifo, refused):
    send(sqs, fifo, "a")
    handle = handles(peek, fifo)["a"]
    expired = (400, "InvalidParameterValue")
    assert refused(sqs.delete_message, QueueUrl=fifo, ReceiptHandle=handle)[:2] == expired
    hide(sqs, fifo, handle, 10)
    broker.advance(10)
    assert refused(sqs.delete_message, QueueUrl=fifo, ReceiptHandle=handle)[:2] == expired


def test_on_a_fifo_queue_an_expired_receipt_does_not_come_back_to_life_with_a_claim(broker, sqs, peek, fifo, refused):
    send(sqs, fifo, "a")
    (message,) = receive(sqs, fifo)
    broker.advance(30)
    hide(sqs, fifo, handles(peek, fifo)["a"])
    old = {"QueueUrl": fifo, "ReceiptHandle": message["ReceiptHandle"]}
    assert refused(sqs.delete_message, **old)[:2] == (400, "InvalidParameterValue")
    assert refused(sqs.change_message_visibility, **old, VisibilityTimeout=0)[:2] == (400, "InvalidParameterValue")


def test_claims_buried_nothing(broker, sqs, peek):
    dead = sqs.create_queue(QueueName="dead")["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=dead, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    redrive = json.dumps({"deadLetterTargetArn": arn, "maxReceiveCount": 1})
    work = sqs.create_queue(QueueName="work", Attributes={"RedrivePolicy": redrive})["QueueUrl"]
    send(sqs, work, "a")
    receive(sqs, work)
    for _ in range(3):
        broker.advance(30)
        hide(sqs, work, handles(peek, work)["a"])
    assert (counts(sqs, work), counts(sqs, dead)) == ([0, 1, 0], [0, 0, 0])


@pytest.mark.parametrize("name", ["work", "work.fifo"])
def test_a_claim_outlives_the_broker(start_broker, make_client, tmp_path, name):
    """Also of what was never received, which on disk looks like a delayed message but for the claim."""
    first = start_broker(SqliteStore(tmp_path / "data", ballast_bytes=65_536))
    sqs, attributes = make_client(first.endpoint_url), {"FifoQueue": "true"} if name.endswith(".fifo") else {}
    queue = sqs.create_queue(QueueName=name, Attributes=attributes)["QueueUrl"]
    send(sqs, queue, "a1", "a2")
    handle = handles(peek_at(first.endpoint_url), queue)["a1"]
    hide(sqs, queue, handle, 60)
    first.stop()
    second = start_broker(SqliteStore(tmp_path / "data", ballast_bytes=65_536))
    sqs, peek = make_client(second.endpoint_url), peek_at(second.endpoint_url)
    queue = sqs.get_queue_url(QueueName=name)["QueueUrl"]
    assert counts(sqs, queue) == [1, 1, 0]
    assert bodies(receive(sqs, queue)) == ([] if name.endswith(".fifo") else ["a2"])
    sqs.delete_message(QueueUrl=queue, ReceiptHandle=handle)
    assert bodies(peek(queue)["Messages"]) == ["a2"]


def test_the_cap_on_messages_in_flight_holds_for_claims(start_broker, make_client, refused):
    broker = start_broker(MemoryStore(), limits=replace(AWS, in_flight_max=2))
    sqs, peek = make_client(broker.endpoint_url), peek_at(broker.endpoint_url)
    queue = sqs.create_queue(QueueName="work")["QueueUrl"]
    send(sqs, queue, "a", "b", "c")
    first, second, third = handles(peek, queue).values()
    hide(sqs, queue, first)
    hide(sqs, queue, second)
    call = {"QueueUrl": queue, "ReceiptHandle": third, "VisibilityTimeout": 30}
    assert refused(sqs.change_message_visibility, **call)[:2] == (403, "OverLimit")
    hide(sqs, queue, first, 0)
    hide(sqs, queue, third)
