"""No answer leaves before what it says is on the disk: here the disk waits until the test lets it go on."""

import threading
from concurrent.futures import TimeoutError as NotYetError

import pytest

from amply.broker.store.memory import MemoryStore

ENTRIES = [{"Id": "1", "MessageBody": "x"}]
# An answer that leaves too early is there after a millisecond; one that waits is never there, so this is no deadline.
EARLY_S = 0.1


class SlowStore(MemoryStore):
    """Commits only while the gate is open."""

    def __init__(self):
        super().__init__()
        self.gate = threading.Event()
        self.gate.set()
        self.is_committing = threading.Event()

    def commit(self, changes, now_ms):
        self.is_committing.set()
        self.gate.wait(30)
        super().commit(changes, now_ms)


@pytest.fixture
def store():
    made = SlowStore()
    yield made
    made.gate.set()


@pytest.fixture
def broker(start_broker, store):
    return start_broker(store)


@pytest.mark.parametrize(
    ("action", "members"),
    [
        ("send_message", {"MessageBody": "x"}),
        ("send_message_batch", {"Entries": ENTRIES}),
        ("receive_message", {}),
        ("delete_message", {"ReceiptHandle": ...}),
        ("delete_message_batch", {"Entries": [{"Id": "1", "ReceiptHandle": ...}]}),
        ("change_message_visibility", {"ReceiptHandle": ..., "VisibilityTimeout": 100}),
        (
            "change_message_visibility_batch",
            {"Entries": [{"Id": "1", "ReceiptHandle": ..., "VisibilityTimeout": 0}]},
        ),
        ("set_queue_attributes", {"Attributes": {"DelaySeconds": "1"}}),
        ("tag_queue", {"Tags": {"a": "b"}}),
        ("untag_queue", {"TagKeys": ["a"]}),
        ("purge_queue", {}),
        ("delete_queue", {}),
    ],
)
def test_an_answer_waits_for_its_commit(sqs, store, queue, in_background, action, members):
    for _ in range(2):
        sqs.send_message(QueueUrl=queue, MessageBody="x")
    handle = sqs.receive_message(QueueUrl=queue)["Messages"][0]["ReceiptHandle"]
    store.gate.clear()
    store.is_committing.clear()
    asked = in_background(getattr(sqs, action), QueueUrl=queue, **with_handle(members, handle))
    assert store.is_committing.wait(10)
    with pytest.raises(NotYetError):
        asked.result(EARLY_S)
    store.gate.set()
    assert asked.result(10)["ResponseMetadata"]["HTTPStatusCode"] == 200


def with_handle(members, handle):
    """The members, with a real receipt handle wherever they have `...`."""
    if members is ...:
        return handle
    if isinstance(members, dict):
        return {name: with_handle(value, handle) for name, value in members.items()}
    if isinstance(members, list):
        return [with_handle(value, handle) for value in members]
    return members


def test_what_rests_on_an_uncommitted_change_waits_for_it_too(sqs, store, queue, in_background):
    """Who sees that a message is deleted, or that a queue is empty, may rely on it."""
    sqs.send_message(QueueUrl=queue, MessageBody="x")
    handle = sqs.receive_message(QueueUrl=queue)["Messages"][0]["ReceiptHandle"]
    store.gate.clear()
    store.is_committing.clear()
    first = in_background(sqs.delete_message, QueueUrl=queue, ReceiptHandle=handle)
    assert store.is_committing.wait(10)
    second = in_background(sqs.delete_message, QueueUrl=queue, ReceiptHandle=handle)
    with pytest.raises(NotYetError):
        second.result(EARLY_S)
    store.gate.set()
    first.result(10)
    second.result(10)
