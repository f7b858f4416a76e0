"""Batches: up to ten at a time, each entry with an outcome of its own."""

from typing import Any

from expecting import Run, bodies, expect
from messages import digest, md5


def _ids(entries: list[dict[str, Any]]) -> list[str]:
    return [entry["Id"] for entry in entries]


def send_message_batch(run: Run) -> None:
    url = run.queue("batch-sent")
    entries = [{"Id": f"id-{number}", "MessageBody": f"gift {number}"} for number in range(9)]
    entries.append({"Id": "last", "MessageBody": "with attributes", "MessageAttributes": run.gift})
    answer = run.sqs.send_message_batch(QueueUrl=url, Entries=entries)
    sent = answer["Successful"]
    expect("Failed" in answer, False)
    expect(_ids(sent), _ids(entries))
    expect([entry["MD5OfMessageBody"] for entry in sent], [md5(entry["MessageBody"].encode()) for entry in entries])
    expect(sent[-1]["MD5OfMessageAttributes"], digest(run.gift))
    received = run.receive(url, MessageAttributeNames=["All"])
    expect(sorted(bodies(received)), sorted(entry["MessageBody"] for entry in entries))
    (attributed,) = [message for message in received if "MessageAttributes" in message]
    expect(attributed["MessageAttributes"], run.gift)


def send_message_batch_with_a_failed_entry(run: Run) -> None:
    url = run.queue("batch-partly", MaximumMessageSize="1024")
    entries = [{"Id": "good", "MessageBody": "gift"}, {"Id": "long", "MessageBody": "x" * 1025}]
    answer = run.sqs.send_message_batch(QueueUrl=url, Entries=entries)
    expect(_ids(answer["Successful"]), ["good"])
    (failed,) = answer["Failed"]
    expect((failed["Id"], failed["Code"], failed["SenderFault"]), ("long", "InvalidParameterValue", True))
    expect(bodies(run.receive(url)), ["gift"])


def _received(run: Run, url: str) -> list[dict[str, Any]]:
    """Send two, receive them; entries that name them."""
    run.sqs.send_message_batch(QueueUrl=url, Entries=[{"Id": body, "MessageBody": body} for body in ("one", "two")])
    return [{"Id": message["Body"], "ReceiptHandle": message["ReceiptHandle"]} for message in run.receive(url)]


def change_message_visibility_batch(run: Run) -> None:
    url = run.queue("batch-hidden")
    entries = [{**entry, "VisibilityTimeout": 0} for entry in _received(run, url)]
    entries.append({"Id": "bad", "ReceiptHandle": "garbage", "VisibilityTimeout": 0})
    answer = run.sqs.change_message_visibility_batch(QueueUrl=url, Entries=entries)
    expect(_ids(answer["Successful"]), _ids(entries[:2]))
    expect([(entry["Id"], entry["Code"]) for entry in answer["Failed"]], [("bad", "ReceiptHandleIsInvalid")])
    expect(sorted(bodies(run.receive(url))), ["one", "two"])


def delete_message_batch(run: Run) -> None:
    url = run.queue("batch-done")
    entries = [*_received(run, url), {"Id": "bad", "ReceiptHandle": "garbage"}]
    answer = run.sqs.delete_message_batch(QueueUrl=url, Entries=entries)
    expect(_ids(answer["Successful"]), _ids(entries[:2]))
    expect([(entry["Id"], entry["Code"]) for entry in answer["Failed"]], [("bad", "ReceiptHandleIsInvalid")])
    expect(run.attributes(url)["ApproximateNumberOfMessagesNotVisible"], "0")
