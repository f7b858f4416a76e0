"""The same calls to two SQS endpoints, and what of their answers can be compared."""

from collections import Counter
from typing import Any

from botocore.exceptions import ClientError

NUMBERS = ("ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible", "ApproximateNumberOfMessagesDelayed")
SYSTEM = ("ApproximateReceiveCount", "MessageGroupId", "MessageDeduplicationId")
PREFIX = "AWS.SimpleQueueService."


class Sqs:
    """One endpoint. Messages are known by their bodies, which are never the same, and handles by their number."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self._urls: dict[str, str] = {}
        self._handles: dict[tuple[str, int], str] = {}  # of a message's so many-th receive
        self._bodies: dict[str, str] = {}  # by message id
        self.raw: Any = None

    def call(self, action: str, queue: str, **members: Any) -> Any:
        """The answer to an action, or the code of its error."""
        try:
            return getattr(self, "_" + action)(queue, **members)
        except ClientError as error:
            return error.response["Error"]["Code"].removeprefix(PREFIX)

    def settle(self, queue: str) -> None:
        """Something durable: what was looked up on disk before it is in memory then, on a broker of ours."""
        self._client.tag_queue(QueueUrl=self._urls[queue], Tags={"settled": "yes"})

    def _create_queue(self, queue: str, attributes: dict[str, str], dead_letters: str | None, most: int) -> str:
        if dead_letters is not None:
            policy = f'{{"deadLetterTargetArn":"{self._arn(dead_letters)}","maxReceiveCount":{most}}}'
            attributes = attributes | {"RedrivePolicy": policy}
        self._urls[queue] = self._client.create_queue(QueueName=queue, Attributes=attributes)["QueueUrl"]
        return "created"

    def _arn(self, queue: str) -> str:
        answer = self._client.get_queue_attributes(QueueUrl=self._urls[queue], AttributeNames=["QueueArn"])
        return str(answer["Attributes"]["QueueArn"])

    def _send(self, queue: str, body: str, **members: Any) -> tuple[str, str, bool]:
        """The digest, the body of the message that it is now, whether there is a sequence number."""
        answer = self._client.send_message(QueueUrl=self._urls[queue], MessageBody=body, **members)
        self.raw = answer
        known = self._bodies.setdefault(answer["MessageId"], body)
        return answer["MD5OfMessageBody"], known, "SequenceNumber" in answer

    def _receive(self, queue: str, count: int, timeout_s: int | None) -> list[tuple[Any, ...]]:
        members = {} if timeout_s is None else {"VisibilityTimeout": timeout_s}
        answer = self._client.receive_message(
            QueueUrl=self._urls[queue],
            MaxNumberOfMessages=count,
            WaitTimeSeconds=0,
            MessageSystemAttributeNames=["All"],
            **members,
        )
        self.raw = answer.get("Messages", [])
        got = []
        for message in self.raw:
            attributes = message["Attributes"]
            received = int(attributes["ApproximateReceiveCount"])
            self._handles[message["Body"], received] = message["ReceiptHandle"]
            got.append((message["Body"], message["MD5OfBody"], *(attributes.get(name) for name in SYSTEM)))
        return got if queue.endswith(".fifo") else sorted(got)

    def _delete(self, queue: str, receipt: tuple[str, int]) -> str:
        self._client.delete_message(QueueUrl=self._urls[queue], ReceiptHandle=self._handles[receipt])
        return "deleted"

    def _change(self, queue: str, receipt: tuple[str, int], timeout_s: int) -> str:
        self._client.change_message_visibility(
            QueueUrl=self._urls[queue], ReceiptHandle=self._handles[receipt], VisibilityTimeout=timeout_s
        )
        return "changed"

    def _purge(self, queue: str) -> str:
        self._client.purge_queue(QueueUrl=self._urls[queue])
        return "purged"

    def _count(self, queue: str) -> tuple[int, ...]:
        answer = self._client.get_queue_attributes(QueueUrl=self._urls[queue], AttributeNames=list(NUMBERS))
        return tuple(int(answer["Attributes"][name]) for name in NUMBERS)

    def _set(self, queue: str, attributes: dict[str, str]) -> str:
        self._client.set_queue_attributes(QueueUrl=self._urls[queue], Attributes=attributes)
        return "set"

    def _delete_queue(self, queue: str) -> str:
        self._client.delete_queue(QueueUrl=self._urls[queue])
        return "deleted"


def difference(action: str, queue: str, ours: Any, theirs: Any) -> str | None:
    """How two answers differ, in a few words; None if they do not."""
    if ours == theirs:
        return None
    kind = "fifo" if queue.endswith(".fifo") else "standard"
    return f"{action} {kind}: {_in_words(ours, theirs)} / {_in_words(theirs, ours)}"


def _in_words(one: Any, other: Any) -> str:
    if isinstance(one, str):
        return one
    if isinstance(other, str):
        return "done"
    if isinstance(one, list):
        here, there = Counter(got[0] for got in one), Counter(got[0] for got in other)
        if here == there:
            return "same messages, other order or attributes"
        return " and ".join(
            words for words, is_so in (("more messages", here - there), ("fewer messages", there - here)) if is_so
        )
    if isinstance(one, tuple) and isinstance(one[0], int):
        bigger = [name for name, a, b in zip(("visible", "in flight", "delayed"), one, other, strict=True) if a > b]
        return "more " + " and ".join(bigger or ["nothing"])
    return "other"
