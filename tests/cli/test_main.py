"""The command `amply` itself: finding commands, and how errors end it."""

import subprocess
import sys

import click
import pytest

from amply.cli import main as main_module
from amply.cli import output
from amply.cli.main import COMMANDS, amply, main, run
from amply.errors import AmplyError


class UnreachableError(AmplyError):
    exit_code = 5


@pytest.fixture
def command(monkeypatch):
    """Make `amply status` do something of the test's."""

    def does(action):
        @click.command()
        def status():
            return action()

        monkeypatch.setattr(amply, "get_command", lambda ctx, name: status)

    return does


def test_help_lists_every_command_and_imports_none():
    code = (
        "import sys\n"
        "from amply.cli.main import run\n"
        "run(['--help'])\n"
        "heavy = {'celery', 'kombu', 'boto3', 'rich', 'sqlalchemy', 'yaml', 'apsw', 'httpx', 'asyncio'}\n"
        "sys.exit(','.join(sorted(heavy & set(sys.modules))) or 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    for name in COMMANDS:
        assert f"\n  {name} " in done.stdout


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_of_the_table_exists_under_its_name(capsys, name):
    assert run([name, "--help"]) == 0
    assert capsys.readouterr().out.startswith(f"Usage: amply {name} ")


def test_an_unknown_command_is_a_usage_error(capsys):
    assert run(["stauts"]) == 2
    assert "No such command 'stauts'" in capsys.readouterr().err


def test_an_error_for_people_is_told_on_stderr_with_its_hint_and_exit_code(capsys, command):
    def fail():
        raise UnreachableError("Nobody answers at\x1b[31m port 9324.", hint="Start it: amply broker")

    command(fail)
    with pytest.raises(SystemExit) as ended:
        main(["status"])
    assert ended.value.code == 5
    assert capsys.readouterr() == ("", "Error: Nobody answers at\\x1b[31m port 9324.\nStart it: amply broker\n")


def test_ctrl_c_ends_with_the_shell_s_code_and_without_a_traceback(capsys, command):
    def interrupt():
        raise KeyboardInterrupt

    command(interrupt)
    assert run(["status"]) == main_module.EXIT_INTERRUPTED
    assert "Traceback" not in capsys.readouterr().err


def test_a_command_may_answer_with_its_exit_code(command):
    command(lambda: 3)
    assert run(["status"]) == 3
    command(lambda: None)
    assert run(["status"]) == 0


def test_a_defect_is_not_dressed_up_as_an_error_for_people(command):
    def fail():
        raise ZeroDivisionError

    command(fail)
    with pytest.raises(ZeroDivisionError):
        run(["status"])


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain ü 漢 😀", "plain ü 漢 😀"),
        ("\x1b]0;title\x07", "\\x1b]0;title\\x07"),
        ("two\nlines\r\t", "two\\x0alines\\x0d\\x09"),
        ("\x9b31m", "\\x9b31m"),
        ("user\u202egnp.exe", "user\\u202egnp.exe"),
        ("a\u200bb\ufeff\u2028", "a\\u200bb\\ufeff\\u2028"),
        ("\ud800", "\\ud800"),
        ("\U000e0041", "\\U000e0041"),
    ],
)
def test_what_could_steer_a_terminal_or_deceive_is_shown_as_an_escape(text, shown):
    assert output.safe(text) == shown


def test_a_table_for_a_program_is_a_line_a_row(capsys):
    output.write_table("Title", ("A", "B"), [("x", None), ("y\tz", 2)])
    assert capsys.readouterr().out == "A\tB\nx\t\ny\\x09z\t2\n"


def test_a_table_for_a_person_is_drawn_and_takes_no_markup(capsys, monkeypatch):
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("NO_COLOR", "1")
    output.write_table("Queues", ("Name",), [("[bold]x[/bold]",)])
    out = capsys.readouterr().out
    assert "[bold]x[/bold]" in out
    assert "Queues" in out


def test_a_cell_that_is_an_alarm_is_red_on_a_terminal_and_a_column_may_stay_whole(capsys, monkeypatch):
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "30")
    output.write_table("T", ("Id", "Text"), [("x" * 20, output.Alarm("!5h " + "y" * 40))], whole={"Id"})
    out = capsys.readouterr().out
    assert "x" * 20 in out
    assert "\x1b[1;31m" in out
    assert "y" * 40 not in out


def test_a_text_is_written_line_by_line_safely_and_no_longer_than_asked(capsys):
    output.write_text("a\x1b[2J\r\n\tb\nc\nd", indent="  ", lines=2)
    assert capsys.readouterr().out == "  a\\x1b[2J\n      b\n  … 2 lines more\n"


@pytest.mark.parametrize(("text", "shown"), [("abc", "abc"), ("abcd", "ab…"), ("", "")])
def test_a_long_text_is_cut_where_it_must_be_short(text, shown):
    assert output.brief(text, 3) == shown


def test_numbers_are_told_in_groups_of_three():
    assert [output.count(number) for number in (7, 1234, 1_000_000)] == ["7", "1 234", "1 000 000"]
