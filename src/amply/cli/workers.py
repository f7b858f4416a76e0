"""`amply workers`: the worker services of the topology and beat, started, watched and restarted."""

import shlex
import time
from pathlib import Path

import click

from amply import settings
from amply.cli import output
from amply.cli.workers_environment import child_environment, endpoint_option
from amply.cli.workers_services import worker_services
from amply.cli.workers_watch import LOOK_EVERY_S, News, StopRequests, drain, jitter, tell
from amply.clock import SystemClock
from amply.scaling.fleet import Fleet
from amply.topology import load


@click.command()
@click.option(
    "--data",
    type=click.Path(path_type=Path, file_okay=False),
    help="The folder for results, reports and the schedule; by default AMPLY_DATA, or else ./amply-data.",
)
@endpoint_option
@click.option("--no-beat", is_flag=True, help="Start no scheduler; there must be one only, over all machines.")
def workers(*, data: Path | None, endpoint: str | None, no_beat: bool) -> None:
    """Start, watch and restart the worker services of the topology.

    Ctrl-C lets the workers finish their running jobs; a second one makes them give their jobs back.
    """
    found = settings.read()
    folder = (data or found.data).absolute()
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    topology = load.load(found.topology)
    environment = child_environment(
        endpoint_url=endpoint or found.sqs_endpoint_url, region=topology.region, data=folder
    )
    services = worker_services(topology, environment, with_beat=not no_beat)
    for service in services:
        output.say(f"{service.name}: {shlex.join(service.command)}")
    asked, news = StopRequests(), News()
    with asked.listening(), Fleet(services, clock=SystemClock(), jitter=jitter, on_line=_pass_on) as fleet:

        def tell_news() -> None:
            for text in news.of(fleet.states()):
                tell(text)

        fleet.start()
        while not asked.count:
            time.sleep(LOOK_EVERY_S)
            fleet.tick()
            tell_news()
        tell("Stopping: the workers finish their running jobs. Ctrl-C again to make them give their jobs back.")
        drain(fleet, asked, tell_news)
    tell("All workers have stopped.")


def _pass_on(label: str, line: str) -> None:
    click.echo(f"[{label}] {output.safe(line)}")
