"""How commands speak: data on stdout, talk on stderr, `--json` for programs, colour and tables for people.

Text that comes from outside (a queue's name, a task's arguments, an error) is made safe before it reaches a terminal.
"""

import json
import shutil
import sys
import unicodedata
from collections.abc import Callable, Collection, Sequence
from typing import Any, TypeVar

import click

_F = TypeVar("_F", bound=Callable[..., Any])

# Control characters steer a terminal; format characters (bidirectional marks, zero-width ones) make a line read as what
# it is not; surrogates cannot be written; the line separators break a line (Unicode TR 36).
_UNSAFE = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
_WIDE_COLUMNS = 120


def json_option(function: _F) -> _F:
    """Give a command `--json`; it gets `as_json`."""
    return click.option("--json", "as_json", is_flag=True, help="Write the data as JSON.")(function)


def safe(text: str) -> str:
    """The text on one line, with everything that could steer a terminal or deceive a reader written as an escape."""
    return "".join(
        _escape(character) if unicodedata.category(character) in _UNSAFE else character for character in text
    )


def brief(text: str, chars: int) -> str:
    """The beginning of a text, and that it goes on; whatever it holds, it may be as long as a message."""
    return text if len(text) <= chars else f"{text[: chars - 1]}…"


def count(number: int) -> str:
    """A number for people: `1 234`."""
    return f"{number:,}".replace(",", " ")


class Alarm(str):
    """A cell of a table that is to be noticed."""

    __slots__ = ()


def editable_json(data: object) -> str:
    """JSON for a person to edit: indented, letters of all languages as they are, what `safe` escapes in JSON's way."""
    text = json.dumps(data, indent=2, ensure_ascii=False)
    return "".join(
        json.dumps(character)[1:-1] if character != "\n" and unicodedata.category(character) in _UNSAFE else character
        for character in text
    )


def say(text: str) -> None:
    """Tell a person something, on stderr."""
    click.echo("\n".join(safe(line) for line in text.split("\n")), err=True)


def say_error(message: str, hint: str | None) -> None:
    """Tell a person what went wrong, each error on its own line, and what to do next."""
    for line in message.split("\n"):
        say(f"Error: {line}")
    if hint:
        say(hint)


def write_json(data: object) -> None:
    """Write data to stdout as JSON, indented, ASCII only so that no terminal can misread it."""
    click.echo(json.dumps(data, indent=2))


def write_text(text: str, *, indent: str = "", lines: int | None = None) -> None:
    """Write a text of several lines to stdout, each of them safe; at most so many, and how many more there are."""
    told = text.replace("\r\n", "\n").replace("\t", "    ").split("\n")
    shown = told[:lines]
    for line in shown:
        click.echo(indent + safe(line))
    if len(shown) < len(told):
        click.echo(f"{indent}… {count(len(told) - len(shown))} lines more")


def is_narrow() -> bool:
    """Whether stdout is a terminal where a wide table would be all broken lines."""
    return sys.stdout.isatty() and shutil.get_terminal_size().columns < _WIDE_COLUMNS


def write_table(
    title: str,
    columns: Sequence[str],
    rows: Sequence[Sequence[object]],
    *,
    whole: Collection[str] = (),
    spare: Collection[str] = (),
) -> None:
    """Write rows to stdout: a drawn table on a terminal, else one line a row with tabs between the cells.

    The cells of the columns `whole` are not broken into lines, the columns `spare` are left out on a narrow terminal;
    an `Alarm` is red.
    """
    cells = [[safe("" if cell is None else str(cell)) for cell in row] for row in rows]
    if not sys.stdout.isatty():
        for line in (columns, *cells):
            click.echo("\t".join(line))
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(title=title, title_justify="left")
    kept = [index for index, column in enumerate(columns) if not (column in spare and is_narrow())]
    for index in kept:
        table.add_column(columns[index], overflow="fold", no_wrap=columns[index] in whole)
    for row, shown in zip(rows, cells, strict=True):
        styles = ["bold red" if isinstance(cell, Alarm) else "" for cell in row]
        table.add_row(*(Text(shown[index], style=styles[index]) for index in kept))
    Console().print(table)  # leaves out colour when NO_COLOR is set


def _escape(character: str) -> str:
    code = ord(character)
    if code <= 0xFF:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"
