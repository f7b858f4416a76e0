"""`amply up`: broker, workers, scheduler and, if wanted, a demonstration, as one process tree on this machine."""

import shlex
import sys
from pathlib import Path

import click

from amply import settings
from amply.cli.broker import DEFAULT_PORT
from amply.cli.up_run import BROKER, LOAD, RECEIVER, Run
from amply.cli.workers_environment import child_environment
from amply.cli.workers_services import worker_services
from amply.scaling.fleet import Service
from amply.topology import load
from amply.topology.model import Topology

# Longer than the broker takes to answer its parked polls and to finish its commits.
_BROKER_GRACE_S = 15.0


@click.command()
@click.option("--demo", is_flag=True, help="Let donations arrive, webhooks go out, and reports be made.")
@click.option(
    "--port", default=DEFAULT_PORT, show_default=True, type=click.IntRange(1, 65535), help="Of the SQS endpoint."
)
@click.option(
    "--data",
    type=click.Path(path_type=Path, file_okay=False),
    help="The folder for everything that is kept; by default AMPLY_DATA, or else ./amply-data.",
)
def up(*, demo: bool, port: int, data: Path | None) -> int:
    """Start everything on this machine: broker and workers, with a live table.

    Ctrl-C drains: the workers finish their running jobs, then the broker stops; what waits is kept for the next start.
    A second Ctrl-C makes the workers give their jobs back.
    """
    found = settings.read()
    folder = (data or found.data).absolute()
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    topology = load.load(found.topology)
    endpoint_url = f"http://127.0.0.1:{port}"
    environment = child_environment(endpoint_url=endpoint_url, region=topology.region, data=folder)
    workers = worker_services(topology, environment, with_beat=True)

    def ours(name: str, *arguments: str, grace_s: float = 10) -> Service:
        return Service(name=name, command=(sys.executable, "-m", *arguments), environment=environment, grace_s=grace_s)

    broker = ours(
        BROKER,
        *("amply", "broker", "--host", "127.0.0.1", "--port", str(port), "--data", str(folder)),
        grace_s=_BROKER_GRACE_S,
    )
    demonstration = [ours(RECEIVER, "amply.cli.demo", "receive"), ours(LOAD, "amply.cli.demo", "load")] if demo else []
    run = Run(
        broker=broker,
        workers=workers,
        demonstration=demonstration,
        topology=topology,
        endpoint_url=endpoint_url,
        data=folder,
    )
    return run.go(_banner(topology, endpoint_url, folder, workers))


def _banner(topology: Topology, endpoint_url: str, data: Path, workers: list[Service]) -> list[str]:
    exports = {
        "AWS_ENDPOINT_URL_SQS": endpoint_url,
        "AWS_DEFAULT_REGION": topology.region,
        "AWS_ACCESS_KEY_ID": "any",
        "AWS_SECRET_ACCESS_KEY": "any",
        "AMPLY_DATA": str(data),
    }
    return [
        f"SQS endpoint  {endpoint_url}, region {topology.region}",
        f"Queues        {', '.join(queue.name for queue in topology.queues)}",
        f"Processes     {', '.join(service.name for service in workers)}",
        f"Data folder   {data}",
        f"Log files     {data / 'logs'}",
        "In another terminal, for celery, boto3 and amply itself:",
        f"  export {' '.join(f'{name}={shlex.quote(value)}' for name, value in exports.items())}",
    ]
