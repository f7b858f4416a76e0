"""Brokers of processes of their own, open and strict, and the environment that leads a client to them."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import pytest

# What starts processes.
sys.path.insert(0, str(Path(__file__).parents[1] / "celery"))

from running import Running

AMPLY = Path(sys.executable).with_name("amply")


class Endpoint(NamedTuple):
    """A broker that runs. `environment` is what a client is started with."""

    environment: Mapping[str, str]
    broker: Running


def _surroundings(folder: Path, **changes: str) -> dict[str, str]:
    """This process's environment without what is AWS's and ours in it, with these changes."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "AMPLY_"))}
    none = {name: str(folder / "none") for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE")}
    return {**kept, **none, **changes}


def _start(folder: Path, mode: str, access_key: str, secret: str) -> Endpoint:
    command = [str(AMPLY), "broker", "--port", "0", "--auth", mode, "--data", str(folder / "data")]
    broker = Running(command, _surroundings(folder), folder / "broker.log")
    try:
        (url,) = re.findall(r"SQS endpoint (http\S+),", broker.wait_until_says("SQS endpoint http"))
    except BaseException:
        broker.kill()
        raise
    environment = _surroundings(
        folder,
        AWS_ENDPOINT_URL_SQS=url,
        AWS_REGION="eu-central-1",
        AWS_DEFAULT_REGION="eu-central-1",
        AWS_ACCESS_KEY_ID=access_key,
        AWS_SECRET_ACCESS_KEY=secret,
    )
    return Endpoint(environment, broker)


@pytest.fixture(scope="module")
def open_broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Endpoint]:
    """A broker for anybody on this machine."""
    endpoint = _start(tmp_path_factory.mktemp("open"), "open", "any", "any")
    yield endpoint
    endpoint.broker.stop()


@pytest.fixture(scope="module")
def strict_broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Endpoint]:
    """A broker that asks for signatures, and an administrator's key."""
    folder = tmp_path_factory.mktemp("strict")
    create = [str(AMPLY), "key", "create", "admin", "--data", str(folder / "data")]
    ran = subprocess.run(create, env=_surroundings(folder), capture_output=True, text=True, check=True)
    key = dict(line.split("=", 1) for line in ran.stdout.splitlines())
    endpoint = _start(folder, "strict", key["AWS_ACCESS_KEY_ID"], key["AWS_SECRET_ACCESS_KEY"])
    yield endpoint
    endpoint.broker.stop()
