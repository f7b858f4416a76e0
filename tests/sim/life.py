"""One broker's life from one seed: random commands, late look-ups, crashes and clock jumps, compared with the model."""

import json
import random
from bisect import bisect
from collections.abc import Callable
from itertools import accumulate
from unittest import mock

from facts import Poll, Rules, is_fifo
from model import Model
from shell import Shell
from witness import ACCOUNT, Held, Witness, arn

from amply.broker.engine import deduplication, tenants
from amply.broker.engine.commands import (
    CancelMove,
    ChangeVisibility,
    Command,
    CreateQueue,
    Delete,
    DeleteQueue,
    Deletion,
    GiveBack,
    Observe,
    Outgoing,
    PurgeQueue,
    Receive,
    Send,
    SetQueueAttributes,
    StartMove,
    Tick,
    Unpark,
    VisibilityChange,
)
from amply.broker.engine.decision import UNSETTLED, Decision, Fetch, Find, ReadQuiet
from amply.broker.engine.line import Line
from amply.broker.engine.records import Content, MoveTaskPut
from amply.broker.engine.window import Window
from amply.broker.sqs.faults import Fault
from amply.broker.store.memory import MemoryStore
from amply.broker.store.port import Store

STANDARD, FIFO = ("work", "dead"), ("work.fifo", "dead.fifo")
KINDS = (STANDARD, FIFO, FIFO, STANDARD + FIFO)
VISIBILITY_S = (0, 5, 30, 400)
RETENTION_S = (60, 600, 86_400, 345_600)
DELAY_S = (0, 0, 3, 60)
RECEIVES = (None, 1, 1, 3)
CAPS = (4, 12, 12, 40)


class Life:
    """Runs random steps. Any difference from the model is an AssertionError that names the seed."""

    def __init__(self, seed: int, open_store: Callable[[], Store] | None = None) -> None:
        self.seed = seed
        self.random = random.Random(seed)
        forgetful = MemoryStore()
        open_store = open_store or (lambda: forgetful)
        cap = self.random.choice(CAPS)
        self.shell = Shell(self.random, open_store(), open_store, cap)
        self.model = Model(cap)
        self.witness = Witness(self.shell, self.model)
        self.reached = self.witness.reached
        self.names = self.random.choice(KINDS)
        self.groups = [f"group-{number}" for number in range(self.random.choice((1, 2, 5, 12)))]
        self.deduplication_ids = self.random.choice((3, 20, 10_000))
        self.noisy_from = self.random.choice((1, 30))
        self.ids_max = self.random.choice((30, 1_000_000, 1_000_000))
        self.sent = self.tickets = self.tasks = 0
        steps: list[tuple[int, Callable[[], object]]] = [
            (60, self.send),
            (60, self.receive),
            (40, self.delete),
            (20, self.change_visibility),
            (8, self.give_back),
            (6, self.unpark),
            (50, self.commit),
            (50, self.pass_time),
            (2, self.jump_ahead),
            (2, self.purge),
            (2, self.delete_queue),
            (4, self.create_queue),
            (8, self.change_attributes),
            (6, self.start_move),
            (1, self.cancel_move),
            (4, self.crash),
            (2, self.refuse_commit),
            (4, self.check_nobody_waits_in_vain),
        ]
        self._steps = [run for _, run in steps]
        self._weights = list(accumulate(weight for weight, _ in steps))
        for name in reversed(self.names):
            self.declare(name, self.some_rules(name))
        self.commit()

    @property
    def now_ms(self) -> int:
        return self.shell.now_ms

    def run(self, command: Command) -> "Decision | Fault":
        decision = self.shell.run(command)
        if isinstance(decision, Decision):
            self.witness.saw(decision, command)
        return decision

    def step(self) -> None:
        if self.shell.came_back and self.random.random() < 0.3:
            self.come_back()
        else:
            self._steps[bisect(self._weights, self.random.random() * self._weights[-1])]()
        self.check_counts(self.random.choice(self.names))

    def key(self) -> tuple[str, str]:
        """Some queue; not always one that exists."""
        return ACCOUNT, self.random.choice((*self.names, self.names[0], self.names[-2]))

    # Queues

    def some_rules(self, name: str) -> Rules:
        choice = self.random.choice
        is_work = name.startswith("work")
        max_receive_count = choice(RECEIVES) if is_work else None
        return Rules(
            visibility_timeout_s=choice(VISIBILITY_S),
            retention_s=choice(RETENTION_S),
            delay_s=choice(DELAY_S) if is_work or is_fifo(name) else 0,
            max_receive_count=max_receive_count,
            dead_letters=name.replace("work", "dead") if max_receive_count else None,
            scope=choice(("queue", "messageGroup")) if is_fifo(name) else "queue",
        )

    def attributes(self, name: str, rules: Rules) -> dict[str, str]:
        redrive = {"deadLetterTargetArn": arn(rules.dead_letters or ""), "maxReceiveCount": rules.max_receive_count}
        attributes = {
            "VisibilityTimeout": str(rules.visibility_timeout_s),
            "MessageRetentionPeriod": str(rules.retention_s),
            "DelaySeconds": str(rules.delay_s),
            "RedrivePolicy": json.dumps(redrive) if rules.dead_letters else "",
        }
        return attributes | ({"FifoQueue": "true", "DeduplicationScope": rules.scope} if is_fifo(name) else {})

    def declare(self, name: str, rules: Rules) -> None:
        """Create a queue, or change one that exists."""
        is_new = name not in self.model.queues
        make = CreateQueue((ACCOUNT, name), self.attributes(name, rules), {})
        decision = self.shell.run(make if is_new else SetQueueAttributes(make.key, make.attributes))
        is_missing = rules.dead_letters is not None and rules.dead_letters not in self.model.queues
        is_too_soon = is_new and not self.model.may_create(name, self.now_ms)
        assert isinstance(decision, Fault) == (is_missing or is_too_soon), decision
        if isinstance(decision, Fault):
            self.reached["a queue was refused: " + decision.row.shape] += 1
            return
        if is_new:
            self.model.created(name, rules)
        else:
            self.model.declare(name, rules, self.now_ms)
        self.witness.saw(decision)

    def create_queue(self) -> None:
        gone = [name for name in self.names if name not in self.model.queues]
        if gone:
            self.declare(gone[-1], self.some_rules(gone[-1]))
            self.reached["a queue was created anew"] += 1

    def change_attributes(self) -> None:
        name = self.key()[1]
        before = self.model.queues.get(name)
        if before is not None:
            rules = self.some_rules(name)
            if is_fifo(name) and rules.delay_s != before.delay_s and self.model.counts(name, self.now_ms)[2]:
                self.reached["the delay changed while messages were delayed"] += 1
            if rules.scope != before.scope:
                self.reached["the scope of deduplication changed"] += 1
            self.declare(name, rules)

    def delete_queue(self) -> None:
        key = self.key()
        exists = key[1] in self.model.queues
        assert isinstance(self.run(DeleteQueue(key)), Decision) == exists

    def purge(self) -> None:
        key = self.key()
        may = key[1] in self.model.queues and self.model.may_purge(key[1], self.now_ms)
        assert isinstance(self.run(PurgeQueue(key)), Decision) == may, "purged too soon, or refused"

    # Move tasks

    def start_move(self) -> None:
        source = self.names[self.random.choice((1, 1, 1, 0))]
        destination = self.random.choice((None, None, *self.names))
        self.tasks += 1
        name, now_ms = f"task {self.tasks}", self.now_ms
        may_start = self.model.moves.may_start(source, destination)
        to = None if destination is None else arn(destination)
        decision = self.shell.run(StartMove(name, arn(source), to, self.random.choice((None, 1, 50))))
        assert isinstance(decision, Decision) == may_start, decision
        if isinstance(decision, Decision):
            self.model.moves.started(name, source, destination, now_ms)
            (start,) = (change for change in decision.changes if isinstance(change, MoveTaskPut))
            assert start.task.to_move == self.model.moves.tasks[name].to_move
            self.reached["a move task began"] += 1

    def cancel_move(self) -> None:
        running = [(name, task) for name, task in self.model.moves.tasks.items() if task.status == "RUNNING"]
        if running:
            name, task = self.random.choice(running)
            decision = self.run(CancelMove(name, arn(task.source)))
            assert isinstance(decision, Decision)
            assert decision.answer == task.moved

    # Messages

    def send(self) -> None:
        key = self.key()
        if key[1] not in self.model.queues:
            return
        messages = []
        for _ in range(self.random.choice((1, 1, 1, 10))):
            self.sent += 1
            name = f"message {self.sent}"
            if is_fifo(key[1]):
                deduplication_id = f"id-{self.random.randrange(self.deduplication_ids)}"
                group = self.random.choice(self.groups)
                content = Content(name, name, "sender", {}, None, group, deduplication_id)
                messages.append(Outgoing(content))
            else:
                group = self.random.choice((None, *self.groups))
                delay_s = self.random.choice((None, None, 0, 1, 20))
                messages.append(Outgoing(Content(name, name, "sender", {}, None, group), delay_s))
        decision = self.run(Send(key, messages))
        if isinstance(decision, Fault):
            self.reached["a send was refused: too many deduplication ids"] += 1
            remembered = 2 * self.model.fifo.remembered(
                key[1], self.now_ms
            )  # an id may be there anew, and as of before
            assert remembered + len(messages) > self.ids_max

    def receive(self) -> None:
        key = self.key()
        if key[1] not in self.model.queues:
            return
        choice = self.random.choice
        timeout_s, wait_s = choice((None, None, 0, 1, 60, 400)), choice((None, 0, 5, 20))
        attempt_id = choice((None, "a", "b", "c")) if is_fifo(key[1]) else None
        self.poll(key, choice((1, 3, 10)), timeout_s, wait_s or 0, attempt_id)

    def poll(
        self, key: tuple[str, str], count: int, timeout_s: int | None, wait_s: int, attempt_id: str | None = None
    ) -> None:
        self.tickets += 1
        queue, now_ms = key[1], self.now_ms
        holds = attempt_id is not None and self.model.fifo.valid_attempt(queue, attempt_id, now_ms) is not None
        poll = Poll(queue, count, timeout_s, now_ms + wait_s * 1000, attempt_id, holds)
        self.witness.polls[self.tickets] = poll
        decision = self.shell.run(Receive(key, self.tickets, count, timeout_s, wait_s, attempt_id))
        assert isinstance(decision, Decision)
        if isinstance(decision.answer, Fault):
            self.reached["refused at the in-flight cap"] += 1
            assert not is_fifo(queue)
            assert self.model.in_flight_count(queue, now_ms) >= self.model.in_flight_max
            del self.witness.polls[self.tickets]
        elif decision.answer is not UNSETTLED:
            decision.woken.insert(0, (self.tickets, decision.answer))
        self.witness.saw(decision)

    def some_held(self) -> list[Held]:
        """Deliveries of one queue, recent ones more often."""
        held = [one for one in self.witness.held[-20:] if self.is_of_a_queue(one)]
        if not held:
            return []
        queue = self.random.choice(held).queue
        same_queue = [one for one in held if one.queue == queue]
        return self.random.sample(same_queue, min(len(same_queue), self.random.choice((1, 1, 3, 10))))

    def is_of_a_queue(self, held: Held) -> bool:
        """Handles of a queue that is gone are refused before they come to the engine."""
        queue = self.shell.engine.queues.get((ACCOUNT, held.queue))
        return queue is not None and queue.record.queue_id == held.receipt.queue_id

    def delete(self) -> None:
        if some := self.some_held():
            self.run(Delete((ACCOUNT, some[0].queue), [Deletion(held.receipt, "handle") for held in some]))

    def change_visibility(self) -> None:
        if some := self.some_held():
            timeouts_s = (0, 1, 30, 43_200)
            changes = [VisibilityChange(held.receipt, "handle", self.random.choice(timeouts_s)) for held in some]
            self.run(ChangeVisibility((ACCOUNT, some[0].queue), changes))

    def give_back(self) -> None:
        """The client of a delivery turns out to be gone: as if it had not been received."""
        if not self.witness.held:
            return
        held = self.witness.held.pop(self.random.randrange(len(self.witness.held)))
        entry = held.delivery.entry
        pending = self.shell.pending()
        in_use = {one.receipt.seq for c in pending for one in (c.deletions if isinstance(c, Delete) else c.changes)}
        queue = self.shell.engine.queues.get((ACCOUNT, held.queue))
        if entry.seq in in_use or queue is None:
            return  # a client that uses its receipt has got it
        known = self.model.messages[held.queue].get(held.name)
        is_untouched = (
            known is not None
            and known.received == entry.receive_count
            and known.visible_ms == entry.visible_ms
            and known.visible_ms > self.now_ms
        )
        if is_untouched and queue.in_flight.get(entry.seq) is entry:
            self.reached["a receive was undone"] += 1
            self.model.given_back(held.name, held.queue, self.now_ms)
        self.run(GiveBack((ACCOUNT, held.queue), [entry]))

    def unpark(self) -> None:
        if self.witness.polls:
            ticket = self.random.choice(list(self.witness.polls))
            self.run(Unpark((ACCOUNT, self.witness.polls.pop(ticket).queue), ticket))

    # Time, disk and crashes

    def commit(self) -> None:
        self.shell.commit()
        self.witness.committed()

    def come_back(self) -> None:
        read, decision = self.shell.come_back()
        if isinstance(read, Find):
            self.reached["a message was looked up on disk"] += 1
        elif isinstance(read, Fetch) and read.ticket is None:
            self.reached["contents were fetched from disk"] += 1
        elif isinstance(read, ReadQuiet):
            self.reached["quiet tenants' messages were looked for on disk"] += 1
        if isinstance(decision, Fault):
            assert read.then.key[1] not in self.model.queues
        else:
            self.witness.saw(decision, read.then if isinstance(read, Find) else None)
        if isinstance(read, Fetch) and read.ticket in self.witness.polls:
            # The attempt that it repeated does not hold any more: from now on it waits like any other.
            poll = self.witness.polls[read.ticket]
            self.witness.polls[read.ticket] = poll._replace(deadline_ms=self.now_ms + 20_000, is_repeated=False)

    def pass_time(self) -> None:
        self.wait_ms(self.random.choice((0, 1, 50, 1000, 1000, 7000, 31_000)))

    def jump_ahead(self) -> None:
        self.reached["the clock jumped"] += 1
        self.wait_ms(self.random.choice((61_000, 299_999, 300_000, 3_600_000, 43_199_000, 86_400_000)))

    def wait_ms(self, ms: int) -> None:
        """Time passes; the broker's timer may be late."""
        self.shell.now_ms += ms
        if self.random.random() < 0.8:
            self.tick()

    def tick(self) -> None:
        next_ms = self.shell.engine.next_ms()
        if next_ms is not None and next_ms <= self.now_ms:
            self.run(Tick())

    def crash(self) -> None:
        """Memory is gone; what was committed is not."""
        self.reached["crashed"] += 1
        if any(is_fifo(held.queue) for held in self.witness.fresh):
            self.reached["crashed before a FIFO receive was durable"] += 1
        if self.witness.fresh_dead:
            self.reached["crashed before a FIFO dead letter was durable"] += 1
        if self.witness.fresh_moved:
            self.reached["crashed before a move was durable"] += 1
        if any(task.status == "RUNNING" and task.moved for task in self.model.moves.tasks.values()):
            self.reached["crashed in the middle of a move task"] += 1
        self.shell.crash()
        self.witness.crashed()

    def refuse_commit(self) -> None:
        """The disk is full: what was decided since the last commit did not happen, and the broker goes on."""
        self.reached["a commit was refused"] += 1
        self.shell.crash()
        self.witness.crashed()

    # Checks

    def check_counts(self, name: str) -> None:
        if name not in self.model.queues:
            return
        queue = self.shell.engine.queues.existing((ACCOUNT, name))
        self.run(Observe(queue.key))
        counts = queue.ready_count, len(queue.in_flight), queue.delayed_count
        expected = self.model.counts(name, self.now_ms)
        assert counts == expected, f"{name} counts {counts}, not {expected}"
        part = queue.line.contents if is_fifo(name) else queue.window
        # Fair queues may put what quiet tenants send beside what is being read.
        assert len(part) <= part.size.count * (1 if is_fifo(name) else 2), "more in memory than allowed"

    def settle(self) -> None:
        """Let everything that is on its way arrive."""
        for _ in range(2000):
            self.commit()
            if not self.shell.came_back:
                return
            self.come_back()
        raise AssertionError("look-ups never end")

    def check_nobody_waits_in_vain(self) -> None:
        for _ in range(5):
            self.tick()
            self.settle()
        for queue, here in self.model.messages.items():
            expired = [name for name, known in here.items() if self.model.is_expired(queue, known, self.now_ms)]
            assert not expired, f"{queue} keeps {expired[:3]} past its retention"
        for poll in self.witness.polls.values():
            assert poll.deadline_ms > self.now_ms, "a poll was not answered in time"
            assert not self.model.available(poll.queue, self.now_ms), "a poll waits although there are messages"

    def drain(self) -> None:
        """Everything that is not deleted can be received: nothing is stuck."""
        for _ in range(100):
            self.check_nobody_waits_in_vain()
            self.shell.now_ms += 1000 if self.model.moves.tasks else 0
        for task in self.model.moves.tasks.values():
            is_stuck = task.status == "RUNNING" and self.model.available(task.source, self.now_ms)
            assert not is_stuck, "a move task stands still"
        for name in self.model.queues:
            for _ in range(3000):
                self.settle()
                before = len(self.witness.held)
                del self.witness.held[:before]
                self.poll((ACCOUNT, name), 10, 1, 0)
                self.settle()
                got = self.witness.held
                if not got:
                    break
                self.run(Delete((ACCOUNT, name), [Deletion(held.receipt, "handle") for held in got]))
            else:
                raise AssertionError("a queue is never empty")
            assert not self.model.available(name, self.now_ms)
            self.check_counts(name)

    def live(self, steps: int) -> None:
        try:
            with (
                mock.patch.object(Window, "start_again", _left_behind),
                mock.patch.object(Line, "start_again", _left_behind),
                mock.patch.object(tenants, "NOISY_IN_FLIGHT", self.noisy_from),
                mock.patch.object(deduplication, "KEYS_MAX", self.ids_max),
            ):
                for number in range(steps):
                    self.steps_done = number
                    self.step()
                self.check_nobody_waits_in_vain()
                self.wait_ms(self.random.choice((40_000, 43_300_000)))
                self.crash()
                self.drain()
        except Exception as error:
            error.add_note(
                f"seed {self.seed}, step {self.steps_done}: python tests/sim/lives.py --first {self.seed} --seeds 1"
            )
            raise


def _left_behind(_: object) -> None:
    """In production, a cursor and a count that disagree lead to reading all again. It never has to be."""
    raise AssertionError("a ready message was left behind the cursor")
