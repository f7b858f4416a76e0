"""Dead letters go back to work: where each belongs, and what it looks like when it is sent again.

Knows queues and messages; must not know how a run keeps its order, or who asks for it.
"""

import re
from collections.abc import Sequence
from hashlib import blake2b

from amply.clock import Clock
from amply.deadletters.deaths import Found
from amply.deadletters.gateway import BATCH_BYTES_MAX, Gateway, Message, NotFoundError, Queue, RefusedError, Sent
from amply.deadletters.jobs import told
from amply.deadletters.letters import SOURCE, Letter
from amply.deadletters.moving import Stays
from amply.topology.model import Topology

FROM = "amply-redriven-from"
AT = "amply-redriven-at"
COUNT = "amply-redriven-count"
# Runs that failed before: the transport's. Without it a job has all of its runs again.
ATTEMPTS = "AmplyAttempts"

# SQS API Reference, SendMessage.
ATTRIBUTES_MAX = 10
# A character is four bytes of UTF-8 at most: shorter bodies need not be measured.
_SURELY_FITS_CHARS = BATCH_BYTES_MAX // 8
_COUNT_DIGITS_MAX = 9
# What SQS takes is XML's characters (same page).
_ILLEGAL = re.compile("[^\\t\\n\\r\\x20-\\ud7ff\\ue000-\\ufffd\\U00010000-\\U0010ffff]")


class Redriving:
    """Where dead letters are sent to again; a target of `moving.Moving`.

    - `to`: the name of the queue for all; None: each goes back where it came from
    - `body`: what the letters say from now on
    - `topology`: tells a job's queue where SQS does not know it

    NotFoundError if there is no queue `to`, RefusedError if it is the dead letter queue itself.
    """

    may_double = True

    def __init__(
        self,
        gateway: Gateway,
        queue: Queue,
        *,
        clock: Clock,
        to: str | None = None,
        body: str | None = None,
        topology: Topology | None = None,
    ) -> None:
        self._gateway = gateway
        self._queue = queue
        self._clock = clock
        self._body = body
        self._topology = topology
        self._queues: dict[str, Queue | Stays] = {}
        self._to = to
        if to == queue.name:
            raise RefusedError(f"letters of {to} would go round in a circle", hint="Name another queue with --to.")
        if to is not None:
            self._queues[to] = gateway.queue(to)
        self._source: str | None = None
        self._knows_source = False

    def of(self, one: Found) -> str | Stays:
        """The queue that a letter goes to."""
        name = self._to or one.letter.source or self._only_source() or self._declared(one.letter)
        if name is None:
            return Stays("nobody knows where it came from; say --to")
        if name == self._queue.name:
            return Stays("it came from this queue itself; say --to")
        if name not in self._queues:
            try:
                self._queues[name] = self._gateway.queue(name)
            except (NotFoundError, RefusedError) as error:
                self._queues[name] = Stays(f"its queue {name} is not to be had ({error.message}); say --to")
        queue = self._queues[name]
        return queue if isinstance(queue, Stays) else name

    def _only_source(self) -> str | None:
        if not self._knows_source:
            sources = self._gateway.sources(self._queue)
            self._source = sources[0] if len(sources) == 1 else None
            self._knows_source = True
        return self._source

    def _declared(self, letter: Letter) -> str | None:
        if self._topology is None:
            return None
        routing_key = told(letter.body).job.routing_key
        return next((queue.name for queue in self._topology.work_queues if queue.celery_name == routing_key), None)

    def store(self, place: str, letters: Sequence[Found]) -> list[Sent]:
        """Send letters there."""
        queue = self._queues[place]
        if isinstance(queue, Stays):
            return [Sent(None, queue.reason)] * len(letters)
        now_ms = self._clock.now_ms()
        messages = [
            redriven(one.letter, self._queue.name, now_ms, is_fifo=queue.is_fifo, body=self._body) for one in letters
        ]
        return self._gateway.send(queue, messages)


def redriven(letter: Letter, origin: str, now_ms: int, *, is_fifo: bool, body: str | None = None) -> Message:
    """The message that a dead letter of the queue `origin` becomes. `is_fifo` is its destination.

    All stays as it was but the counts of its runs, and a `body` that is given; it says that it was redriven. Where SQS
    takes no more attributes or bytes, that it says so is left out: from where first, then when, then how often.
    """
    times = _times(letter) + 1
    kept = {name: value for name, value in letter.attributes.items() if name not in {ATTEMPTS, SOURCE, FROM, AT, COUNT}}
    marks = {
        FROM: {"DataType": "String", "StringValue": origin},
        AT: {"DataType": "Number", "StringValue": str(now_ms)},
        COUNT: {"DataType": "Number", "StringValue": str(times)},
    }
    group_id, deduplication_id = letter.group_id, None
    if is_fifo:
        group_id = group_id or letter.message_id
        # The same for the same redrive: within five minutes SQS drops what comes twice.
        deduplication_id = f"{letter.message_id}-r{times}"
        if body is not None:
            edition = blake2b(body.encode("utf-8", "replace"), digest_size=8).hexdigest()
            deduplication_id = f"{letter.message_id}-e{edition}"
    text = letter.body if body is None else body
    while True:
        message = Message(
            body=text,
            attributes=kept | marks,
            group_id=group_id,
            deduplication_id=deduplication_id,
            trace_header=letter.trace_header,
        )
        if not marks or _fits(message):
            return message
        del marks[next(iter(marks))]


def refusal(body: str) -> str | None:
    """Why SQS would not take a body, whatever its queue; None if it would."""
    if not body:
        return "it is empty"
    illegal = _ILLEGAL.search(body)
    if illegal is not None:
        return f"SQS takes no character U+{ord(illegal[0]):04X} (at {illegal.start()})"
    size_bytes = len(body.encode())
    return f"it has {size_bytes} bytes, SQS takes {BATCH_BYTES_MAX}" if size_bytes > BATCH_BYTES_MAX else None


def _times(letter: Letter) -> int:
    """How often it was redriven before."""
    if COUNT not in letter.attributes:
        return 0
    value = letter.attributes[COUNT].get("StringValue", "")
    return int(value) if re.fullmatch(rf"[0-9]{{1,{_COUNT_DIGITS_MAX}}}", value) else 0


def _fits(message: Message) -> bool:
    if len(message.attributes) > ATTRIBUTES_MAX:
        return False
    return (len(message.body) <= _SURELY_FITS_CHARS and len(message.attributes) <= 3) or (
        message.size_bytes() <= BATCH_BYTES_MAX
    )
