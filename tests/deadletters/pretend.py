"""SQS in memory, and a journal, that can be killed between any two steps, or lose an answer at any of them."""

from collections.abc import Callable, Sequence

from msgspec import Struct, structs

from amply.clock import ManualClock
from amply.deadletters.gateway import Message, NotFoundError, Peeked, Queue, Sent
from amply.deadletters.journal import Journal
from amply.deadletters.letters import Letter


class Killed(BaseException):
    """The process is gone."""


class Life:
    """A process that lives for so many steps, and does nothing any more after the last."""

    def __init__(self, steps: int | None = None) -> None:
        self.left = steps
        self.taken: list[str] = []

    def step(self, name: str) -> None:
        if self.left is not None:
            if self.left <= 0:
                self.left = 0
                raise Killed(name)
            self.left -= 1
        self.taken.append(name)


class Stored(Struct):
    message_id: str
    message: Message
    source: str | None = None
    receive_count: int = 1
    hidden_until_ms: int = 0
    handle: str = ""


class PretendSqs:
    """Queues, and what is in them; outlives every process."""

    def __init__(self, clock: ManualClock, *, is_fifo: bool, peeks: bool) -> None:
        self.clock = clock
        self.peeks = peeks
        self.suffix = ".fifo" if is_fifo else ""
        self.is_fifo = is_fifo
        self.queues: dict[str, list[Stored]] = {f"{name}{self.suffix}": [] for name in ("dead", "jobs", "mails")}
        self._known: dict[tuple[str, str], str] = {}
        self._ids = 0

    def put(self, queue: str, message: Message, source: str | None = None) -> str:
        if self.is_fifo and message.deduplication_id is not None:
            known = self._known.get((queue, message.deduplication_id))
            if known is not None:
                return known
        self._ids += 1
        message_id = f"m-{self._ids}"
        if message.deduplication_id is not None:
            self._known[queue, message.deduplication_id] = message_id
        self.queues[queue].append(Stored(message_id, message, source))
        return message_id

    def die(self, count: int, source: str = "jobs") -> None:
        """Letters whose bodies are numbers; of a FIFO queue they are in three groups."""
        for number in range(count):
            group = f"g{number % 3}" if self.is_fifo else None
            message = Message(body=str(number), attributes={}, group_id=group)
            self.put(f"dead{self.suffix}", message, f"{source}{self.suffix}")

    def bodies(self, queue: str) -> list[str]:
        return [stored.message.body for stored in self.queues[f"{queue}{self.suffix}"]]

    def is_hidden(self, stored: Stored) -> bool:
        return stored.hidden_until_ms > self.clock.now_ms()


class PretendGateway:
    """One process's gateway. `answer` may change what becomes of the n-th send, from 0.

    "lost": stored, and no answer came. "nothing": not stored, and no answer came. "refused": not stored.
    `undeletable`: so many deletes fail before one works.
    """

    endpoint_url = "pretend"

    def __init__(
        self,
        sqs: PretendSqs,
        life: Life | None = None,
        answer: Callable[[int, Message], str] | None = None,
        undeletable: int = 0,
    ) -> None:
        self.sqs = sqs
        self.life = life or Life()
        self._answer = answer or (lambda _n, _message: "stored")
        self._sends = 0
        self.undeletable = undeletable

    def queue(self, name: str) -> Queue:
        if name not in self.sqs.queues:
            raise NotFoundError(f"no queue {name}")
        counts = {"visible": len(self.sqs.queues[name]), "in_flight": 0, "delayed": 0}
        return Queue(name=name, url=name, arn=name, retention_s=3600, is_fifo=self.sqs.is_fifo, **counts)

    def sources(self, queue: Queue) -> list[str]:
        return [name for name in self.sqs.queues if name != queue.name]

    def peek(self, queue: Queue, token: str | None, *, with_handles: bool) -> Peeked | None:
        if not self.sqs.peeks:
            return None
        self.life.step("peek")
        stored = self.sqs.queues[queue.name]
        start = int(token or 0)
        page = [one for one in stored if int(one.message_id[2:]) > start][:5]
        letters = [self._letter(one, f"{one.message_id} {one.receive_count} peeked") for one in page]
        return Peeked(letters, page[-1].message_id[2:] if len(page) == 5 else None, 0)

    def receive(self, queue: Queue, lease_s: int, wait_s: int) -> list[Letter]:
        self.life.step("receive")
        got: list[Letter] = []
        stored = self.sqs.queues[queue.name]
        busy = {one.message.group_id for one in stored if self.sqs.is_hidden(one)} - {None}
        for one in stored:
            if self.sqs.is_hidden(one) or one.message.group_id in busy or len(got) == 10:
                continue
            one.receive_count += 1
            one.hidden_until_ms = self.sqs.clock.now_ms() + lease_s * 1000
            one.handle = f"{one.message_id} {one.receive_count} received"
            got.append(self._letter(one, one.handle))
        self.life.step("received")
        return got

    def hide(self, queue: Queue, letters: Sequence[Letter], seconds: int, *, at_once: int = 10) -> list[Letter]:
        return self._batches("hide", letters, lambda letter: self._hide(queue, letter, seconds), at_once)

    def _hide(self, queue: Queue, letter: Letter, seconds: int) -> bool:
        one = self._stored(queue, letter)
        if one is None or one.receive_count != int(letter.handle.split()[1]):
            return False
        if letter.handle.endswith("peeked"):
            if seconds and self.sqs.is_hidden(one):
                return False
            one.handle = letter.handle
        elif not self.sqs.is_hidden(one):
            return False
        one.hidden_until_ms = self.sqs.clock.now_ms() + seconds * 1000
        return True

    def delete(self, queue: Queue, letters: Sequence[Letter], *, at_once: int = 10) -> list[Letter]:
        return self._batches("delete", letters, lambda letter: self._delete(queue, letter), at_once)

    def _delete(self, queue: Queue, letter: Letter) -> bool:
        if self.undeletable:
            self.undeletable -= 1
            return False
        one = self._stored(queue, letter)
        if one is None:
            return True
        is_held = self.sqs.is_hidden(one) and one.handle == letter.handle
        if self.sqs.is_fifo and not is_held:
            return False
        # Amazon answers that it has deleted what somebody else has received since, and keeps it.
        if one.handle == letter.handle or self.sqs.peeks:
            self.sqs.queues[queue.name].remove(one)
        return True

    def send(self, queue: Queue, messages: Sequence[Message]) -> list[Sent]:
        self.life.step("send")
        answers = []
        for message in messages:
            match self._answer(self._sends, message):
                case "refused":
                    answers.append(Sent(None, "InvalidMessageContents: no"))
                case "nothing":
                    answers.append(Sent(None, "reset", is_unknown=True))
                case "lost":
                    self.sqs.put(queue.name, message)
                    answers.append(Sent(None, "reset", is_unknown=True))
                case _:
                    answers.append(Sent(self.sqs.put(queue.name, message)))
            self._sends += 1
        self.life.step("sent")
        return answers

    def _batches(
        self, name: str, letters: Sequence[Letter], do: Callable[[Letter], bool], at_once: int
    ) -> list[Letter]:
        done: list[Letter] = []
        for start in range(0, len(letters), at_once):
            self.life.step(name)
            done += [letter for letter in letters[start : start + at_once] if do(letter)]
            self.life.step(f"{name} answered")
        return done

    def _stored(self, queue: Queue, letter: Letter) -> Stored | None:
        stored = self.sqs.queues[queue.name]
        return next((one for one in stored if one.message_id == letter.message_id), None)

    def _letter(self, one: Stored, handle: str) -> Letter:
        told = structs.asdict(one.message)
        return Letter(
            **told,
            message_id=one.message_id,
            handle=handle,
            sent_ms=0,
            receive_count=one.receive_count,
            source=one.source,
        )


class PretendJournal(Journal):
    """A journal whose process can be killed before, within and after each line.

    `power_cut`: what was not synced is lost with the process.
    """

    def __init__(self, *where, life: Life, power_cut: bool = False) -> None:
        super().__init__(*where)
        self._life = life
        self._power_cut = power_cut
        self._synced_bytes = 0

    def _append(self, encoded: bytes, *, durable: bool) -> None:
        self._life.step("line")
        try:
            self._life.step("half a line")
        except Killed:
            super()._append(encoded[: len(encoded) // 2], durable=False)
            raise
        super()._append(encoded, durable=durable)
        if durable:
            self._synced_bytes = self._lines.size_bytes
        self._life.step("line written")

    def _write_anew(self) -> None:
        self._life.step("anew")
        super()._write_anew()
        self._synced_bytes = self._lines.size_bytes
        self._life.step("written anew")

    def _forget(self) -> None:
        self._life.step("forget")
        super()._forget()

    def __exit__(self, kind, error, traceback) -> None:
        path = self._lines.path
        super().__exit__(kind, error, traceback)
        if kind is Killed and self._power_cut and path.exists():
            with path.open("r+b") as file:
                file.truncate(min(self._synced_bytes, path.stat().st_size))


class NoCauses:
    """Nobody told why anything died."""

    def causes(self, keys):
        return [None] * len(keys)
