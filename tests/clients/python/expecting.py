"""What the steps share: queues of their own, and answers that are either as expected or end the run.

Must not know what the steps ask.
"""

import json
from collections.abc import Callable, Mapping
from typing import Any

from botocore.exceptions import ClientError

# The other languages' scripts send the same attributes, and know their digest only as this number.
GIFT: Mapping[str, Any] = {
    "kind": {"DataType": "String", "StringValue": "Spende für Öl"},
    "amount": {"DataType": "Number.cents", "StringValue": "2500"},
    "seal": {"DataType": "Binary", "BinaryValue": b"\x00\xff\x10"},
}
GIFT_MD5 = "43d2e4abbf3f8b3076e32501727b30ff"


class WrongAnswer(Exception):
    """SQS answers otherwise."""


def expect(got: object, wanted: object) -> None:
    """End the run if these differ."""
    if got != wanted:
        raise WrongAnswer(f"got {got!r}, expected {wanted!r}")


def expect_true(fact: object, what: str) -> None:
    """End the run if this is not so."""
    if not fact:
        raise WrongAnswer(f"it is not so that {what}")


class Run:
    """One run of the script: boto3's client of SQS, and queues whose names start with the prefix."""

    def __init__(self, sqs: Any, prefix: str, gift: Mapping[str, Any] = GIFT) -> None:
        self.sqs = sqs
        self.prefix = prefix
        self.gift = gift
        self._urls: list[str] = []

    def name(self, queue: str) -> str:
        return f"{self.prefix}-{queue}"

    def queue(self, queue: str, **attributes: str) -> str:
        """Create a queue; its URL."""
        url = self.sqs.create_queue(QueueName=self.name(queue), Attributes=attributes)["QueueUrl"]
        self._urls.append(url)
        return str(url)

    def fifo(self, queue: str, **attributes: str) -> str:
        """Create a FIFO queue; its URL."""
        return self.queue(f"{queue}.fifo", FifoQueue="true", **attributes)

    def attributes(self, url: str, *names: str) -> Mapping[str, str]:
        """A queue's attributes; without names, all."""
        answer = self.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=list(names or ("All",)))
        attributes: Mapping[str, str] = answer.get("Attributes", {})
        return attributes

    def arn(self, url: str) -> str:
        return self.attributes(url, "QueueArn")["QueueArn"]

    def redrive(self, dead_letters: str, count: int) -> str:
        """A redrive policy to the queue of that URL."""
        return json.dumps({"deadLetterTargetArn": self.arn(dead_letters), "maxReceiveCount": count})

    def receive(self, url: str, **members: Any) -> list[dict[str, Any]]:
        """Up to ten messages with all their system attributes."""
        asked = {"MaxNumberOfMessages": 10, "AttributeNames": ["All"], "WaitTimeSeconds": 0, **members}
        messages: list[dict[str, Any]] = self.sqs.receive_message(QueueUrl=url, **asked).get("Messages", [])
        return messages

    def refused(
        self, shape: str | None, code: str, call: Callable[..., object], *, status: int = 400, **members: object
    ) -> None:
        """Make a call that must fail: with the exception that boto3 has for the shape, the code and the status."""
        # boto3 from before the switch to JSON knows InvalidAttributeValue by its code only.
        kind = getattr(self.sqs.exceptions, shape or "", ClientError)
        try:
            answer = call(**members)
        except kind as error:
            told = error.response
            # The command line tells no status.
            answered = told.get("ResponseMetadata", {}).get("HTTPStatusCode", status)
            expect((told["Error"]["Code"], answered), (code, status))
            expect(told["Error"].get("QueryErrorCode", shape) if shape else None, shape)
            expect_true(told["Error"]["Message"], "the error has a message")
        else:
            raise WrongAnswer(f"got {answer!r}, expected {code}")

    def delete_queues(self) -> None:
        """Take away what was created, as far as it is still there."""
        for url in self._urls:
            try:
                self.sqs.delete_queue(QueueUrl=url)
            except self.sqs.exceptions.QueueDoesNotExist:
                continue


def bodies(messages: list[dict[str, Any]]) -> list[str]:
    """What the messages say, in their order."""
    return [message["Body"] for message in messages]
