"""The command as people and programs call it, on an SQS with dead letters."""

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from amply import settings
from amply.cli.main import run
from amply.clock import ManualClock, wall_ms

sys.path.insert(0, str(Path(__file__).parent))
from graveyards import Graveyard, read_all

_UNSET = ("AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_PROFILE", "AMPLY_TOPOLOGY", "COLUMNS", "EDITOR", "VISUAL")


@pytest.fixture
def clock():
    """The command reads the machine's clock: the broker's begins there."""
    return ManualClock(wall_ms())


@pytest.fixture
def data(tmp_path):
    """The data folder."""
    return tmp_path / "data"


@pytest.fixture(autouse=True)
def environment(data, monkeypatch):
    """Nothing of the machine's, but the data folder."""
    for name in _UNSET:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AMPLY_DATA", str(data))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nonexistent")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")


@pytest.fixture
def graveyard(broker, sqs, monkeypatch):
    """The embedded broker's."""
    monkeypatch.setenv("AWS_ENDPOINT_URL_SQS", broker.endpoint_url)
    return Graveyard(sqs)


@pytest.fixture
def amply(capsys):
    """Run `amply dlq ...` in this process: exit code, stdout, stderr."""

    def ran(*arguments):
        code = run(["dlq", *arguments])
        said = capsys.readouterr()
        return code, said.out, said.err

    return ran


@pytest.fixture
def amply_json(amply):
    """Run `amply dlq ... --json`: what it wrote."""

    def ran(*arguments):
        code, out, err = amply(*arguments, "--json")
        assert code == 0, err
        told = json.loads(out)
        assert told["version"] == 1
        return told

    return ran


@pytest.fixture
def start(tmp_path):
    """Start `amply dlq ...` as a process of its own."""
    running = []

    def started(*arguments, columns=200, **options):
        command = [sys.executable, "-m", "amply", "dlq", *arguments]
        changes = {"COLUMNS": str(columns), "TERM": "xterm-256color"}
        running.append(subprocess.Popen(command, env=settings.child_environment(changes), **options))
        return running[-1]

    yield started
    for process in running:
        if process.poll() is None:
            process.kill()
        process.wait()


@pytest.fixture
def on_terminal(start):
    """Run `amply dlq ...` on a terminal, answering what it asks; exit code and everything that came to the screen."""

    def ran(*arguments, answer="", columns=200):
        ours, theirs = pty.openpty()
        try:
            process = start(*arguments, columns=columns, stdin=theirs, stdout=theirs, stderr=theirs)
        finally:
            os.close(theirs)
        os.write(ours, answer.encode())
        screen = read_all(ours)
        return process.wait(), screen

    return ran
