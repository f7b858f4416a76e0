"""A redrive is killed at any moment, and goes on: no letter is lost, and what may be there twice has been named.

Killed is the process, from its start to its end, and the broker under it; on the embedded broker with both kinds of
queues, and on another SQS, where letters can only be seen by receiving them.
"""

import json
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from broker_process import PATIENCE_S, BrokerProcess, until
from redrive_place import Place

from amply import settings

REDRIVER = Path(__file__).with_name("redriver.py")
MOTO = Path(__file__).parents[1] / "deadletters" / "moto_process.py"
# A run keeps at most ten letters in each of its four lanes of which nobody knows whether they are sent.
UNSURE_MAX = 40
NOTHING_TO_RESUME = 3


class Redriver:
    """Processes that redrive a place's dead letters, one at a time, and what they told."""

    def __init__(self, place: Place, data: Path) -> None:
        self.place = place
        self.kills = 0
        # The jobs that were named as possibly there twice, and the outcomes of the runs that came to their end.
        self.named: set[str] = set()
        self.outcomes: list[dict[str, Any]] = []
        self._data = data
        self._journal = data / "redrives" / f"{place.dead}.jsonl"
        self._environment = settings.child_environment(
            {**dict.fromkeys(settings.VARIABLES, ""), "AWS_ACCESS_KEY_ID": "any", "AWS_SECRET_ACCESS_KEY": "any"}
        )

    def _start(self) -> "subprocess.Popen[str]":
        place = self.place
        asked = ["--resume"] if self._journal.exists() else ["--all", "--yes"]
        where = ["--queue", place.dead, "--endpoint", place.endpoint_url, "--data", str(self._data)]
        command = [sys.executable, str(REDRIVER), str(place.lease_s), "dlq", "redrive", *asked, *where, "--json"]
        return subprocess.Popen(
            command, env=self._environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def run(self) -> float:
        """Let one come to its end; the seconds that it took."""
        while True:
            started = time.monotonic()
            if self._end(self._start(), 2 * PATIENCE_S) == 0:
                return time.monotonic() - started

    def kill_after(self, seconds: float) -> None:
        """Kill one so long after its start; it may have come to its end by then."""
        process = self._start()
        try:
            self._end(process, seconds)
        except subprocess.TimeoutExpired:
            self._kill(process)

    def kill_when(self, happened: Callable[[], bool]) -> None:
        """Kill one as soon as that has happened."""
        process = self._start()
        try:
            until(happened, "the moment of the kill is there")
        finally:
            self._kill(process)

    def while_running(self, act: Callable[[], None]) -> int:
        """Do something while one runs; its exit code."""
        process = self._start()
        try:
            act()
            return self._end(process, 2 * PATIENCE_S, may_fail=True)
        finally:
            process.kill()
            process.communicate()

    def _kill(self, process: "subprocess.Popen[str]") -> None:
        process.kill()
        told, _ = process.communicate()
        # One that came to its end in this very moment was not killed.
        self.kills += process.returncode < 0
        self._read(told)

    def _end(self, process: "subprocess.Popen[str]", seconds: float, *, may_fail: bool = False) -> int:
        told, errors = process.communicate(timeout=seconds)
        self._read(told)
        # A run that was killed before it noted what it was asked is none to go on with.
        if process.returncode not in {0, NOTHING_TO_RESUME} and not may_fail:
            pytest.fail(f"the redrive ended with {process.returncode}: {told} {errors}")
        return process.returncode

    def _read(self, told: str) -> None:
        """What a run told of itself, if it came to that."""
        if told.endswith("}\n"):
            outcome = json.loads(told)
            self.outcomes.append(outcome)
            self.named |= {named["job_id"] for named in outcome["possible_duplicates"]}
            assert len(outcome["possible_duplicates"]) == outcome["doubtful"]

    def judge(self) -> None:
        """Run to the end; then everything has arrived, and nothing more often than was said."""
        place = self.place
        self.run()
        if place.is_plain:
            # What a killed run had received and not begun with, nobody can show.
            place.wait_for_leases()
            self.run()
        place.take_arrived()
        assert place.counts(place.dead) == (0, 0), self.outcomes[-1]
        assert set(place.arrived) == set(place.buried), "letters are lost"
        doubled = {name for name, times in place.arrived.items() if times > 1}
        assert doubled <= self.named, "letters are doubled that nobody named"
        assert len(self.named) <= UNSURE_MAX * max(self.kills, 1), "too much is named"
        if place.is_fifo:
            assert not doubled, "SQS drops what comes twice to a FIFO queue"
            for order in place.orders.values():
                assert order == sorted(order), "a group lost its order"


@pytest.fixture
def moto_port() -> Iterator[int]:
    """The port of an SQS that is not ours."""
    process = subprocess.Popen(
        [sys.executable, str(MOTO), "0"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    try:
        yield int(process.stdout.readline().rpartition(":")[2])
    finally:
        process.kill()
        process.communicate()


@pytest.fixture
def make_place() -> Iterator[Callable[..., Place]]:
    """Make places, with empty queues."""
    made: list[Place] = []

    def make(port: int, **kind: Any) -> Place:
        made.append(Place(port, **kind))
        return made[-1]

    yield make
    for place in made:
        place.hang_up()


@pytest.fixture(params=["standard", "fifo", "moto"])
def place(
    request: pytest.FixtureRequest, start: Callable[..., BrokerProcess], make_place: Callable[..., Place]
) -> Place:
    if request.param == "moto":
        if not request.config.getoption("--redrive-kills"):
            pytest.skip("what a killed run has received of moto comes back when its lease ends: give --redrive-kills")
        return make_place(request.getfixturevalue("moto_port"), lease_s=10, is_plain=True)
    return make_place(start().port, is_fifo=request.param == "fifo")


def test_a_redrive_that_is_killed_again_and_again_loses_nothing_and_names_what_it_may_have_doubled(
    place: Place, request: pytest.FixtureRequest, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kills = request.config.getoption("--redrive-kills") or 8
    seed = random.randrange(1 << 32)
    moments = random.Random(seed)
    with capsys.disabled():
        sys.stdout.write(f"\nmoments of seed {seed}: ")
    # Moto takes longer for each message the more there are.
    count = 60 if place.is_plain else 1500
    redriver = Redriver(place, tmp_path / "tool")
    place.bury(count)
    whole_s = redriver.run()
    assert redriver.outcomes[-1]["moved"] == count
    place.take_arrived()
    place.bury(count)
    # One in the very middle, and the others wherever chance will have it.
    redriver.kill_when(lambda: sum(place.counts(place.work)) > 0)
    assert sum(place.counts(place.dead)) > 0, "the kill came too late"
    while redriver.kills < kills:
        if moments.random() < 0.5:
            redriver.run()
        if place.counts(place.dead)[0] < count // 2:
            place.take_arrived()
            place.bury(count)
        redriver.kill_after(moments.uniform(0, whole_s))
    redriver.judge()
    assert any(outcome["settled"] for outcome in redriver.outcomes), "no run had anything to put in order"


def test_a_broker_killed_under_a_redrive_loses_nothing_and_what_may_be_doubled_is_named(
    start: Callable[..., BrokerProcess], make_place: Callable[..., Place], tmp_path: Path
) -> None:
    broker = start()
    place = make_place(broker.port)
    place.bury(3000)
    # It comes back where it was.
    broker.command[broker.command.index("--port") + 1] = str(broker.port)

    def kill_broker() -> None:
        until(lambda: sum(place.counts(place.work)) > 0, "letters are on their way")
        broker.kill()
        place.hang_up()
        broker.start()

    redriver = Redriver(place, tmp_path / "tool")
    for _ in range(3):
        redriver.while_running(kill_broker)
        redriver.kills += 2  # what gets no answer is sent once more, and may get none again
        assert sum(place.counts(place.dead)) + sum(place.counts(place.work)) >= 3000 - sum(place.arrived.values())
        place.take_arrived()
        if sum(place.counts(place.dead)) == 0:
            break
    redriver.judge()
