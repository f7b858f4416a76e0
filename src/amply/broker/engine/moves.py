"""Message move tasks: dead letters go back to the queues they came from, or to another one.

A task takes ready messages as a receiver would, oldest first, and each is a new message in its destination: in the
same change of the state, and with the task's progress. So whatever interrupts it, no message is lost or doubled, and
the count is exact. Source: AWS API reference, StartMessageMoveTask, CancelMessageMoveTask, ListMessageMoveTasks.
"""

from typing import TYPE_CHECKING

from msgspec.structs import replace

from amply.broker.engine.records import MoveTask, MoveTaskForgotten, MoveTaskPut
from amply.broker.sqs import faults
from amply.broker.sqs.faults import Fault, invalid_parameter

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from amply.broker.engine.commands import CancelMove, ListMoves, StartMove
    from amply.broker.engine.decision import Decision
    from amply.broker.engine.queue import Queue
    from amply.broker.engine.queues import Queues

RUNNING, COMPLETED, CANCELLED, FAILED = "RUNNING", "COMPLETED", "CANCELLED", "FAILED"

# Failure reasons in AWS's words.
NO_DESTINATION = "AWS.SimpleQueueService.NonExistentQueue"
NO_SOURCE = "CouldNotDetermineMessageSource"

SLICE = 250  # messages of one decision, so that others are served in between
STEPS_A_S = 10  # about; what MaxNumberOfMessagesPerSecond allows is spread over them


class _Run:
    """A running task."""

    __slots__ = ("due_ms", "source", "task")

    def __init__(self, task: MoveTask, source: "Queue", due_ms: int) -> None:
        self.task = task
        self.source = source
        self.due_ms = due_ms

    def can_go_on(self) -> bool:
        """Whether there is something to do: move what is in memory, read on from disk, or end."""
        source = self.source
        return source.has_ready() or source.ready_count == 0 or (source.has_unread() and not source.is_reading)


class Moves:
    """Every move task that is remembered: of each source the newest, at most one of them running.

    `new_message_id` names messages that were moved. While `is_paused`, tasks wait where they are.
    """

    def __init__(self, queues: "Queues", new_message_id: "Callable[[], str]") -> None:
        self.is_paused = False
        self._queues = queues
        self._new_message_id = new_message_id
        self._tasks: dict[str, list[MoveTask]] = {}  # by the source's ARN, in the order of their start
        self._runs: dict[str, _Run] = {}  # by the source's ARN; who moved last comes last

    def restore(self, tasks: "Iterable[MoveTask]") -> None:
        """Take up what was found on disk at start, in the order of their start; what ran goes on."""
        for task in tasks:
            self._tasks.setdefault(task.source_arn, []).append(task)
            source = self._queues.by_arn(task.source_arn)
            if task.status == RUNNING and source is not None:  # none: the broker was given another region
                self._run(task, source, task.started_ms)

    # What can be asked for

    def source(self, arn: str) -> "Queue":
        """The queue whose messages are to be moved; Fault ResourceNotFoundException."""
        return self._queue("SourceArn", arn)

    def start(self, command: "StartMove", now_ms: int, decision: "Decision") -> "Queue":
        """Start a task; returns its source."""
        source = self.source(command.source_arn)
        arn = source.arn
        if not any(queue.redrive and queue.redrive.dead_letter_target_arn == arn for queue in self._queues):
            raise Fault(faults.INVALID_PARAMETER_VALUE, "Source queue must be configured as a Dead Letter Queue.")
        destination_arn = None
        if command.destination_arn is not None:
            destination_arn = self._destination(source, command.destination_arn).arn
        self._check_may_run(arn)
        source.advance(now_ms, decision)
        task = MoveTask(
            task_id=command.task_id,
            source_arn=arn,
            destination_arn=destination_arn,
            messages_per_s=command.messages_per_s,
            started_ms=now_ms,
            to_move=source.ready_count,
        )
        tasks = self._tasks.setdefault(arn, [])
        tasks.append(task)
        decision.changes.append(MoveTaskPut(task))
        if len(tasks) > self._queues.limits.move_tasks_listed_max:  # it could never be listed again
            decision.changes.append(MoveTaskForgotten(tasks.pop(0).task_id))
        self._run(task, source, now_ms)
        return source

    def cancel(self, command: "CancelMove", _now_ms: int, decision: "Decision") -> int:
        """Stop a running task; returns how many messages it moved."""
        arn = self.source(command.source_arn).arn
        task = next((one for one in self._tasks.get(arn, ()) if one.task_id == command.task_id), None)
        if task is None:
            raise Fault(faults.RESOURCE_NOT_FOUND, "Task does not exist.")
        if task.status != RUNNING:
            raise Fault(faults.INVALID_PARAMETER_VALUE, f"Only a running task can be cancelled; this is {task.status}.")
        self._put(self._runs[arn], replace(task, status=CANCELLED), decision)
        return task.moved

    def newest(self, command: "ListMoves", _now_ms: int, _decision: "Decision") -> list[MoveTask]:
        """The tasks of a source, newest first."""
        tasks = self._tasks.get(self.source(command.source_arn).arn, [])
        return tasks[: -command.count - 1 : -1]

    def forget(self, source_arn: str, decision: "Decision") -> None:
        """The queue was deleted, and its tasks go with it."""
        self._runs.pop(source_arn, None)
        decision.changes += [MoveTaskForgotten(task.task_id) for task in self._tasks.pop(source_arn, ())]

    def running(self) -> "Iterator[MoveTask]":
        """The tasks that run now."""
        return (run.task for run in self._runs.values())

    def _queue(self, parameter: str, arn: str) -> "Queue":
        queue = self._queues.by_arn(arn)
        if queue is None:
            text = f"The resource that you specified for the {parameter} parameter doesn't exist."
            raise Fault(faults.RESOURCE_NOT_FOUND, text)
        return queue

    def _destination(self, source: "Queue", arn: str) -> "Queue":
        destination = self._queue("DestinationArn", arn)
        if destination is source:
            raise invalid_parameter("DestinationArn", arn, "Messages cannot be moved to the queue that they are on.")
        if destination.is_fifo != source.is_fifo:
            reason = "Source and destination must be of one type, both standard or both FIFO queues."
            raise invalid_parameter("DestinationArn", arn, reason)
        return destination

    def _check_may_run(self, source_arn: str) -> None:
        if source_arn in self._runs:
            raise Fault(
                faults.INVALID_PARAMETER_VALUE,
                "There is already a task running. Only one active task is allowed for a source queue arn at a given "
                "time.",
            )
        active_max = self._queues.limits.move_tasks_active_max
        if len(self._runs) >= active_max:
            raise Fault(faults.OVER_LIMIT, f"At most {active_max} message move tasks can be active at a time.")

    # Moving

    def next_ms(self) -> int | None:
        """When `step` has something to do, None if no task can go on."""
        if not self._runs or self.is_paused:
            return None
        return min((run.due_ms for run in self._runs.values() if run.can_go_on()), default=None)

    def step(self, now_ms: int, decision: "Decision") -> "Queue | None":
        """One slice of one task: of those that are due, the one whose last slice was longest ago. Returns its source.

        A task ends when it has moved as many messages as were ready at its start, or none is ready any more.
        """
        due = (run for run in self._runs.values() if run.due_ms <= now_ms and run.can_go_on())
        run = None if self.is_paused else next(due, None)
        if run is None:
            return None
        task, source, rate = run.task, run.source, run.task.messages_per_s
        self._runs[task.source_arn] = self._runs.pop(task.source_arn)
        source.advance(now_ms, decision)
        count = SLICE if rate is None else max(1, rate // STEPS_A_S)
        moved, failure_reason = self._move(task, source, min(count, task.to_move - task.moved), now_ms, decision)
        run.due_ms = now_ms if rate is None else now_ms - (-moved * 1000 // rate)
        if moved:
            task = replace(task, moved=task.moved + moved)
        if failure_reason is not None:
            task = replace(task, status=FAILED, failure_reason=failure_reason)
        elif task.moved == task.to_move or source.ready_count == 0:
            task = replace(task, status=COMPLETED)
        self._put(run, task, decision)
        if task.status == RUNNING:
            source.read_on(now_ms, decision)
        return source

    def _move(
        self, task: MoveTask, source: "Queue", count: int, now_ms: int, decision: "Decision"
    ) -> tuple[int, str | None]:
        """Move up to `count` messages of those in memory. Returns how many, and why it cannot go on, if so."""
        moved = 0
        for _ in range(count):
            found = source.first_ready()
            if found is None:
                break
            entry, content = found
            if entry.sent_ms <= now_ms - source.retention_ms:
                source.take_out(entry.seq, {}, now_ms)
                source.expire(entry.seq, decision)
                continue
            arn = task.destination_arn or entry.dead_letter_source_arn
            if arn is None:
                return moved, NO_SOURCE
            destination = self._queues.by_arn(arn)
            if destination is None:
                return moved, NO_DESTINATION
            if destination.key not in decision.moved_to:
                destination.advance(now_ms, decision)
                decision.moved_to.append(destination.key)
            source.take_out(entry.seq, {}, now_ms)
            source.remove(entry.seq, decision)
            destination.add_new(replace(content, message_id=self._new_message_id()), now_ms, decision)
            moved += 1
        source.totals.moved += moved
        return moved, None

    def _run(self, task: MoveTask, source: "Queue", due_ms: int) -> None:
        source.has_mover = True
        self._runs[source.arn] = _Run(task, source, due_ms)

    def _put(self, run: _Run, task: MoveTask, decision: "Decision") -> None:
        if task is run.task:
            return
        run.task = self._tasks[task.source_arn][-1] = task
        decision.changes.append(MoveTaskPut(task))
        if task.status != RUNNING:
            run.source.has_mover = False
            del self._runs[task.source_arn]
