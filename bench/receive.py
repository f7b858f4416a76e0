"""Receiving and deleting: ten at a time, and one at a time."""

from msgspec import Struct

from bench import machine, processes
from bench.load import Outcome, Work
from bench.machine import Spread
from bench.report import Table, say

_WAYS: tuple[tuple[Work, str], ...] = (
    ("receive-batch", "ReceiveMessage(10) + DeleteMessageBatch"),
    ("receive", "ReceiveMessage(1) + DeleteMessage"),
)


class ReceiveFigures(Struct, frozen=True, kw_only=True):
    """One way of receiving at one number of connections. Latencies are of single requests, of the median round."""

    way: str
    connections: int
    messages_per_s: Spread
    p50_ms: float
    p99_ms: float
    server_us: float
    errors: int
    rounds: list[Outcome]


def measure(connections: list[int], *, messages: int, rounds: int, body_bytes: int) -> list[ReceiveFigures]:
    """Each round fills the queue and empties it again; only emptying it counts."""
    outcomes: dict[tuple[Work, int], list[Outcome]] = {(work, count): [] for work, _ in _WAYS for count in connections}
    with processes.scratch() as folder, processes.broker(folder / "broker") as running:
        for number in range(rounds):
            for (work, count), rounds_so_far in outcomes.items():
                processes.run(running, work="send-batch", connections=8, messages=messages, body_bytes=body_bytes)
                outcome = processes.run(running, work=work, connections=count)
                rounds_so_far.append(outcome)
                say(f"round {number + 1}, {work}, {count} connections: {outcome.messages_per_s:,.0f} messages/s")
    return [_figures(way, count, outcomes[work, count]) for work, way in _WAYS for count in connections]


def tables(figures: list[ReceiveFigures]) -> list[Table]:
    """For people."""
    return [
        Table(
            "receiving and deleting, durable",
            ["way", "connections", "messages/s", "min-max", "p50 ms", "p99 ms", "us/message", "errors"],
            [
                [
                    row.way,
                    f"{row.connections}",
                    f"{row.messages_per_s.median:,.0f}",
                    f"{row.messages_per_s.least:,.0f}-{row.messages_per_s.most:,.0f}",
                    f"{row.p50_ms:.2f}",
                    f"{row.p99_ms:.2f}",
                    f"{row.server_us:.0f}",
                    f"{row.errors}",
                ]
                for row in figures
            ],
        )
    ]


def _figures(way: str, connections: int, outcomes: list[Outcome]) -> ReceiveFigures:
    middle = sorted(outcomes, key=lambda outcome: outcome.messages_per_s)[len(outcomes) // 2]
    return ReceiveFigures(
        way=way,
        connections=connections,
        messages_per_s=machine.spread(outcome.messages_per_s for outcome in outcomes),
        p50_ms=middle.p50_ms,
        p99_ms=middle.p99_ms,
        server_us=middle.server_cpu_s / max(middle.messages, 1) * 1e6,
        errors=sum(outcome.errors for outcome in outcomes),
        rounds=outcomes,
    )
