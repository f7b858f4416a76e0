"""What the tests of the jobs share: a store of their own, a clock that stands still, and a real HTTP receiver."""

import contextlib
import socket
import threading
from dataclasses import dataclass, field

import pytest

from amply.clock import ManualClock
from amply.jobs import endpoints, runtime
from amply.jobs.celery_app import app
from amply.jobs.posting import Limits
from amply.jobs.records import open_store
from amply.jobs.runtime import Runtime

# 2026-11-05 12:00 UTC.
NOW_MS = 1_793_880_000_000


@pytest.fixture
def clock():
    return ManualClock(NOW_MS)


@pytest.fixture
def work(tmp_path, clock):
    """The tasks' surroundings. Follow-up jobs run at once, in this process."""
    app.conf.update(task_always_eager=True, task_eager_propagates=True)
    engine = open_store(f"sqlite:///{tmp_path / 'amply.db'}")
    limits = Limits(total_s=5, connect_s=2, answer_bytes=64 * 1024)
    with runtime.replaced(Runtime(clock=clock, engine=engine, data=tmp_path, limits=limits)) as replaced:
        yield replaced
    app.conf.update(task_always_eager=False, task_eager_propagates=False)
    engine.dispose()


@dataclass
class Request:
    """What the receiver got."""

    line: str
    headers: dict
    body: bytes


@dataclass
class Receiver:
    """A webhook receiver on loopback. `script` holds what to do with one connection after another, then 200."""

    listener: socket.socket
    script: list = field(default_factory=list)
    requests: list = field(default_factory=list)
    closing: threading.Event = field(default_factory=threading.Event)

    @staticmethod
    def answer(status, *headers, body=b""):
        """Answer with this status, headers ("Name: value") and body."""
        lines = [f"HTTP/1.1 {status} Told", f"Content-Length: {len(body)}", *headers]

        def act(connection, _):
            connection.sendall("\r\n".join(lines).encode() + b"\r\n\r\n" + body)

        return act

    @property
    def port(self):
        return self.listener.getsockname()[1]

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}/hook?a=b"

    def serve(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            with connection, contextlib.suppress(OSError):
                connection.settimeout(10)
                request = read_request(connection)
                if request is None or self.closing.is_set():
                    continue
                self.requests.append(request)
                act = self.script.pop(0) if self.script else self.answer(200)
                act(connection, self)

    def stop(self, thread):
        self.closing.set()
        with contextlib.suppress(OSError), socket.create_connection(self.listener.getsockname(), timeout=5):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        thread.join(10)


def read_request(connection):
    head = b""
    while b"\r\n\r\n" not in head:
        got = connection.recv(65536)
        if not got:
            return None
        head += got
    head, _, body = head.partition(b"\r\n\r\n")
    line, *lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value for name, _, value in (each.partition(": ") for each in lines)}
    while len(body) < int(headers.get("content-length", 0)):
        body += connection.recv(65536)
    return Request(line, headers, body)


@pytest.fixture
def receiver():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        running = Receiver(listener)
        thread = threading.Thread(target=running.serve, daemon=True)
        thread.start()
        yield running
        running.stop(thread)


@pytest.fixture
def endpoint(work, receiver):
    """An endpoint at the receiver."""
    return endpoints.register(
        work.engine, organisation_id="org1", url=receiver.url, now_ms=NOW_MS, endpoint_id="ep1", allow_private=True
    )


@pytest.fixture
def canary():
    """A listener on loopback that must stay alone; `count()` says how many connections came in."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)

        def count():
            seen = 0
            with contextlib.suppress(BlockingIOError):
                while True:
                    listener.accept()[0].close()
                    seen += 1
            return seen

        listener_port = listener.getsockname()[1]
        yield type("Canary", (), {"port": listener_port, "count": staticmethod(count)})
