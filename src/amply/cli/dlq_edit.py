"""`amply dlq edit`: a dead letter with other arguments, another task or another body, sent again."""

import json
import sys
from pathlib import Path
from typing import Any

import click
import msgspec
from msgspec import Struct

from amply.cli import dlq_outcomes, output
from amply.cli.dlq_confirming import check_can_answer, confirm, yes_option
from amply.cli.dlq_letters import NAME_CHARS
from amply.cli.dlq_opening import opened, tell_interrupted
from amply.cli.dlq_options import Place, place_options
from amply.cli.json_options import read_json
from amply.deadletters.editing import edited_body
from amply.deadletters.gateway import BATCH_BYTES_MAX
from amply.deadletters.jobs import told
from amply.deadletters.moving import Outcome
from amply.envelope.json_text import ascii_json
from amply.errors import AmplyError


class _Edited(Struct, frozen=True, forbid_unknown_fields=True):
    """A job as it is put before a person."""

    task: str
    args: list[Any]
    kwargs: dict[str, Any]


@click.command()
@click.argument("id_", metavar="ID")
@click.option("--args", metavar="JSON", callback=read_json(list, "an array"), help="Other positional arguments.")
@click.option("--kwargs", metavar="JSON", callback=read_json(dict, "an object"), help="Other keyword arguments.")
@click.option("--task", metavar="NAME", help="Another task.")
@click.option("--body", "file", type=click.Path(path_type=Path), help="Another body, from this file; - is stdin.")
@click.option("--to", metavar="QUEUE", help="To this queue (its name at SQS); by default where it came from.")
@yes_option
@place_options
@output.json_option
def edit(
    id_: str,
    *,
    args: list[Any] | None,
    kwargs: dict[str, Any] | None,
    task: str | None,
    file: Path | None,
    to: str | None,
    yes: bool,
    place: Place,
    as_json: bool,
) -> int:
    """Change one letter and send it: stored at its queue first, and only then deleted here.

    ID is the message's, at least its first eight characters, or the job's. Without any change an editor opens: on the
    job's task, args and kwargs, or on the body of what is no Celery job. If nothing is changed nothing happens.
    """
    changes = {"task": task, "args": args, "kwargs": kwargs}
    is_changed = any(value is not None for value in changes.values())
    if file is not None and is_changed:
        raise click.UsageError("--body is the whole message; leave out --task, --args and --kwargs.")
    check_can_answer(yes=yes)
    if file is None and not is_changed and not sys.stdin.isatty():
        raise click.UsageError("There is no terminal for an editor: say what to change.")
    new = None if file is None else _read(file)
    with opened(place) as letters:
        tell_interrupted(letters)
        found = letters.letter(id_)
        letter = found.letter
        if is_changed:
            new = edited_body(letter.body, task=task, args=args, kwargs=kwargs)
        elif new is None:
            new = _by_hand(letter.body)
        if new == letter.body:
            output.say("Nothing was changed, and nothing sent.")
            return 0
        whereto = output.brief(to or letter.source or "its queue", NAME_CHARS)
        what = output.brief(found.job.task or "what is no job", NAME_CHARS)
        confirm(f"Send letter {letter.message_id} ({what}) to {whereto}?", yes=yes)

        def told_of(outcome: Outcome) -> None:
            dlq_outcomes.write(letters, outcome, "Sent", as_json=as_json, id=letter.message_id)

        return dlq_outcomes.exit_code(letters.edit(letter.message_id, new, to=to, told=told_of))


def _read(file: Path) -> str:
    try:
        with click.open_file(str(file), "rb") as opened_file:
            data = opened_file.read(BATCH_BYTES_MAX + 1)
        text: str = data.decode()
    except OSError as error:
        raise AmplyError(f"{file} cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise AmplyError(f"{file} is no text in UTF-8; SQS takes nothing else.") from error
    if len(data) > BATCH_BYTES_MAX:
        raise AmplyError(f"{file} is longer than {BATCH_BYTES_MAX} bytes, the most that SQS takes.")
    return text


def _by_hand(body: str) -> str:
    """The body as a person leaves it in an editor."""
    job = told(body)
    if job.unreadable is not None or job.job.args is None or job.job.kwargs is None:
        text = click.edit(body, require_save=True)
        # Editors end a text with the end of a line.
        return body if text is None else text if body.endswith("\n") else text.removesuffix("\n")
    old = _Edited(job.job.task or "", _plain(job.job.args), _plain(job.job.kwargs))
    shown = output.editable_json(msgspec.structs.asdict(old))
    while True:
        text = click.edit(shown, extension=".json", require_save=True)
        if text is None:
            return body
        try:
            new = _parsed(text)
        except ValueError as error:
            output.say(f"This is no job: {error}")
            if not click.confirm("Edit it again?", default=True, err=True):
                return body
            shown = text
            continue
        if new == old:
            return body
        return edited_body(
            body,
            task=new.task if new.task != old.task else None,
            args=new.args if new.args != old.args else None,
            kwargs=new.kwargs if new.kwargs != old.kwargs else None,
        )


def _parsed(text: str) -> _Edited:
    try:
        return msgspec.convert(json.loads(text), _Edited)
    except RecursionError as error:
        raise ValueError("it is nested too deep") from error
    except msgspec.ValidationError as error:
        raise ValueError(str(error)) from error


def _plain(value: Any) -> Any:
    """Values without a JSON type in kombu's marks, as the message has them."""
    return json.loads(ascii_json(value))
