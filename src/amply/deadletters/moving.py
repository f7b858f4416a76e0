"""Letters on their way out of a dead letter queue: taken, stored where they go, and only then deleted.

A journal knows at every moment how far each letter is, so that a killed run is settled by the next one: what was
stored is only deleted, what was perhaps stored is stored again and named. Must not know where letters go, or why.
"""

from collections.abc import Callable, Iterable, Sequence
from threading import Event, Lock
from typing import Protocol
from zlib import crc32

from msgspec import Struct, field

from amply.clock import Clock
from amply.deadletters.deaths import Causes, Found, found
from amply.deadletters.gateway import BATCH_COUNT_MAX, Gateway, Queue, Sent, UnreachableError
from amply.deadletters.journal import Asked, Entry, Journal
from amply.deadletters.lanes import Lanes, Work
from amply.deadletters.letters import Letter
from amply.deadletters.rate import Rate
from amply.deadletters.walks import LEASE_S, Walk, walk

# Of so many letters in a run may nobody know whether they were stored, before it stops asking for more of them.
UNKNOWN_MAX = 100
NAMED_MAX = 1000
REASONS_MAX = 100
# A chunk that is not full leaves after this, so that the leases of a plain walk do not end meanwhile.
_CHUNK_MS_MAX = 30_000
# So long after a letter was taken it is surely still ours: two such times and the requests between them are one lease.
_LEASE_SURE_MS = LEASE_S * 400

Progress = Callable[[int, int | None, float], None]


class Stays(Struct, frozen=True):
    """A letter stays where it is, and why."""

    reason: str


_NOT_MEANT = Stays("it is not meant")
_UNTRIED = "it was not sent: no answer came to those before it"


class Target(Protocol):
    """Where letters go. `may_double`: what is stored twice is there twice."""

    may_double: bool

    def of(self, one: Found) -> str | Stays:
        """The name of the place that a letter goes to."""

    def store(self, place: str, letters: Sequence[Found]) -> list[Sent]:
        """Store letters there, each once at most; what became of each, in their order."""


class Settled(Struct, frozen=True):
    """What a run left that did not end. `unsure`: letters that are perhaps stored, and are to be stored again."""

    asked: Asked
    deleted: int
    unsure: int


class Outcome(Struct):
    """What came of a run.

    - `moved`: letters that are stored at their destination and deleted
    - `waiting`: letters that are stored and could not be deleted; the next run deletes them
    - `skipped`: letters that somebody else has received
    - `stayed`: reason to count; `destinations`: name to the count of letters that were stored there
    - `possible_duplicates`: (message id, job id) of letters that may be stored twice, a thousand of `doubtful` at most
    - `settled`: what an earlier run had left
    """

    moved: int = 0
    waiting: int = 0
    skipped: int = 0
    stayed: dict[str, int] = field(default_factory=dict)
    destinations: dict[str, int] = field(default_factory=dict)
    doubtful: int = 0
    possible_duplicates: list[tuple[str, str | None]] = field(default_factory=list)
    settled: Settled | None = None
    is_cancelled: bool = False

    def stays(self, reason: str, count: int = 1) -> None:
        """Count letters that stay."""
        if reason not in self.stayed and len(self.stayed) >= REASONS_MAX:
            reason = "other reasons"
        self.stayed[reason] = self.stayed.get(reason, 0) + count

    def goes(self, place: str, count: int = 1) -> None:
        """Count letters that go to a place."""
        self.destinations[place] = self.destinations.get(place, 0) + count


class _Chunk(Struct):
    """Letters that travel together. `place` is None for those that are stored already, and only to be deleted."""

    place: str | None
    lane: int
    begun_ms: int
    letters: list[Found]


def count(pages: Iterable[list[Found]], asked: Asked, target: Target, now_ms: int) -> Outcome:
    """What a run would do, without doing any of it: `destinations` and `stayed`. `now_ms` is the wall clock's."""
    outcome = Outcome()
    for page in pages:
        for one in page:
            if asked.match.fits(one, now_ms):
                place = target.of(one)
                if isinstance(place, Stays):
                    outcome.stays(place.reason)
                else:
                    outcome.goes(place)
    return outcome


def settle(gateway: Gateway, queue: Queue, journal: Journal) -> Settled | None:
    """Put in order what a run has left that did not end; None if there is nothing left.

    Deletes what was sent, shows what was taken. What was deleted stays in the journal until a walk has not met it:
    SQS may answer a delete with an old handle as if it had worked.
    """
    if journal.asked is None:
        return None
    sent = journal.of("sent")
    deleted = gateway.delete(queue, _named(sent))
    for letter in deleted:
        del sent[letter.message_id]
    # Whatever is still there must come by in the walk that follows.
    unsure = journal.of("begun")
    back = journal.of("taken") | unsure
    gateway.hide(queue, _named(sent | back), 0)
    journal.leave(list(back), doubtful=[(message_id, entry.job_id) for message_id, entry in unsure.items()])
    return Settled(journal.asked, len(deleted), len(unsure))


def store_each(store: Callable[[Sequence[Work]], list[Sent]], things: Sequence[Work]) -> list[Sent]:
    """Store things; one by one if all of them are refused, since SQS may refuse a batch for one of its messages."""
    answers = store(things)
    first = answers[0]
    if len(answers) > 1 and first.error and not first.is_unknown and all(answer == first for answer in answers):
        return [answer for thing in things for answer in store([thing])]
    return answers


class Moving:
    """One run over a queue. The journal must be open, and shows what came of it.

    - `total`: how many letters are meant, for `progress`, which is told (done, total, messages a second)
    - `cancel`: once set, what is in hand is finished and no more is begun
    """

    def __init__(
        self,
        gateway: Gateway,
        queue: Queue,
        journal: Journal,
        target: Target,
        *,
        clock: Clock,
        threads: int = 4,
        total: int | None = None,
        progress: Progress | None = None,
        cancel: Event | None = None,
    ) -> None:
        self._gateway = gateway
        self._queue = queue
        self._journal = journal
        self._target = target
        self._clock = clock
        self._threads = threads
        self._total = total
        self._progress = progress
        self._cancel = cancel or Event()
        self._lock = Lock()
        self._outcome = Outcome()
        self._done = 0
        self._deleted = 0
        self._started_ms = clock.now_ms()
        self._rate: Rate | None = None
        self._walk: Walk
        # Stored, and to be deleted: by an earlier run, and by this one, which SQS refused to delete.
        self._owed: set[str] = set()
        self._kept: dict[str, Letter] = {}
        self._unknown: list[_Chunk] = []
        self._unknown_count = 0

    def run(self, asked: Asked, causes: Causes) -> Outcome:
        """Settle what is left of another run, then move every letter that is meant; for an edit, the first.

        Raises UnreachableError or RefusedError in the middle; the journal knows what there is to settle then.
        """
        outcome = self._outcome
        outcome.settled = settle(self._gateway, self._queue, self._journal)
        self._journal.start(asked)
        self._owed = set(self._journal.of("sent"))
        if asked.rate is not None:
            self._rate = Rate(asked.rate, self._clock, self._cancel.wait)
        with walk(self._gateway, self._queue, takes=True) as self._walk:
            is_whole = self._go_through(asked, causes)
            self._account(is_whole=is_whole and not self._cancel.is_set())
        self._journal.end()
        return outcome

    # Choosing

    def _go_through(self, asked: Asked, causes: Causes) -> bool:
        """Move what is meant of all that the walk meets; whether that is every letter of the queue."""
        while True:
            before = self._deleted
            with Lanes(self._move, self._threads, in_order=self._queue.is_fifo) as lanes:
                is_whole = self._choose(asked, causes, lanes)
            self._try_again()
            # Of a FIFO group SQS hands out more once the first ones are gone.
            is_more = self._walk.is_plain and self._queue.is_fifo and self._deleted > before
            if not is_whole or not is_more:
                return is_whole

    def _choose(self, asked: Asked, causes: Causes, lanes: Lanes[_Chunk]) -> bool:
        """Hand what is meant to the lanes; whether every letter of the queue was met."""
        chunks: dict[tuple[str | None, int], _Chunk] = {}
        full = self._walk.at_once if asked.rate is None else max(1, min(BATCH_COUNT_MAX, int(asked.rate)))
        is_whole = True
        for page in found(self._walk.pages(), causes):
            now_ms = self._clock.now_ms()
            for one in page:
                place = self._place(one, asked, now_ms)
                if isinstance(place, Stays):
                    continue
                lane = crc32((one.letter.group_id or "").encode()) % self._threads if self._queue.is_fifo else 0
                chunk = chunks.setdefault((place, lane), _Chunk(place, lane, now_ms, []))
                chunk.letters.append(one)
                if len(chunk.letters) == full:
                    lanes.give(chunks.pop((place, lane)), lane)
                if asked.verb == "edit" and place is not None:
                    is_whole = False
                    break
            for key, chunk in list(chunks.items()):
                if now_ms - chunk.begun_ms > _CHUNK_MS_MAX:
                    lanes.give(chunks.pop(key), chunk.lane)
            if self._cancel.is_set() or not is_whole:
                is_whole = False
                break
        for chunk in chunks.values():
            lanes.give(chunk, chunk.lane)
        return is_whole

    def _place(self, one: Found, asked: Asked, now_ms: int) -> str | Stays | None:
        """Where a letter goes; None if it is there already, and only to be deleted."""
        if one.letter.message_id in self._owed:
            return None
        if not asked.match.fits(one, now_ms):
            return _NOT_MEANT
        place = self._target.of(one)
        if isinstance(place, Stays):
            with self._lock:
                self._outcome.stays(place.reason)
        return place

    # Moving

    def _move(self, chunk: _Chunk) -> None:
        if self._rate is not None:
            self._rate.wait(len(chunk.letters))
        if self._cancel.is_set():
            return
        letters = [one.letter for one in chunk.letters]
        if chunk.place is not None:
            self._journal.take([(letter.message_id, letter.handle) for letter in letters])
        ours = {letter.message_id for letter in self._take(letters, chunk.begun_ms)}
        others = [letter for letter in letters if letter.message_id not in ours]
        mine = [one for one in chunk.letters if one.letter.message_id in ours]
        if chunk.place is None:
            self._kept.update({letter.message_id: letter for letter in others})
            self._delete([one.letter for one in mine])
            return
        self._journal.leave([letter.message_id for letter in others])
        with self._lock:
            self._outcome.skipped += len(others)
        if mine:
            self._store(_Chunk(chunk.place, chunk.lane, self._clock.now_ms(), mine))
        self._tell(len(letters))

    def _take(self, letters: list[Letter], met_ms: int) -> list[Letter]:
        if self._walk.is_plain and self._clock.now_ms() - met_ms > _LEASE_SURE_MS:
            # Received long ago, for want of a turn: its lease is renewed, or it is not ours any more.
            return self._gateway.hide(self._queue, letters, LEASE_S)
        return self._walk.take(letters)

    def _store(self, chunk: _Chunk) -> None:
        """Store letters that are ours, then delete those of which SQS said that it has them."""
        stored: list[Letter] = []
        rest = chunk.letters
        while rest and chunk.place is not None:
            sent, is_answered = self._send(chunk, chunk.place, rest[:BATCH_COUNT_MAX])
            stored += sent
            rest = rest[BATCH_COUNT_MAX:]
            if rest and not is_answered:
                # Whoever gave no answer is not asked for more just now: of those nobody would know, either.
                with self._lock:
                    self._unknown.append(_Chunk(chunk.place, chunk.lane, chunk.begun_ms, rest))
                break
        self._delete(stored)

    def _send(self, chunk: _Chunk, place: str, letters: list[Found]) -> tuple[list[Letter], bool]:
        """Store as many letters as a request takes; those that are stored, and whether all were answered."""
        self._journal.begin([(one.letter.message_id, one.job.id) for one in letters])
        answers = store_each(lambda some: self._target.store(place, some), letters)
        both = list(zip(letters, answers, strict=True))
        stored = [(one, answer) for one, answer in both if answer.message_id is not None]
        unknown = [one for one, answer in both if answer.message_id is None and answer.is_unknown]
        refused = [(one, answer) for one, answer in both if answer.message_id is None and not answer.is_unknown]
        if stored:
            self._journal.send([(one.letter.message_id, answer.message_id) for one, answer in stored])
        with self._lock:
            self._outcome.goes(place, len(stored))
            for _, answer in refused:
                self._outcome.stays(answer.error or "SQS refused it and did not say why")
        self._leave([one.letter for one, _ in refused])
        if unknown:
            self._remember(_Chunk(place, chunk.lane, chunk.begun_ms, unknown), answers)
        return [one.letter for one, _ in stored], not unknown

    def _delete(self, letters: Sequence[Letter]) -> None:
        if not letters:
            return
        deleted = [letter.message_id for letter in self._walk.delete(letters)]
        self._journal.finish(deleted)
        with self._lock:
            self._kept.update({letter.message_id: letter for letter in letters})
            for message_id in deleted:
                del self._kept[message_id]
            self._deleted += len(deleted)
            self._outcome.moved += sum(message_id not in self._owed for message_id in deleted)

    def _leave(self, letters: list[Letter]) -> None:
        # A plain walk would receive again what it shows; it shows everything in its end.
        if letters and not self._walk.is_plain:
            self._walk.leave(letters)
        self._journal.leave([letter.message_id for letter in letters])

    def _remember(self, chunk: _Chunk, answers: list[Sent]) -> None:
        with self._lock:
            self._unknown.append(chunk)
            self._unknown_count += len(chunk.letters)
            is_enough = self._unknown_count > UNKNOWN_MAX
        if is_enough:
            why = next(answer.error for answer in answers if answer.is_unknown)
            raise UnreachableError(
                f"{chunk.place} does not say whether it has stored what it was sent: {why}",
                hint="Nothing is lost. Go on with --resume when it is well.",
            )

    def _tell(self, letters: int) -> None:
        with self._lock:
            self._done += letters
            if self._progress is not None:
                elapsed_ms = max(1, self._clock.now_ms() - self._started_ms)
                self._progress(self._done, self._total, self._done * 1000 / elapsed_ms)

    # Ending

    def _try_again(self) -> None:
        """Once more what was not answered, and what was not deleted, while the letters are surely ours."""
        unknown, self._unknown = self._unknown, []
        self._unknown_count = 0
        for chunk in unknown:
            if self._clock.now_ms() - chunk.begun_ms < _LEASE_SURE_MS and not self._cancel.is_set():
                self._store(chunk)
        self._delete(list(self._kept.values()))

    def _account(self, *, is_whole: bool) -> None:
        """What is still open: named, left, or kept for the next run."""
        outcome, journal = self._outcome, self._journal
        unsure, untried = journal.of("begun"), journal.of("taken")
        if not self._walk.is_plain:
            self._walk.leave(_named(unsure | untried))
        journal.leave(list(unsure | untried), doubtful=[(name, one.job_id) for name, one in unsure.items()])
        for reason, letters in (("nobody knows whether it was stored: no answer came", unsure), (_UNTRIED, untried)):
            if letters:
                outcome.stays(reason, len(letters))
        if is_whole:
            # What an earlier run had sent, and nobody met, is gone.
            journal.finish([message_id for message_id in journal.of("sent") if message_id not in self._kept])
        outcome.waiting = len(journal.of("sent"))
        if self._target.may_double:
            outcome.doubtful = len(journal.doubtful)
            outcome.possible_duplicates = list(journal.doubtful.items())[:NAMED_MAX]
        outcome.is_cancelled = self._cancel.is_set()


def _named(entries: dict[str, Entry]) -> list[Letter]:
    """As much of letters as it takes to show or delete them."""
    return [
        Letter(message_id=message_id, body="", handle=entry.handle, attributes={}, sent_ms=0, receive_count=0)
        for message_id, entry in entries.items()
    ]
