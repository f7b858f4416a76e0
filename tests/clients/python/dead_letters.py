"""Dead letters: how messages get there, and the tasks that move them away again."""

import time
from typing import Any

from expecting import Run, bodies, expect, expect_true

LONGEST_S = 20.0
GONE = "ResourceNotFoundException"


def _dead(run: Run, name: str, *texts: str) -> tuple[str, str]:
    """A source and its dead letter queue, in which these messages have landed; their URLs."""
    sick = run.queue(f"{name}-dlq")
    source = run.queue(name, RedrivePolicy=run.redrive(sick, 1))
    for text in texts:
        run.sqs.send_message(QueueUrl=source, MessageBody=text)
        expect(bodies(run.receive(source, VisibilityTimeout=0)), [text])
        expect(run.receive(source), [])
    return source, sick


def _task(run: Run, sick: str, status: str) -> dict[str, Any]:
    """The newest move task of the queue, once it has that status."""
    deadline = time.monotonic() + LONGEST_S
    while True:
        (task, *_) = run.sqs.list_message_move_tasks(SourceArn=run.arn(sick), MaxResults=10)["Results"]
        if task["Status"] == status:
            return dict(task)
        expect_true(time.monotonic() < deadline, f"the task becomes {status}; it is {task}")
        time.sleep(0.05)


def dead_letter_after_max_receive_count(run: Run) -> None:
    sick = run.queue("lost-dlq")
    source = run.queue("lost", RedrivePolicy=run.redrive(sick, 2))
    sent = run.sqs.send_message(QueueUrl=source, MessageBody="gift")
    for count in ("1", "2"):
        (message,) = run.receive(source, VisibilityTimeout=0)
        expect(message["Attributes"]["ApproximateReceiveCount"], count)
    expect(run.receive(source), [])
    (message,) = run.receive(sick, WaitTimeSeconds=20)
    expect((message["MessageId"], message["Body"]), (sent["MessageId"], "gift"))
    expect(message["Attributes"]["DeadLetterQueueSourceArn"], run.arn(source))
    expect(message["Attributes"]["ApproximateReceiveCount"], "3")


def move_task_back_to_the_sources(run: Run) -> None:
    source, sick = _dead(run, "back", "one", "two")
    expect_true(run.sqs.start_message_move_task(SourceArn=run.arn(sick))["TaskHandle"], "the task has a handle")
    task = _task(run, sick, "COMPLETED")
    expect(task["SourceArn"], run.arn(sick))
    expect((task["ApproximateNumberOfMessagesMoved"], task["ApproximateNumberOfMessagesToMove"]), (2, 2))
    expect_true(int(task["StartedTimestamp"]) > 1_600_000_000_000, "the time of the start is in milliseconds")
    expect("TaskHandle" in task, False)
    expect(sorted(bodies(run.receive(source))), ["one", "two"])
    expect(run.receive(sick), [])


def move_task_to_a_destination(run: Run) -> None:
    _, sick = _dead(run, "away", "gift")
    other = run.queue("away-other")
    asked = {"SourceArn": run.arn(sick), "DestinationArn": run.arn(other), "MaxNumberOfMessagesPerSecond": 500}
    run.sqs.start_message_move_task(**asked)
    expect(bodies(run.receive(other, WaitTimeSeconds=20)), ["gift"])
    task = _task(run, sick, "COMPLETED")
    expect((task["DestinationArn"], task["MaxNumberOfMessagesPerSecond"]), (run.arn(other), 500))


def move_task_cancelled(run: Run) -> None:
    _, sick = _dead(run, "slow")
    entries = [{"Id": str(number), "MessageBody": "gift"} for number in range(10)]
    run.sqs.send_message_batch(QueueUrl=sick, Entries=entries)
    asked = {"SourceArn": run.arn(sick), "MaxNumberOfMessagesPerSecond": 1}
    other = run.arn(run.queue("slow-other"))
    handle = run.sqs.start_message_move_task(**asked, DestinationArn=other)["TaskHandle"]
    expect(_task(run, sick, "RUNNING")["TaskHandle"], handle)
    run.refused(None, "InvalidParameterValue", run.sqs.start_message_move_task, **asked)
    moved = run.sqs.cancel_message_move_task(TaskHandle=handle)["ApproximateNumberOfMessagesMoved"]
    expect_true(moved < 10, "some were not moved yet")
    task = _task(run, sick, "CANCELLED")
    expect("TaskHandle" in task, False)
    expect_true(moved <= task["ApproximateNumberOfMessagesMoved"] < 10, "some were never moved")


def move_task_refusals(run: Run) -> None:
    sick, gone = run.arn(_dead(run, "unmoved")[1]), run.arn(run.queue("no-dlq")) + "-gone"
    start = run.sqs.start_message_move_task
    run.refused(GONE, GONE, start, status=404, SourceArn=gone)
    run.refused(GONE, GONE, start, status=404, SourceArn=sick, DestinationArn=gone)
    run.refused(None, "InvalidParameterValue", start, SourceArn=gone.removesuffix("-gone"))
    run.refused(GONE, GONE, run.sqs.list_message_move_tasks, status=404, SourceArn=gone)
    run.refused(None, "InvalidParameterValue", run.sqs.cancel_message_move_task, TaskHandle="garbage")
