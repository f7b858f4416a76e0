"""Drives what kombu's own SQS transport has of SQS: `python kombu_script.py`.

It takes the endpoint from AWS_ENDPOINT_URL_SQS, like any user of boto3. Says `ok <step>` after each step, ends at the
first wrong answer, and says `no <step>: <why>` of what kombu cannot ask for. Needs nothing but kombu and boto3.
"""

import functools
import sys
from collections.abc import Callable
from typing import Any, Self

from botocore.exceptions import ClientError
from expecting import GIFT, WrongAnswer, expect, expect_true
from kombu import Connection, Exchange, Producer, Queue

PREFIX = "kombu-"
FETCHED = {"MessageSystemAttributeNames": ["ALL"], "MessageAttributeNames": ["All"]}  # kombu says ALL
LEGACY = "AWS.SimpleQueueService."

NOT_ASKED = {
    "it finds a queue by its prefix, with one page of ListQueues": ["get_queue_url", "list_queues_in_pages"],
    "it looks for a queue before it creates one": ["queue_name_exists"],
    "it can only tag a queue that it creates": ["queue_tags"],
    "it has no such call": [
        "permissions",
        "list_dead_letter_source_queues_in_pages",
        "message_system_attributes",
        "move_task_back_to_the_sources",
        "move_task_to_a_destination",
        "move_task_cancelled",
        "move_task_refusals",
        "fifo_receive_attempt",
        "over_limit",
        "every_action",
    ],
    "it sends, hides and deletes messages one by one": [
        "send_message_batch",
        "send_message_batch_with_a_failed_entry",
        "change_message_visibility_batch",
        "delete_message_batch",
        "fifo_batch",
        "empty_batch_request",
        "batch_entry_ids_not_distinct",
        "invalid_batch_entry_id",
        "too_many_entries_in_batch_request",
        "batch_request_too_long",
    ],
    "it gives every message of a FIFO queue a group and an id": ["fifo_content_based_deduplication", "fifo_refusals"],
    "it uses no receipt handle again": ["receipt_handle_is_invalid", "message_not_inflight"],
    "what it sends is always well formed": [
        "invalid_message_contents",
        "invalid_parameter_value",
        "unsupported_operation",
    ],
}


class Broker:
    """A connection to SQS with these attributes for new queues."""

    def __init__(self, creation: dict[str, str] | None = None, **options: object) -> None:
        self._connection = Connection(
            "sqs://",
            transport_options={
                "queue_name_prefix": PREFIX,
                "wait_time_seconds": 0,
                "fetch_message_attributes": FETCHED,
                "sqs-creation-attributes": creation or {},
                "client-config": {"retries": {"total_max_attempts": 1}},
                **options,
            },
        )
        self.channel = self._connection.default_channel
        # What is in flight stays so when the connection ends.
        self.channel.do_restore = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._connection.release()

    def declare(self, name: str) -> int:
        """Make sure that the queue is there; how many messages it has."""
        count: int = Queue(name, channel=self.channel).queue_declare().message_count
        return count

    def send(self, name: str, body: str, **properties: object) -> None:
        Producer(self.channel, serializer="json").publish(body, routing_key=name, **properties)

    def get(self, name: str) -> Any:
        """The next message, or None."""
        return Queue(name, channel=self.channel).get()

    def delete(self, name: str) -> None:
        """Declare the queue, and delete it. kombu deletes only what is bound to an exchange that has a name."""
        queue = Queue(name, Exchange("clients", "direct"), routing_key=name, channel=self.channel)
        queue.declare()
        queue.delete()

    def bodies(self, name: str, count: int) -> list[str | None]:
        """What the next messages say; they stay in flight."""
        messages = [self.get(name) for _ in range(count)]
        return [message and message.decode() for message in messages]


@functools.cache
def _plain() -> Broker:
    """The connection of all steps that ask for nothing special: each new one reads AWS's whole service model."""
    return Broker()


def _refused(code: str, call: Callable[[], object]) -> None:
    try:
        answer = call()
    except ClientError as error:
        expect(error.response["Error"]["Code"], code)
    else:
        raise WrongAnswer(f"got {answer!r}, expected {code}")


def _sqs_message(message: Any) -> dict[str, Any]:
    """The message as SQS gave it."""
    return dict(message.delivery_info["sqs_message"])


def create_queue() -> None:
    with Broker({"DelaySeconds": "0"}, queue_tags={"team": "giving"}) as broker:
        expect([broker.declare("created") for _ in range(2)], [0, 0])
    broker = _plain()
    expect(broker.declare("created"), 0)


def queue_attributes() -> None:
    broker = _plain()
    broker.declare("counted")
    broker.send("counted", "gift")
    expect(broker.declare("counted"), 1)


def purge_queue() -> None:
    broker = _plain()
    broker.declare("purged")
    broker.send("purged", "gift")
    queue = Queue("purged", channel=broker.channel)
    expect_true(queue.purge(), "something was purged")
    expect(broker.declare("purged"), 0)
    _refused(f"{LEGACY}PurgeQueueInProgress", queue.purge)


def delete_queue() -> None:
    broker = _plain()
    broker.delete("deleted")
    _refused(f"{LEGACY}NonExistentQueue", lambda: broker.get("deleted"))


def send_and_receive() -> None:
    broker = _plain()
    broker.declare("simple")
    broker.send("simple", 'Grüße, "Welt" <&>\r\n\t🎁')
    expect(broker.bodies("simple", 2), ['Grüße, "Welt" <&>\r\n\t🎁', None])


def message_attributes() -> None:
    broker = _plain()
    broker.declare("attributed")
    broker.send("attributed", "gift", message_attributes=GIFT)
    expect(_sqs_message(broker.get("attributed"))["MessageAttributes"], GIFT)


def message_group_on_a_standard_queue() -> None:
    broker = _plain()
    broker.declare("fair")
    broker.send("fair", "gift", MessageGroupId="tenant-1")
    expect(_sqs_message(broker.get("fair"))["Attributes"]["MessageGroupId"], "tenant-1")


def long_poll() -> None:
    with Broker({"VisibilityTimeout": "1"}, wait_time_seconds=20) as broker:
        broker.declare("polled")
        broker.send("polled", "gift")
        counts = [_sqs_message(broker.get("polled"))["Attributes"]["ApproximateReceiveCount"] for _ in range(2)]
        expect(counts, ["1", "2"])


def delay_seconds() -> None:
    with Broker(wait_time_seconds=20) as broker:
        broker.declare("delayed")
        broker.send("delayed", "later", delay_seconds=900)
        broker.send("delayed", "soon", DelaySeconds=1)
        expect((broker.declare("delayed"), broker.bodies("delayed", 1)), (0, ["soon"]))


def change_message_visibility() -> None:
    broker = _plain()
    broker.declare("hidden")
    broker.send("hidden", "gift")
    broker.get("hidden").requeue()
    expect(_sqs_message(broker.get("hidden"))["Attributes"]["ApproximateReceiveCount"], "2")


def delete_message() -> None:
    with Broker({"VisibilityTimeout": "0"}) as broker:
        broker.declare("done")
        broker.send("done", "gift")
        broker.get("done").ack()
        expect(broker.get("done"), None)


def _dead_letter(suffix: str) -> None:
    """A message that is received once and rejected lands in the dead letter queue."""
    sick, source = f"lost-dlq{suffix}", f"lost{suffix}"
    broker = _plain()
    broker.declare(sick)
    account = broker.channel._resolve_queue_url(sick).split("/")[-2]
    arn = f"arn:aws:sqs:{broker.channel.region}:{account}:{PREFIX}{sick}"
    policy = f'{{"deadLetterTargetArn": "{arn}", "maxReceiveCount": 1}}'
    with Broker({"RedrivePolicy": policy, "VisibilityTimeout": "0"}) as others:
        others.declare(source)
        others.send(source, "gift")
        others.get(source).reject()
        expect(others.get(source), None)
    message = broker.get(sick)
    expect(message.decode(), "gift")
    attributes = _sqs_message(message)["Attributes"]
    expect_true(attributes["DeadLetterQueueSourceArn"].endswith(f"{PREFIX}{source}"), "the source is told")


def dead_letter_after_max_receive_count() -> None:
    _dead_letter("")


def fifo_queue() -> None:
    with Broker({"DeduplicationScope": "messageGroup", "FifoThroughputLimit": "perMessageGroupId"}) as broker:
        expect([broker.declare("kept.fifo") for _ in range(2)], [0, 0])


def fifo_order_and_sequence_numbers() -> None:
    broker = _plain()
    broker.declare("order.fifo")
    for body in ("one", "two"):
        broker.send("order.fifo", body)
    messages = []
    for _ in range(2):
        message = broker.get("order.fifo")
        message.ack()
        messages.append(message)
    expect([message.decode() for message in messages], ["one", "two"])
    first, second = (_sqs_message(message)["Attributes"] for message in messages)
    expect((first["MessageGroupId"], first["SequenceNumber"] < second["SequenceNumber"]), ("default", True))


def fifo_group_is_locked() -> None:
    broker = _plain()
    broker.declare("locked.fifo")
    for body in ("a1", "a2", "b1"):
        broker.send("locked.fifo", body, MessageGroupId=body[0])
    expect(broker.bodies("locked.fifo", 3), ["a1", "b1", None])


def fifo_deduplication_id() -> None:
    broker = _plain()
    broker.declare("once.fifo")
    for body in ("first", "second"):
        broker.send("once.fifo", body, MessageDeduplicationId="same")
    broker.get("once.fifo").ack()
    expect(broker.bodies("once.fifo", 1), [None])


def fifo_dead_letters() -> None:
    _dead_letter(".fifo")


def queue_does_not_exist() -> None:
    broker = _plain()
    broker.declare("here")
    url = broker.channel._resolve_queue_url("here").replace("here", "gone")
    with Broker(queue_name_prefix="", predefined_queues={"gone": {"url": url}}) as broker:
        _refused(f"{LEGACY}NonExistentQueue", lambda: broker.get("gone"))
        _refused(f"{LEGACY}NonExistentQueue", lambda: broker.send("gone", "gift"))


def queue_deleted_recently() -> None:
    broker = _plain()
    broker.delete("brief")
    with Broker() as broker:
        _refused(f"{LEGACY}QueueDeletedRecently", lambda: broker.declare("brief"))


def invalid_attribute_name() -> None:
    with Broker({"Colour": "red"}) as broker:
        _refused("InvalidAttributeName", lambda: broker.declare("named"))


def invalid_attribute_value() -> None:
    with Broker({"VisibilityTimeout": "43201"}) as broker:
        _refused("InvalidAttributeValue", lambda: broker.declare("valued"))


STEPS = [
    create_queue,
    queue_attributes,
    purge_queue,
    delete_queue,
    send_and_receive,
    message_attributes,
    message_group_on_a_standard_queue,
    long_poll,
    delay_seconds,
    change_message_visibility,
    delete_message,
    dead_letter_after_max_receive_count,
    fifo_queue,
    fifo_order_and_sequence_numbers,
    fifo_group_is_locked,
    fifo_deduplication_id,
    fifo_dead_letters,
    queue_does_not_exist,
    queue_deleted_recently,
    invalid_attribute_name,
    invalid_attribute_value,
]


def main() -> None:
    for step in STEPS:
        step()
        sys.stdout.write(f"ok {step.__name__}\n")
        sys.stdout.flush()
    for why, steps in NOT_ASKED.items():
        for name in steps:
            sys.stdout.write(f"no {name}: {why}\n")


if __name__ == "__main__":
    main()
