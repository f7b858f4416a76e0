"""The load generator: a process of its own that asks an SQS endpoint as fast as it answers, or at a given rate.

Each connection is one `asyncio.Protocol` on uvloop that writes bytes made beforehand and frames the answers by hand, so
that it costs clearly less than the broker that shares the machine with it (`python -m bench ceiling` says how much).
Knows connections and times. Does not know what the figures are compared with.
"""

import asyncio
import sys
import time
from array import array
from collections import deque
from collections.abc import Generator
from typing import Literal, cast

import msgspec
import psutil  # type: ignore[import-untyped]
import uvloop
from msgspec import Struct

from bench.calls import BATCH, Calls, Key, handles_in

Work = Literal["send", "send-batch", "receive", "receive-batch"]
# What a connection does: it yields requests and is sent the answers.
Script = Generator[bytes, bytes, None]

_HANG_S = 30.0
_FAULTS_SHOWN = 5
_LENGTH = b"content-length: "


class Plan(Struct, frozen=True, kw_only=True):
    """What to do. It ends after `seconds`, or once `messages` have gone through, or when a receive comes back empty.

    `receive` and `receive-batch` delete what they receive. With `rate`, requests start at that many a second whether
    earlier ones are answered or not (open loop), and latencies count from when a request was due; without it, each
    connection asks again as soon as it is answered (closed loop). `server_pid` is watched for its use of the CPU.
    With a `key`, sends are signed; with `groups`, the queue is FIFO, and sends go to so many groups in turns.
    """

    host: str
    queue_url: str
    work: Work
    connections: int
    seconds: float = 0.0
    warm_up_s: float = 0.0
    messages: int = 0
    rate: float = 0.0
    body_bytes: int = 200
    groups: int = 0
    server_pid: int = 0
    key: Key | None = None


class Outcome(Struct, frozen=True, kw_only=True):
    """What came of it. CPU seconds are of all threads; `errors` counts answers that are not a full success."""

    requests: int
    messages: int
    elapsed_s: float
    requests_per_s: float
    messages_per_s: float
    p50_ms: float
    p95_ms: float
    p99_ms: float
    max_ms: float
    errors: int
    faults: list[str]
    generator_cpu_s: float
    server_cpu_s: float


class Load:
    """One run of a plan: the figures that its connections share."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.calls = Calls(plan.host, plan.queue_url, plan.body_bytes, plan.key, plan.groups)
        self._sends = self.calls.batch_sends() if plan.work == "send-batch" else self.calls.sends()
        self.latencies_s = array("d")
        self.messages = 0
        self.errors = 0
        self.is_over = False
        self.due: deque[float] = deque()
        self.idle: list[_Connection] = []
        self._faults: list[str] = []
        self._server = psutil.Process(plan.server_pid) if plan.server_pid else None
        self._limit = plan.messages or sys.maxsize
        self._outcome: Outcome | None = None
        self._start_measuring()

    async def run(self) -> Outcome:
        """Connect, do the plan, and say what came of it. OSError if nobody listens, TimeoutError if nobody answers."""
        loop = asyncio.get_running_loop()
        address, _, port = self.plan.host.rpartition(":")
        connections = []
        for _ in range(self.plan.connections):
            _, connection = await loop.create_connection(lambda: _Connection(self), address, int(port))
            connections.append(connection)
        self._start_measuring()
        for connection in connections:
            connection.go_on()
        if self.plan.warm_up_s:
            loop.call_later(self.plan.warm_up_s, self._start_measuring)
        if self.plan.rate:
            loop.call_soon(self._fall_due, time.perf_counter(), 0)
        if self.plan.seconds:
            await asyncio.wait(
                [connection.closed for connection in connections], timeout=self.plan.warm_up_s + self.plan.seconds
            )
            self.stop()
            for connection in self.idle:
                connection.close()
        await asyncio.wait_for(
            asyncio.gather(*[connection.closed for connection in connections]), _HANG_S if self.is_over else None
        )
        self.stop()
        if self._outcome is None:
            raise RuntimeError("a load that ended has an outcome")
        return self._outcome

    def stop(self) -> None:
        """Ask no more, and take the figures as they are."""
        if self.is_over:
            return
        self.is_over = True
        elapsed_s = time.perf_counter() - self._started
        ordered = sorted(self.latencies_s) or [0.0]
        count = len(self.latencies_s)
        p50, p95, p99 = (ordered[int(len(ordered) * share)] * 1000 for share in (0.50, 0.95, 0.99))
        self._outcome = Outcome(
            requests=count,
            messages=self.messages,
            elapsed_s=elapsed_s,
            requests_per_s=count / elapsed_s,
            messages_per_s=self.messages / elapsed_s,
            p50_ms=p50,
            p95_ms=p95,
            p99_ms=p99,
            max_ms=ordered[-1] * 1000,
            errors=self.errors,
            faults=self._faults,
            generator_cpu_s=time.process_time() - self._cpu_s,
            server_cpu_s=self._server_cpu_s() - self._server_started_s,
        )

    def fault(self, what: str) -> None:
        """Count an error; the first few are shown."""
        self.errors += 1
        if len(self._faults) < _FAULTS_SHOWN:
            self._faults.append(what[:300])

    def script(self) -> Script:
        """What one connection does."""
        calls = self.calls
        match self.plan.work:
            case "send":
                return self._sending(1)
            case "send-batch":
                return self._sending(BATCH)
            case "receive":
                return self._receiving(calls.receive_one)
            case "receive-batch":
                return self._receiving_batches(calls.receive_batch)

    def _sending(self, messages: int) -> Script:
        while self.messages < self._limit:
            answer = yield next(self._sends)
            if messages > 1 and b'"Failed":[{' in answer:
                self.fault(answer.decode(errors="replace"))
            self.messages += messages

    def _receiving(self, request: bytes) -> Script:
        while self.messages < self._limit and (handles := handles_in((yield request))):
            yield self.calls.delete(handles[0])
            self.messages += 1

    def _receiving_batches(self, request: bytes) -> Script:
        while self.messages < self._limit and (handles := handles_in((yield request))):
            answer = yield self.calls.delete_batch(handles)
            if b'"Failed":[{' in answer:
                self.fault(answer.decode(errors="replace"))
            self.messages += len(handles)

    def _start_measuring(self) -> None:
        self.latencies_s = array("d")
        self.messages = 0
        self._server_started_s = self._server_cpu_s()
        self._cpu_s = time.process_time()
        self._started = time.perf_counter()

    def _fall_due(self, started: float, fallen: int) -> None:
        if self.is_over:
            return
        now = time.perf_counter()
        count = int((now - started) * self.plan.rate)
        self.due.extend(started + number / self.plan.rate for number in range(fallen, count))
        while self.due and self.idle:
            self.idle.pop().go_on()
        asyncio.get_running_loop().call_later(0.001, self._fall_due, started, count)

    def _server_cpu_s(self) -> float:
        if self._server is None:
            return 0.0
        times = self._server.cpu_times()
        return float(times.user + times.system)


class _Connection(asyncio.Protocol):
    """One keep-alive connection with at most one request under way."""

    def __init__(self, load: Load) -> None:
        self.closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._load = load
        self._script = load.script()
        self._answer: bytes | None = None
        self._is_open_loop = load.plan.rate > 0
        self._rest = b""
        self._asked = 0.0
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's are not a subclass

    def data_received(self, data: bytes) -> None:
        now = time.perf_counter()
        if self._rest:
            data = self._rest + data
        end = data.find(b"\r\n\r\n") + 4
        if end < 4:
            self._rest = data
            return
        at = data.find(_LENGTH, 0, end)
        if at < 0:
            at = data[:end].lower().index(_LENGTH)
        at += len(_LENGTH)
        missing = end + int(data[at : data.index(b"\r", at)]) - len(data)
        if missing > 0:
            self._rest = data
            return
        self._rest = b""
        load = self._load
        load.latencies_s.append(now - self._asked)
        if missing or not data.startswith(b"HTTP/1.1 200 "):
            load.fault(data.decode(errors="replace"))
        self._answer = data
        self.go_on()

    def go_on(self) -> None:
        """Ask the next question, if there is one and, in an open loop, if it is due."""
        load = self._load
        if load.is_over:
            self.close()
            return
        if self._is_open_loop:
            if not load.due:
                load.idle.append(self)
                return
            self._asked = load.due.popleft()
        else:
            self._asked = time.perf_counter()
        try:
            request = self._script.send(self._answer)  # type: ignore[arg-type]  # None starts a generator
        except StopIteration:
            self.close()
        else:
            self._transport.write(request)

    def close(self) -> None:
        """Nothing more to ask."""
        self._transport.close()
        if not self.closed.done():
            self.closed.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.closed.done():
            self._load.fault(f"the server closed the connection: {exc}")
            self.closed.set_result(None)


def main() -> None:
    """A plan as JSON on stdin; its outcome as JSON on stdout."""
    plan = msgspec.json.decode(sys.stdin.buffer.read(), type=Plan)

    async def measure() -> Outcome:
        return await Load(plan).run()

    sys.stdout.buffer.write(msgspec.json.encode(uvloop.run(measure())))


if __name__ == "__main__":
    main()
