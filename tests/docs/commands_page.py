"""The page of all commands, made from the commands themselves: `python tests/docs/commands_page.py` writes it anew."""

from collections.abc import Iterator

import click
from click.testing import CliRunner
from pages import ROOT

from amply.cli.main import amply

PAGE = ROOT / "docs" / "reference" / "commands.md"

_WIDTH = 100

_HEAD = """\
# Commands

What `--help` says, command by command. This page is written by `tests/docs/commands_page.py` and compared with the
commands by the tests.

Data goes to stdout, talk to stderr. Where there is `--json`, its members may become more, and `version` is raised when
one changes its meaning or goes. A table is drawn on a terminal only; elsewhere each row is a line with tabs between its
cells.

Exit codes: 0 done, 1 failed, 2 wrong usage, 3 not found, 4 refused, 5 unreachable, 78 the store cannot be trusted any
more (`amply broker`), 130 interrupted.
"""


def commands(group: click.Group = amply, *names: str) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Every command of the tree with the words that call it, parents first. `amply` itself has none."""
    if not names:
        yield (), group
    context = click.Context(group)
    for each in group.list_commands(context):
        command = group.get_command(context, each)
        if command is None:
            raise ValueError(f"{each} is listed, and is no command")
        yield (*names, each), command
        if isinstance(command, click.Group):
            yield from commands(command, *names, each)


def help_text(words: tuple[str, ...]) -> str:
    """What the command says when it is asked for help, on a page of this width."""
    runner = CliRunner(catch_exceptions=False)
    ran = runner.invoke(amply, [*words, "--help"], prog_name="amply", terminal_width=_WIDTH)
    return "\n".join(line.rstrip() for line in ran.output.rstrip().splitlines())


def text() -> str:
    """The whole page."""
    sections = [f"## {' '.join(('amply', *words))}\n\n```text\n{help_text(words)}\n```\n" for words, _ in commands()]
    return "\n".join([_HEAD, *sections])


if __name__ == "__main__":
    PAGE.write_text(text(), "utf-8")
