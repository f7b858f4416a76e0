"""What lies in a dead letter queue, as SQS tells it. Knows SQS's words; must not know how they are asked for."""

from typing import Any

from msgspec import Struct, field

# The queue that a letter came from, where SQS itself does not know: it was put back from an archive.
SOURCE = "AmplySource"
# What a message carries that was brought back: from which queue, when (epoch milliseconds), how often by now.
REDRIVEN_FROM, REDRIVEN_AT, REDRIVEN_COUNT = "amply-redriven-from", "amply-redriven-at", "amply-redriven-count"

_QUEUE_NAME_CHARS_MAX = 80
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


class _SystemAttributes(Struct, rename="pascal"):
    sent_timestamp: int = 0
    approximate_receive_count: int = 0
    approximate_first_receive_timestamp: int | None = None
    dead_letter_queue_source_arn: str | None = None
    message_group_id: str | None = None
    message_deduplication_id: str | None = None
    trace_header: str | None = field(name="AWSTraceHeader", default=None)


class SqsMessage(Struct, rename="pascal"):
    """A member of `Messages`: of ReceiveMessage with all attributes, or of PeekMessages. Numbers may come as texts."""

    message_id: str
    body: str
    receipt_handle: str = ""
    attributes: _SystemAttributes = field(default_factory=_SystemAttributes)
    message_attributes: dict[str, dict[str, Any]] = field(default_factory=dict)
    visible_timestamp: int | None = None

    def letter(self) -> Letter:
        """The letter that it is."""
        system = self.attributes
        return Letter(
            message_id=self.message_id,
            body=self.body,
            handle=self.receipt_handle,
            attributes=self.message_attributes,
            sent_ms=system.sent_timestamp,
            receive_count=system.approximate_receive_count,
            first_received_ms=system.approximate_first_receive_timestamp,
            visible_ms=self.visible_timestamp,
            source=self._source(),
            group_id=system.message_group_id,
            deduplication_id=system.message_deduplication_id,
            trace_header=system.trace_header,
        )

    def _source(self) -> str | None:
        arn = self.attributes.dead_letter_queue_source_arn
        if arn is not None:
            return arn.rpartition(":")[2]
        told = self.message_attributes[SOURCE].get("StringValue") if SOURCE in self.message_attributes else None
        return told if told and len(told) <= _QUEUE_NAME_CHARS_MAX else None
