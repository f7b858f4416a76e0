"""How results leave: a table for people on stderr, a JSON file for everything else."""

import sys
import time
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from bench import machine


class Table(Struct, frozen=True):
    """Cells as text, by row."""

    title: str
    heads: list[str]
    rows: list[list[str]]


def say(line: str) -> None:
    """A line for the person who waits."""
    print(line, file=sys.stderr, flush=True)


def show(table: Table) -> None:
    """Columns to the right, but for the first."""
    lines = [table.heads, *table.rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(table.heads))]
    say(f"\n{table.title}")
    for line in lines:
        first = line[0].ljust(widths[0])
        others = [cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True)]
        say("  ".join((first, *others)).rstrip())


def save(path: Path, command: str, parameters: dict[str, Any], figures: Any) -> None:
    """Everything in one file, with where it was measured."""
    content = {
        "command": command,
        "parameters": parameters,
        "machine": machine.describe(),
        "measured": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "figures": figures,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(msgspec.json.format(msgspec.json.encode(content), indent=2) + b"\n")
    say(f"results in {path}")
