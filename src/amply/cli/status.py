"""`amply status`: one look at the declared queues, on this machine or on AWS."""

from contextlib import closing

import click

from amply import settings
from amply.cli import output, times
from amply.cli.dlq_opening import dead_letter_queues
from amply.cli.sqs_endpoint import sqs_endpoint
from amply.cli.status_queues import QueueLook, Queues
from amply.cli.workers_environment import endpoint_option
from amply.clock import wall_ms
from amply.deadletters.gateway import Gateway, Queue
from amply.errors import AmplyError
from amply.topology import load
from amply.topology.model import Topology

# Raised when a member changes its meaning or goes; members may be added.
JSON_VERSION = 1


class MissingQueuesError(AmplyError):
    """Queues are declared and not there."""

    exit_code = 3


@click.command()
@endpoint_option
@output.json_option
def status(endpoint: str | None, *, as_json: bool) -> None:
    """Show the queues and what waits in them.

    Ends with 3 when a declared queue does not exist, 4 when SQS refuses to tell, 5 when it does not answer.
    """
    found = settings.read()
    topology = load.load(found.topology)
    queues = Queues(topology, endpoint or found.sqs_endpoint_url)
    looks = queues.look()
    expires_ms = _first_expiry_ms(Gateway(sqs_endpoint(queues.endpoint_url, topology.region)), topology, looks)
    if as_json:
        output.write_json(_as_data(queues.endpoint_url, topology, looks, expires_ms))
    else:
        output.write_table(
            f"Queues at {queues.endpoint_url}",
            ("Queue", "Visible", "In flight", "Delayed", "Visibility timeout", "Retention", "Dead letters after"),
            [_row(look) for look in looks],
        )
        dead = _dead_letters(topology, looks)
        output.say(f"{dead} dead letters{_told(expires_ms)}: amply dlq groups" if dead else "No dead letters.")
    missing = [look.name for look in looks if not look.exists]
    if missing:
        raise MissingQueuesError(
            f"Declared, but not at {queues.endpoint_url}: {', '.join(missing)}",
            hint="`amply broker` and `amply up` make them when they start; check that this is the right endpoint.",
        )


def _dead_letters(topology: Topology, looks: list[QueueLook]) -> int:
    return sum(look.waiting for look in looks if look.name in dead_letter_queues(topology))


def _first_expiry_ms(gateway: Gateway, topology: Topology, looks: list[QueueLook]) -> int | None:
    """When SQS deletes the first dead letter; None if there is none, or a look would touch them."""
    dead = [look.name for look in looks if look.name in dead_letter_queues(topology) and look.waiting]
    with closing(gateway):
        moments = [_expires_ms(gateway, gateway.queue(name)) for name in dead]
    return min((moment for moment in moments if moment is not None), default=None)


def _expires_ms(gateway: Gateway, queue: Queue) -> int | None:
    first = gateway.peek(queue, None, with_handles=False, count=1)
    return first.letters[0].expires_ms(queue.retention_s) if first is not None and first.letters else None


def _told(expires_ms: int | None) -> str:
    return "" if expires_ms is None else f", the first expires in {times.short((expires_ms - wall_ms()) / 1000)}"


def _row(look: QueueLook) -> tuple[object, ...]:
    if not look.exists:
        return (look.name, "does not exist", "", "", "", "", "")
    return (
        look.name,
        look.visible,
        look.in_flight,
        look.delayed,
        f"{look.visibility_timeout_s} s",
        f"{round((look.retention_s or 0) / 86_400, 1):g} days",
        look.dead_letter_queue and f"{look.receive_count_max} receives, to {look.dead_letter_queue}",
    )


def _as_data(
    endpoint_url: str, topology: Topology, looks: list[QueueLook], expires_ms: int | None
) -> dict[str, object]:
    return {
        "version": JSON_VERSION,
        "endpoint": endpoint_url,
        "region": topology.region,
        "dead_letters": _dead_letters(topology, looks),
        "dead_letters_expire_ms": expires_ms,
        "queues": [
            {
                "name": look.name,
                "celery_name": look.celery_name,
                "exists": look.exists,
                "visible": look.visible,
                "in_flight": look.in_flight,
                "delayed": look.delayed,
                "visibility_timeout_s": look.visibility_timeout_s,
                "retention_s": look.retention_s,
                "dead_letter_queue": look.dead_letter_queue,
                "receive_count_max": look.receive_count_max,
            }
            for look in looks
        ],
    }
