"""What signatures and permissions cost: a strict broker against an open one, in turns, under durable SendMessage."""

from msgspec import Struct

from bench import machine, processes
from bench.load import Outcome
from bench.machine import Spread
from bench.report import Table, say


class StrictFigures(Struct, frozen=True, kw_only=True):
    """`rate_ratio` is requests a second of the strict broker by those of the open one, in each round.

    The rest is CPU time of the brokers in microseconds a request, of which other processes change least.
    """

    connections: int
    rate_ratio: Spread
    open_us: Spread
    strict_us: Spread
    errors: int
    rounds: list[tuple[Outcome, Outcome]]


def measure(connections: list[int], *, seconds: float, rounds: int, body_bytes: int) -> list[StrictFigures]:
    """The two take turns in each round, and the order changes."""
    found: dict[int, list[tuple[Outcome, Outcome]]] = {count: [] for count in connections}
    with processes.scratch() as folder:
        key = processes.new_key(folder / "strict")
        with (
            processes.broker(folder / "open") as unasked,
            processes.broker(folder / "strict", key=key) as asked,
        ):
            for number in range(rounds):
                for count in connections:
                    order = (unasked, asked) if number % 2 == 0 else (asked, unasked)
                    outcomes = {
                        running.data: processes.run(
                            running,
                            work="send",
                            connections=count,
                            seconds=seconds,
                            warm_up_s=min(1.0, seconds),
                            body_bytes=body_bytes,
                        )
                        for running in order
                    }
                    pair = outcomes[unasked.data], outcomes[asked.data]
                    found[count].append(pair)
                    rates = " and ".join(f"{outcome.requests_per_s:,.0f}" for outcome in pair)
                    say(f"round {number + 1}, {count} connections: open and strict {rates} requests/s")
    return [_figures(count, found[count]) for count in connections]


def tables(figures: list[StrictFigures]) -> list[Table]:
    """For people."""
    return [
        Table(
            "strict by open, durable SendMessage",
            ["connections", "requests/s", "min-max", "open us/request", "strict us/request", "errors"],
            [
                [
                    f"{row.connections}",
                    f"{row.rate_ratio.median:.2f}",
                    f"{row.rate_ratio.least:.2f}-{row.rate_ratio.most:.2f}",
                    f"{row.open_us.median:.0f}",
                    f"{row.strict_us.median:.0f}",
                    f"{row.errors}",
                ]
                for row in figures
            ],
        )
    ]


def _figures(connections: int, rounds: list[tuple[Outcome, Outcome]]) -> StrictFigures:
    return StrictFigures(
        connections=connections,
        rate_ratio=machine.spread(asked.requests_per_s / unasked.requests_per_s for unasked, asked in rounds),
        open_us=machine.spread(_cpu_us(unasked) for unasked, _ in rounds),
        strict_us=machine.spread(_cpu_us(asked) for _, asked in rounds),
        errors=sum(outcome.errors for pair in rounds for outcome in pair),
        rounds=rounds,
    )


def _cpu_us(outcome: Outcome) -> float:
    return outcome.server_cpu_s / max(outcome.requests, 1) * 1e6
