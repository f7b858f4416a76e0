"""`amply topology`: show what is declared, or check a file before anything is started from it."""

from pathlib import Path

import click

from amply import settings
from amply.cli import output
from amply.cli.broker_access import policies_of
from amply.topology import derive, load
from amply.topology.document import describe
from amply.topology.model import Topology

_FILE = click.argument("file", required=False, type=click.Path(path_type=Path))


@click.group()
def topology() -> None:
    """Show or check the declared queues, routes, worker services and roles.

    FILE is a topology; by default the one that AMPLY_TOPOLOGY names, or else the one that comes with amply.
    """


@topology.command()
@output.json_option
@_FILE
def show(file: Path | None, *, as_json: bool) -> None:
    """Show the queues, routes, worker services and roles of FILE."""
    declared = load.load(_path(file))
    if as_json:
        output.write_json(_as_data(declared))
    else:
        _write_tables(declared)


@topology.command()
@_FILE
def check(file: Path | None) -> None:
    """Check FILE: exit 0 if it can be used, 1 with every error if not."""
    path = _path(file)
    declared, warnings = load.check(path)
    policies_of(declared, path)
    for warning in warnings:
        output.say(f"Warning: {describe(path, warning)}")
    counts = f"{len(declared.queues)} queues, {len(declared.routes)} routes, {len(declared.workers)} worker services"
    output.say(f"{path} can be used: {counts}; warnings: {len(warnings)}.")


def _path(file: Path | None) -> Path:
    return file or settings.read().topology or load.PACKAGED


def _as_data(declared: Topology) -> dict[str, object]:
    return {
        "region": declared.region,
        "account": declared.account,
        "queues": [
            {
                "QueueName": queue.name,
                "CeleryName": queue.celery_name,
                "QueueArn": derive.queue_arn(declared, queue.name),
                "Attributes": derive.queue_attributes(declared, queue),
            }
            for queue in declared.queues
        ],
        "routes": [{"task": route.task, "queue": route.queue} for route in declared.routes],
        "workers": [
            {
                "service": service.name,
                "queues": list(service.queues),
                "concurrency": service.concurrency,
                "command": derive.worker_command(service),
            }
            for service in declared.workers
        ],
        "roles": [{"role": role.name, "policy": derive.role_policy(declared, role)} for role in declared.roles],
    }


def _write_tables(declared: Topology) -> None:
    output.write_table(
        f"Queues in {declared.region}, account {declared.account}",
        ("QueueName", "CeleryName", "Attributes", "Dead letters after"),
        [
            (
                queue.name,
                queue.celery_name,
                ", ".join(f"{name} {value}" for name, value in queue.attributes.items()),
                queue.redrive and f"{queue.redrive.max_receive_count} receives, to {queue.redrive.dead_letter_queue}",
            )
            for queue in declared.queues
        ],
    )
    output.write_table("Routes", ("Task", "Queue"), [(route.task, route.queue) for route in declared.routes])
    output.write_table(
        "Worker services",
        ("Service", "Command"),
        [(service.name, " ".join(derive.worker_command(service))) for service in declared.workers],
    )
    output.write_table(
        "Roles",
        ("Role", "Effect", "Actions", "Resources"),
        [
            (
                role.name,
                statement.get("Effect"),
                ", ".join(statement.get("Action") or ["all but", *statement["NotAction"]]),
                ", ".join(statement.get("Resource") or ["all but", *statement["NotResource"]]),
            )
            for role in declared.roles
            for statement in role.policy["Statement"]
        ],
    )
