"""`amply dlq export`, `import` and `rm`: letters into files, back out of them, and away."""

import sys
from datetime import UTC, datetime
from pathlib import Path

import click

from amply import settings
from amply.cli import dlq_outcomes, output
from amply.cli.dlq_confirming import check_can_answer, confirm, yes_option
from amply.cli.dlq_letters import JSON_VERSION
from amply.cli.dlq_opening import collect, looked_at, opened, tell_interrupted
from amply.cli.dlq_options import Place, check_is_chosen, match_options, place_options
from amply.cli.dlq_outcomes import letters_text
from amply.cli.progress import EXIT_INTERRUPTED, Progress
from amply.clock import wall_ms
from amply.deadletters import archive as archives
from amply.deadletters.dead_letter_queue import DeadLetterQueue
from amply.deadletters.importing import Imported
from amply.deadletters.matching import Match
from amply.deadletters.moving import Outcome
from amply.errors import AmplyError

_SHOWN = 20
_file = click.argument("file", type=click.Path(path_type=Path))


@click.command()
@_file
@match_options
@place_options
@output.json_option
def export(file: Path, *, match: Match, place: Place, as_json: bool) -> None:
    """Write letters to a new FILE as JSON lines, and leave them where they are. - is stdout."""
    if as_json and str(file) == "-":
        raise click.UsageError("With - the letters themselves are written, as JSON lines; leave out --json.")
    with looked_at(place) as letters:
        count = _stream(letters, match) if str(file) == "-" else letters.export(file, match)
    if as_json:
        output.write_json({"version": JSON_VERSION, "queue": letters.name, "file": str(file), "letters": count})
    else:
        output.say(f"{letters_text(count)} exported{'' if str(file) == '-' else f' to {file}'}.")


def _stream(letters: DeadLetterQueue, match: Match) -> int:
    count = 0
    is_terminal = sys.stdout.isatty()
    for count, found in enumerate(letters.letters(match), 1):  # noqa: B007 - the last number is the answer
        line = archives.line(letters.name, found)
        click.echo(output.safe(line.decode().rstrip("\n")) if is_terminal else line, nl=is_terminal)
    return count


@click.command("import")
@_file
@click.option("--to", metavar="QUEUE", help="To this queue, to be worked on; by default to the dead letter queue.")
@yes_option
@place_options
@output.json_option
def import_(file: Path, *, to: str | None, yes: bool, place: Place, as_json: bool) -> int:
    """Send the letters of a FILE that export or rm wrote, each line once, however often the command is repeated.

    In the dead letter queue they say where they came from, so that a redrive knows.
    """
    check_can_answer(yes=yes)
    total = sum(1 for _ in archives.read(file))
    with opened(place) as letters:
        tell_interrupted(letters)
        confirm(f"Import {letters_text(total)} to {to or letters.name}?", yes=yes)
        with Progress("Importing", after="Repeat the command; what was sent is not sent again.") as progress:
            imported = letters.import_(file, to=to, progress=progress, cancel=progress.cancel)
    if as_json:
        output.write_json(_imported_data(letters, to or letters.name, file, imported))
    else:
        _tell_imported(to or letters.name, file, imported)
    if imported.is_cancelled:
        return EXIT_INTERRUPTED
    return 1 if imported.refused or imported.unsure else 0


def _tell_imported(queue: str, file: Path, imported: Imported) -> None:
    output.write_table("Imported", ("To", "Letters"), [(queue, output.count(imported.sent))])
    if imported.is_cancelled:
        output.say("Stopped. Repeat the command to go on; what was sent is not sent again.")
    if imported.already:
        output.say(
            f"{letters_text(imported.already)} had been imported from {file} before, as {imported.journal} says."
        )
    for number, reason in list(imported.refused.items())[:_SHOWN]:
        output.say(f"Line {number} was refused: {reason}")
    if len(imported.refused) > _SHOWN:
        output.say(f"{output.count(len(imported.refused) - _SHOWN)} more lines were refused.")
    for numbers, what in (
        (imported.unsure, "no answer told whether they were sent; repeat the command"),
        (imported.doubtful, "may have been sent twice, as no answer came the first time"),
    ):
        if numbers:
            shown = ", ".join(map(str, numbers[:_SHOWN]))
            more = f" and {output.count(len(numbers) - _SHOWN)} more" if len(numbers) > _SHOWN else ""
            output.say(f"Lines {shown}{more}: {what}.")


def _imported_data(letters: DeadLetterQueue, to: str, file: Path, imported: Imported) -> dict[str, object]:
    return {
        "version": JSON_VERSION,
        "queue": letters.name,
        "endpoint": letters.gateway.endpoint_url,
        "file": str(file),
        "to": to,
        "sent": imported.sent,
        "already": imported.already,
        "refused": [{"line": number, "reason": reason} for number, reason in imported.refused.items()],
        "unsure": imported.unsure,
        "doubtful": imported.doubtful,
        "journal": imported.journal,
        "cancelled": imported.is_cancelled,
    }


@click.command()
@match_options
@click.option("--all", "everything", is_flag=True, help="All letters.")
@click.option(
    "--archive",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Where they are written first.  [default: archive/<queue>-<time>.jsonl in the data folder]",
)
@yes_option
@place_options
@output.json_option
def rm(*, match: Match, everything: bool, archive: Path | None, yes: bool, place: Place, as_json: bool) -> int:
    """Delete letters: each is written to an archive, and to the disk, before it is deleted.

    The archive can be imported again. Ends with 1 when letters stay that were meant, 130 when it was stopped.
    """
    check_is_chosen(match, everything=everything)
    check_can_answer(yes=yes)
    with opened(place) as letters:
        tell_interrupted(letters)
        collect(letters)
        path = (archive or _default_archive(place, letters.name)).absolute()
        total = None
        if not yes:
            total = sum(1 for _ in letters.letters(match))
            confirm(f"Delete {letters_text(total)} of {letters.name}, after they are written to {path}?", yes=yes)
        if archive is None:
            _make_folder(path.parent)
        with Progress("Deleting", after=f"What is deleted is in {path}. Repeat the command to go on.") as progress:

            def told(outcome: Outcome) -> None:
                progress.end()
                dlq_outcomes.write(letters, outcome, "Deleted", as_json=as_json, archive=str(path))
                if outcome.moved or outcome.waiting:
                    output.say(f"They are in {path}.")

            outcome = letters.remove(match, path, total=total, progress=progress, cancel=progress.cancel, told=told)
        return dlq_outcomes.exit_code(outcome)


def _default_archive(place: Place, queue_name: str) -> Path:
    at = datetime.fromtimestamp(wall_ms() // 1000, UTC).strftime("%Y%m%dT%H%M%SZ")
    return (place.data or settings.read().data) / "archive" / f"{queue_name}-{at}.jsonl"


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise AmplyError(
            f"{folder} cannot be made: {error.strerror or error}", hint="Name another place with --archive."
        ) from error
