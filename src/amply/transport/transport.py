"""The transport itself: what kombu makes of a broker URL, and how a loop is woken for arrived messages.

Knows kombu's and Celery's loops; must not know what a message says.
"""

import atexit
import select
import weakref
from collections.abc import Callable
from functools import cached_property
from typing import Any

from celery.signals import worker_shutting_down
from kombu.transport import virtual

from amply.clock import Clock, SystemClock, wall_ms
from amply.transport import worker
from amply.transport.batch import Failure, send_batch
from amply.transport.channel import Channel
from amply.transport.client import SqsClient
from amply.transport.endpoint import Endpoint, resolve
from amply.transport.faults import CHANNEL_ERRORS, CONNECTION_ERRORS
from amply.transport.intake import Intake
from amply.transport.options import Options
from amply.transport.payloads import PayloadStore, store_for
from amply.transport.publishing import Outgoing
from amply.transport.queues import Queues
from amply.transport.remote import Remote, remote_for

_clients: dict[tuple[object, ...], SqsClient] = {}


class Transport(virtual.Transport):
    """kombu's transport over SQS."""

    Channel = Channel

    driver_type = "sqs"
    driver_name = "amply"
    default_port = None
    # Counts leases and pauses. What was said as a time of day is compared with the wall's.
    clock: Clock = SystemClock()
    wall_ms: Callable[[], int] = staticmethod(wall_ms)

    implements = virtual.Transport.implements.extend(
        asynchronous=True, exchange_type=frozenset(["direct", "topic", "fanout"])
    )
    connection_errors: tuple[type[Exception], ...] = (*virtual.Transport.connection_errors, *CONNECTION_ERRORS)  # type: ignore[assignment]
    channel_errors: tuple[type[Exception], ...] = (*virtual.Transport.channel_errors, *CHANNEL_ERRORS)  # type: ignore[assignment]
    # What passes is tried again by publishing, as often as its policy says; a refusal is not.
    recoverable_connection_errors = connection_errors
    recoverable_channel_errors = ()

    def __init__(self, client: Any, **kwargs: Any) -> None:
        super().__init__(client, **kwargs)
        self.options = Options.read(client.transport_options)
        self._intake: Intake | None = None
        self._loop: Any = None
        worker.install()

    # What the channels use. Made when first asked for: a process may open a connection and never send.

    @cached_property
    def sqs(self) -> SqsClient:
        """The client, one for all connections of this process to the same place."""
        broker: Any = self.client
        options = self.options
        key = (
            *(broker.hostname, broker.port, broker.userid, broker.password),
            *(options.is_secure or bool(broker.ssl), options.region, options.endpoint_url),
        )
        # Without a lock, which a fork could leave locked: of two made at once, both use the first.
        return _clients.get(key) or _clients.setdefault(key, SqsClient(self.endpoint()))

    def endpoint(self) -> Endpoint:
        """Where SQS is and who asks, looked up anew. Raises AmplyError if that is not to be known."""
        broker: Any = self.client
        return resolve(
            hostname=broker.hostname,
            port=broker.port,
            userid=broker.userid,
            password=broker.password,
            ssl=self.options.is_secure or bool(broker.ssl),
            region=self.options.region,
            endpoint_url=self.options.endpoint_url,
        )

    @cached_property
    def queues(self) -> Queues:
        """Queues by Celery's names."""
        return Queues(self.sqs, self.options)

    @cached_property
    def payloads(self) -> PayloadStore | None:
        """Where messages above the limit go."""
        return store_for(self.options.payload_store) if self.options.payload_store else None

    @property
    def intake(self) -> Intake:
        """What this connection consumes."""
        if self._intake is None:
            self._intake = Intake(self.sqs, self.queues, self.options, self.clock, self.payloads, wall_ms=self.wall_ms)
            _intakes.add(self._intake)
        return self._intake

    @property
    def remote(self) -> Remote:
        """What this process has to do with remote control and events."""
        return remote_for(self.sqs, self.queues, self.options)

    def send_batch(self, queue: str, outgoings: list[Outgoing]) -> list[Failure | None]:
        """Send up to ten messages with one request."""
        return send_batch(self.sqs, self.queues.get(queue).url, outgoings)

    # kombu's and Celery's loops

    def register_with_event_loop(self, connection: Any, loop: Any) -> None:  # noqa: ARG002
        """Celery's event loop: it is woken through a socket, so that it never waits for SQS."""
        intake = self.intake
        loop.add_reader(intake.fileno(), self._on_bell)
        self._loop = loop

    def _on_bell(self) -> None:
        intake = self.intake
        intake.on_loop()
        intake.silence()
        while intake.read_letter():
            pass
        intake.feed()

    def drain_events(self, connection: Any, timeout: float | None = None, **_kwargs: Any) -> None:  # noqa: ARG002
        """Hand over what has arrived; waits for something up to `timeout` seconds, then raises socket.timeout."""
        intake = self.intake
        deadline_ms = None if timeout is None else self.clock.now_ms() + timeout * 1000
        while True:
            intake.silence()
            # One letter at a time: who asks the workers counts their answers by calls.
            if intake.read_letter() or intake.feed() or intake.was_nudged():
                return
            left_s = None if deadline_ms is None else (deadline_ms - self.clock.now_ms()) / 1000
            if left_s is not None and left_s <= 0:
                raise TimeoutError
            _wait(intake, left_s)

    def close_connection(self, connection: Any) -> None:
        """Stop receiving, give back what was not started, and tell SQS what is decided."""
        super().close_connection(connection)
        if self._intake is not None:
            if self._loop is not None:
                self._loop.remove_reader(self._intake.fileno())
                self._loop = None
            self._intake.close()

    @property
    def default_connection_params(self) -> dict[str, Any]:
        """Nothing: without a host, botocore's configuration decides where SQS is."""
        return {"port": self.default_port}


def _wait(intake: Intake, timeout_s: float | None) -> None:
    # Not select(): a process with a thousand open files is nothing special.
    poll = select.poll()
    poll.register(intake, select.POLLIN)
    poll.poll(None if timeout_s is None else timeout_s * 1000)


_intakes: weakref.WeakSet[Intake] = weakref.WeakSet()


def _wake_loops(**_: Any) -> None:
    # Celery's loop looks at what its signal handlers noted when it turns; it may sleep for seconds.
    for intake in list(_intakes):
        intake.ring()


worker_shutting_down.connect(_wake_loops, weak=False, dispatch_uid="amply.transport")


@atexit.register
def _finish() -> None:
    for intake in list(_intakes):
        intake.finish()
