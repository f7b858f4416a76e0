"""The question before letters are moved or deleted. Knows terminals; must not know what is about to happen."""

import sys

import click

from amply.cli import output
from amply.errors import AmplyError

yes_option = click.option("--yes", is_flag=True, help="Do not ask.")


class NotConfirmedError(AmplyError):
    """The person said no; nothing was done."""


def check_can_answer(*, yes: bool) -> None:
    """Before anything is looked at: UsageError where a question would have nobody to answer it."""
    if not yes and not sys.stdin.isatty():
        raise click.UsageError("Nobody can be asked here, for this is no terminal: add --yes.")


def confirm(question: str, *, yes: bool) -> None:
    """Ask, unless `yes`. NotConfirmedError for a no."""
    if not yes and not click.confirm(output.safe(question), err=True):
        raise NotConfirmedError("Nothing was done.")
