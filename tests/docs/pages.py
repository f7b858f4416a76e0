"""The Markdown pages: which there are, and what stands on which line of them.

Knows Markdown as far as these pages use it: fenced blocks, headings, links and tables. Must not know what they say.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]

PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])

_FENCE = re.compile(r" *```(.*)")
_CODE = re.compile(r"`[^`]*`")
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)", re.DOTALL)
_HEADING = re.compile(r"#{1,6} +(.*)")


class Block(NamedTuple):
    """A fenced block. `info` is what stands behind its opening fence; `line` is the number of its first line."""

    page: Path
    line: int
    info: str
    text: str


def name(page: Path) -> str:
    """How a failure names the page."""
    return str(page.relative_to(ROOT))


def blocks(page: Path) -> Iterator[Block]:
    """Every fenced block of the page, in order."""
    opened: tuple[int, str] | None = None
    lines: list[str] = []
    for number, line in enumerate(page.read_text("utf-8").splitlines(), 1):
        fence = _FENCE.fullmatch(line)
        if fence and opened is None:
            opened, lines = (number + 1, fence[1].strip()), []
        elif fence and opened is not None:
            yield Block(page, *opened, "\n".join(lines))
            opened = None
        elif opened is not None:
            lines.append(line)


def prose(page: Path) -> str:
    """The page with its fenced blocks emptied; every line keeps its number."""
    inside = False
    lines = []
    for line in page.read_text("utf-8").splitlines():
        is_fence = _FENCE.fullmatch(line) is not None
        inside ^= is_fence
        lines.append("" if inside or is_fence else line)
    return "\n".join(lines)


def links(page: Path) -> Iterator[tuple[int, str]]:
    """Line and target of every link, as it is written."""
    text = _CODE.sub(lambda code: " " * len(code[0]), prose(page))
    for link in _LINK.finditer(text):
        yield text.count("\n", 0, link.start()) + 1, link[1]


def anchors(page: Path) -> set[str]:
    """What `#` may name in the page: its headings, spelled as on GitHub."""
    headings = (_HEADING.fullmatch(line) for line in prose(page).splitlines())
    return {re.sub(r"[^\w\- ]", "", heading[1].lower()).replace(" ", "-") for heading in headings if heading}


def first_cells(page: Path) -> dict[str, int]:
    """Every name in code style in the first cell of a table's row, with its line."""
    found: dict[str, int] = {}
    for number, line in enumerate(prose(page).splitlines(), 1):
        if line.startswith("|"):
            for code in _CODE.findall(line.split("|")[1]):
                found.setdefault(code.strip("`"), number)
    return found
