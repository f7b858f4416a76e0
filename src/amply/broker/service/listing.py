"""The two lists of queues, in pages: ListQueues and ListDeadLetterSourceQueues (AWS API reference).

A page follows a name and not a number, so that queues which come or go between two pages shift no others.
"""

from base64 import b64decode, urlsafe_b64encode
from binascii import Error as Base64Error
from typing import TYPE_CHECKING, NamedTuple

from amply.broker.sqs.faults import INVALID_PARAMETER_VALUE, Fault, invalid_parameter
from amply.broker.sqs.names import queue_url
from amply.broker.sqs.shapes import (
    ListDeadLetterSourceQueuesRequest,
    ListDeadLetterSourceQueuesResult,
    ListQueuesRequest,
    ListQueuesResult,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from amply.broker.engine.records import QueueRecord
    from amply.broker.service.service import Respond, Service
    from amply.broker.sqs.calls import Context


class _Page(NamedTuple):
    queue_urls: list[str]
    next_token: str | None


def list_queues(service: "Service", request: ListQueuesRequest, context: "Context", respond: "Respond") -> None:
    """The caller's queues in order of their names."""
    prefix = request.queue_name_prefix or ""
    records = (queue.record for queue in service.engine.queues)
    mine = (record for record in records if record.account == context.account and record.name.startswith(prefix))
    page = _page(mine, request, context, most=service.limits.list_queues_max)
    respond(ListQueuesResult(queue_urls=page.queue_urls, next_token=page.next_token))


def list_dead_letter_source_queues(
    service: "Service", request: ListDeadLetterSourceQueuesRequest, context: "Context", respond: "Respond"
) -> None:
    """The queues whose RedrivePolicy names this one, in order of their names."""
    queues = service.engine.queues
    dead_letters = queues.existing(service.key(request.queue_url, context))
    sources = (queue.record for queue in queues if queues.dead_letters_of(queue) is dead_letters)
    page = _page(sources, request, context, most=service.limits.list_queues_max)
    respond(ListDeadLetterSourceQueuesResult(queue_urls=page.queue_urls, next_token=page.next_token))


def _page(
    records: "Iterable[QueueRecord]",
    request: ListQueuesRequest | ListDeadLetterSourceQueuesRequest,
    context: "Context",
    *,
    most: int,
) -> _Page:
    """Up to `most` queues of one account. There is a token only where MaxResults was given and more are left."""
    size = request.max_results
    if size is not None and not 1 <= size <= most:
        raise invalid_parameter("MaxResults", size, f"MaxResults must be an integer between 1 and {most}.")
    after = _read_token(request.next_token) if request.next_token else ""
    left = sorted((record.name, record.account) for record in records if record.name > after)
    shown = left[: size or most]
    return _Page(
        [queue_url(context.base_url, account, name) for name, account in shown],
        _token(shown[-1][0]) if size and len(shown) < len(left) else None,
    )


def _token(last_name: str) -> str:
    return urlsafe_b64encode(last_name.encode()).decode()


def _read_token(token: str) -> str:
    try:
        return b64decode(token.encode(), altchars=b"-_", validate=True).decode()
    except (Base64Error, UnicodeError):
        raise Fault(INVALID_PARAMETER_VALUE, "Invalid or expired NextToken.") from None
