"""A FIFO queue against a standard one, in turns; and FIFO queues with a backlog: many groups, or one that is locked."""

import time
from pathlib import Path

from msgspec import Struct

from bench import machine, processes
from bench.load import Outcome, Work
from bench.machine import Spread
from bench.processes import Broker
from bench.report import Table, say

_GROUPS = 1000
_FILLERS = 8
_HOUR_S = 3600
_WAYS: tuple[tuple[Work, str], ...] = (
    ("send", "SendMessage"),
    ("receive-batch", "ReceiveMessage(10) + DeleteMessageBatch"),
    ("receive", "ReceiveMessage(1) + DeleteMessage"),
)


class RateFigures(Struct, frozen=True, kw_only=True):
    """`ratio` is messages a second of FIFO by standard, in each round; `..._us` is the broker's CPU time a message."""

    way: str
    connections: int
    ratio: Spread
    standard_per_s: Spread
    fifo_per_s: Spread
    standard_us: Spread
    fifo_us: Spread
    rounds: list[tuple[Outcome, Outcome]]


class BacklogFigures(Struct, frozen=True, kw_only=True):
    """A backlog in so many groups. With one group, its first message is in flight, so that the rest of it is locked.

    Megabytes are millions of bytes: before the backlog, with it, and after a `kill -9` and a restart. `found_ms` and,
    after the restart, `found_again_ms` are the time until a message came that could come: the first of all, or behind
    the locked group the only one of another group. `restart_ms` counts from the start of the process;
    what Python alone needs to start and end, `python_ms`, stands beside it.
    """

    groups: int
    messages: int
    empty_mb: float
    filled_mb: float
    restarted_mb: float
    fill_per_s: float
    found_ms: float
    restart_ms: float
    python_ms: float
    found_again_ms: float


class FifoFigures(Struct, frozen=True, kw_only=True):
    """Rates, and backlogs."""

    rates: list[RateFigures]
    backlogs: list[BacklogFigures]
    errors: int


def measure(
    connections: list[int], *, seconds: float, rounds: int, messages: int, backlog: int, body_bytes: int
) -> FifoFigures:
    """Sends take `seconds` at each broker and round; receives empty a queue of `messages`. `backlog` is in messages."""
    found: dict[tuple[Work, int], list[tuple[Outcome, Outcome]]] = {
        (work, count): [] for work, _ in _WAYS for count in connections
    }
    with (
        processes.scratch() as folder,
        processes.broker(folder / "standard") as standard,
        processes.broker(folder / "fifo", groups=_GROUPS) as fifo,
    ):
        for number in range(rounds):
            for (work, count), outcomes in found.items():
                order = (standard, fifo) if number % 2 == 0 else (fifo, standard)
                by_broker = {
                    running.data: _turn(running, work, count, seconds=seconds, messages=messages, body_bytes=body_bytes)
                    for running in order
                }
                outcomes.append((by_broker[standard.data], by_broker[fifo.data]))
                rates = " and ".join(f"{outcome.messages_per_s:,.0f}" for outcome in outcomes[-1])
                say(f"round {number + 1}, {work}, {count} connections: standard and FIFO {rates} messages/s")
        backlogs = [_backlog(folder / f"backlog-{groups}", groups, backlog, body_bytes) for groups in (_GROUPS, 1)]
    return FifoFigures(
        rates=[_rates(way, count, found[work, count]) for work, way in _WAYS for count in connections],
        backlogs=backlogs,
        errors=sum(outcome.errors for outcomes in found.values() for pair in outcomes for outcome in pair),
    )


def tables(figures: FifoFigures) -> list[Table]:
    """For people."""
    return [
        Table(
            "FIFO by standard, durable",
            ["way", "connections", "ratio", "min-max", "standard/s", "FIFO/s", "standard us", "FIFO us"],
            [
                [
                    row.way,
                    f"{row.connections}",
                    f"{row.ratio.median:.2f}",
                    f"{row.ratio.least:.2f}-{row.ratio.most:.2f}",
                    f"{row.standard_per_s.median:,.0f}",
                    f"{row.fifo_per_s.median:,.0f}",
                    f"{row.standard_us.median:.0f}",
                    f"{row.fifo_us.median:.0f}",
                ]
                for row in figures.rates
            ],
        ),
        Table(
            "FIFO backlogs",
            [
                "groups",
                "messages",
                "MB empty",
                "filled",
                "restarted",
                "fill/s",
                "found ms",
                "Python ms",
                "restart ms",
                "found ms",
            ],
            [
                [
                    f"{row.groups}",
                    f"{row.messages:,}",
                    f"{row.empty_mb:.0f}",
                    f"{row.filled_mb:.0f}",
                    f"{row.restarted_mb:.0f}",
                    f"{row.fill_per_s:,.0f}",
                    f"{row.found_ms:.0f}",
                    f"{row.python_ms:.0f}",
                    f"{row.restart_ms:.0f}",
                    f"{row.found_again_ms:.0f}",
                ]
                for row in figures.backlogs
            ],
        ),
    ]


def _turn(running: Broker, work: Work, connections: int, *, seconds: float, messages: int, body_bytes: int) -> Outcome:
    if work != "send":
        processes.run(running, work="send-batch", connections=_FILLERS, messages=messages, body_bytes=body_bytes)
        return processes.run(running, work=work, connections=connections)
    sent = processes.run(
        running,
        work="send",
        connections=connections,
        seconds=seconds,
        warm_up_s=min(1.0, seconds),
        body_bytes=body_bytes,
    )
    processes.run(running, work="receive-batch", connections=_FILLERS)
    return sent


def _backlog(folder: Path, groups: int, messages: int, body_bytes: int) -> BacklogFigures:
    with processes.broker(folder, groups=groups) as running:
        empty_mb = running.rss_bytes / 1e6
        filling = processes.run(
            running, work="send-batch", connections=_FILLERS, messages=messages, body_bytes=body_bytes
        )
        filled_mb = running.rss_bytes / 1e6
        say(f"{filling.messages:,} messages in {groups:,} groups")
        if groups == 1:
            running.call("ReceiveMessage", QueueUrl=running.queue_url, VisibilityTimeout=_HOUR_S)
            other = {"MessageGroupId": "another", "MessageDeduplicationId": "behind"}
            running.call("SendMessage", QueueUrl=running.queue_url, MessageBody="behind", **other)
        found_ms = _time_to_find(running)
        running.kill()
        restart_ms = running.start() * 1000
        return BacklogFigures(
            groups=groups,
            messages=filling.messages,
            empty_mb=empty_mb,
            filled_mb=filled_mb,
            fill_per_s=filling.messages_per_s,
            found_ms=found_ms,
            restart_ms=restart_ms,
            python_ms=machine.python_start_s() * 1000,
            found_again_ms=_time_to_find(running),
            restarted_mb=running.rss_bytes / 1e6,
        )


def _time_to_find(running: Broker) -> float:
    """Milliseconds until there is a message that can be received; it stays there. RuntimeError if there is none."""
    started = time.perf_counter()
    # Visible again at once.
    answer = running.call("ReceiveMessage", QueueUrl=running.queue_url, WaitTimeSeconds=20, VisibilityTimeout=0)
    if not answer.get("Messages"):
        raise RuntimeError("20 s were not enough to find a message that can be received")
    return (time.perf_counter() - started) * 1000


def _rates(way: str, connections: int, rounds: list[tuple[Outcome, Outcome]]) -> RateFigures:
    standard, fifo = [pair[0] for pair in rounds], [pair[1] for pair in rounds]
    return RateFigures(
        way=way,
        connections=connections,
        ratio=machine.spread(b.messages_per_s / a.messages_per_s for a, b in rounds),
        standard_per_s=machine.spread(outcome.messages_per_s for outcome in standard),
        fifo_per_s=machine.spread(outcome.messages_per_s for outcome in fifo),
        standard_us=machine.spread(_cpu_us(outcome) for outcome in standard),
        fifo_us=machine.spread(_cpu_us(outcome) for outcome in fifo),
        rounds=rounds,
    )


def _cpu_us(outcome: Outcome) -> float:
    return outcome.server_cpu_s / max(outcome.messages, 1) * 1e6
