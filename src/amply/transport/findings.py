"""What is right or wrong about queues, permissions and the clock, why that matters, and how to mend it.

Rules over what a probe found; must not know how it was asked, nor Celery's settings.
"""

from collections.abc import Iterator
from typing import Literal

from msgspec import Struct

from amply.transport.options import Options
from amply.transport.probing import Permission, QueueFacts

Level = Literal["ok", "warning", "error"]

_DAY_S = 86_400
# Nobody's jobs are due to the second; and up to a second of it is the header's own.
_CLOCK_AHEAD_S = 30
# From here on SQS takes no request (AWS IAM User Guide, "Create a signed AWS API request").
_CLOCK_USELESS_S = 300
# What becomes of a worker whose role may not do it.
_WITHOUT = {
    "ReceiveMessage": "The worker gets no jobs.",
    "DeleteMessage": "Jobs that are done run again, until they are in the dead letter queue.",
    "ChangeMessageVisibility": "No lease can be extended, so that a job runs twice if it takes longer than one, and a "
    "job that failed or was not started waits until its lease ends.",
    "GetQueueAttributes": "How often a message may be received, and how large it may be, is not known: the last "
    "failure of a job is not told from the others, and what is too large is refused only by SQS.",
    "SendMessage": "retry(), delays over 15 minutes, and giving back jobs that were not started all need it.",
    "GetQueueUrl": "The queue cannot be found by its name.",
    "ListQueues": "Commands to the workers (celery inspect, celery control) and events do not find their readers.",
}


class Finding(Struct, frozen=True):
    """One thing that was checked. `level`: "ok", "warning" (works, with a risk), "error" (does not, or loses jobs).

    `subject` is what it is about, in Celery's or SQS's word. `why` and `mend` may be empty where all is well.
    """

    level: Level
    subject: str
    what: str
    why: str = ""
    mend: str = ""

    def __str__(self) -> str:
        return " ".join(filter(None, (f"{self.subject}: {self.what}", self.why, self.mend)))


def of_queue(queue: QueueFacts, options: Options) -> Iterator[Finding]:
    """The findings on a queue that is consumed."""
    subject = f"queue {queue.name}"
    problems = [*_of_its_place(subject, queue, options), *_of_its_attributes(subject, queue)]
    problems += of_permissions(subject, queue.sqs_name, queue.permissions)
    yield from problems
    if queue.state == "there" and not any(problem.level != "ok" for problem in problems):
        dead = queue.dead_letter_queue.name if queue.dead_letter_queue else "none"
        yield Finding("ok", subject, f"is there; after {queue.max_receive_count} receives jobs go to {dead}.")


def of_telemetry(queue: QueueFacts) -> Iterator[Finding]:
    """The findings on the telemetry queue."""
    subject = f"telemetry queue {queue.name}"
    problems = list(of_permissions(subject, queue.sqs_name, queue.permissions))
    if queue.state == "missing" and queue.url is None:
        mend = "Create it, or allow sqs:CreateQueue."
        problems.append(
            Finding("warning", subject, "does not exist yet.", "The first record makes it, if the role may.", mend)
        )
    elif queue.state == "missing":
        why = "The causes of failures are not kept."
        problems.append(Finding("error", subject, "does not exist.", why, f"Create it; its URL is to be {queue.url}."))
    yield from problems or [Finding("ok", subject, "keeps the causes of failures.")]


def of_permissions(subject: str, sqs_name: str | None, permissions: dict[str, Permission]) -> Iterator[Finding]:
    """An error for each action that is denied."""
    for action, permission in permissions.items():
        if permission == "denied":
            mend = f"Allow sqs:{action} on {sqs_name or 'it'} in the role's policy, or in the queue's."
            yield Finding("error", subject, f"{action} is denied.", _WITHOUT[action], mend)


def of_clock(ahead_s: float | None) -> Iterator[Finding]:
    """The finding on this machine's clock, if the server told its time."""
    if ahead_s is None:
        return
    if abs(ahead_s) <= _CLOCK_AHEAD_S:
        yield Finding("ok", "clock", "agrees with the server's.")
        return
    level: Level = "error" if abs(ahead_s) >= _CLOCK_USELESS_S else "warning"
    way = "ahead of" if ahead_s > 0 else "behind"
    why = "Jobs with a countdown or eta run as much too early or late, and at 5 minutes AWS refuses signatures."
    yield Finding(
        level,
        "clock",
        f"is {abs(ahead_s):.0f} s {way} the server's.",
        why,
        "Let NTP set it (chrony, systemd-timesyncd).",
    )


def _of_its_place(subject: str, queue: QueueFacts, options: Options) -> Iterator[Finding]:
    if queue.state == "undefined":
        keys = ", ".join(options.predefined_queues or {}) or "none"
        prefixed = f" or {options.queue_name_prefix + queue.name!r}" if options.queue_name_prefix else ""
        why = f"Nothing is received from it. predefined_queues has: {keys}."
        mend = f"Add {queue.name!r}{prefixed} with its URL to predefined_queues, or consume another queue (-Q)."
        yield Finding("error", subject, "is not among predefined_queues.", why, mend)
    elif queue.state == "missing" and queue.url is not None:
        why = "Nothing is received from it."
        yield Finding("error", subject, "does not exist.", why, f"Create it; its URL is to be {queue.url}.")
    elif queue.state == "missing":
        why = "A worker creates it, if its role may, but without a dead letter queue."
        yield Finding("warning", subject, "does not exist.", why, "Create it beforehand, with a RedrivePolicy.")


def _of_its_attributes(subject: str, queue: QueueFacts) -> Iterator[Finding]:
    if queue.retention_s is None:
        return
    dead = queue.dead_letter_queue
    if dead is None or queue.max_receive_count is None:
        why = "A job that always fails runs again and again, until SQS drops it when its retention ends."
        mend = "Set its RedrivePolicy: a deadLetterTargetArn, and a maxReceiveCount such as 5."
        yield Finding("warning", subject, "has no RedrivePolicy.", why, mend)
        return
    if queue.max_receive_count == 1:
        why = "The first failure is the last, and so is the first time that a worker is killed."
        yield Finding("warning", subject, "has a maxReceiveCount of 1.", why, "Set it to 3 or more.")
    if dead.is_there is False:
        why = "SQS cannot move a job there: it stays and runs again."
        yield Finding("error", subject, f"its dead letter queue {dead.name} does not exist.", why, "Create it.")
    elif dead.retention_s is not None and dead.retention_s <= queue.retention_s:
        yield _retention(subject, queue.retention_s, dead.name, dead.retention_s)


def _retention(subject: str, source_s: int, dead_name: str, dead_s: int) -> Finding:
    # The days of a dead letter count from its first send (SQS developer guide, "Dead-letter queues"). As long as the
    # source's is the longest that there can be where the source has 14 days, and loses a letter only that waited long.
    level: Level = "ok" if dead_s == source_s else "warning"
    what = f"keeps jobs {days(source_s)}, its dead letter queue {dead_name} {days(dead_s)}."
    why = "A dead letter's days count from its first send: what waited long is dropped soon after it failed."
    return Finding(
        level, subject, what, why, f"Give {dead_name} a longer MessageRetentionPeriod, or this one a shorter."
    )


def days(seconds: int) -> str:
    """A retention for people."""
    return f"{round(seconds / _DAY_S, 1):g} days" if seconds >= _DAY_S else f"{seconds} s"
