"""From what was said on the command line to the dead letter queue itself, with all that is known of failures.

Tells of an earlier run that was interrupted, and what a look costs where SQS shows letters only to who receives them.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import click

from amply import settings
from amply.cli import output, times
from amply.cli.dlq_options import Place
from amply.cli.sqs_endpoint import sqs_endpoint
from amply.clock import SystemClock
from amply.deadletters.dead_letter_queue import DeadLetterQueue
from amply.deadletters.gateway import NotFoundError, RefusedError
from amply.deadletters.walks import LEASE_S
from amply.errors import AmplyError
from amply.topology import load
from amply.topology.model import Topology

_VERBS = {"redrive": "A redrive", "edit": "An edit", "rm": "A removal"}


@contextmanager
def opened(place: Place) -> Iterator[DeadLetterQueue]:
    """The queue that is meant.

    Raises:
        UsageError: several could be meant, or it is a work queue. NotFoundError: there is none, or not there.
    """
    found = settings.read()
    topology = load.load(found.topology)
    name = _chosen(topology, place.queue)
    endpoint = sqs_endpoint(place.endpoint or found.sqs_endpoint_url, topology.region)
    letters = DeadLetterQueue(
        name,
        endpoint=endpoint,
        data=place.data or found.data,
        telemetry_queue=topology.telemetry_queue or None,
        topology=topology,
    )
    with letters:
        _check_is_there(letters, topology)
        yield letters


@contextmanager
def looked_at(place: Place) -> Iterator[DeadLetterQueue]:
    """The queue, for a command that looks at letters: the latest causes are collected first."""
    with opened(place) as letters:
        tell_interrupted(letters)
        collect(letters)
        with cost_told(letters):
            yield letters


@contextmanager
def cost_told(letters: DeadLetterQueue) -> Iterator[None]:
    """Tell in the end what a look has cost, where it costs something."""
    clock = SystemClock()
    started_ms = clock.now_ms()
    yield
    if letters.gateway.peek(letters.queue, None, with_handles=False, count=1) is None:
        hidden_s = min(LEASE_S, (clock.now_ms() - started_ms) / 1000 + 1)
        output.say(
            f"{letters.gateway.endpoint_url} shows letters only to who receives them: each look counts as one more "
            f"receive of every letter, and they were hidden from others for up to {times.short(hidden_s)}."
        )


def collect(letters: DeadLetterQueue) -> None:
    """Fetch the latest causes. Trouble with them is told, and keeps nobody from looking."""
    try:
        collected = letters.collect()
    except AmplyError as error:
        output.say(f"Warning: the latest causes are missing: {error.message}")
        return
    if collected is not None and not collected.is_complete:
        output.say("Warning: there were more causes than could be collected in time; the next look goes on.")


def tell_interrupted(letters: DeadLetterQueue) -> None:
    """Tell of a run that did not come to its end."""
    try:
        asked = letters.interrupted()
    except RefusedError as error:
        output.say(f"Meanwhile {error.message}.")
        return
    except AmplyError as error:
        output.say(f"Warning: nobody knows whether a run was interrupted: {error.message}")
        return
    if asked is not None:
        output.say(f"{_VERBS[asked.verb]} of {times.utc(asked.started_ms)} was interrupted: amply dlq redrive --resume")


def _chosen(topology: Topology, asked: str | None) -> str:
    names = dead_letter_queues(topology)
    if asked is not None:
        declared = {queue.name for queue in topology.queues}
        if asked in declared and asked not in names:
            raise click.UsageError(f"{asked} is no dead letter queue. {_known(names)}")
        return asked
    if not names:
        raise NotFoundError(
            "The topology declares no dead letter queue.", hint="Name one with --queue, or declare a RedrivePolicy."
        )
    if len(names) > 1:
        raise click.UsageError(f"There are several dead letter queues: name one with --queue. {_known(names)}")
    return names[0]


def dead_letter_queues(topology: Topology) -> list[str]:
    """The names of the queues that dead letters go to, in the topology's order."""
    targets = {queue.redrive.dead_letter_queue for queue in topology.queues if queue.redrive}
    return [queue.name for queue in topology.queues if queue.name in targets]


def _check_is_there(letters: DeadLetterQueue, topology: Topology) -> None:
    try:
        _ = letters.queue
    except NotFoundError as error:
        raise NotFoundError(error.message, hint=_known(dead_letter_queues(topology))) from error


def _known(names: list[str]) -> str:
    return f"There are: {', '.join(names)}" if names else "The topology declares none."
