"""A broker inside the tests' own process whose clock stands still until a test moves it, and boto3 to talk to it."""

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, TypeVar

import boto3
import pytest
import uvloop
from botocore.config import Config

from amply.broker.service import observation
from amply.broker.store.memory import MemoryStore
from amply.broker.store.port import Store
from amply.cli.broker import EmbeddedBroker
from amply.clock import ManualClock
from amply.topology.load import load

PATIENCE_S = 10.0
Answer = TypeVar("Answer")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--kills", default=100, type=int, help="How often the kill loop kills the broker (default 100).")
    parser.addoption("--fifo-kills", default=20, type=int, help="And the loop with a FIFO queue (default 20).")
    parser.addoption("--fault-seconds", default=2.0, type=float, help="How long each fault meets a worker (default 2).")
    parser.addoption("--chaos-seconds", default=15.0, type=float, help="How long workers are killed (default 15).")
    parser.addoption("--redrive-kills", type=int, help="How often a redrive is killed (default 8, not on moto).")
    parser.addoption("--dead-letters", type=int, help="How many jobs die (default 400, none on moto).")


class RunningBroker:
    """An embedded broker with the packaged topology, in an event loop of its own thread."""

    def __init__(self, store: Store, clock: ManualClock, **options: Any) -> None:
        self._clock = clock
        self._options = options
        self._loop = uvloop.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        self._embedded = self._run(self._start(store))
        self.endpoint_url = self._embedded.endpoint_url

    async def _start(self, store: Store) -> EmbeddedBroker:
        embedded = EmbeddedBroker(store, load(None), clock=self._clock, **self._options)
        await embedded.start()
        return embedded

    def _run(self, coroutine: Coroutine[Any, Any, Answer]) -> Answer:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(PATIENCE_S)

    def _ask(self, question: Callable[[], Answer]) -> Answer:
        async def ask() -> Answer:
            return question()

        return self._run(ask())

    def advance(self, seconds: float) -> None:
        """Let time pass; what is due by then happens."""

        def pass_time() -> None:
            self._clock.advance(seconds)
            self._embedded.service.time_has_come()

        self._ask(pass_time)

    def wait_for_polls(self, queue: str, count: int = 1) -> None:
        """Return when so many receives are parked at the queue."""
        deadline = time.monotonic() + PATIENCE_S
        while self._ask(lambda: self._parked(queue)) != count:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{count} polls were never parked at {queue}")
            time.sleep(0.001)

    def _parked(self, queue: str) -> int:
        views = observation.queue_views(self._embedded.service)
        return next(view.parked_polls for view in views if view.name == queue)

    def stop(self) -> None:
        """Stop in order; the store is closed. A second time does nothing."""
        if self._loop.is_closed():
            return
        try:
            self._run(self._embedded.stop())
        finally:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(PATIENCE_S)
            self._loop.close()


@pytest.fixture
def clock() -> ManualClock:
    """The broker's time."""
    return ManualClock()


@pytest.fixture
def start_broker(clock: ManualClock) -> Iterator[Callable[..., RunningBroker]]:
    """Start a broker on a store, with the options of `EmbeddedBroker`."""
    running: list[RunningBroker] = []

    def start(store: Store, **options: Any) -> RunningBroker:
        running.append(RunningBroker(store, clock, **options))
        return running[-1]

    yield start
    for one in running:
        one.stop()


@pytest.fixture
def broker(start_broker: Callable[..., RunningBroker]) -> RunningBroker:
    """A broker that forgets everything in the end."""
    return start_broker(MemoryStore())


@pytest.fixture(scope="session")
def boto3_session() -> boto3.session.Session:
    """Reads AWS's service model once; that takes longer than most tests."""
    return boto3.session.Session()


@pytest.fixture
def make_client(boto3_session: boto3.session.Session) -> Iterator[Callable[..., Any]]:
    """Make boto3 clients of an endpoint. They try once: an error is an answer, not a reason to ask again."""
    clients = []

    def make(endpoint_url: str, access_key: str = "test") -> Any:
        client = boto3_session.client(
            "sqs",
            region_name="eu-central-1",
            endpoint_url=endpoint_url,
            aws_access_key_id=access_key,
            aws_secret_access_key="test",
            config=Config(retries={"total_max_attempts": 1}, connect_timeout=5, read_timeout=30),
        )
        clients.append(client)
        return client

    yield make
    for client in clients:
        client.close()


@pytest.fixture
def sqs(broker: RunningBroker, make_client: Callable[..., Any]) -> Any:
    """boto3's client of the broker."""
    return make_client(broker.endpoint_url)
