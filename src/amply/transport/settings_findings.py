"""What is right or wrong about Celery's settings with this transport, why that matters, and how to mend it.

Rules over settings and tasks; must not know SQS's answers, nor ask anybody.
"""

import difflib
import re
from collections.abc import Collection, Iterator, Mapping
from fnmatch import fnmatchcase
from typing import Any

from amply.transport.findings import Finding
from amply.transport.options import LONGEST_VISIBILITY_S, Options

_OPTIONS = "broker_transport_options"
# Options of kombu's own SQS transport (kombu 5.7, transport/SQS) that ours has no use for, and what it does instead.
_UNUSED = {
    "polling_interval": "queues are polled whenever there is room, for wait_time_seconds at a time",
    "sqs_base64_encoding": "message_format says how messages are written, and all forms are read",
    "backoff_policy": "backoff, queue_backoff and task_backoff say how long a failed job waits",
    "backoff_tasks": "task_backoff says how long a task's failed jobs wait",
    "fetch_message_attributes": "the attributes that are needed are asked for",
    "client-config": "botocore's configuration says where SQS is, and the deadlines are its own",
}
# Those with which the stock transport gets other credentials.
_ROLES = ("sts_role_arn",)
_SHORT_LEASE_S = 10
_NAMES_SHOWN = 3


def of_options(options: Options, given: Mapping[str, Any]) -> Iterator[Finding]:
    """The findings on `broker_transport_options`."""
    for name, instead in _UNUSED.items():
        if name in given:
            yield Finding("ok", name, f"is given and not used: {instead}.")
    if "visibility_timeout" in given:
        used = "for queues that are created" if options.predefined_queues is None else "nowhere with predefined_queues"
        what = f"is used {used}: a received job is hidden by a lease of {options.lease_seconds} s that is extended."
        yield Finding("ok", "visibility_timeout", what)
    for name in _ROLES:
        if name in given:
            mend = "Name the role in an AWS profile (role_arn) and set AWS_PROFILE."
            yield Finding("error", name, "is given and not used.", "Requests go out as somebody else.", mend)
    known = {*Options.__struct_fields__, *_UNUSED, *_ROLES}
    for name in given:
        meant = difflib.get_close_matches(name, Options.__struct_fields__, n=1, cutoff=0.85)
        if name not in known and meant:
            yield Finding("warning", name, f"is no option of {_OPTIONS}, and ignored.", mend=f"Write {meant[0]}.")


def of_lease(
    options: Options, time_limit_s: float | None, soft_time_limit_s: float | None, tasks: Mapping[str, Any]
) -> Iterator[Finding]:
    """The findings on the lease and the time limits; a task's own go before the worker's."""
    lease_s = options.lease_seconds
    if lease_s < _SHORT_LEASE_S:
        why = "A machine that stands still for a few seconds loses its jobs to other workers, and they run twice."
        yield Finding("warning", "lease_seconds", f"is {lease_s}.", why, f"Set it to {_SHORT_LEASE_S} or more.")
    else:
        what = f"is {lease_s}: extended every {lease_s / 3:g} s, whatever a job's time limit, up to 12 h."
        yield Finding("ok", "lease_seconds", what)
    limits = {
        name: (task.time_limit or time_limit_s, task.soft_time_limit or soft_time_limit_s)
        for name, task in tasks.items()
    }
    long = [name for name, found in limits.items() if max(found[0] or 0, found[1] or 0) > LONGEST_VISIBILITY_S]
    if long:
        why = "SQS hides a message for 12 h at most; then another worker gets it while the first still runs it."
        mend = "Set task_time_limit to less than 43200 s, and split the job."
        yield Finding("error", "time limit", f"over 12 h for {_named(long, tasks)}.", why, mend)
    soft = [name for name, found in limits.items() if found[0] and found[1] and found[1] >= found[0]]
    if soft:
        what = f"the soft one is not below the hard one for {_named(soft, tasks)}."
        mend = "Set task_soft_time_limit below task_time_limit."
        yield Finding("warning", "time limit", what, "The job is killed before it is told.", mend)
    unlimited = [name for name, found in limits.items() if not found[0]]
    if unlimited:
        what = f"none for {_named(unlimited, tasks)}: a job that hangs keeps its process, and its lease for 12 h."
        yield Finding("ok", "time limit", what)


def of_prefetch(multiplier: int, concurrency: int) -> Iterator[Finding]:
    """The findings on how many jobs a worker holds."""
    if not multiplier:
        why = "A worker takes jobs that it does not run soon, while other workers may be idle."
        mend = "Set it to 1."
        yield Finding("warning", "worker_prefetch_multiplier", "is 0: up to 100 jobs are held.", why, mend)
    else:
        what = f"is {multiplier}: up to {multiplier * concurrency} jobs are held, {concurrency} of them running."
        yield Finding("ok", "worker_prefetch_multiplier", what)
    yield Finding("ok", "countdown, eta", "SQS keeps a job until it is due, 15 minutes at a time; no worker holds it.")


def of_acknowledgement(tasks: Mapping[str, Any]) -> Iterator[Finding]:
    """The findings on when a job's message is deleted. A task's own value goes before the setting."""
    early = [name for name, task in tasks.items() if not task.acks_late]
    if early:
        what = f"is off for {_named(early, tasks)}."
        why = "A job is deleted before it runs: it is lost when it fails, or when its worker is killed."
        yield Finding("error", "task_acks_late", what, why, "Set task_acks_late = True.")
    late = {name: task for name, task in tasks.items() if task.acks_late}
    lost = [name for name, task in late.items() if not task.reject_on_worker_lost]
    if lost:
        why = "A job whose process is killed, as for want of memory, is deleted and lost."
        mend = "Set task_reject_on_worker_lost = True."
        yield Finding("error", "task_reject_on_worker_lost", f"is off for {_named(lost, tasks)}.", why, mend)
    failed = [name for name, task in late.items() if any(_acks_on(task))]
    if failed:
        # Celery 5.7 has a setting for each case as well; where they are not set, they are what the old one is.
        mend = "Set task_acks_on_failure_or_timeout = False, and do not set task_acks_on_failure and "
        mend += "task_acks_on_timeout (Celery 5.7) to True."
        why = "A job that fails is deleted: it does not run again, and is never in the dead letter queue."
        what = f"is on for {_named(failed, tasks)}."
        yield Finding("error", "task_acks_on_failure_or_timeout", what, why, mend)
    if tasks and not (early or lost or failed):
        yield Finding("ok", "acknowledgement", "when a job is done; what fails or is killed runs again.")


def of_routes(routes: Any, tasks: Collection[str], queues: Collection[str]) -> Iterator[Finding]:
    """The findings on `task_routes`, beside the declared queues. Routers that are functions tell nothing."""
    for task, target in _routes(routes):
        name = task.pattern if isinstance(task, re.Pattern) else str(task)
        queue = target.get("queue") if isinstance(target, Mapping) else target
        if not any(_fits(task, known) for known in tasks):
            mend = "Correct the name, or add the task's module to include."
            why = "Should a worker get such a job, it fails as an unknown task."
            yield Finding("warning", "task_routes", f"no task {name} is registered here.", why, mend)
        if isinstance(queue, str) and queues and queue not in queues:
            mend = "Correct it, or declare the queue in task_queues."
            what = f"{name} goes to {queue}, which is not among task_queues."
            yield Finding("warning", "task_routes", what, "Perhaps nobody consumes it.", mend)


def of_tasks(tasks: Mapping[str, Any]) -> Iterator[Finding]:
    """The finding on whether there are tasks at all."""
    if not tasks:
        why = "Every job that is received fails as an unknown task."
        yield Finding("error", "tasks", "none is registered.", why, "Name their modules in include or imports.")


def _routes(routes: Any) -> Iterator[tuple[Any, Any]]:
    """Patterns and targets, in each form that Celery takes (celery.app.routes)."""
    if isinstance(routes, Mapping):
        yield from routes.items()
    elif isinstance(routes, list | tuple):
        if len(routes) == 2 and isinstance(routes[0], str | re.Pattern):
            yield routes[0], routes[1]
            return
        for route in routes:
            yield from _routes(route)


def _fits(pattern: Any, task: str) -> bool:
    return bool(pattern.match(task)) if isinstance(pattern, re.Pattern) else fnmatchcase(task, str(pattern))


def _acks_on(task: Any) -> Iterator[bool]:
    both = getattr(task, "acks_on_failure_or_timeout", None)
    for name in ("acks_on_failure", "acks_on_timeout"):
        # Celery 5.6 has no such attributes.
        own = getattr(task, name, None)
        yield both is not False if own is None else bool(own)


def _named(names: list[str], tasks: Mapping[str, Any]) -> str:
    if len(names) == len(tasks):
        return "all tasks"
    more = len(names) - _NAMES_SHOWN
    return ", ".join(names[:_NAMES_SHOWN]) + (f" and {more} more" if more > 0 else "")
