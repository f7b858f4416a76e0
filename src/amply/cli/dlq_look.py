"""`amply dlq ls` and `amply dlq groups`: what lies in the dead letter queue, by letter and by failure."""

from contextlib import closing
from itertools import islice
from typing import Any

import click

from amply.cli import output, times
from amply.cli.dlq_letters import (
    COLUMNS,
    ERROR_CHARS,
    JSON_VERSION,
    NAME_CHARS,
    as_data,
    death_data,
    row,
    time_left,
)
from amply.cli.dlq_opening import looked_at
from amply.cli.dlq_options import Place, match_options, place_options
from amply.clock import wall_ms
from amply.deadletters.dead_letter_queue import DeadLetterQueue
from amply.deadletters.groups import Group, Groups
from amply.deadletters.matching import Match

_SOURCES_MAX = 3
_TRACEBACK_LINES = 60

_limit = click.option("--limit", type=click.IntRange(min=1), default=50, show_default=True, help="Show so many.")


@click.command()
@match_options
@_limit
@place_options
@output.json_option
def ls(*, match: Match, limit: int, place: Place, as_json: bool) -> None:
    """List dead letters, those that were sent first at the top.

    Left is the time until SQS deletes the letter, with ! if that is less than a day.
    """
    with looked_at(place) as letters, closing(letters.letters(match)) as walked:
        shown = list(islice(walked, limit))
        retention_s, now_ms = letters.queue.retention_s, wall_ms()
        if match == Match():
            # Counted by SQS, so that nobody has to walk on.
            more = max(0, letters.queue.messages - limit) if len(shown) == limit else 0
        else:
            more = sum(1 for _ in walked)
        if as_json:
            output.write_json(
                {
                    "version": JSON_VERSION,
                    **_where(letters),
                    "letters": [as_data(found, retention_s) for found in shown],
                    "more": more,
                }
            )
        else:
            is_narrow = output.is_narrow()
            output.write_table(
                f"Dead letters in {letters.name}",
                COLUMNS,
                [row(found, retention_s, now_ms, is_narrow=is_narrow) for found in shown],
                whole={"Id", "Age", "Left", "Job"},
                spare={"Job", "Receives", "Source"},
            )
            if is_narrow and shown:
                output.say("Cut to the terminal's width: show and edit take these ids, --id wants whole ones.")
        if not shown:
            output.say("No dead letters." if match == Match() else "No such dead letters.")
        elif more:
            output.say(f"{output.count(more)} more; show them with --limit, or choose some (see --help).")


@click.command()
@match_options
@_limit
@click.option("--tracebacks", is_flag=True, help="Show the traceback of each kind of failure.")
@place_options
@output.json_option
def groups(*, match: Match, limit: int, tracebacks: bool, place: Place, as_json: bool) -> None:
    """Count dead letters by task and kind of failure, the most frequent at the top.

    First and Last are when the first and the last of a group died, Left is when the first of them expires.
    """
    with looked_at(place) as letters:
        found = letters.groups(match)
        shown = found.groups[:limit]
        told = {of.id: letters.traceback(of.death.kind) for of in shown} if tracebacks else {}
        if as_json:
            output.write_json(
                {
                    "version": JSON_VERSION,
                    **_where(letters),
                    "letters": found.letters,
                    "expiring": found.expiring,
                    "soonest_expiry_ms": found.soonest_ms,
                    "groups": [_group_data(of) | ({"traceback": told[of.id]} if tracebacks else {}) for of in shown],
                    "more_groups": len(found.groups) - len(shown),
                    "others": found.others,
                }
            )
        else:
            _write_groups(letters, shown, told)
        _sum_up(found, len(shown))


def _where(letters: DeadLetterQueue) -> dict[str, Any]:
    return {"queue": letters.name, "endpoint": letters.gateway.endpoint_url}


def _write_groups(letters: DeadLetterQueue, shown: list[Group], tracebacks: dict[str, str | None]) -> None:
    now_ms = wall_ms()
    columns = ("Group", "Count", "Task", "Error", "First", "Last", "Sources", "Left", "Within a day")
    output.write_table(
        f"Dead letters in {letters.name}",
        columns,
        [_group_row(of, now_ms) for of in shown],
        whole={"Group", "Count", "First", "Last", "Left"},
        spare={"First", "Sources", "Within a day"},
    )
    for of in shown:
        if text := tracebacks.get(of.id):
            click.echo(f"\n{of.id}  {output.safe(output.brief(of.death.text, ERROR_CHARS))}")
            output.write_text(text.rstrip("\n"), indent="  ", lines=_TRACEBACK_LINES)


def _group_row(of: Group, now_ms: int) -> tuple[object, ...]:
    return (
        of.id,
        output.count(of.count),
        output.brief(of.task or "", NAME_CHARS),
        output.brief(of.death.text, ERROR_CHARS),
        f"{times.short((now_ms - of.first_ms) / 1000)} ago",
        f"{times.short((now_ms - of.last_ms) / 1000)} ago",
        _sources(of),
        time_left(of.soonest_ms, now_ms),
        output.Alarm(output.count(of.expiring)) if of.expiring else "",
    )


def _sources(of: Group) -> str:
    most = of.sources.most_common(_SOURCES_MAX)
    parts = [f"{output.brief(name or '?', NAME_CHARS)} {output.count(count)}" for name, count in most]
    if len(of.sources) > len(most):
        parts.append(f"{output.count(len(of.sources) - len(most))} more")
    return ", ".join(parts)


def _group_data(of: Group) -> dict[str, Any]:
    death = death_data(of.death)
    died_ms = death.pop("died_ms")
    return {
        "id": of.id,
        "count": of.count,
        "task": of.task,
        **death,
        "first_ms": of.first_ms,
        "last_ms": of.last_ms,
        "last_died_ms": died_ms,
        "example_id": of.example_id,
        "sources": [{"queue": name, "count": count} for name, count in of.sources.most_common()],
        "soonest_expiry_ms": of.soonest_ms,
        "expiring": of.expiring,
    }


def _sum_up(found: Groups, shown: int) -> None:
    if not found.letters:
        output.say("No dead letters.")
        return
    parts = [f"{output.count(found.letters)} dead letters in {output.count(len(found.groups))} groups"]
    if shown < len(found.groups):
        parts.append(f"the first {output.count(shown)} are shown")
    if found.others:
        parts.append(f"{output.count(found.others)} are in no group, for there are too many kinds")
    output.say(f"{', '.join(parts)}.")
    if found.expiring and found.soonest_ms is not None:
        left = times.short((found.soonest_ms - wall_ms()) / 1000)
        letters = "1 letter expires" if found.expiring == 1 else f"{output.count(found.expiring)} letters expire"
        output.say(f"Warning: {letters} within a day, the first in {left}. Redrive or export them before that.")
