"""What lies in a dead letter queue, as SQS tells it. Knows SQS's words; must not know how they are asked for."""

from typing import Any

from msgspec import Struct

# The queue that a letter came from, where SQS itself does not know: it was put back from an archive.
SOURCE = "AmplySource"
# What a message carries that was brought back: from which queue, when (epoch milliseconds), how often by now.
REDRIVEN_FROM, REDRIVEN_AT, REDRIVEN_COUNT = "amply-redriven-from", "amply-redriven-at", "amply-redriven-count"

_MS_OF_A_DAY = 86_400_000
# A letter that has less time left than this deserves a warning.
SOON_MS = _MS_OF_A_DAY


class Letter(Struct, frozen=True, kw_only=True):
    """A message of a dead letter queue. Times are in epoch milliseconds.

    - `handle`: the receipt handle, "" if it was looked at without one
    - `attributes`: the message attributes as in AWS JSON: DataType, and StringValue or BinaryValue (base64 text)
    - `receive_count`: over all queues that the message was in (SQS developer guide, dead-letter queues)
    - `visible_ms`: when a receive may get it; None where SQS does not tell
    - `source`: the name of the queue that it came from, if that is known
    """

    message_id: str
    body: str
    handle: str
    attributes: dict[str, dict[str, str]]
    sent_ms: int
    receive_count: int
    first_received_ms: int | None = None
    visible_ms: int | None = None
    source: str | None = None
    group_id: str | None = None
    deduplication_id: str | None = None
    trace_header: str | None = None

    def expires_ms(self, retention_s: int) -> int:
        """When SQS deletes it. The time before it was moved here counts too, but on FIFO queues (same page)."""
        return self.sent_ms + retention_s * 1000


def read_letter(message: dict[str, Any]) -> Letter:
    """A letter from a member of `Messages`, of ReceiveMessage with all attributes or of PeekMessages."""
    system = message.get("Attributes") or {}
    attributes = message.get("MessageAttributes") or {}
    first_received_ms = system.get("ApproximateFirstReceiveTimestamp")
    return Letter(
        message_id=message["MessageId"],
        body=message["Body"],
        handle=message.get("ReceiptHandle") or "",
        attributes=attributes,
        sent_ms=int(system.get("SentTimestamp", 0)),
        receive_count=int(system.get("ApproximateReceiveCount", 0)),
        first_received_ms=None if first_received_ms is None else int(first_received_ms),
        visible_ms=message.get("VisibleTimestamp"),
        source=_source(system, attributes),
        group_id=system.get("MessageGroupId"),
        deduplication_id=system.get("MessageDeduplicationId"),
        trace_header=system.get("AWSTraceHeader"),
    )


def _source(system: dict[str, str], attributes: dict[str, dict[str, str]]) -> str | None:
    arn = system.get("DeadLetterQueueSourceArn")
    if arn is None and SOURCE in attributes:
        return attributes[SOURCE].get("StringValue")
    return arn and arn.rpartition(":")[2]
