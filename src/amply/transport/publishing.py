"""From kombu's payload to an SQS message: body, attributes, delay, group, and whether it fits.

Knows what kombu and Celery put into a payload and what SendMessage takes. Must not know queues, clients or clocks: it
is handed what it needs to decide.
"""

import logging
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from msgspec import Struct, structs

from amply import envelope
from amply.errors import AmplyError
from amply.ids import secret
from amply.transport.payloads import POINTER_BYTES_MAX, SIZE_ATTRIBUTE, PayloadStore

# The attribute (type Number) that says how many runs of the job failed before this message was made.
ATTEMPTS = "AmplyAttempts"

# AWS API reference, SendMessage.
DELAY_S_MAX = 900
# A message takes ten attributes (developer guide, "Amazon SQS message metadata"); two are kept free for ours, so that a
# job whose first message could be sent can also be retried and stored aside.
OWN_ATTRIBUTES_MAX = 8
# No queue is asked for its MaximumMessageSize for less. Queues made before August 2025 take 256 KiB, later ones 1 MiB;
# only one that was set lower by hand refuses a smaller message, and then SQS says so itself.
SURELY_FITS_BYTES = 200 * 1024

# What delivery puts in, for the task to read; a copy of the message must not carry them.
_DELIVERY_HEADERS = ("attempt", "receive_count", "message_id")
# What asks for something at sending. It is not part of the job: a copy that carried the delay would wait again, and one
# with the same deduplication id would be dropped.
_SENDING_PROPERTIES = ("message_attributes", "delay_seconds", "DelaySeconds", "MessageDeduplicationId")

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

_log = logging.getLogger(__name__)


class Label(NamedTuple):
    """A job as people call it. Both are empty when the payload is no Celery task."""

    task: str
    id: str

    def __str__(self) -> str:
        return f"{self.task}[{self.id}]" if self.task else "a message that is no Celery task"


class MessageTooLarge(AmplyError, ValueError):
    """The message does not fit into its queue; trying again does not change that.

    `size_bytes` counts what SQS counts: the UTF-8 bytes of body and attributes.
    """

    def __init__(
        self,
        message: str,
        *,
        hint: str | None = None,
        label: Label = Label("", ""),  # noqa: B008 - a tuple
        size_bytes: int = 0,
        limit_bytes: int = 0,
    ) -> None:
        # Only the message is required, so that the error survives being pickled by a worker's pool.
        super().__init__(message, hint=hint)
        self.task, self.id = label
        self.size_bytes = size_bytes
        self.limit_bytes = limit_bytes


class Outgoing(Struct, frozen=True):
    """One message as SQS takes it.

    `attributes` are in boto3's form, with bytes as they are. `delay_s` (0..900) goes before the queue's own
    DelaySeconds; None leaves it to the queue.
    """

    body: str
    attributes: dict[str, dict[str, Any]] = {}
    delay_s: int | None = None
    group_id: str | None = None
    deduplication_id: str | None = None

    def members(self) -> dict[str, Any]:
        """The members of a SendMessage request or of a batch entry; QueueUrl or Id are the caller's."""
        members: dict[str, Any] = {"MessageBody": self.body}
        if self.attributes:
            members["MessageAttributes"] = self.attributes
        if self.delay_s is not None:
            members["DelaySeconds"] = self.delay_s
        if self.group_id is not None:
            members["MessageGroupId"] = self.group_id
        if self.deduplication_id is not None:
            members["MessageDeduplicationId"] = self.deduplication_id
        return members

    @property
    def size_bytes(self) -> int:
        """What counts against the size limits (AWS API reference, SendMessage).

        UTF-8 bytes of the body, and of attribute names, types and values.
        """
        return _length(self.body) + sum(
            _length(name) + sum(_length(part) for part in value.values()) for name, value in self.attributes.items()
        )


def prepare(
    payload: Mapping[str, Any],
    *,
    form: envelope.Form,
    is_fifo: bool,
    now_ms: int,
    maximum_bytes: Callable[[], int],
    payloads: PayloadStore | None,
) -> Outgoing:
    """The message to send for a payload as kombu.transport.virtual.Channel._put gets it. The payload stays as it is.

    (But for one property of a message to a FIFO queue, see `_deduplication_id`.) Reads the message properties of
    kombu's own SQS transport (kombu 5.7, Channel._put): `message_attributes`, `delay_seconds` or `DelaySeconds`,
    `MessageGroupId`, `MessageDeduplicationId`; and the headers `eta` and `attempt`. `maximum_bytes` gives the queue's
    MaximumMessageSize; asking costs a request, so it is asked only for messages near the limits that queues usually
    have.

    Raises MessageTooLarge; ValueError for a property that cannot be sent; whatever the payload store raises.
    """
    headers = dict(payload.get("headers") or {})
    properties = payload.get("properties") or {}
    label = label_of(payload)

    attributes = _attributes(properties.get("message_attributes"), label)
    attempts = headers.get("attempt")
    if type(attempts) is int and attempts > 0:
        attributes[ATTEMPTS] = _number(attempts)
    for name in _DELIVERY_HEADERS:
        headers.pop(name, None)
    kept = {name: value for name, value in properties.items() if name not in _SENDING_PROPERTIES}

    group_id = properties.get("MessageGroupId")
    outgoing = Outgoing(
        body=envelope.write({**payload, "headers": headers, "properties": kept}, form),
        attributes=attributes,
        delay_s=_delay_s(headers.get("eta"), properties, label, is_fifo=is_fifo, now_ms=now_ms),
        # On a standard queue a group makes it a fair queue; a FIFO queue requires one, and this is stock kombu's.
        group_id="default" if is_fifo and group_id is None else group_id,
        deduplication_id=_deduplication_id(properties) if is_fifo else None,
    )
    size_bytes = outgoing.size_bytes
    if size_bytes <= SURELY_FITS_BYTES:
        return outgoing
    limit_bytes = maximum_bytes()
    return outgoing if size_bytes <= limit_bytes else _stored(outgoing, label, size_bytes, limit_bytes, payloads)


def label_of(payload: Mapping[str, Any]) -> Label:
    """Task name and id of a payload, for errors. Never raises."""
    headers = payload.get("headers")
    if not isinstance(headers, Mapping):
        return Label("", "")
    task, task_id = headers.get("task"), headers.get("id")
    return Label(task if isinstance(task, str) else "", task_id if isinstance(task_id, str) else "")


def due_ms(eta: object) -> int | None:
    """Epoch milliseconds of a message's `eta`: ISO 8601, UTC unless it says otherwise. None if it is none.

    Celery takes a time without a zone as UTC too, whatever the app's time zone is (Celery 5.7, worker/request.py).
    """
    if not isinstance(eta, str):
        return None
    try:
        moment = datetime.fromisoformat(eta)
    except ValueError:
        return None  # the worker refuses the job with its reason; the sender need not
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return (moment - _EPOCH) // timedelta(milliseconds=1)


def _delay_s(eta: object, properties: Mapping[str, Any], label: Label, *, is_fifo: bool, now_ms: int) -> int | None:
    asked_s = _asked_delay_s(properties, label)
    due = due_ms(eta)
    if is_fifo:
        if asked_s is not None:
            _log.warning("%s goes without its delay of %d s: a FIFO queue takes no delay per message", label, asked_s)
        return None
    if due is None:
        return asked_s
    # The rest of a time beyond 15 minutes is waited for in further steps, when the message has come back.
    # Rounded up: a message that came a moment too early would take a worker's slot until it is due.
    until_eta_s = max(0, min(DELAY_S_MAX, -(-(due - now_ms) // 1000)))
    return max(until_eta_s, asked_s or 0)


def _asked_delay_s(properties: Mapping[str, Any], label: Label) -> int | None:
    """What `delay_seconds` or, as kombu also takes it, `DelaySeconds` asks for; a fraction is dropped."""
    name = "delay_seconds" if properties.get("delay_seconds") is not None else "DelaySeconds"
    asked = properties.get(name)
    if asked is None:
        return None
    try:
        delay_s = int(asked)
    except (TypeError, ValueError, OverflowError):
        raise ValueError(
            f"{name} of {label} is {asked!r}; it must be a number of seconds, 0 to {DELAY_S_MAX}"
        ) from None
    if delay_s > DELAY_S_MAX:
        _log.warning(
            "%s of %s is %d, and SQS takes at most %d: it comes after %d s. countdown and eta may be longer",
            *(name, label, delay_s, DELAY_S_MAX, DELAY_S_MAX),
        )
    # Less than nothing is what a computed delay comes to when the time has passed.
    return max(0, min(DELAY_S_MAX, delay_s))


def _deduplication_id(properties: Any) -> str:
    """The one that the sender gave, else a random one, as stock kombu makes it.

    It is left in kombu's properties, which Celery's publish retry sends again: so SQS drops the second message when
    only the answer to the first one was lost.
    """
    # Straight from the system: two processes after a fork must not make the same one.
    return str(properties.setdefault("MessageDeduplicationId", secret(16).hex()))


def _attributes(given: object, label: Label) -> dict[str, dict[str, Any]]:
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        raise _wrong_attributes(label, f"are a {type(given).__name__}")
    attributes = {name: value for name, value in given.items() if name not in {ATTEMPTS, SIZE_ATTRIBUTE}}
    if len(attributes) > OWN_ATTRIBUTES_MAX:
        raise _wrong_attributes(label, f"are {len(attributes)}, more than {OWN_ATTRIBUTES_MAX}")
    for name, value in attributes.items():
        if not isinstance(value, Mapping) or not isinstance(name, str):
            raise _wrong_attributes(label, f"have {value!r} as {name!r}")
        is_text = isinstance(value.get("StringValue"), str)
        is_binary = isinstance(value.get("BinaryValue"), bytes)
        if is_text == is_binary or len(value) != 2 or not isinstance(value.get("DataType"), str):
            raise _wrong_attributes(label, f"have {value!r} as {name!r}")
    return {name: dict(value) for name, value in attributes.items()}


def _wrong_attributes(label: Label, why: str) -> ValueError:
    return ValueError(
        f"The message_attributes of {label} {why}; they must be a dict of at most {OWN_ATTRIBUTES_MAX}, like "
        '{"Customer": {"DataType": "String", "StringValue": "42"}}, with a BinaryValue of bytes for Binary'
    )


def _stored(
    outgoing: Outgoing, label: Label, size_bytes: int, limit_bytes: int, payloads: PayloadStore | None
) -> Outgoing:
    """The message with a pointer for its body, if there is a store and the pointer fits."""
    body_bytes = _length(outgoing.body)
    attributes_bytes = size_bytes - body_bytes
    if payloads is not None and attributes_bytes + POINTER_BYTES_MAX <= limit_bytes:
        pointer = payloads.put(outgoing.body)
        attributes = {**outgoing.attributes, SIZE_ATTRIBUTE: _number(body_bytes)}
        return structs.replace(outgoing, body=pointer, attributes=attributes)
    hint = "Pass a reference (a key, a path, a row's id) instead of the data"
    if payloads is None:
        hint += ', or declare a store: broker_transport_options = {"payload_store": "s3://bucket/prefix"}'
    raise MessageTooLarge(
        f"{label} has {size_bytes:,} bytes, {attributes_bytes:,} of them in message attributes; "
        f"its queue takes {limit_bytes:,}.",
        hint=f"{hint}.",
        label=label,
        size_bytes=size_bytes,
        limit_bytes=limit_bytes,
    )


def _number(value: int) -> dict[str, Any]:
    return {"DataType": "Number", "StringValue": str(value)}


def _length(part: str | bytes) -> int:
    return len(part) if isinstance(part, bytes) or part.isascii() else len(part.encode())
