"""Who the transport is tested with: a peer that plays any part, a client that only listens, a broker on a clock."""

import contextlib
import json
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

import pytest
from celery import Celery
from kombu import Connection, Consumer, Queue

from amply.clock import ManualClock
from amply.transport import Transport

PATIENCE_S = 10.0


class Peer:
    """Listens, and plays one part a connection, in their order; the last part is played for all further ones."""

    def __init__(self, parts: Sequence[Callable[["Peer", socket.socket], None]], tls: ssl.SSLContext | None) -> None:
        self.requests: list[bytes] = []
        self.connections = 0
        self.asked = threading.Event()
        self.played = threading.Event()
        self.ended = threading.Event()
        self._parts = parts
        self._tls = tls
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http{'s' if tls else ''}://127.0.0.1:{self._listener.getsockname()[1]}"
        self._open: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._listen)]
        self._threads[0].start()

    def _listen(self) -> None:
        while True:
            accepted, _ = self._listener.accept()
            if self.ended.is_set():
                accepted.close()
                return
            part = self._parts[min(self.connections, len(self._parts) - 1)]
            self.connections += 1
            self._open.append(accepted)
            thread = threading.Thread(target=self._play, args=(part, accepted))
            self._threads.append(thread)
            thread.start()

    def _play(self, part: Callable[["Peer", socket.socket], None], accepted: socket.socket) -> None:
        with contextlib.suppress(OSError):
            if self._tls:
                accepted = self._tls.wrap_socket(accepted, server_side=True)
                self._open.append(accepted)
            part(self, accepted)
        accepted.close()
        self.played.set()

    def read(self, connection: socket.socket) -> bytes:
        """One whole request; nothing if the other end closed."""
        request = b""
        while b"\r\n\r\n" not in request:
            received = connection.recv(65536)
            if not received:
                return b""
            request += received
        head, _, body = request.partition(b"\r\n\r\n")
        size = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        while len(body) < size:
            body += connection.recv(65536)
        self.requests.append(head + b"\r\n\r\n" + body)
        self.asked.set()
        return self.requests[-1]

    def stop(self) -> None:
        """Close everything and wait for the threads."""
        self.ended.set()
        for connection in self._open:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        socket.create_connection(self._listener.getsockname()).close()
        for thread in self._threads:
            thread.join(PATIENCE_S)
        self._listener.close()


class Parts:
    """What a peer can do with a connection."""

    @staticmethod
    def answers(*answers: bytes) -> Callable[[Peer, socket.socket], None]:
        """Answer one request after the other, then close."""

        def play(peer: Peer, connection: socket.socket) -> None:
            for answer in answers:
                if not peer.read(connection):
                    return
                connection.sendall(answer)

        return play

    @staticmethod
    def always(answer: bytes) -> Callable[[Peer, socket.socket], None]:
        """Answer every request alike."""

        def play(peer: Peer, connection: socket.socket) -> None:
            while peer.read(connection):
                connection.sendall(answer)

        return play

    @staticmethod
    def hangs(start: bytes = b"") -> Callable[[Peer, socket.socket], None]:
        """Read a request, answer with a beginning at most, and say no more."""

        def play(peer: Peer, connection: socket.socket) -> None:
            peer.read(connection)
            connection.sendall(start)
            peer.ended.wait(PATIENCE_S)

        return play

    @staticmethod
    def drips(start: bytes) -> Callable[[Peer, socket.socket], None]:
        """Answer with a beginning, and then a byte at a time without an end."""

        def play(peer: Peer, connection: socket.socket) -> None:
            peer.read(connection)
            connection.sendall(start)
            while not peer.ended.wait(0.02):
                connection.sendall(b"x")

        return play

    @staticmethod
    def resets(peer: Peer, connection: socket.socket) -> None:
        """Read a request and reset the connection."""
        peer.read(connection)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    @staticmethod
    def closes(peer: Peer, connection: socket.socket) -> None:
        """Close without reading."""


@pytest.fixture
def parts() -> type[Parts]:
    """What a peer can do with a connection."""
    return Parts


@pytest.fixture
def start_peer() -> Iterator[Callable[..., Peer]]:
    """Start a peer that plays the parts given."""
    started: list[Peer] = []

    def start(*played: Callable[[Peer, socket.socket], None], tls: ssl.SSLContext | None = None) -> Peer:
        started.append(Peer(played, tls))
        return started[-1]

    yield start
    for peer in started:
        peer.stop()


class Recorded:
    """Stands in for the client: keeps what it is asked, and answers as a test says, else that all went well."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.answers: list[dict[str, Any] | Exception] = []
        self.came = threading.Condition()

    def call(
        self, action: str, members: dict[str, Any], *, timeout_s: float = 10.0, connection: Any = None
    ) -> dict[str, Any]:
        with self.came:
            self.asked.append((action, members))
            answer = self.answers.pop(0) if self.answers else None
            self.came.notify_all()
        if isinstance(answer, Exception):
            raise answer
        if answer is not None:
            return answer
        return {"Successful": [{"Id": entry["Id"]} for entry in members.get("Entries", ())]}

    def wait_for(self, count: int) -> list[tuple[str, dict[str, Any]]]:
        """What was asked, as soon as it is so much."""
        with self.came:
            assert self.came.wait_for(lambda: len(self.asked) >= count, PATIENCE_S), self.asked
            return list(self.asked)


@pytest.fixture
def recorded() -> Recorded:
    """A client that only keeps what it is asked."""
    return Recorded()


class Line:
    """Our transport at a broker, both on one clock that a test moves; SQS's queue `jobs` gives up after 5 receives."""

    def __init__(self, broker: Any, clock: ManualClock, sqs: Any) -> None:
        self.broker = broker
        self.clock = clock
        self.sqs = sqs
        self.arrived: list[Any] = []
        self.arrived_s: list[float] = []
        self.dead = sqs.create_queue(QueueName="dead")["QueueUrl"]
        self.jobs = self.make_queue("jobs")
        self.app = Celery("line", set_as_current=False)
        self._connections: list[Connection] = []

    def make_queue(self, name: str, *, receives: int = 5, dead: str = "dead", **attributes: str) -> str:
        """Make a queue; gives its URL."""
        policy = {"deadLetterTargetArn": f"arn:aws:sqs:eu-central-1:000000000000:{dead}", "maxReceiveCount": receives}
        own = {"RedrivePolicy": json.dumps(policy), **attributes}
        return str(self.sqs.create_queue(QueueName=name, Attributes=own)["QueueUrl"])

    def connect(self, *, ahead_s: float = 0.0, **options: Any) -> Connection:
        """A connection; its machine's wall clock is so many seconds ahead of the broker's."""

        class Timed(Transport):
            clock = self.clock

            @staticmethod
            def wall_ms() -> int:
                return self.clock.now_ms() + round(ahead_s * 1000)

        url = self.broker.endpoint_url.replace("http://", "sqs://test:test@")
        connection = Connection(url, transport=Timed, transport_options={"region": "eu-central-1", **options})
        self._connections.append(connection)
        return connection

    def send(
        self,
        *arguments: Any,
        queue: str = "jobs",
        in_s: float | None = None,
        connection: Connection | None = None,
        **sending: Any,
    ) -> None:
        """Send a job as Celery sends it, to be started in so many seconds."""
        eta = None if in_s is None else datetime.fromtimestamp(self.now_s + in_s, UTC)
        with (connection or self.connect()).Producer() as producer:
            self.app.send_task("tasks.add", arguments, queue=queue, eta=eta, producer=producer, **sending)

    def consume(
        self, *names: str, connection: Connection | None = None, prefetch: int = 1, keep: bool = False, **options: Any
    ) -> Connection:
        """Receive jobs in the order of the queues named. What arrives is acknowledged, or only kept."""
        connection = connection or self.connect(**options)

        def on_message(message: Any) -> None:
            self.arrived.append(message)
            self.arrived_s.append(self.now_s)
            if not keep:
                message.ack()

        channel = connection.channel()
        channel.basic_qos(prefetch_count=prefetch)
        queues = [Queue(name) for name in names or ("jobs",)]
        Consumer(channel, queues, on_message=on_message, auto_declare=False).consume()
        return connection

    @property
    def now_s(self) -> float:
        """What the clock says."""
        return self.clock.now_ms() / 1000

    def turn(self, connection: Connection) -> None:
        """Let Celery's side take what has arrived."""
        with contextlib.suppress(TimeoutError):
            while True:
                connection.transport.drain_events(connection, timeout=0)

    def until(self, is_so: Callable[[], Any], *connections: Connection) -> None:
        """Turn the loops until something is so. The clock moves a little, for what waits for company."""
        deadline = time.monotonic() + PATIENCE_S
        while not is_so():
            assert time.monotonic() < deadline, (self.counts(), self.arrived)
            self.broker.advance(0.02)
            for connection in connections:
                self.turn(connection)
            time.sleep(0.002)

    def counts(self, queue: str = "jobs") -> tuple[int, int, int]:
        """How many messages of a queue are visible, in flight and delayed."""
        url = self.sqs.get_queue_url(QueueName=queue)["QueueUrl"]
        told = self.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
        names = ("", "NotVisible", "Delayed")
        visible, in_flight, delayed = (int(told[f"ApproximateNumberOfMessages{name}"]) for name in names)
        return visible, in_flight, delayed

    def stop(self) -> None:
        """Close all connections."""
        for connection in self._connections:
            transport = connection._transport
            connection.close()
            if transport is not None and "sqs" in vars(transport):
                transport.sqs.close()


@pytest.fixture
def line(broker: Any, clock: ManualClock, sqs: Any) -> Iterator[Line]:
    """Our transport at a broker, both on one clock."""
    line = Line(broker, clock, sqs)
    yield line
    line.stop()
