"""How far a long command is, on a terminal and elsewhere, and how Ctrl-C ends it."""

import signal
import subprocess
import sys

import pytest

from amply.cli import progress as progress_module
from amply.cli.progress import Progress
from amply.clock import ManualClock

DEAF = """
from threading import Event
from amply.cli.progress import Progress

with Progress("Moving", after="Go on with: amply again") as progress:
    print("ready", flush=True)
    progress.cancel.wait()
    print("cancelled", flush=True)
    Event().wait()
"""


@pytest.fixture
def clock(monkeypatch):
    clock = ManualClock()
    monkeypatch.setattr(progress_module, "SystemClock", lambda: clock)
    return clock


def test_without_a_terminal_a_line_is_told_every_few_seconds(clock, capsys):
    with Progress("Moving", after="") as progress:
        for done in range(0, 4000, 500):
            progress(done, 5000, 1234.5)
            clock.advance(1)
    assert capsys.readouterr() == (
        "",
        "Moving: 1 500 of 5 000, 1 234 a second, 2s left.\nMoving: 3 000 of 5 000, 1 234 a second, 1s left.\n",
    )


def test_a_total_that_nobody_knows_is_not_told(clock, capsys):
    with Progress("Moving", after="") as progress:
        clock.advance(5)
        progress(7, None, 0)
    assert capsys.readouterr().err == "Moving: 7, 0 a second.\n"


def test_on_a_terminal_there_is_a_bar(clock, capsys, monkeypatch):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "120")
    with Progress("Moving", after="") as progress:
        progress(3, 12, 2.0)
    out, err = capsys.readouterr()
    assert out == ""
    assert "Moving" in err
    assert "3/12" in err
    assert "2 a second, 4s left" in err


def test_the_first_ctrl_c_asks_and_the_second_ends_the_process():
    with subprocess.Popen([sys.executable, "-c", DEAF], stdout=-1, stderr=-1, text=True) as process:
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGINT)
        assert process.stdout.readline() == "cancelled\n"
        process.send_signal(signal.SIGINT)
        _, err = process.communicate()
    assert process.returncode == 130
    assert err == (
        "Finishing what is in hand. Ctrl-C again to stop at once.\nStopped at once. Go on with: amply again\n"
    )


def test_afterwards_ctrl_c_means_what_it_did_before(clock):
    before = signal.getsignal(signal.SIGINT)
    with Progress("Moving", after=""):
        assert signal.getsignal(signal.SIGINT) != before
    assert signal.getsignal(signal.SIGINT) == before
