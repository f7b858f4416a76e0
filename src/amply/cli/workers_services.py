"""The topology's worker services, and beat, as services of the fleet."""

import sys
from collections.abc import Mapping
from pathlib import Path

from amply.scaling.fleet import Service
from amply.topology.derive import worker_command
from amply.topology.model import Topology

BEAT = "beat"

# What a worker gets to finish its running jobs; then it gives them back, to be received again.
_WORKER_GRACE_S = 60.0


def worker_services(topology: Topology, environment: Mapping[str, str], *, with_beat: bool) -> list[Service]:
    """A service for each declared one, and beat, which sends the scheduled jobs of all; there must be one beat only."""
    services = [
        Service(
            name=worker.name,
            command=_here(worker_command(worker)),
            environment=environment,
            grace_s=_WORKER_GRACE_S,
        )
        for worker in topology.workers
    ]
    apps = list(dict.fromkeys(worker.app for worker in topology.workers))
    if with_beat:
        names = [BEAT] if len(apps) == 1 else [f"{BEAT}-{app}" for app in apps]
        services += [
            Service(
                name=name,
                command=_here(["celery", "-A", app, "beat", "--loglevel=info"]),
                environment=environment,
                grace_s=10,
            )
            for name, app in zip(names, apps, strict=True)
        ]
    return services


def _here(command: list[str]) -> tuple[str, ...]:
    """The same command with the program that is installed beside this Python, so that PATH does not matter."""
    program = Path(sys.executable).with_name(command[0])
    return (str(program) if program.exists() else command[0], *command[1:])
