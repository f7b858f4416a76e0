"""The options that the commands on dead letters share: which queue, where, and which of its letters.

Knows click's options; must not know what is done with the letters.
"""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

import click
from msgspec import Struct

from amply.cli import times
from amply.cli.workers_environment import endpoint_option
from amply.deadletters.matching import Match

_F = TypeVar("_F", bound=Callable[..., Any])


class Place(Struct, frozen=True):
    """What was said of where the letters are. None: the topology and the environment say it."""

    queue: str | None
    endpoint: str | None
    data: Path | None


_PLACE = (
    click.option("--queue", metavar="NAME", help="The dead letter queue; by default the only one of the topology."),
    endpoint_option,
    click.option(
        "--data",
        type=click.Path(path_type=Path, file_okay=False),
        help="The data folder, for causes, journals and archives.  [default: $AMPLY_DATA or ./amply-data]",
    ),
)
_MATCH = (
    click.option("--task", metavar="PATTERN", help="Of this task; * and ? stand for anything."),
    click.option("--error", metavar="TEXT", help="With this text in the reason or the error."),
    click.option("--arg", metavar="TEXT", help="With this argument: NAME=VALUE, or a text in any of them."),
    click.option("--older", metavar="TIME", callback=times.read_period, help="Sent longer ago than 30m, 12h or 7d."),
    click.option("--newer", metavar="TIME", callback=times.read_period, help="Sent not so long ago."),
    click.option("--source", metavar="QUEUE", help="That came from this queue (its name at SQS)."),
    click.option("--group", metavar="ID", help="Of this group."),
    click.option(
        "--id", "ids", metavar="ID", multiple=True, help="With this message or job id; may be given several times."
    ),
)


def place_options(function: _F) -> _F:
    """Give a command `--queue`, `--endpoint` and `--data`; it gets `place`."""

    @functools.wraps(function)
    def called(*args: Any, queue: str | None, endpoint: str | None, data: Path | None, **others: Any) -> Any:
        return function(*args, place=Place(queue, endpoint, data), **others)

    return cast(_F, _with(called, _PLACE))


def match_options(function: _F) -> _F:
    """Give a command the options that choose letters; it gets `match`, which fits every letter if none is given."""

    @functools.wraps(function)
    def called(
        *args: Any,
        task: str | None,
        error: str | None,
        arg: str | None,
        older: int | None,
        newer: int | None,
        source: str | None,
        group: str | None,
        ids: tuple[str, ...],
        **others: Any,
    ) -> Any:
        match = Match(
            task=task,
            error=error,
            argument=arg,
            older_s=older,
            newer_s=newer,
            source=source,
            group=group,
            ids=ids,
        )
        return function(*args, match=match, **others)

    return cast(_F, _with(called, _MATCH))


def check_is_chosen(match: Match, *, everything: bool) -> None:
    """That all letters are meant has to be said, by `--all` and nothing else. UsageError."""
    if everything and match != Match():
        raise click.UsageError("--all is for all letters; leave it out to choose some of them.")
    if not everything and match == Match():
        raise click.UsageError("Say which letters are meant (--group, --task, --error, --id ...), or --all.")


def _with(function: Any, options: tuple[Callable[[Any], Any], ...]) -> Any:
    for option in reversed(options):
        function = option(function)
    return function
