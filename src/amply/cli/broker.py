"""`amply broker`, and the one place where a broker is put together: which store, which clock, which sockets."""

import asyncio
import gc
import ipaddress
import logging
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from amply import settings
from amply.broker.server.front import Front
from amply.broker.server.listener import Listener
from amply.broker.server.side_door import SideDoor
from amply.broker.service import boot, observation
from amply.broker.service.service import Service
from amply.broker.sqs.limits import AWS, Limits
from amply.clock import Clock, SystemClock, wall_ms
from amply.errors import AmplyError
from amply.ids import RandomIds, request_id
from amply.topology.load import load

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from amply.broker.store.port import Store, StoreError
    from amply.topology.model import Topology

DEFAULT_PORT = 9324
DRAIN_S = 10.0
# The store cannot be trusted any more; sysexits.h calls it a configuration error, and supervisors know the number.
EXIT_BROKEN = 78


class EmbeddedBroker:
    """A whole broker in this process's event loop: `await start()`, use `endpoint_url`, `await stop()`."""

    def __init__(
        self,
        store: "Store",
        topology: "Topology",
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        clock: Clock | None = None,
        limits: Limits = AWS,
    ) -> None:
        self._store = store
        self._topology = topology
        self._host = host
        self._port = port
        self._clock = clock or SystemClock(not_before_ms=store.last_ms)
        self._limits = limits
        self.broken: asyncio.Future[StoreError] = asyncio.get_running_loop().create_future()
        self.service: Service
        self.endpoint_url = ""

    async def start(self) -> None:
        """Take up the stored state, make the declared queues exist, and listen."""
        self.service = Service(
            self._store,
            region=self._topology.region,
            clock=self._clock,
            ids=RandomIds(),
            limits=self._limits,
            on_broken=self._break,
        )
        boot.declare(self.service, self._topology)
        front = Front(self.service, default_account=self._topology.account, new_request_id=request_id)
        door = SideDoor(front, lambda: observation.readiness(self.service))
        self._listener = Listener(door, self._host, self._port, wall_ms=wall_ms)
        try:
            self._port = await self._listener.start()
        except AmplyError:
            await self.service.close()
            raise
        host = f"[{self._host}]" if ":" in self._host else self._host
        self.endpoint_url = f"http://{host}:{self._port}"

    async def stop(self) -> None:
        """Answer the parked polls, finish the commits, and give the data folder up."""
        self.service.release_polls()
        await self._listener.stop(DRAIN_S)
        await self.service.close()

    def _break(self, error: "StoreError") -> None:
        if not self.broken.done():
            self.broken.set_result(error)


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option("--port", default=DEFAULT_PORT, show_default=True, type=click.IntRange(0, 65535), help="0: any free one.")
@click.option(
    "--data", type=click.Path(path_type=Path), help="The data folder.  [default: $AMPLY_DATA or ./amply-data]"
)
@click.option(
    "--topology",
    "topology_path",
    type=click.Path(path_type=Path),
    help="The topology file.  [default: $AMPLY_TOPOLOGY]",
)
@click.option(
    "--open-to-network", is_flag=True, help="Allow an address that others can reach. Nobody is asked who they are!"
)
def broker(host: str, port: int, data: Path | None, topology_path: Path | None, *, open_to_network: bool) -> int:
    """Start the embedded, durable SQS endpoint."""
    configured = settings.read()
    _check_host(host, is_open=open_to_network)
    topology = load(topology_path or configured.topology)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    return _run(_serve((data or configured.data) / "broker", topology, host, port))


def _check_host(host: str, *, is_open: bool) -> None:
    try:
        is_loopback = ipaddress.ip_address(host).is_loopback
    except ValueError:
        is_loopback = host == "localhost"
    if not is_loopback and not is_open:
        raise AmplyError(
            f"{host} can be reached by others, and this broker takes requests from anybody",
            hint="Listen on 127.0.0.1, or add --open-to-network if something else keeps strangers out.",
        )


def _run(serving: "Coroutine[object, object, int]") -> int:
    """On uvloop, about twice as fast as asyncio's own loop."""
    import uvloop

    return uvloop.run(serving)


async def _serve(folder: Path, topology: "Topology", host: str, port: int) -> int:
    from amply.broker.store.sqlite import SqliteStore

    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    store = SqliteStore(folder)
    running = EmbeddedBroker(store, topology, host=host, port=port)
    await running.start()
    # What is here now stays. Requests make thousands of short-lived objects a second and no cycles: looking for cycles
    # after every 700 of them, as Python does unasked, costs a sixth of the broker's time.
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)
    click.echo(f"SQS endpoint {running.endpoint_url}, region {topology.region}, data in {folder}")
    sys.stdout.flush()
    stopping = asyncio.ensure_future(stop.wait())
    await asyncio.wait((stopping, running.broken), return_when=asyncio.FIRST_COMPLETED)
    if running.broken.done():
        error = running.broken.result()
        click.echo(f"Error: {error}\nWhat was not on disk was not acknowledged. Start the broker again.", err=True)
        return EXIT_BROKEN
    click.echo("stopping: polls are answered, commits finished")
    await running.stop()
    return 0
