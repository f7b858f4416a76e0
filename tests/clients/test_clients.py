"""Clients of SQS in four languages take the same steps through every family of its actions.

Each is a script, in a process of its own, that asks the broker as its SDK asks AWS. `steps.txt` has the steps, so that
none is skipped in silence. Node's packages and Go's modules are got by `make install`, where their registries serve.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
STEPS = (HERE / "steps.txt").read_text().splitlines()
OLD_BOTO3 = ROOT / ".venv" / "boto3-query" / "bin" / "python"

# A run takes about 5 s, 15 on a busy machine.
DEADLINE_S = 150


def _run(command: Sequence[str], environment: Mapping[str, str], folder: Path) -> str:
    """Run to the end; what it said on stdout. If it fails, all that it said is the failure."""
    __tracebackhide__ = True
    try:
        ran = subprocess.run(
            command, env=environment, cwd=folder, capture_output=True, text=True, check=False, timeout=DEADLINE_S
        )
    except subprocess.TimeoutExpired as error:
        said = [(stream or b"").decode(errors="replace") for stream in (error.stdout, error.stderr)]
        pytest.fail(f"{command} did not end in {DEADLINE_S} s; it said:\n" + "\n".join(said))
    if ran.returncode != 0:
        pytest.fail(f"{command} ended with {ran.returncode}; it said:\n{ran.stdout}\n{ran.stderr}")
    return ran.stdout


def _program(name: str) -> str:
    """Where a language's program is."""
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed")
    return found


@pytest.fixture
def boto3_json() -> list[str]:
    return [sys.executable, str(HERE / "python" / "drive.py"), "json"]


@pytest.fixture
def boto3_query() -> list[str]:
    """The last boto3 that speaks AWS Query."""
    if not OLD_BOTO3.exists():
        raise FileNotFoundError(f"{OLD_BOTO3} is not there; `make install` makes it")
    return [str(OLD_BOTO3), str(HERE / "python" / "drive.py"), "query"]


@pytest.fixture
def aws_cli() -> list[str]:
    return [sys.executable, str(HERE / "python" / "aws_cli.py")]


@pytest.fixture
def kombu() -> list[str]:
    return [sys.executable, str(HERE / "python" / "kombu_script.py")]


@pytest.fixture
def javascript() -> list[str]:
    node = _program("node")
    if not (HERE / "js" / "node_modules" / "@aws-sdk" / "client-sqs").is_dir():
        pytest.skip("the AWS SDK for JavaScript is not here: `make install` could not get it from npm's registry")
    return [node, str(HERE / "js" / "drive.mjs")]


@pytest.fixture(scope="module")
def go(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Built with what is here: half a minute the first time, a second with Go's cache."""
    program = tmp_path_factory.mktemp("go") / "drive"
    command = [_program("go"), "build", "-o", str(program), "."]
    environment = {**os.environ, "GOPROXY": "off", "GOFLAGS": "-mod=readonly -buildvcs=false"}
    built = subprocess.run(
        command, cwd=HERE / "go", env=environment, capture_output=True, text=True, check=False, timeout=DEADLINE_S * 2
    )
    if "GOPROXY=off" in built.stderr:
        pytest.skip("the AWS SDK for Go is not here: `make install` could not get its modules")
    assert built.returncode == 0, built.stderr
    return [str(program)]


@pytest.fixture
def command(request: pytest.FixtureRequest) -> list[str]:
    """What starts the client of that name."""
    started: list[str] = request.getfixturevalue(request.param)
    return started


@pytest.mark.parametrize("command", ["boto3_json", "boto3_query", "aws_cli", "javascript", "go"], indirect=True)
def test_a_client_takes_every_step(command, open_broker, tmp_path):
    told = _run(command, open_broker.environment, tmp_path)
    assert told.splitlines() == [f"ok {step}" for step in STEPS]


@pytest.mark.parametrize("command", ["kombu"], indirect=True)
def test_kombu_takes_every_step_that_it_can_ask_for_and_says_why_not_the_others(command, open_broker, tmp_path):
    told = [line.partition(" ") for line in _run(command, open_broker.environment, tmp_path).splitlines()]
    taken = [step for word, _, step in told if word == "ok"]
    reasons = dict(rest.split(": ") for word, _, rest in told if word == "no")
    assert sorted([*taken, *reasons]) == sorted(STEPS)
    assert all(reasons.values())


@pytest.mark.parametrize("command", ["boto3_json", "boto3_query", "javascript", "go"], indirect=True)
def test_a_client_with_an_administrator_s_key_takes_every_step_of_a_strict_broker(command, strict_broker, tmp_path):
    told = _run(command, strict_broker.environment, tmp_path)
    assert told.splitlines() == [f"ok {step}" for step in STEPS]


@pytest.mark.parametrize("command", ["boto3_json"], indirect=True)
def test_a_client_with_a_wrong_secret_gets_no_further_than_the_first_step(command, strict_broker, tmp_path):
    environment = {**strict_broker.environment, "AWS_SECRET_ACCESS_KEY": "wrong"}
    ran = subprocess.run(
        command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=DEADLINE_S
    )
    assert ran.returncode != 0
    assert ran.stdout == ""
    assert "SignatureDoesNotMatch" in ran.stderr
