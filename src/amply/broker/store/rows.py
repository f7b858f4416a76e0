"""Records as rows and back. Knows columns and checksums; executes nothing.

Text is read back as bytes: a flipped bit may make it something that is no text at all, and that must be found out by
the checksum, not by a decoder.
"""

import struct
import zlib
from collections.abc import Sequence
from typing import Any, TypeAlias

import msgspec
from msgspec import Struct
from msgspec.structs import astuple

from amply.broker.engine.records import Attempt, Attempted, Content, Deduplicated, Entry, MoveTask, QueueRecord
from amply.broker.sqs.shapes import MessageAttributeValue

Row: TypeAlias = tuple[Any, ...]

_ABSENT = b"\xff"  # never part of UTF-8, so that None and "" differ
_encode = msgspec.json.Encoder().encode
_decode_attributes = msgspec.json.Decoder(dict[str, MessageAttributeValue]).decode
_decode_deliveries = msgspec.json.Decoder(tuple[tuple[int, int, int], ...]).decode
_decode_words = msgspec.json.Decoder(dict[str, str]).decode


class State(Struct, frozen=True, kw_only=True):
    """The one row that every commit rewrites. `commits` counts them."""

    commits: int
    last_ms: int
    last_seq: int
    last_id: int
    secret: bytes

    @property
    def checksum(self) -> int:
        """CRC-32 of the rest."""
        return zlib.crc32(struct.pack("<4q", self.commits, self.last_ms, self.last_seq, self.last_id) + self.secret)


def size_bytes(content: Content) -> int:
    """What a message takes of a page's limit: its body and its attributes as they are stored."""
    attributes = len(_encode(content.attributes)) if content.attributes else 0
    return len(content.body.encode()) + attributes


def message_row(seq: int, content: Content) -> Row:
    """The columns of table `message`."""
    attributes = _encode(content.attributes) if content.attributes else None
    trace_header = content.trace_header.encode() if content.trace_header is not None else None
    group_id = content.group_id.encode() if content.group_id is not None else None
    deduplication_id = content.deduplication_id.encode() if content.deduplication_id is not None else None
    rest = (content.message_id.encode(), content.sender_id.encode(), attributes, trace_header, group_id)
    return (
        seq,
        content.message_id,
        content.body,
        content.sender_id,
        attributes.decode() if attributes is not None else None,
        content.trace_header,
        content.group_id,
        _checksum(seq, content.body.encode(), rest, deduplication_id),
        content.deduplication_id,
    )


def content_of(seq: int, columns: Sequence[Any]) -> tuple[Content, int] | None:
    """The content and its size in bytes, or None if the columns are not what was written.

    The columns are (message_id, body, sender_id, attributes, trace_header, group_id, deduplication_id, checksum).
    """
    message_id, body, sender_id, attributes, trace_header, group_id, deduplication_id, checksum = columns
    if message_id is None or body is None or sender_id is None:
        return None
    rest = (message_id, sender_id, attributes, trace_header, group_id)
    if _checksum(seq, body, rest, deduplication_id) != checksum:
        return None
    content = Content(
        message_id.decode(),
        body.decode(),
        sender_id.decode(),
        _decode_attributes(attributes) if attributes is not None else {},
        trace_header.decode() if trace_header is not None else None,
        group_id.decode() if group_id is not None else None,
        deduplication_id.decode() if deduplication_id is not None else None,
    )
    return content, len(body) + len(attributes or b"")


def _checksum(seq: int, body: bytes, rest: tuple[bytes | None, ...], deduplication_id: bytes | None) -> int:
    message_id, sender_id, attributes, trace_header, group_id = [_ABSENT if part is None else part for part in rest]
    head = b"%d\0%b\0%b\0%b\0%b\0%b" % (seq, message_id, sender_id, attributes, trace_header, group_id)
    if deduplication_id is not None:  # younger than the rest; messages without one keep their old checksum
        head += b"\0%b" % deduplication_id
    return zlib.crc32(body, zlib.crc32(head))


def entry_row(entry: Entry) -> Row:
    """The columns of table `entry`."""
    return (
        entry.seq,
        entry.shelf,
        entry.sent_ms,
        entry.visible_ms,
        ~entry.receive_count if entry.is_claimed else entry.receive_count,
        entry.first_received_ms,
        entry.dead_letter_source_arn,
        entry.group_id,
    )


def entry_of(columns: Sequence[Any]) -> Entry:
    """The entry that such a row tells of."""
    if columns[4] >= 0:
        return Entry(*columns)
    seq, shelf, sent_ms, visible_ms, count, first_received_ms, source_arn, group_id = columns
    return Entry(seq, shelf, sent_ms, visible_ms, ~count, first_received_ms, source_arn, group_id, is_claimed=True)


def queue_row(queue: QueueRecord) -> Row:
    """The columns of table `queue`."""
    return (
        queue.queue_id,
        queue.shelf,
        queue.account,
        queue.name,
        _encode(queue.attributes).decode(),
        _encode(queue.tags).decode(),
        queue.created_ms,
        queue.modified_ms,
        queue.purged_ms,
    )


def queue_of(columns: Sequence[Any]) -> QueueRecord:
    """The queue that such a row tells of."""
    queue_id, shelf, account, name, attributes, tags, created_ms, modified_ms, purged_ms = columns
    return QueueRecord(
        queue_id=queue_id,
        shelf=shelf,
        account=account,
        name=name,
        attributes=_decode_words(attributes),
        tags=_decode_words(tags),
        created_ms=created_ms,
        modified_ms=modified_ms,
        purged_ms=purged_ms,
    )


def deduplication_row(deduplicated: Deduplicated) -> Row:
    """The columns of table `deduplication`, which are in the order of the members."""
    return astuple(deduplicated)


def deduplication_of(columns: Sequence[Any]) -> Deduplicated:
    """What such a row tells of."""
    return Deduplicated(*columns)


def attempt_row(attempted: Attempted) -> Row:
    """The columns of table `attempt`."""
    attempt = attempted.attempt
    return attempted.shelf, attempted.attempt_id, attempt.received_ms, _encode(attempt.deliveries).decode()


def attempt_of(columns: Sequence[Any]) -> Attempted:
    """What such a row tells of."""
    shelf, attempt_id, received_ms, deliveries = columns
    return Attempted(shelf, attempt_id, Attempt(received_ms, _decode_deliveries(deliveries)))


def move_task_row(task: MoveTask) -> Row:
    """The columns of table `move_task`, which are in the order of the members."""
    return astuple(task)


def move_task_of(columns: Sequence[Any]) -> MoveTask:
    """The task that such a row tells of."""
    return MoveTask(**dict(zip(MoveTask.__struct_fields__, columns, strict=True)))
