"""`amply dlq`: dead letters, from the first look until they are back at work, archived or gone."""

import click

from amply.cli.dlq_archives import export, import_, rm
from amply.cli.dlq_edit import edit
from amply.cli.dlq_look import groups, ls
from amply.cli.dlq_redrive import redrive
from amply.cli.dlq_show import show


@click.group()
def dlq() -> None:
    """See what died and why, and bring it back, here or on AWS.

    Start with groups. Why jobs failed comes from the telemetry queue, is kept in the data folder, and is fetched by
    each of these commands first.
    """


for command in (ls, groups, show, redrive, edit, export, import_, rm):
    dlq.add_command(command)
