"""Single messages: sent, received, hidden, delayed, deleted; with attributes, and digests that are worked out here."""

import hashlib
from collections.abc import Mapping
from typing import Any

from expecting import GIFT, GIFT_MD5, Run, bodies, expect, expect_true

TRACE = "Root=1-5759e988-bd862e3fe1be46a994272793"


def md5(data: bytes) -> str:
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


def digest(attributes: Mapping[str, Any]) -> str:
    """MD5OfMessageAttributes, as the developer guide describes it ("Calculating the MD5 message digest")."""

    def counted(data: bytes) -> bytes:
        return len(data).to_bytes(4, "big") + data

    told = b""
    for name, value in sorted(attributes.items()):
        told += counted(name.encode()) + counted(value["DataType"].encode())
        if "BinaryValue" in value:
            told += b"\x02" + counted(value["BinaryValue"])
        else:
            told += b"\x01" + counted(value["StringValue"].encode())
    return md5(told)


def send_and_receive(run: Run) -> None:
    url = run.queue("simple")
    body = 'Grüße, "Welt" <&>\r\n\t🎁'
    sent = run.sqs.send_message(QueueUrl=url, MessageBody=body)
    expect(sent["MD5OfMessageBody"], md5(body.encode()))
    expect("SequenceNumber" in sent, False)
    (message,) = run.receive(url)
    expect((message["MessageId"], message["Body"]), (sent["MessageId"], body))
    expect(message["MD5OfBody"], sent["MD5OfMessageBody"])
    attributes = message["Attributes"]
    expect(attributes["ApproximateReceiveCount"], "1")
    expect_true(int(attributes["SentTimestamp"]) > 1_600_000_000_000, "the time of sending is in milliseconds")
    expect_true(attributes["SenderId"], "the sender is named")
    expect("MessageAttributes" in message, False)
    counts = run.attributes(url)
    expect((counts["ApproximateNumberOfMessages"], counts["ApproximateNumberOfMessagesNotVisible"]), ("0", "1"))


def message_attributes(run: Run) -> None:
    url = run.queue("attributed")
    sent = run.sqs.send_message(QueueUrl=url, MessageBody="gift", MessageAttributes=run.gift)
    expect(digest(GIFT), GIFT_MD5)
    expect(sent["MD5OfMessageAttributes"], digest(run.gift))
    (message,) = run.receive(url, MessageAttributeNames=["All"], VisibilityTimeout=0)
    expect(message["MessageAttributes"], run.gift)
    expect(message["MD5OfMessageAttributes"], digest(run.gift))
    (message,) = run.receive(url, MessageAttributeNames=["seal", "none"], VisibilityTimeout=0)
    expect(message["MessageAttributes"], {"seal": run.gift["seal"]})
    (message,) = run.receive(url, MessageAttributeNames=["seal", "amount"])
    some = {name: run.gift[name] for name in ("seal", "amount")}
    expect(message["MessageAttributes"], some)
    expect(message["MD5OfMessageAttributes"], digest(some))


def message_system_attributes(run: Run) -> None:
    url = run.queue("traced")
    trace = {"AWSTraceHeader": {"DataType": "String", "StringValue": TRACE}}
    sent = run.sqs.send_message(QueueUrl=url, MessageBody="gift", MessageSystemAttributes=trace)
    expect(sent["MD5OfMessageSystemAttributes"], digest(trace))
    expect("MD5OfMessageAttributes" in sent, False)
    (message,) = run.receive(url, AttributeNames=["AWSTraceHeader"])
    expect(message["Attributes"], {"AWSTraceHeader": TRACE})


def message_group_on_a_standard_queue(run: Run) -> None:
    url = run.queue("fair")
    run.sqs.send_message(QueueUrl=url, MessageBody="gift", MessageGroupId="tenant-1")
    (message,) = run.receive(url)
    expect(message["Attributes"]["MessageGroupId"], "tenant-1")


def long_poll(run: Run) -> None:
    url = run.queue("polled")
    expect(run.receive(url), [])
    run.sqs.send_message(QueueUrl=url, MessageBody="again")
    expect(bodies(run.receive(url, VisibilityTimeout=1)), ["again"])
    expect(run.receive(url), [])
    (message,) = run.receive(url, WaitTimeSeconds=20)
    expect(message["Attributes"]["ApproximateReceiveCount"], "2")


def delay_seconds(run: Run) -> None:
    url = run.queue("delayed", DelaySeconds="900")
    run.sqs.send_message(QueueUrl=url, MessageBody="much later")
    run.sqs.send_message(QueueUrl=url, MessageBody="soon", DelaySeconds=1)
    expect(run.attributes(url)["ApproximateNumberOfMessagesDelayed"], "2")
    expect(run.receive(url), [])
    expect(bodies(run.receive(url, WaitTimeSeconds=20)), ["soon"])


def change_message_visibility(run: Run) -> None:
    url = run.queue("hidden")
    run.sqs.send_message(QueueUrl=url, MessageBody="gift")
    (message,) = run.receive(url)
    handle = {"QueueUrl": url, "ReceiptHandle": message["ReceiptHandle"]}
    run.sqs.change_message_visibility(**handle, VisibilityTimeout=600)
    expect(run.receive(url), [])
    run.sqs.change_message_visibility(**handle, VisibilityTimeout=0)
    (message,) = run.receive(url)
    expect(message["Attributes"]["ApproximateReceiveCount"], "2")
    handle["ReceiptHandle"] = message["ReceiptHandle"]
    run.sqs.delete_message(**handle)
    run.refused(
        None, "InvalidParameterValue", run.sqs.change_message_visibility, status=400, **handle, VisibilityTimeout=1
    )


def delete_message(run: Run) -> None:
    url = run.queue("done")
    run.sqs.send_message(QueueUrl=url, MessageBody="gift")
    (message,) = run.receive(url, VisibilityTimeout=0)
    for _ in range(2):
        run.sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
    expect(run.receive(url), [])
