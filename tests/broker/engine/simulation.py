"""One broker's life from one seed: random commands, late look-ups, crashes and clock jumps, compared with the model.

The simulation plays the shell's part: it commits changes in groups, runs look-ups after them, brings their answers back
late, and forgets what was not committed when the broker crashes.
"""

import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import msgspec
from model import Model, Rules

from amply.broker.engine.commands import (
    ChangeVisibility,
    Command,
    CreateQueue,
    Delete,
    Deletion,
    GiveBack,
    Observe,
    Outgoing,
    PurgeQueue,
    Receive,
    Send,
    Tick,
    Unpark,
    VisibilityChange,
)
from amply.broker.engine.decision import UNSETTLED, Decision, Delivery, Find, Read, ReadReady
from amply.broker.engine.engine import Engine
from amply.broker.engine.records import Content, Moved, Removed
from amply.broker.engine.window import WindowSize
from amply.broker.service.restoring import restored
from amply.broker.sqs.faults import Fault
from amply.broker.sqs.limits import AWS
from amply.broker.sqs.receipts import Receipt
from amply.broker.store.memory import MemoryStore
from amply.ids import CountingIds

ACCOUNT, REGION = "000000000000", "eu-central-1"
WORK, DEAD = "work", "dead"
IN_FLIGHT_MAX = 12


@dataclass(frozen=True)
class Held:
    """A delivery that a client holds."""

    queue: str
    name: str
    receipt: Receipt
    delivery: Delivery


@dataclass(frozen=True)
class Poll:
    """A receive on its way."""

    queue: str
    timeout_s: int | None


def receipts_of(command: Delete | ChangeVisibility) -> list[Receipt]:
    if isinstance(command, Delete):
        return [deletion.receipt for deletion in command.deletions]
    return [change.receipt for change in command.changes]


class Simulation:
    """Runs `steps` random steps. Any difference from the model is an AssertionError that names the seed."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.random = random.Random(seed)
        self.now_ms = 1_700_000_000_000
        self.store = MemoryStore()
        self.limits = msgspec.structs.replace(AWS, in_flight_max=IN_FLIGHT_MAX)
        self.reached: Counter[str] = Counter()
        self.sent = 0
        self.tickets = 0
        self.names: dict[int, str] = {}  # by seq
        self.held: list[Held] = []
        self.polls: dict[int, Poll] = {}
        self.uncommitted: list[Decision] = []
        self.came_back: list[tuple[Engine, Read, object]] = []
        rules = Rules(
            visibility_timeout_s=self.random.choice((0, 5, 30)),
            retention_s=self.random.choice((60, 600, 86_400)),
            delay_s=self.random.choice((0, 0, 3)),
            max_receive_count=self.random.choice((None, 1, 3)),
            dead_letters=DEAD,
        )
        self.model = Model({WORK: rules, DEAD: Rules()})
        self.committed = self.model.copy(), []
        self.start(Engine(REGION, limits=self.limits, new_message_id=CountingIds().message_id))
        self.run(CreateQueue((ACCOUNT, DEAD), {}, {}))
        attributes = {
            "VisibilityTimeout": str(rules.visibility_timeout_s),
            "MessageRetentionPeriod": str(rules.retention_s),
            "DelaySeconds": str(rules.delay_s),
        }
        if rules.max_receive_count:
            arn = f"arn:aws:sqs:{REGION}:{ACCOUNT}:{DEAD}"
            attributes["RedrivePolicy"] = (
                f'{{"deadLetterTargetArn":"{arn}","maxReceiveCount":{rules.max_receive_count}}}'
            )
        self.run(CreateQueue((ACCOUNT, WORK), attributes, {}))
        self.commit()

    def start(self, engine: Engine) -> None:
        small = WindowSize(count=self.random.choice((1, 4, 8)), size_bytes=1000)
        engine.queues.window_size = lambda: small  # type: ignore[method-assign] - small, so that disk matters
        for queue in engine.queues:
            queue.window.size = small
        self.engine = engine

    # The shell's part

    def run(self, command: Command) -> object:
        try:
            decision = self.engine.decide(command, self.now_ms)
        except Fault as fault:
            return fault
        self.take(decision, command)
        return decision.answer

    def take(self, decision: Decision, command: Command | None) -> None:
        deleted = {deletion.receipt.seq for deletion in command.deletions} if isinstance(command, Delete) else set()
        if isinstance(command, PurgeQueue):
            self.model.purged(command.key[1])
        for change in decision.changes:
            if isinstance(change, Moved):
                self.reached["moved to the dead letter queue"] += 1
                self.model.moved(self.names[change.entry.seq], DEAD, self.now_ms)
            elif isinstance(change, Removed) and change.seq not in deleted:
                self.reached["expired"] += 1
                self.model.expired(self.names[change.seq], self.now_ms)
        if isinstance(command, Delete) and decision.answer is not UNSETTLED:
            for receipt in receipts_of(command):
                self.model.deleted(self.names[receipt.seq], command.key[1])
        if isinstance(command, ChangeVisibility) and decision.answer is not UNSETTLED:
            self.visibility_changed(command, decision.answer)
        for ticket, deliveries in decision.woken:
            self.reached["a parked poll was served" if deliveries else "a poll ended empty"] += 1
            self.answered(self.polls.pop(ticket), deliveries)
        self.uncommitted.append(decision)

    def answered(self, poll: Poll, deliveries: list[Delivery]) -> None:
        for delivery in deliveries:
            name = self.names[delivery.entry.seq]
            assert delivery.content.body == name
            self.model.received(name, poll.queue, self.now_ms, poll.timeout_s, delivery.entry.receive_count)
            entry = delivery.entry
            receipt = Receipt(delivery.queue_id, entry.seq, entry.receive_count, delivery.received_ms)
            self.held.append(Held(poll.queue, name, receipt, delivery))
        if not deliveries and self.model.counts(poll.queue, self.now_ms)[1] < IN_FLIGHT_MAX:
            self.model.answered_empty(poll.queue, self.now_ms)

    def visibility_changed(self, command: ChangeVisibility, faults: list[Fault | None]) -> None:
        for change, fault in zip(command.changes, faults, strict=True):
            is_too_long = self.now_ms + change.timeout_s * 1000 > change.receipt.received_ms + 43_200_000
            if is_too_long:
                assert fault is not None
                continue
            name = self.names[change.receipt.seq]
            exists = self.model.changed(name, command.key[1], self.now_ms, change.timeout_s)
            assert exists == (fault is None)

    def commit(self) -> None:
        """Make durable what was decided, then look up what was asked for; the answers come back later."""
        decisions, self.uncommitted = self.uncommitted, []
        for decision in decisions:
            self.store.commit(decision.changes, self.now_ms)
        for decision in decisions:
            self.came_back += [(self.engine, read, self.look_up(read)) for read in decision.reads]
        self.committed = self.model.copy(), list(self.held)

    def look_up(self, read: Read) -> object:
        if isinstance(read, ReadReady):
            return self.store.ready(read.shelf, read.after, read.until_ms, read.count, read.size_bytes)
        if isinstance(read, Find):
            self.reached["a message was looked up on disk"] += 1
            return self.store.find(read.seqs)
        return self.store.sent_before(read.shelf, read.before_ms, read.count)

    def come_back(self) -> None:
        engine, read, found = self.came_back.pop(0)
        if engine is not self.engine:
            return
        if isinstance(read, ReadReady):
            decision = engine.ready_were_read(read, found.messages, [], self.now_ms, is_last=found.is_last)
            self.take(decision, None)
        elif isinstance(read, Find):
            decision = engine.were_found(read, found, self.now_ms)
            self.take(decision, read.then)
        else:
            decision = engine.aged_were_read(read, found.entries, found.next_oldest_ms, self.now_ms)
            self.take(decision, None)

    # Steps

    def step(self) -> None:
        steps: list[tuple[int, Callable[[], object]]] = [
            (30, self.send),
            (30, self.receive),
            (20, self.delete),
            (12, self.change_visibility),
            (5, self.give_back),
            (3, self.unpark),
            (25, self.commit),
            (25, self.pass_time),
            (1, self.jump_ahead),
            (1, self.purge),
            (2, self.crash),
        ]
        if self.came_back:
            steps.append((40, self.come_back))
        weights = [weight for weight, _ in steps]
        self.random.choices([run for _, run in steps], weights)[0]()
        self.check_counts()

    def key(self) -> tuple[str, str]:
        return ACCOUNT, self.random.choice((WORK, WORK, WORK, DEAD))

    def send(self) -> None:
        key = self.key()
        messages = []
        for _ in range(self.random.choice((1, 1, 10))):
            self.sent += 1
            name = f"message {self.sent}"
            delay_s = self.random.choice((None, None, 0, 1, 20))
            self.names[self.engine.queues.last_seq + 1 + len(messages)] = name
            self.model.send(name, key[1], self.now_ms, delay_s)
            messages.append(Outgoing(Content(name, name, "sender", {}), delay_s))
        self.run(Send(key, messages))

    def receive(self) -> None:
        key = self.key()
        self.tickets += 1
        timeout_s = self.random.choice((None, None, 0, 1, 60))
        wait_s = self.random.choice((None, 0, 5, 20))
        poll = Poll(key[1], timeout_s)
        self.polls[self.tickets] = poll
        answer = self.run(Receive(key, self.tickets, self.random.choice((1, 3, 10)), timeout_s, wait_s))
        if isinstance(answer, Fault):
            self.reached["refused at the in-flight cap"] += 1
            assert self.model.counts(key[1], self.now_ms)[1] >= IN_FLIGHT_MAX
            del self.polls[self.tickets]
        elif answer is not UNSETTLED:
            self.answered(self.polls.pop(self.tickets), answer)

    def some_held(self) -> list[Held]:
        """Deliveries of one queue, recent ones more often."""
        if not self.held:
            return []
        one = self.random.choice(self.held[-20:])
        same_queue = [held for held in self.held[-20:] if held.queue == one.queue]
        return self.random.sample(same_queue, min(len(same_queue), self.random.choice((1, 1, 3))))

    def delete(self) -> None:
        if some := self.some_held():
            self.run(Delete((ACCOUNT, some[0].queue), [Deletion(held.receipt, "handle") for held in some]))

    def change_visibility(self) -> None:
        if some := self.some_held():
            changes = [VisibilityChange(held.receipt, "handle", self.random.choice((0, 1, 30))) for held in some]
            self.run(ChangeVisibility((ACCOUNT, some[0].queue), changes))

    def give_back(self) -> None:
        """The client of a delivery turns out to be gone: as if it had not been received."""
        if not self.held:
            return
        held = self.held.pop(self.random.randrange(len(self.held)))
        entry = held.delivery.entry
        if entry.seq in self.in_use():
            return  # a client that uses its receipt has got it
        known = self.model.messages.get(held.name)
        is_untouched = (
            known is not None
            and known.queue == held.queue
            and known.received == entry.receive_count
            and known.visible_ms == entry.visible_ms
            and known.visible_ms > self.now_ms
        )
        if is_untouched and self.engine.queues.existing((ACCOUNT, held.queue)).in_flight.get(entry.seq) is entry:
            self.reached["a receive was undone"] += 1
            self.model.given_back(held.name, self.now_ms)
        self.run(GiveBack((ACCOUNT, held.queue), [entry]))

    def in_use(self) -> set[int]:
        reads = [read for decision in self.uncommitted for read in decision.reads]
        reads += [read for _, read, _ in self.came_back]
        return {receipt.seq for read in reads if isinstance(read, Find) for receipt in receipts_of(read.then)}

    def unpark(self) -> None:
        if self.polls:
            ticket = self.random.choice(list(self.polls))
            self.run(Unpark((ACCOUNT, self.polls.pop(ticket).queue), ticket))

    def pass_time(self) -> None:
        self.now_ms += self.random.choice((0, 1, 50, 1000, 7000))
        self.run(Tick())

    def jump_ahead(self) -> None:
        self.reached["the clock jumped"] += 1
        self.now_ms += self.random.choice((61_000, 3_600_000, 86_400_000))
        self.run(Tick())

    def purge(self) -> None:
        key = self.key()
        if not isinstance(self.run(PurgeQueue(key)), Fault):
            self.reached["purged"] += 1

    def crash(self) -> None:
        """Memory is gone; what was committed is not."""
        self.reached["crashed"] += 1
        self.model, self.held = self.committed[0].copy(), list(self.committed[1])
        self.uncommitted, self.polls = [], {}
        self.start(restored(self.store.load(self.now_ms), REGION, self.limits, CountingIds().message_id))

    # Checks

    def check_counts(self) -> None:
        for name in (WORK, DEAD):
            queue = self.run(Observe((ACCOUNT, name)))
            counts = queue.ready_count, len(queue.in_flight), queue.delayed_count
            assert counts == self.model.counts(name, self.now_ms), name
            assert len(queue.window) <= queue.window.size.count, "the window grew past its size"

    def settle(self) -> None:
        """Let everything that is on its way arrive."""
        for _ in range(1000):
            self.commit()
            if not self.came_back:
                return
            self.come_back()
        raise AssertionError("look-ups never end")

    def drain(self) -> None:
        """Everything that is not deleted can be received: nothing is stuck."""
        for name in (WORK, DEAD):
            while True:
                self.settle()
                self.tickets += 1
                self.polls[self.tickets] = Poll(name, 1)
                before = len(self.held)
                answer = self.run(Receive((ACCOUNT, name), self.tickets, 10, 1, 0))
                self.settle()
                if answer is not UNSETTLED and not isinstance(answer, Fault):
                    self.answered(self.polls.pop(self.tickets), answer)
                if len(self.held) == before:
                    break
                key = (ACCOUNT, name)
                self.run(Delete(key, [Deletion(held.receipt, "handle") for held in self.held[before:]]))
                self.settle()
        self.check_counts()

    def live(self, steps: int) -> None:
        try:
            for _ in range(steps):
                self.step()
            self.now_ms += 40_000
            self.run(Tick())
            self.polls.clear() if self.polls else None
            self.crash()
            self.drain()
        except Exception as error:
            error.add_note(f"seed {self.seed}")
            raise
