"""The command `amply`: which commands there are, and how an error ends one.

A command's module is imported when the command runs, so that `amply --help` is quick and one broken command leaves the
others working. Must not know what a command does.
"""

import importlib
import os
import sys
from typing import NoReturn

import click

from amply import __version__
from amply.cli import output
from amply.errors import AmplyError

# The command `x` is the click command `x` in the module amply.cli.x. The sentence is here too, for --help.
COMMANDS = {
    "up": "Start everything on this machine: broker and workers, with a live table.",
    "broker": "Start the embedded, durable SQS endpoint.",
    "workers": "Start, watch and restart the worker services of the topology.",
    "job": "Send jobs to their queues.",
    "status": "Show the queues and what waits in them.",
    "dlq": "See dead letters and why they died, and bring them back.",
    "doctor": "Check what is declared and what is there, and say how to mend it.",
    "checkpoint": "Check the hash chain that seals the donations.",
    "key": "Create, list and revoke the access keys of the broker.",
    "topology": "Show or check the declared queues, routes, worker services and roles.",
}

# What a shell reports for a process ended by SIGINT.
EXIT_INTERRUPTED = 130


class LazyCommands(click.Group):
    """Finds commands in the table and imports a command's module only when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """All commands, in the order of the table."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """The command itself; None when the table has none of that name."""
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = getattr(importlib.import_module(f"amply.cli.{cmd_name}"), cmd_name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """List the commands from the table, importing none."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(cls=LazyCommands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="amply")
def amply() -> None:
    """Celery on Amazon SQS, from a laptop to AWS, from one declared topology."""


def main(arguments: list[str] | None = None) -> NoReturn:
    """Run the command line and end the process: 0 ok, 1 failed, 2 usage, 3 not found, 4 refused, 5 unreachable."""
    # Data, logs and databases are nobody else's, whatever process of ours makes them.
    os.umask(0o077)
    sys.exit(run(arguments))


def run(arguments: list[str] | None = None) -> int:
    """Run the command line, by default this process's, and say how it ended. Errors for people go to stderr."""
    try:
        ended = amply.main(args=arguments, prog_name="amply", standalone_mode=False)
    except AmplyError as error:
        output.say_error(error.message, error.hint)
        return error.exit_code
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        return EXIT_INTERRUPTED
    return ended if isinstance(ended, int) else 0
