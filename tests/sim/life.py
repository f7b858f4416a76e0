"""One broker's life from one seed: random commands, late look-ups, crashes and clock jumps, compared with the model."""

from bisect import bisect
from collections.abc import Callable
from itertools import accumulate
from unittest import mock

from clients import Clients
from facts import is_fifo
from lookers import Lookers
from operators import Operators
from witness import ACCOUNT

from amply.broker.engine import deduplication, tenants
from amply.broker.engine.commands import (
    Delete,
    Deletion,
    Observe,
    Tick,
)
from amply.broker.engine.decision import Fetch, Find, ReadQuiet
from amply.broker.engine.line import Line
from amply.broker.engine.window import Window
from amply.broker.sqs.faults import Fault
from amply.broker.store.memory import MemoryStore
from amply.broker.store.port import Store


class Life(Operators, Clients, Lookers):
    """Runs random steps. Any difference from the model is an AssertionError that names the seed."""

    def __init__(self, seed: int, open_store: Callable[[], Store] | None = None) -> None:
        forgetful = MemoryStore()
        super().__init__(seed, open_store or (lambda: forgetful))
        steps: list[tuple[int, Callable[[], object]]] = [
            (60, self.send),
            (60, self.receive),
            (12, self.peek),
            (40, self.claim),
            (6, self.delete_seen),
            (40, self.delete),
            (20, self.change_visibility),
            (8, self.give_back),
            (6, self.unpark),
            (50, self.commit),
            (50, self.pass_time),
            (5, self.jump_ahead),
            (2, self.purge),
            (2, self.delete_queue),
            (4, self.create_queue),
            (12, self.change_attributes),
            (6, self.start_move),
            (1, self.cancel_move),
            (4, self.crash),
            (2, self.refuse_commit),
            (4, self.check_nobody_waits_in_vain),
        ]
        self.seen = []
        self._steps = [run for _, run in steps]
        self._weights = list(accumulate(weight for weight, _ in steps))
        for name in reversed(self.names):
            self.declare(name, self.some_rules(name))
        self.commit()

    def step(self) -> None:
        if self.shell.came_back and self.random.random() < 0.3:
            self.come_back()
        else:
            self._steps[bisect(self._weights, self.random.random() * self._weights[-1])]()
        if self.random.random() < 0.4:  # not always: to look at a queue makes its time pass
            self.check_counts(self.random.choice(self.names))

    # Time, disk and crashes

    def commit(self) -> None:
        self.shell.commit()
        self.witness.committed()

    def come_back(self) -> None:
        read, decision = self.shell.come_back()
        if isinstance(read, Find):
            self.reached["a message was looked up on disk"] += 1
            self.witness.looked_up = set(read.seqs)
        elif isinstance(read, Fetch) and read.ticket is None:
            self.reached["contents were fetched from disk"] += 1
        elif isinstance(read, ReadQuiet):
            self.reached["quiet tenants' messages were looked for on disk"] += 1
        if isinstance(decision, Fault):
            assert read.then.key[1] not in self.model.queues
        else:
            self.witness.saw(decision, read.then if isinstance(read, Find) else None)
        self.witness.looked_up = set()
        if isinstance(read, Fetch) and read.ticket in self.witness.polls:
            # The attempt that it repeated does not hold any more: from now on it waits like any other.
            poll = self.witness.polls[read.ticket]
            self.witness.polls[read.ticket] = poll._replace(deadline_ms=self.now_ms + 20_000, is_repeated=False)

    def pass_time(self) -> None:
        self.wait_ms(self.random.choice((0, 1, 50, 1000, 1000, 7000, 31_000)))

    def jump_ahead(self) -> None:
        self.reached["the clock jumped"] += 1
        self.wait_ms(self.random.choice((61_000, 299_999, 300_000, 300_000, 3_600_000, 43_199_000, 86_400_000)))

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
        assert len(part) <= part.size.count, "more in memory than allowed"

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
