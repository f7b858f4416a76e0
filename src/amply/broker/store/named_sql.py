"""The SQL files beside this module: queries by name, and the schema's steps in their order. Executes nothing."""

import functools
import re
from collections.abc import Iterator, Sequence
from importlib import resources
from typing import TypeVar

_FOLDER = resources.files("amply.broker.store") / "sql"
_WIDTHS = (64, 32, 16, 8, 4, 2, 1)
_ROW = re.compile(r"\(\?(?:, \?)*\)")

T = TypeVar("T")


def _queries() -> dict[str, str]:
    blocks = (_FOLDER / "queries.sql").read_text("utf-8").split("-- name: ")[1:]
    return {name: sql.strip() for name, _, sql in (block.partition("\n") for block in blocks)}


QUERIES = _queries()


@functools.cache
def widened(name: str, rows: int) -> str:
    """The named query with its row of question marks written `rows` times."""
    return _ROW.sub(lambda row: ", ".join([row[0]] * rows), QUERIES[name], count=1)


def stretches(rows: Sequence[T]) -> Iterator[tuple[int, Sequence[T]]]:
    """Cut rows into few stretches of a few fixed widths, so that each width's statement is prepared once."""
    start = 0
    while start < len(rows):
        width = next(width for width in _WIDTHS if width <= len(rows) - start)
        yield width, rows[start : start + width]
        start += width


def schema_steps() -> dict[int, str]:
    """Schema version -> the script that leads to it from the version before."""
    files = sorted((file for file in _FOLDER.iterdir() if file.name[:4].isdigit()), key=lambda file: file.name)
    return {int(file.name[:4]): file.read_text("utf-8") for file in files}
