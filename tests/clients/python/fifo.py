"""FIFO queues: order, groups that are locked, deduplication, sequence numbers."""

import hashlib

from expecting import Run, bodies, expect, expect_true


def _send(run: Run, url: str, body: str, group: str, dedup: str | None = None) -> dict[str, str]:
    members = {} if dedup is None else {"MessageDeduplicationId": dedup}
    return dict(run.sqs.send_message(QueueUrl=url, MessageBody=body, MessageGroupId=group, **members))


def fifo_queue(run: Run) -> None:
    high = {"DeduplicationScope": "messageGroup", "FifoThroughputLimit": "perMessageGroupId"}
    attributes = run.attributes(run.fifo("kept", ContentBasedDeduplication="true", **high))
    expect({name: attributes[name] for name in high}, high)
    expect((attributes["FifoQueue"], attributes["ContentBasedDeduplication"]), ("true", "true"))
    attributes = run.attributes(run.fifo("plain"))
    expect((attributes["ContentBasedDeduplication"], attributes["DeduplicationScope"]), ("false", "queue"))
    nameless = {"QueueName": run.name("nameless"), "Attributes": {"FifoQueue": "true"}}
    run.refused(None, "InvalidParameterValue", run.sqs.create_queue, **nameless)


def fifo_order_and_sequence_numbers(run: Run) -> None:
    url = run.fifo("order")
    sent = [_send(run, url, body, body[0], f"id-{body}") for body in ("a1", "b1", "a2", "a3")]
    numbers = [one["SequenceNumber"] for one in sent]
    expect({len(number) for number in numbers}, {20})
    expect(sorted(numbers), numbers)
    received = run.receive(url)
    expect([body for body in bodies(received) if body[0] == "a"], ["a1", "a2", "a3"])
    expect(sorted(bodies(received)), ["a1", "a2", "a3", "b1"])
    attributes = received[0]["Attributes"]
    expect((attributes["MessageGroupId"], attributes["MessageDeduplicationId"]), ("a", "id-a1"))
    expect(attributes["SequenceNumber"], numbers[0])


def fifo_group_is_locked(run: Run) -> None:
    url = run.fifo("locked")
    for body in ("a1", "a2", "b1"):
        _send(run, url, body, body[0], body)
    (first,) = run.receive(url, MaxNumberOfMessages=1)
    expect((first["Body"], bodies(run.receive(url)), run.receive(url)), ("a1", ["b1"], []))
    handle = {"QueueUrl": url, "ReceiptHandle": first["ReceiptHandle"]}
    run.sqs.change_message_visibility(**handle, VisibilityTimeout=0)
    (first,) = run.receive(url, MaxNumberOfMessages=1)
    expect(first["Body"], "a1")
    run.sqs.delete_message(QueueUrl=url, ReceiptHandle=first["ReceiptHandle"])
    expect(bodies(run.receive(url)), ["a2"])


def fifo_deduplication_id(run: Run) -> None:
    url = run.fifo("once")
    first, second = (_send(run, url, body, "group", "same") for body in ("first", "second"))
    expect(second["MessageId"], first["MessageId"])
    (message,) = run.receive(url)
    expect(message["Body"], "first")
    run.sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
    _send(run, url, "third", "group", "same")
    expect(run.receive(url), [])


def fifo_content_based_deduplication(run: Run) -> None:
    url = run.fifo("content", ContentBasedDeduplication="true")
    first, second = (_send(run, url, "same", "group") for _ in range(2))
    expect(second["MessageId"], first["MessageId"])
    _send(run, url, "same", "group", "another-id")
    received = run.receive(url)
    expect(bodies(received), ["same", "same"])
    told = [message["Attributes"]["MessageDeduplicationId"] for message in received]
    expect(told, [hashlib.sha256(b"same").hexdigest(), "another-id"])


def fifo_batch(run: Run) -> None:
    url = run.fifo("batch", ContentBasedDeduplication="true")
    texts = [f"text {number}" for number in range(10)]
    entries = [{"Id": str(n), "MessageBody": text, "MessageGroupId": "group"} for n, text in enumerate(texts)]
    sent = run.sqs.send_message_batch(QueueUrl=url, Entries=entries)["Successful"]
    numbers = [entry["SequenceNumber"] for entry in sent]
    expect(numbers, sorted(set(numbers)))
    received = run.receive(url)
    expect(bodies(received), texts)
    done = [{"Id": str(n), "ReceiptHandle": message["ReceiptHandle"]} for n, message in enumerate(received)]
    expect(len(run.sqs.delete_message_batch(QueueUrl=url, Entries=done)["Successful"]), 10)


def fifo_receive_attempt(run: Run) -> None:
    url = run.fifo("attempt")
    _send(run, url, "gift", "group", "one")
    first, again = (run.receive(url, ReceiveRequestAttemptId="attempt") for _ in range(2))
    expect(bodies(again), ["gift"])
    expect(again[0]["ReceiptHandle"], first[0]["ReceiptHandle"])
    expect(run.receive(url, ReceiveRequestAttemptId="another"), [])


def fifo_dead_letters(run: Run) -> None:
    sick = run.fifo("ill-dlq")
    source = run.fifo("ill", RedrivePolicy=run.redrive(sick, 1))
    for body in ("one", "two"):
        _send(run, source, body, "group", body)
    expect(bodies(run.receive(source, MaxNumberOfMessages=1, VisibilityTimeout=0)), ["one"])
    expect(bodies(run.receive(source)), ["two"])
    (message,) = run.receive(sick)
    expect((message["Body"], message["Attributes"]["MessageGroupId"]), ("one", "group"))
    expect_true(message["Attributes"]["SequenceNumber"], "it has a sequence number")


def fifo_refusals(run: Run) -> None:
    url = run.fifo("strict")
    send = run.sqs.send_message
    run.refused(None, "MissingParameter", send, QueueUrl=url, MessageBody="x", MessageDeduplicationId="a")
    run.refused(None, "InvalidParameterValue", send, QueueUrl=url, MessageBody="x", MessageGroupId="group")
    spaced = {"QueueUrl": url, "MessageBody": "x", "MessageGroupId": "a group", "MessageDeduplicationId": "a"}
    run.refused(None, "InvalidParameterValue", send, **spaced)
    late = {"QueueUrl": url, "MessageBody": "x", "MessageGroupId": "group", "MessageDeduplicationId": "a"}
    run.refused(None, "InvalidParameterValue", send, **late, DelaySeconds=1)
