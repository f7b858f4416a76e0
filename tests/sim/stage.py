"""What everybody in a simulated life works with: the engine behind its shell, the model, and who compares them."""

import random
from collections.abc import Callable

from model import Model
from shell import Shell
from witness import ACCOUNT, Witness

from amply.broker.engine.commands import Command
from amply.broker.engine.decision import Decision
from amply.broker.sqs.faults import Fault
from amply.broker.store.port import Store

STANDARD, FIFO = ("work", "dead"), ("work.fifo", "dead.fifo")
KINDS = (STANDARD, FIFO, FIFO, STANDARD + FIFO)
CAPS = (4, 12, 12, 40)


class Stage:
    """Two queues of a kind, or of both: one for work, and the dead letter queue that it may have."""

    def __init__(self, seed: int, open_store: Callable[[], Store]) -> None:
        self.seed = seed
        self.random = random.Random(seed)
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

    @property
    def now_ms(self) -> int:
        return self.shell.now_ms

    def run(self, command: Command) -> "Decision | Fault":
        decision = self.shell.run(command)
        if isinstance(decision, Decision):
            self.witness.saw(decision, command)
        return decision

    def key(self) -> tuple[str, str]:
        """Some queue; not always one that exists."""
        return ACCOUNT, self.random.choice((*self.names, self.names[0], self.names[-2]))
