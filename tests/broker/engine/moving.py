"""A broker whose move tasks run when they are let, and what is done with them in a word."""

import itertools

from settled import ACCOUNT, DEAD, OTHER, WORK, Broker

from amply.broker.engine.commands import CancelMove, ListMoves, StartMove, Tick
from amply.broker.engine.decision import Delivery
from amply.broker.engine.records import MoveTask

Key = tuple[str, str]
task_ids = map(str, itertools.count(1))


def arn(key: Key) -> str:
    return f"arn:aws:sqs:eu-central-1:{ACCOUNT}:{key[1]}"


class Movers(Broker):
    """A broker with dead letters, whose move tasks run when they are let."""

    def fill(self, *bodies: str, source: Key = WORK, dead: Key = DEAD) -> None:
        """Bury messages; each is received once, and fails."""
        self.send(*bodies, key=source)
        while self.receive(source, count=1000, timeout_s=0):
            pass
        assert self.counts(source) == (0, 0, 0)
        assert self.engine.queues.existing(dead)

    def start(self, source: Key = DEAD, to: Key | None = None, rate: int | None = None) -> str:
        task_id = next(task_ids)
        self.run(StartMove(task_id, arn(source), to and arn(to), rate))
        return task_id

    def is_due(self) -> bool:
        next_ms = self.engine.next_ms()
        return next_ms is not None and next_ms <= self.now_ms

    def step(self) -> None:
        """One slice of one task, read from disk first if need be."""
        last_seq = self.engine.queues.last_seq
        while self.is_due() and self.engine.queues.last_seq == last_seq:
            self.run(Tick())

    def settle(self) -> None:
        """Let the tasks move whatever they can without time passing."""
        while self.is_due():
            self.run(Tick())

    def cancel(self, task_id: str, source: Key = DEAD) -> int:
        moved: int = self.run(CancelMove(task_id, arn(source)))
        return moved

    def tasks(self, source: Key = DEAD, count: int = 10) -> list[MoveTask]:
        listed: list[MoveTask] = self.run(ListMoves(arn(source), count))
        return listed

    def task(self, source: Key = DEAD) -> tuple[str, int, int]:
        newest = self.tasks(source)[0]
        return newest.status, newest.moved, newest.to_move

    def drain(self, key: Key) -> list[Delivery]:
        drained: list[Delivery] = []
        while deliveries := self.receive(key, count=1000, timeout_s=600):
            self.delete(*deliveries, key=key)
            drained += deliveries
        return drained

    def drained(self, key: Key) -> list[str]:
        return [delivery.content.body for delivery in self.drain(key)]


def numbers(count: int) -> list[str]:
    return [str(number) for number in range(count)]


def movers() -> Movers:
    """With a work queue that has a dead letter queue, and another queue."""
    broker = Movers()
    broker.work_with_dead_letters(max_receive_count=1)
    broker.queue(OTHER)
    return broker
