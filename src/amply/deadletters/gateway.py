"""SQS as the dead letter tools ask it: a few verbs over plain calls, and errors that say what to do next.

Works on Amazon SQS and whatever speaks like it. Our own broker can also show messages without receiving them; others
refuse that, and are not asked again. Knows requests and batches; must not know what is done with letters.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from time import sleep
from typing import Any, TypeVar

from msgspec import Struct, convert
from msgspec.json import Decoder

from amply.deadletters.letters import Letter, SqsMessage
from amply.errors import AmplyError
from amply.transport.client import SqsClient
from amply.transport.endpoint import Endpoint
from amply.transport.faults import SqsFault, Transient, Unreachable

Answer = TypeVar("Answer")

BATCH_COUNT_MAX = 10
# SQS API Reference, SendMessageBatch: the bodies and attributes of a batch together.
BATCH_BYTES_MAX = 1 << 20
PEEK_COUNT_MAX = 1000
# Of handles that come from a peek our broker takes more in a request.
PEEKED_BATCH_COUNT_MAX = 100

_TIMEOUT_S = 10.0
_TRIES_MAX = 4
_FIRST_PAUSE_S = 0.2
_AMAZON = (".amazonaws.com", ".amazonaws.com.cn", ".api.aws")


class NotFoundError(AmplyError):
    """There is no such queue, or no such letter."""

    exit_code = 3


class RefusedError(AmplyError):
    """SQS refuses, or it would do harm."""

    exit_code = 4


class UnreachableError(AmplyError):
    """SQS does not answer."""

    exit_code = 5


class Queue(Struct, frozen=True, kw_only=True):
    """A queue as it is now. Counts are SQS's approximate ones."""

    name: str
    url: str
    arn: str
    retention_s: int
    is_fifo: bool
    visible: int
    in_flight: int
    delayed: int

    @property
    def messages(self) -> int:
        """All that is in it."""
        return self.visible + self.in_flight + self.delayed


class Message(Struct, frozen=True, kw_only=True):
    """What is to be sent. `attributes` are as in AWS JSON."""

    body: str
    attributes: dict[str, dict[str, str]]
    group_id: str | None = None
    deduplication_id: str | None = None
    trace_header: str | None = None

    def size_bytes(self) -> int:
        """As SQS counts it: the body, and names, types and values of the attributes."""
        size = len(self.body.encode())
        for name, value in self.attributes.items():
            size += len(name.encode()) + len(value["DataType"].encode())
            if "BinaryValue" in value:
                size += len(value["BinaryValue"]) // 4 * 3 - value["BinaryValue"].count("=")
            else:
                size += len(value.get("StringValue", "").encode())
        return size


class Sent(Struct, frozen=True):
    """What became of a message: its id at SQS, or why there is none.

    `is_unknown`: no answer came, so that it may have been stored. Nothing is sent again by itself.
    """

    message_id: str | None
    error: str | None = None
    is_unknown: bool = False


class Peeked(Struct, frozen=True):
    """A page of a look. `token` is where the next one begins, None after the last."""

    letters: list[Letter]
    token: str | None
    damaged: int


class _Page(Struct, rename="pascal"):
    messages: list[SqsMessage] = []
    next_token: str | None = None
    damaged: int = 0


_decode_page = Decoder(_Page, strict=False).decode


class Gateway:
    """SQS at one endpoint. For any number of threads."""

    def __init__(self, endpoint: Endpoint, *, pause: Callable[[float], None] = sleep) -> None:
        self._client = SqsClient(endpoint)
        self._pause = pause
        self.endpoint_url = endpoint.url
        # Amazon's own endpoints need not be asked for what they cannot do.
        self._knows_peek = False if endpoint.url.endswith(_AMAZON) else None

    def close(self) -> None:
        """Close the connections; the next call opens new ones."""
        self._client.close()

    # Queues

    def queue(self, name: str) -> Queue:
        """A queue by its SQS name, or NotFoundError."""
        url = self._ask("GetQueueUrl", {"QueueName": name})["QueueUrl"]
        told = self._ask("GetQueueAttributes", {"QueueUrl": url, "AttributeNames": ["All"]})["Attributes"]
        counts = (told.get(f"ApproximateNumberOfMessages{kind}", 0) for kind in ("", "NotVisible", "Delayed"))
        visible, in_flight, delayed = map(int, counts)
        return Queue(
            name=name,
            url=url,
            arn=told["QueueArn"],
            retention_s=int(told["MessageRetentionPeriod"]),
            is_fifo=name.endswith(".fifo"),
            visible=visible,
            in_flight=in_flight,
            delayed=delayed,
        )

    def sources(self, queue: Queue) -> list[str]:
        """The names of the queues whose dead letters come here."""
        names, token = [], None
        while True:
            members = {"QueueUrl": queue.url, "MaxResults": 1000} | ({"NextToken": token} if token else {})
            answer = self._ask("ListDeadLetterSourceQueues", members)
            names += [url.rpartition("/")[2] for url in answer.get("queueUrls") or ()]
            token = answer.get("NextToken")
            if not token:
                return names

    def dead_letter_queue_of(self, queue: Queue) -> str | None:
        """The name of the queue that this one's dead letters go to."""
        members = {"QueueUrl": queue.url, "AttributeNames": ["RedrivePolicy"]}
        policy = (self._ask("GetQueueAttributes", members).get("Attributes") or {}).get("RedrivePolicy")
        return str(json.loads(policy)["deadLetterTargetArn"]).rpartition(":")[2] if policy else None

    # Letters

    def peek(
        self, queue: Queue, token: str | None, *, with_handles: bool, count: int = PEEK_COUNT_MAX
    ) -> Peeked | None:
        """A page of up to `count` letters, in the order of sending, without touching them; None if SQS cannot do that.

        Shows letters that are hidden, too. A handle from here takes a letter only if nobody else has received it since.
        """
        members: dict[str, Any] = {"QueueUrl": queue.url, "MaxNumberOfMessages": count}
        if with_handles:
            members["WithReceiptHandles"] = True
        if token is not None:
            members["NextToken"] = token
        if token is None and not self._can_peek(members):
            return None
        page = self._told(lambda: self._client.call_as(_decode_page, "PeekMessages", members, timeout_s=_TIMEOUT_S))
        return Peeked([message.letter() for message in page.messages], page.next_token, page.damaged)

    def _can_peek(self, members: dict[str, Any]) -> bool:
        """Ask once whether there is such an action. Others say no in many ways, some by failing (HTTP 500, 501)."""
        if self._knows_peek is None:
            try:
                self._client.call("PeekMessages", {**members, "MaxNumberOfMessages": 1}, timeout_s=_TIMEOUT_S)
            except SqsFault as fault:
                is_ours = fault.is_denied or _is_missing(fault)
                self._knows_peek = is_ours or (isinstance(fault, Transient) and fault.status not in {500, 501})
            except Unreachable as error:
                raise self._unreachable(error) from error
            else:
                self._knows_peek = True
        return self._knows_peek

    def receive(self, queue: Queue, lease_s: int, wait_s: int) -> list[Letter]:
        """Up to ten letters, hidden from others for `lease_s` seconds."""
        members = {
            "QueueUrl": queue.url,
            "MaxNumberOfMessages": BATCH_COUNT_MAX,
            "VisibilityTimeout": lease_s,
            "WaitTimeSeconds": wait_s,
            "AttributeNames": ["All"],
            "MessageAttributeNames": ["All"],
        }
        answer = self._ask("ReceiveMessage", members, timeout_s=wait_s + _TIMEOUT_S)
        return [message.letter() for message in convert(answer, _Page, strict=False).messages]

    def hide(
        self, queue: Queue, letters: Sequence[Letter], seconds: int, *, at_once: int = BATCH_COUNT_MAX
    ) -> list[Letter]:
        """Hide letters for so long, 0 shows them; those that it worked for. `at_once` go into a request."""

        def entry(letter: Letter) -> dict[str, Any]:
            return {"ReceiptHandle": letter.handle, "VisibilityTimeout": seconds}

        return self._each("ChangeMessageVisibilityBatch", queue, letters, entry, at_once)

    def delete(self, queue: Queue, letters: Sequence[Letter], *, at_once: int = BATCH_COUNT_MAX) -> list[Letter]:
        """Delete letters for good; those that it worked for. One that is gone already counts."""

        def entry(letter: Letter) -> dict[str, Any]:
            return {"ReceiptHandle": letter.handle}

        return self._each("DeleteMessageBatch", queue, letters, entry, at_once)

    def send(self, queue: Queue, messages: Sequence[Message]) -> list[Sent]:
        """Send messages, each once at most; what became of each, in their order."""
        outcomes: list[Sent] = []
        for batch in _batches(messages):
            outcomes += self._send(queue, batch)
        return outcomes

    def _send(self, queue: Queue, batch: list[Message]) -> list[Sent]:
        entries = [_entry(str(index), message) for index, message in enumerate(batch)]
        try:
            answer = self._send_entries({"QueueUrl": queue.url, "Entries": entries})
        except SqsFault as fault:
            # Of a server's fault nobody knows whether it came before or after it had stored the batch.
            return [Sent(None, str(fault), fault.status >= 500)] * len(batch)
        except Unreachable as error:
            return [Sent(None, str(error), is_unknown=True)] * len(batch)
        outcomes = [Sent(None, "SQS said nothing of it", is_unknown=True)] * len(batch)
        for done in answer.get("Successful") or ():
            outcomes[int(done["Id"])] = Sent(done["MessageId"])
        for failed in answer.get("Failed") or ():
            outcomes[int(failed["Id"])] = Sent(None, f"{failed.get('Code')}: {failed.get('Message', '')}")
        return outcomes

    def _send_entries(self, members: dict[str, Any]) -> Any:
        """What is throttled, or lacks credentials for the moment, was surely not stored: that is asked again."""
        for attempt in range(_TRIES_MAX - 1):
            try:
                return self._client.call("SendMessageBatch", members, timeout_s=_TIMEOUT_S)
            except Transient as fault:
                if fault.status >= 500:
                    raise
                self._pause(_FIRST_PAUSE_S * 2**attempt)
        return self._client.call("SendMessageBatch", members, timeout_s=_TIMEOUT_S)

    def _each(
        self,
        action: str,
        queue: Queue,
        letters: Sequence[Letter],
        entry: Callable[[Letter], dict[str, Any]],
        at_once: int,
    ) -> list[Letter]:
        """Those letters of which SQS says that the action succeeded."""
        done: list[Letter] = []
        for start in range(0, len(letters), at_once):
            batch = letters[start : start + at_once]
            entries = [{"Id": str(index), **entry(letter)} for index, letter in enumerate(batch)]
            answer = self._ask(action, {"QueueUrl": queue.url, "Entries": entries})
            done += [batch[int(one["Id"])] for one in answer.get("Successful") or ()]
        return done

    # Asking

    def _ask(self, action: str, members: dict[str, Any], *, timeout_s: float = _TIMEOUT_S) -> dict[str, Any]:
        """Not for sends; a receive whose answer is lost hides its letters for its lease."""
        return self._told(lambda: self._client.call(action, members, timeout_s=timeout_s))

    def _told(self, ask: Callable[[], Answer]) -> Answer:
        """What SQS answers, asked a few times if need be."""
        try:
            for attempt in range(_TRIES_MAX - 1):
                try:
                    return ask()
                except (Transient, Unreachable):
                    self._pause(_FIRST_PAUSE_S * 2**attempt)
            return ask()
        except SqsFault as fault:
            raise self._explained(fault) from fault
        except Unreachable as error:
            raise self._unreachable(error) from error

    def _explained(self, fault: SqsFault) -> AmplyError:
        if _is_missing(fault):
            return NotFoundError(
                f"{self.endpoint_url}: {fault.message}", hint="See the queues that there are with: amply status"
            )
        if isinstance(fault, Transient):
            return UnreachableError(
                f"{self.endpoint_url} is not well: {fault}", hint="What was begun is kept; try again."
            )
        hint = None
        if fault.is_denied:
            action = {"PeekMessages": "ReceiveMessage"}.get(fault.action, fault.action.removesuffix("Batch"))
            hint = f"The role needs sqs:{action} on the queue; the topology's role dlq-operator has what it takes."
        return RefusedError(f"{self.endpoint_url} refused: {fault}", hint=hint)

    def _unreachable(self, error: Unreachable) -> UnreachableError:
        return UnreachableError(
            f"SQS does not answer: {error}",
            hint="Start it with `amply up` or `amply broker`, or give the right --endpoint.",
        )


def _is_missing(fault: SqsFault) -> bool:
    return fault.code.rpartition(".")[2] in {"QueueDoesNotExist", "NonExistentQueue"}


def _entry(name: str, message: Message) -> dict[str, Any]:
    entry: dict[str, Any] = {"Id": name, "MessageBody": message.body}
    if message.attributes:
        entry["MessageAttributes"] = message.attributes
    if message.group_id is not None:
        entry["MessageGroupId"] = message.group_id
    if message.deduplication_id is not None:
        entry["MessageDeduplicationId"] = message.deduplication_id
    if message.trace_header is not None:
        trace = {"DataType": "String", "StringValue": message.trace_header}
        entry["MessageSystemAttributes"] = {"AWSTraceHeader": trace}
    return entry


def _batches(messages: Iterable[Message]) -> Iterator[list[Message]]:
    batch: list[Message] = []
    size = 0
    for message in messages:
        message_bytes = message.size_bytes()
        if batch and (len(batch) == BATCH_COUNT_MAX or size + message_bytes > BATCH_BYTES_MAX):
            yield batch
            batch, size = [], 0
        batch.append(message)
        size += message_bytes
    if batch:
        yield batch
