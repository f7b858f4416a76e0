"""StartMessageMoveTask, ListMessageMoveTasks and CancelMessageMoveTask."""

from typing import TYPE_CHECKING

from amply.broker.engine.commands import CancelMove, ListMoves, StartMove
from amply.broker.engine.moves import RUNNING
from amply.broker.sqs.faults import INVALID_PARAMETER_VALUE, Fault, invalid_parameter
from amply.broker.sqs.shapes import (
    CancelMessageMoveTaskRequest,
    CancelMessageMoveTaskResult,
    ListMessageMoveTasksRequest,
    ListMessageMoveTasksResult,
    ListMessageMoveTasksResultEntry,
    StartMessageMoveTaskRequest,
    StartMessageMoveTaskResult,
)
from amply.broker.sqs.task_handles import TaskHandle, read_task_handle

if TYPE_CHECKING:
    from amply.broker.engine.records import MoveTask
    from amply.broker.service.service import Respond, Service
    from amply.broker.sqs.calls import Context


def start_message_move_task(
    service: "Service", request: StartMessageMoveTaskRequest, _context: "Context", respond: "Respond"
) -> None:
    """Answered when the task is on disk; it runs after that."""
    _check_arn("SourceArn", request.source_arn)
    source_arn = service.engine.moves.source(request.source_arn).arn
    if request.destination_arn is not None:
        _check_arn("DestinationArn", request.destination_arn)
    rate, rate_max = request.max_number_of_messages_per_second, service.limits.move_messages_per_s_max
    if rate is not None and not 1 <= rate <= rate_max:
        reason = f"Must be between 1 and {rate_max}, if provided."
        raise invalid_parameter("MaxNumberOfMessagesPerSecond", rate, reason)
    task_id = service.ids.message_id()
    result = StartMessageMoveTaskResult(task_handle=TaskHandle(task_id, source_arn).text)
    service.execute(StartMove(task_id, source_arn, request.destination_arn, rate), respond, lambda _: result)


def list_message_move_tasks(
    service: "Service", request: ListMessageMoveTasksRequest, _context: "Context", respond: "Respond"
) -> None:
    """Answered when the progress that it tells of is on disk."""
    _check_arn("SourceArn", request.source_arn)
    source_arn = service.engine.moves.source(request.source_arn).arn
    count, count_max = request.max_results, service.limits.move_tasks_listed_max
    if count is not None and not 1 <= count <= count_max:
        raise invalid_parameter("MaxResults", count, f"Must be between 1 and {count_max}, if provided.")

    def result(tasks: "list[MoveTask]") -> ListMessageMoveTasksResult:
        return ListMessageMoveTasksResult(results=[_entry(task) for task in tasks])

    service.execute(ListMoves(source_arn, 1 if count is None else count), respond, result)


def cancel_message_move_task(
    service: "Service", request: CancelMessageMoveTaskRequest, _context: "Context", respond: "Respond"
) -> None:
    """Nothing is moved any more when this is answered."""
    handle = read_task_handle(request.task_handle)

    def result(moved: int) -> CancelMessageMoveTaskResult:
        return CancelMessageMoveTaskResult(approximate_number_of_messages_moved=moved)

    service.execute(CancelMove(handle.task_id, handle.source_arn), respond, result)


def _entry(task: "MoveTask") -> ListMessageMoveTasksResultEntry:
    return ListMessageMoveTasksResultEntry(
        task_handle=TaskHandle(task.task_id, task.source_arn).text if task.status == RUNNING else None,
        status=task.status,
        source_arn=task.source_arn,
        destination_arn=task.destination_arn,
        max_number_of_messages_per_second=task.messages_per_s,
        approximate_number_of_messages_moved=task.moved,
        approximate_number_of_messages_to_move=task.to_move,
        failure_reason=task.failure_reason,
        started_timestamp=task.started_ms,
    )


def _check_arn(parameter: str, arn: str) -> None:
    parts = arn.split(":")
    if len(parts) != 6 or parts[0] != "arn" or not all(parts):
        raise Fault(
            INVALID_PARAMETER_VALUE,
            f"You must use this format to specify the {parameter}: "
            "arn:<partition>:<service>:<region>:<account-id>:<resource-id>",
        )
