"""`amply broker`, and the one place where a broker is put together: which store, which clock, which sockets."""

import asyncio
import gc
import logging
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from amply import settings
from amply.broker.server.front import Front
from amply.broker.server.gate import Gate
from amply.broker.server.hosts import HostCheck
from amply.broker.server.listener import Listener
from amply.broker.server.side_door import SideDoor
from amply.broker.service import boot, observation
from amply.broker.service.service import Service
from amply.broker.sqs.limits import AWS, CHANGEABLE, Limits
from amply.cli import broker_access
from amply.cli.broker_limits import read_limits
from amply.clock import Clock, SystemClock, wall_ms
from amply.errors import AmplyError
from amply.ids import RandomIds, request_id
from amply.topology.load import PACKAGED, load

if TYPE_CHECKING:
    import ssl
    from collections.abc import Coroutine

    from amply.broker.server.hall import Handler
    from amply.broker.store.port import Store, StoreError
    from amply.topology.model import Topology

_log = logging.getLogger(__name__)

DEFAULT_PORT = 9324
DRAIN_S = 10.0
# The store cannot be trusted any more; sysexits.h calls it a configuration error, and supervisors know the number.
EXIT_BROKEN = 78


class EmbeddedBroker:
    """A whole broker in this process's event loop: `await start()`, use `endpoint_url`, `await stop()`.

    With `strict` it takes signed requests only; without, from anybody who calls it by a name of this machine or one of
    `allowed_hosts`. Signatures are dated by `wall_ms`, like the clients' clocks, and not by the broker's own time.
    """

    def __init__(
        self,
        store: "Store",
        topology: "Topology",
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        clock: Clock | None = None,
        limits: Limits = AWS,
        strict: broker_access.Strict | None = None,
        tls: "ssl.SSLContext | None" = None,
        allowed_hosts: tuple[str, ...] = (),
        wall_ms: Callable[[], int] = wall_ms,
    ) -> None:
        self._store = store
        self._topology = topology
        self._host = host
        self._port = port
        self._clock = clock or SystemClock(not_before_ms=store.last_ms)
        self._limits = limits
        self._strict = strict
        self._tls = tls
        self._allowed_hosts = allowed_hosts
        self._wall_ms = wall_ms
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
        self._listener = Listener(self._handler(), self._host, self._port, wall_ms=self._wall_ms, tls=self._tls)
        try:
            self._port = await self._listener.start()
        except AmplyError:
            await self.service.close()
            raise
        host = f"[{self._host}]" if ":" in self._host else self._host
        self.endpoint_url = f"{self._scheme}://{host}:{self._port}"

    async def stop(self) -> None:
        """Answer the parked polls, finish the commits, and give the data folder up."""
        self.service.release_polls()
        await self._listener.stop(DRAIN_S)
        await self.service.close()
        if self._strict is not None:
            self._strict.audit.close()

    @property
    def _scheme(self) -> str:
        return "http" if self._tls is None else "https"

    def _handler(self) -> "Handler":
        service, topology, strict = self.service, self._topology, self._strict
        gate = None
        if strict is not None:
            gate = Gate(
                service,
                strict.keys,
                strict.roles,
                account=topology.account,
                region=topology.region,
                is_tls=self._tls is not None,
                audit=strict.audit,
                now_ms=self._wall_ms,
            )
        front = Front(
            service, default_account=topology.account, new_request_id=request_id, scheme=self._scheme, gate=gate
        )
        if gate is not None:
            # Strangers may ask whether it is well, and not for its queues.
            return SideDoor(front, lambda: observation.condition(service))
        return HostCheck(SideDoor(front, lambda: observation.readiness(service)), (self._host, *self._allowed_hosts))

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
    "--auth",
    type=click.Choice(["open", "strict"]),
    help="open: anybody on this machine; strict: whoever has a key.  [default: open on loopback, strict elsewhere]",
)
@click.option(
    "--tls-cert", type=click.Path(path_type=Path), help="Speak TLS with the certificate chain in this PEM file."
)
@click.option("--tls-key", type=click.Path(path_type=Path), help="Its key; in the same file unless given.")
@click.option("--no-tls", is_flag=True, help="Let everything be read on its way: for a network of one's own.")
@click.option("--allow-host", multiple=True, metavar="NAME", help="Another name that an open broker is called by.")
@click.option(
    "--limit",
    "limits",
    multiple=True,
    metavar="NAME=VALUE",
    callback=lambda _context, _option, texts: read_limits(texts),
    help="For tests: another limit than SQS has, like purge_interval_s=0.",
)
def broker(
    *,
    host: str,
    port: int,
    data: Path | None,
    topology_path: Path | None,
    auth: Literal["open", "strict"] | None,
    tls_cert: Path | None,
    tls_key: Path | None,
    allow_host: tuple[str, ...],
    no_tls: bool,
    limits: Limits,
) -> int:
    """Start the embedded, durable SQS endpoint."""
    found = settings.read()
    if tls_key is not None and tls_cert is None:
        raise click.UsageError("--tls-key needs --tls-cert.")
    chosen = broker_access.mode(auth, host, has_tls=tls_cert is not None, is_plain=no_tls, allowed_hosts=allow_host)
    path = topology_path or found.topology or PACKAGED
    topology = load(path)
    folder = data or found.data
    strict = broker_access.strict(topology, path, folder) if chosen == "strict" else None
    if strict is not None and not strict.keys.list():
        click.echo(f"There is no key yet, so nobody can use it: amply key create ROLE --data {folder}", err=True)
    tls = broker_access.tls_context(tls_cert, tls_key) if tls_cert is not None else None
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    for name in CHANGEABLE:
        if (value := getattr(limits, name)) != getattr(AWS, name):
            _log.warning("not a limit of SQS: %s=%d", name, value)

    def make(store: "Store") -> EmbeddedBroker:
        return EmbeddedBroker(
            store, topology, host=host, port=port, limits=limits, strict=strict, tls=tls, allowed_hosts=allow_host
        )

    return _run(_serve(folder / "broker", topology.region, make))


def _run(serving: "Coroutine[object, object, int]") -> int:
    """On uvloop, about twice as fast as asyncio's own loop."""
    import uvloop

    return uvloop.run(serving)


async def _serve(folder: Path, region: str, make: "Callable[[Store], EmbeddedBroker]") -> int:
    from amply.broker.store.sqlite import SqliteStore

    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    running = make(SqliteStore(folder))
    await running.start()
    # What is here now stays. Requests make thousands of short-lived objects a second and no cycles: looking for cycles
    # after every 700 of them, as Python does unasked, costs a sixth of the broker's time.
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)
    click.echo(f"SQS endpoint {running.endpoint_url}, region {region}, data in {folder}")
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
