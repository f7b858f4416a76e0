"""The requests and results of what this broker answers and SQS does not.

Knows the shapes only, as `shapes` does for SQS's own actions.
"""

from typing import Any

from msgspec import field

from amply.broker.sqs.shapes import Integer, MessageAttributeValue, RequestShape, ResultShape

# What a required member holds until the check for it has been made.
_ABSENT: Any = None


class PeekMessagesRequest(RequestShape, frozen=True, kw_only=True):
    """`max_number_of_messages` 1-1000, 100 if absent; `next_token` as the page before gave it."""

    queue_url: str = _ABSENT
    max_number_of_messages: Integer | None = None
    next_token: str | None = None
    with_receipt_handles: bool | None = None


class PeekedMessage(ResultShape, frozen=True, kw_only=True):
    """A message as it lies in its queue, with all its attributes.

    `visible_timestamp`, in epoch milliseconds, is when it can be received; that has come if it is not after the
    result's `now`.
    """

    message_id: str
    body: str
    receipt_handle: str | None = None
    attributes: dict[str, str] = field(default_factory=dict)
    message_attributes: dict[str, MessageAttributeValue] = field(default_factory=dict)
    visible_timestamp: int


class PeekMessagesResult(ResultShape, frozen=True, kw_only=True):
    """A page, oldest first. `next_token` while there is more; `now` is the broker's time in epoch milliseconds.

    `damaged` counts the messages of this page that are left out: what is on disk is not what was written.
    """

    messages: list[PeekedMessage]
    next_token: str | None = None
    now: int
    damaged: int = 0
