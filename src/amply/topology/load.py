"""From a YAML file to a `Topology`, or to every error in the file with its line, field and reason.

Knows which members a topology has and what each may be by itself. What they must be to each other is in `rules`.
"""

import re
from collections.abc import Callable
from pathlib import Path

from amply.broker.sqs.attributes import SETTABLE, AttributeRule
from amply.broker.sqs.faults import Fault
from amply.broker.sqs.limits import AWS
from amply.broker.sqs.names import FIFO_SUFFIX, check_queue_name, is_account, parse_queue_arn
from amply.topology import roles, rules
from amply.topology.document import Finding, Report, TopologyError, Value, read
from amply.topology.model import Queue, RedrivePolicy, Route, Topology, WorkerService
from amply.topology.roles import ELIDED_ARN

PACKAGED = Path(__file__).with_name("amply.yaml")

# The most processes one worker service may have; a typing error should not take a machine down.
CONCURRENCY_MAX = 1000

# JSON texts of a queue's permissions; who may use a queue is not declared here.
_POLICIES = {"Policy", "RedriveAllowPolicy"}
_ATTRIBUTES = tuple(name for name in SETTABLE if name not in _POLICIES)

_NAME_MEANING = (
    f"1 to {AWS.queue_name_length_max} letters, digits, hyphens and underscores (and {FIFO_SUFFIX} last for FIFO)"
)
_is_region = re.compile(r"[a-z]{2}(-[a-z]+)+-[1-9]").fullmatch
_is_prefix = re.compile(r"[A-Za-z0-9_-]{0,40}").fullmatch
_is_task_pattern = re.compile(r"[A-Za-z0-9_.*-]{1,200}").fullmatch
_is_service_name = re.compile(r"[A-Za-z0-9_-]{1,80}").fullmatch
_is_app = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*(:[A-Za-z_]\w*)?", re.ASCII).fullmatch


def load(path: Path | None = None) -> Topology:
    """The topology in a file, by default the one that comes with amply. TopologyError names all that is wrong in it."""
    return check(path)[0]


def check(path: Path | None = None) -> tuple[Topology, list[Finding]]:
    """Like `load`, and with it what is allowed in the file but will surprise someone, in the order of the lines."""
    path = path or PACKAGED
    report = Report()
    root = read(path, report)
    if root is None:
        raise TopologyError(path, report.errors)
    topology = _topology(root)
    for field, reason in rules.broken(topology):
        report.add(field, reason)
    if report.errors:
        raise TopologyError(path, report.errors)
    return topology, sorted(report.finding(field, reason) for field, reason in rules.surprises(topology))


def _topology(root: Value) -> Topology:
    known = ("region", "account", "queue_name_prefix", "queues", "telemetry_queue", "routes", "workers", "roles")
    members = root.members(known, required=("region", "account", "queues"))
    region = _text(members, "region", _is_region, "an AWS region like eu-central-1")
    account = _text(members, "account", is_account, "an AWS account id of 12 digits")
    prefix = _text(members, "queue_name_prefix", _is_prefix, "up to 40 letters, digits, hyphens and underscores")
    return Topology(
        region=region,
        account=account,
        queue_name_prefix=prefix,
        queues=tuple(_queue(value, region, account) for value in _elements(members, "queues")),
        routes=tuple(_route(value) for value in _elements(members, "routes")),
        workers=tuple(_worker(value) for value in _elements(members, "workers")),
        telemetry_queue=_text(members, "telemetry_queue", _is_queue_name, _NAME_MEANING),
        roles=tuple(roles.read(value) for value in _elements(members, "roles")),
    )


def _queue(value: Value, region: str, account: str) -> Queue:
    members = value.members(("QueueName", "CeleryName", "Attributes"), required=("QueueName",))
    attributes: dict[str, str] = {}
    redrive = None
    if "Attributes" in members:
        for name, attribute in members["Attributes"].members(_ATTRIBUTES).items():
            if name == "RedrivePolicy":
                redrive = _redrive(attribute, region, account)
            elif (setting := _setting(attribute, SETTABLE[name])) is not None:
                attributes[name] = setting
    return Queue(
        name=_text(members, "QueueName", _is_queue_name, _NAME_MEANING),
        celery_name=_text(members, "CeleryName", _is_queue_name, _NAME_MEANING) if "CeleryName" in members else None,
        attributes=attributes,
        redrive=redrive,
    )


def _setting(value: Value, rule: AttributeRule) -> str | None:
    """An attribute as SQS keeps it; None after an error."""
    if rule.range:
        number = value.number(*rule.range)
        return None if number is None else str(number)
    if rule.is_boolean:
        return value.choice(("true", "false"))
    if rule.values:
        return value.choice(rule.values)
    return value.text(bool, "text")


def _redrive(value: Value, region: str, account: str) -> RedrivePolicy:
    known = ("deadLetterTargetArn", "maxReceiveCount")
    members = value.members(known, required=known)
    target = _target(members["deadLetterTargetArn"], region, account) if "deadLetterTargetArn" in members else ""
    count = members["maxReceiveCount"].number(1, AWS.receive_count_max) if "maxReceiveCount" in members else None
    return RedrivePolicy(target, count or 0)


def _target(value: Value, region: str, account: str) -> str:
    """The name of the queue that an ARN stands for; "" after an error."""
    arn = value.text(bool, f"an ARN, or {ELIDED_ARN}<QueueName>")
    if arn.startswith(ELIDED_ARN) and _is_queue_name(arn.removeprefix(ELIDED_ARN)):
        return arn.removeprefix(ELIDED_ARN)
    parts = parse_queue_arn(arn)
    if parts is None:
        if arn:
            value.reject(f"{arn[:200]!r} is no queue's ARN; write {ELIDED_ARN}<QueueName>")
        return ""
    if account and parts[:2] != (region, account):
        value.reject(f"is in {parts[0]} of account {parts[1]}; it must be in the queue's, {region} of {account}")
        return ""
    return parts[2]


def _route(value: Value) -> Route:
    members = value.members(("task", "queue"), required=("task", "queue"))
    return Route(
        task=_text(members, "task", _is_task_pattern, "a task's name, where * stands for anything"),
        queue=_text(members, "queue", bool, "a queue's CeleryName"),
    )


def _worker(value: Value) -> WorkerService:
    known = ("service", "app", "queues", "concurrency")
    members = value.members(known, required=known)
    queues = _elements(members, "queues")
    if "queues" in members and not queues:
        members["queues"].reject("must name at least one queue")
    concurrency = members["concurrency"].number(1, CONCURRENCY_MAX) if "concurrency" in members else None
    return WorkerService(
        name=_text(members, "service", _is_service_name, "1 to 80 letters, digits, hyphens and underscores"),
        app=_text(members, "app", _is_app, "a Python module with a Celery app, like amply.jobs.celery_app"),
        queues=tuple(queue.text(bool, "a queue's CeleryName") for queue in queues),
        concurrency=concurrency or 0,
    )


def _text(members: dict[str, Value], key: str, fits: Callable[[str], object], meaning: str) -> str:
    return members[key].text(fits, meaning) if key in members else ""


def _elements(members: dict[str, Value], key: str) -> list[Value]:
    return members[key].elements() if key in members else []


def _is_queue_name(text: str) -> bool:
    try:
        check_queue_name(text, is_fifo=text.endswith(FIFO_SUFFIX))
    except Fault:
        return False
    return True
