"""PeekMessages: a look at a queue that changes nothing. No action of SQS, but this broker's own.

It reads what is on disk, past the engine: nothing is received, hidden, counted or moved. A page follows a place and not
a number, so that messages which come or go between two pages shift no others.
"""

import logging
import re
from typing import TYPE_CHECKING

from amply.broker.engine.decision import Delivery
from amply.broker.engine.records import AFTER_ALL, Content, Entry
from amply.broker.service.receiving import system_attributes
from amply.broker.sqs.extensions import PeekedMessage, PeekMessagesRequest, PeekMessagesResult
from amply.broker.sqs.faults import INTERNAL_FAILURE, INVALID_PARAMETER_VALUE, Fault, invalid_parameter
from amply.broker.sqs.receipts import Receipt

if TYPE_CHECKING:
    from amply.broker.engine.queue import Queue
    from amply.broker.service.service import Respond, Service
    from amply.broker.sqs.calls import Context
    from amply.broker.store.port import Peeked

_COUNT_MAX = 1000
_COUNT_DEFAULT = 100
_SIZE_BYTES_MAX = 1024 * 1024
_TOKEN = re.compile(r"([0-9]{1,18})\.([0-9]{1,18})")  # the place up to which everything was told

_log = logging.getLogger(__name__)


def peek_messages(service: "Service", request: PeekMessagesRequest, context: "Context", respond: "Respond") -> None:
    """Answered with what was durable when everything decided before it was. Messages past their retention are left out.

    A page ends early at about 1 MiB of bodies and attributes.
    """
    queue = service.engine.queues.existing(service.key(request.queue_url, context))
    count = _COUNT_DEFAULT if request.max_number_of_messages is None else request.max_number_of_messages
    if not 1 <= count <= _COUNT_MAX:
        raise invalid_parameter("MaxNumberOfMessages", count, f"Must be between 1 and {_COUNT_MAX}, if provided.")
    place = (0, 0) if request.next_token is None else _read_token(request.next_token)
    after = max(place, (service.clock.now_ms() - queue.retention_ms, AFTER_ALL))
    shelf = queue.record.shelf

    def take(peeked: "Peeked") -> None:
        try:
            result = _result(service, queue, peeked, has_receipts=request.with_receipt_handles is True)
        except Exception:  # noqa: BLE001 - nothing was changed, so this is one caller's trouble
            _log.exception("PeekMessages failed")
            respond(Fault(INTERNAL_FAILURE))
        else:
            respond(result)

    service.look_up(lambda store: store.peek(shelf, after, count, _SIZE_BYTES_MAX), take)


def _result(service: "Service", queue: "Queue", peeked: "Peeked", *, has_receipts: bool) -> PeekMessagesResult:
    now_ms = service.clock.now_ms()
    queue_id = queue.record.queue_id

    def message(entry: Entry, content: Content) -> PeekedMessage:
        handle = None
        if has_receipts:
            handle = service.receipts.issue(Receipt(queue_id, entry.seq, entry.receive_count, now_ms, is_peeked=True))
        return PeekedMessage(
            message_id=content.message_id,
            body=content.body,
            receipt_handle=handle,
            attributes=system_attributes(Delivery(queue_id, now_ms, entry, content)),
            message_attributes=content.attributes,
            visible_timestamp=queue.visible_ms(entry),
        )

    return PeekMessagesResult(
        messages=[message(entry, content) for entry, content in peeked.messages],
        next_token=None if peeked.read_to is None else "{}.{}".format(*peeked.read_to),
        now=now_ms,
        damaged=peeked.damaged,
    )


def _read_token(token: str) -> tuple[int, int]:
    place = _TOKEN.fullmatch(token)
    if place is None:
        raise Fault(INVALID_PARAMETER_VALUE, "Invalid or expired NextToken.")
    return int(place[1]), int(place[2])
