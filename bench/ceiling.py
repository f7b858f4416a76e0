"""How much the load generator can ask, and at what cost: against a server that only gives a canned answer."""

import asyncio
import subprocess
import sys

import uvloop
from msgspec import Struct

from bench import ROOT, machine, processes
from bench.load import Outcome, Plan
from bench.machine import Spread
from bench.report import Table

_BODY = b'{"MessageId":"00000000-0000-0000-0000-000000000000","MD5OfMessageBody":"0123456789abcdef0123456789abcdef"}'
_ANSWER = b"HTTP/1.1 200 OK\r\ncontent-type: application/x-amz-json-1.0\r\ncontent-length: %d\r\n\r\n%b" % (
    len(_BODY),
    _BODY,
)


class CeilingFigures(Struct, frozen=True, kw_only=True):
    """`generator_us` is the generator's CPU time a request, in microseconds; of the median round."""

    requests_per_s: Spread
    generator_us: float
    server_us: float
    errors: int


def measure(*, connections: int, seconds: float, rounds: int) -> CeilingFigures:
    """Closed loop, like the measurements that rest on it."""
    port = processes.free_port()
    command = [sys.executable, "-m", "bench.ceiling", str(port)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT) as server:
        try:
            if server.stdout is None or not server.stdout.readline():
                raise RuntimeError("the canned server did not start")
            plan = Plan(
                host=f"127.0.0.1:{port}",
                queue_url=f"http://127.0.0.1:{port}/000000000000/bench",
                work="send",
                connections=connections,
                seconds=seconds,
                warm_up_s=min(1.0, seconds),
                server_pid=server.pid,
            )
            outcomes = [processes.generate(plan) for _ in range(rounds)]
        finally:
            server.terminate()
    return _figures(outcomes)


def tables(figures: CeilingFigures) -> list[Table]:
    """For people."""
    rate = figures.requests_per_s
    return [
        Table(
            "the load generator against a canned answer",
            ["requests/s", "min-max", "generator us/request", "server us/request", "errors"],
            [
                [
                    f"{rate.median:,.0f}",
                    f"{rate.least:,.0f}-{rate.most:,.0f}",
                    f"{figures.generator_us:.1f}",
                    f"{figures.server_us:.1f}",
                    f"{figures.errors}",
                ]
            ],
        )
    ]


def _figures(outcomes: list[Outcome]) -> CeilingFigures:
    middle = sorted(outcomes, key=lambda outcome: outcome.requests_per_s)[len(outcomes) // 2]
    return CeilingFigures(
        requests_per_s=machine.spread(outcome.requests_per_s for outcome in outcomes),
        generator_us=middle.generator_cpu_s / middle.requests * 1e6,
        server_us=middle.server_cpu_s / middle.requests * 1e6,
        errors=sum(outcome.errors for outcome in outcomes),
    )


class _Canned(asyncio.Protocol):
    """Answers each write of a client, whatever it says."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:  # noqa: ARG002
        self._transport.write(_ANSWER)  # type: ignore[attr-defined]


async def _serve(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(_Canned, "127.0.0.1", port)
    print("listening", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(_serve(int(sys.argv[1])))
