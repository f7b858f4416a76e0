"""What message move tasks promise: each message arrives once, as new, where the task says, and is counted."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from facts import Known, is_fifo

if TYPE_CHECKING:
    from model import Model


@dataclass(frozen=True)
class Task:
    """A task as its starter knows it. `destination` None: back to where each message died."""

    source: str
    destination: str | None
    to_move: int
    moved: int = 0
    status: str = "RUNNING"


class MoveModel:
    """Every task by its id."""

    def __init__(self, model: "Model") -> None:
        self.model = model
        self.tasks: dict[str, Task] = {}

    def running(self, source: str) -> str | None:
        """The id of the task that takes messages from a queue."""
        ids = (name for name, task in self.tasks.items() if task.source == source and task.status == "RUNNING")
        return next(ids, None)

    def may_start(self, source: str, destination: str | None) -> bool:
        queues = self.model.queues
        if source not in queues or all(rules.dead_letters != source for rules in queues.values()):
            return False
        if destination is not None:
            fits = destination in queues and destination != source and is_fifo(destination) == is_fifo(source)
            return fits and self.running(source) is None
        return self.running(source) is None

    def started(self, name: str, source: str, destination: str | None, now_ms: int) -> None:
        task = Task(source, destination, self.model.counts(source, now_ms)[0])
        self.model.journal.put(self.tasks, name, task)

    def queue_deleted(self, queue: str) -> None:
        """Its tasks go with it."""
        for name in [name for name, task in self.tasks.items() if task.source == queue]:
            self.model.journal.drop(self.tasks, name)

    def judge_progress(self, name: str, to_move: int, moved: int, status: str) -> None:
        """A task was put on record."""
        task = self.tasks[name]
        assert (to_move, moved) == (task.to_move, task.moved), f"a task counts {moved} of {to_move}, not {task}"
        assert moved <= to_move
        assert task.status == "RUNNING", "a task went on after its end"
        self.model.journal.put(self.tasks, name, replace(task, status=status))

    def moved(self, old: str, source: str, new: str, target: str, number: int, now_ms: int) -> None:
        """A task moved a message, which has got another name."""
        model = self.model
        name = self.running(source)
        assert name is not None, "moved by no task"
        task = self.tasks[name]
        known = model.messages[source][old]
        assert not model.is_in_flight(known, now_ms), "a task moved what somebody holds"
        assert not model.is_delayed(source, known, now_ms), "a task moved what is delayed"
        assert not model.is_expired(source, known, now_ms), "a task moved what is past its retention"
        assert target == (task.destination or known.died_in), "a task moved a message elsewhere"
        if is_fifo(source):
            model.fifo.judge_head(source, known, now_ms)
        model.journal.drop(model.messages[source], old)
        model.journal.put(self.tasks, name, replace(task, moved=task.moved + 1))
        if is_fifo(target):
            model.fifo.judge_number(target, number)
            arrived = Known(number, now_ms, now_ms, group=known.group, deduplication_id=known.deduplication_id)
        else:
            visible_ms = model.visible_ms(now_ms, model.queues[target].delay_s)
            arrived = Known(number, now_ms, visible_ms, group=known.group)
        model.journal.put(model.messages[target], new, arrived)
