"""Durable SendMessage requests a second, by the number of connections, with the disk's own rate beside them."""

from msgspec import Struct

from bench import machine, processes
from bench.load import Outcome
from bench.machine import Spread
from bench.report import Table, say


class SendFigures(Struct, frozen=True, kw_only=True):
    """One number of connections. All but the spreads is of the median round.

    `server_cpu` and `generator_cpu` are in cores used, `server_us` the broker's CPU time a request in microseconds: of
    all its figures the one that other processes on the machine change least.
    """

    connections: int
    requests_per_s: Spread
    p50_ms: float
    p99_ms: float
    server_cpu: float
    server_us: float
    generator_cpu: float
    fsyncs_per_s: Spread
    errors: int
    rounds: list[Outcome]


def measure(
    connections: list[int], *, seconds: float, rounds: int, body_bytes: int, rate: float = 0.0
) -> list[SendFigures]:
    """Each round goes through all numbers of connections, so that a slow minute of the machine falls on all alike."""
    outcomes: dict[int, list[Outcome]] = {count: [] for count in connections}
    fsyncs: dict[int, list[float]] = {count: [] for count in connections}
    with processes.scratch() as folder, processes.broker(folder / "broker") as running:
        for number in range(rounds):
            for count in connections:
                fsyncs[count].append(machine.fsync_rate(folder, min(1.0, seconds)))
                outcome = processes.run(
                    running,
                    work="send",
                    connections=count,
                    seconds=seconds,
                    warm_up_s=min(1.0, seconds),
                    rate=rate,
                    body_bytes=body_bytes,
                )
                outcomes[count].append(outcome)
                say(f"round {number + 1}, {count} connections: {outcome.requests_per_s:,.0f} requests/s")
    return [_figures(count, outcomes[count], fsyncs[count]) for count in connections]


def tables(figures: list[SendFigures]) -> list[Table]:
    """For people."""
    return [
        Table(
            "durable SendMessage",
            [
                "connections",
                "requests/s",
                "min-max",
                "p50 ms",
                "p99 ms",
                "broker CPU",
                "us/request",
                "generator CPU",
                "fsync/s",
                "errors",
            ],
            [
                [
                    f"{row.connections}",
                    f"{row.requests_per_s.median:,.0f}",
                    f"{row.requests_per_s.least:,.0f}-{row.requests_per_s.most:,.0f}",
                    f"{row.p50_ms:.2f}",
                    f"{row.p99_ms:.2f}",
                    f"{row.server_cpu:.0%}",
                    f"{row.server_us:.0f}",
                    f"{row.generator_cpu:.0%}",
                    f"{row.fsyncs_per_s.median:,.0f}",
                    f"{row.errors}",
                ]
                for row in figures
            ],
        )
    ]


def _figures(connections: int, outcomes: list[Outcome], fsyncs: list[float]) -> SendFigures:
    middle = sorted(outcomes, key=lambda outcome: outcome.requests_per_s)[len(outcomes) // 2]
    return SendFigures(
        connections=connections,
        requests_per_s=machine.spread(outcome.requests_per_s for outcome in outcomes),
        p50_ms=middle.p50_ms,
        p99_ms=middle.p99_ms,
        server_cpu=middle.server_cpu_s / middle.elapsed_s,
        server_us=middle.server_cpu_s / max(middle.requests, 1) * 1e6,
        generator_cpu=middle.generator_cpu_s / middle.elapsed_s,
        fsyncs_per_s=machine.spread(fsyncs),
        errors=sum(outcome.errors for outcome in outcomes),
        rounds=outcomes,
    )
