"""A deep queue against an empty one: memory, restart, and rates in turns (A, B, A, B), so that the machine is the same.

Both brokers do the same work; the deep one has a backlog beneath it that the work never reaches the end of.
"""

import statistics
from typing import Any

from msgspec import Struct

from bench import machine, processes
from bench.load import Outcome
from bench.machine import Spread
from bench.processes import Broker
from bench.report import Table, say

_FILLERS = 8
_WORKERS = 8
_WARM_UP = 2000
_RESTARTS = 3

MEMORY_LIMIT_MB = 150.0
RESTART_LIMIT_S = 2.0
RATE_LIMIT = 0.9


class DepthFigures(Struct, frozen=True, kw_only=True):
    """Megabytes are millions of bytes. Ratios are deep by empty, of the two turns of one round.

    `..._us` is the broker's CPU time a message in microseconds, the median of the rounds: of all its figures the one
    that other processes on the machine change least. `missing` compares the depth at the end with what was sent and
    deleted: not 0, and something is wrong.

    Memory is taken after the same traffic on both and before any restart (`_filled`, for the deep one), and again after
    the deep one was killed, restarted and loaded. A restart is the time from the start of the process to the answer to
    a first ReceiveMessage; Python alone starts and ends in `python_start_s`.
    """

    depth: int
    missing: int
    fill_messages_per_s: float
    rss_empty_mb: float
    rss_filled_mb: float
    rss_empty_end_mb: float
    rss_deep_end_mb: float
    restart_empty_s: Spread
    restart_deep_s: Spread
    python_start_s: float
    send_empty_per_s: Spread
    send_deep_per_s: Spread
    receive_empty_per_s: Spread
    receive_deep_per_s: Spread
    memory_difference_mb: float
    send_ratio: Spread
    receive_ratio: Spread
    send_empty_us: float
    send_deep_us: float
    receive_empty_us: float
    receive_deep_us: float
    is_within_limits: bool
    errors: int


class _Rates:
    """The outcomes of one of the two brokers."""

    def __init__(self, running: Broker) -> None:
        self.running = running
        self.sends: list[Outcome] = []
        self.receives: list[Outcome] = []
        self.expected_depth = 0
        self.errors = 0

    def fill(self, messages: int, body_bytes: int) -> Outcome:
        """Put a backlog into the queue."""
        outcome = self._run(work="send-batch", connections=_FILLERS, messages=messages, body_bytes=body_bytes)
        self.expected_depth += outcome.messages
        return outcome

    def take_turn(self, messages: int, body_bytes: int) -> None:
        """Send so many, then receive and delete so many."""
        self.sends.append(self._run(work="send", connections=_WORKERS, messages=messages, body_bytes=body_bytes))
        self.receives.append(self._run(work="receive", connections=_WORKERS, messages=messages))
        self.expected_depth += self.sends[-1].messages - self.receives[-1].messages

    def warm_up(self, messages: int, body_bytes: int) -> None:
        """A turn that does not count."""
        self.take_turn(messages, body_bytes)
        self.sends.clear()
        self.receives.clear()

    def _run(self, **plan: Any) -> Outcome:
        outcome = processes.run(self.running, **plan)
        self.errors += outcome.errors
        return outcome


def measure(*, messages: int, rounds: int, turn: int, body_bytes: int) -> DepthFigures:
    """`messages` is the backlog, `turn` how many are sent and received in each round at each broker."""
    with (
        processes.scratch() as folder,
        processes.broker(folder / "empty") as empty,
        processes.broker(folder / "deep") as deep,
    ):
        a, b = _Rates(empty), _Rates(deep)
        for rates in (a, b):
            rates.warm_up(min(turn, _WARM_UP), body_bytes)
        rss_empty_mb = _rss_mb(empty)
        filling = b.fill(messages, body_bytes)
        say(f"filled: {filling.messages:,} messages, {filling.messages_per_s:,.0f} a second")
        rss_filled_mb = _rss_mb(deep)
        restarts_empty_s, restarts_deep_s = _restart_in_turns(empty, deep)
        for number in range(rounds):
            # A B, B A, ...: whatever drifts, drifts for both.
            for rates in (a, b) if number % 2 == 0 else (b, a):
                rates.take_turn(turn, body_bytes)
            say(f"round {number + 1}: {_line(a)} empty, {_line(b)} deep")
        return _figures(
            a,
            b,
            filling=filling,
            rss_mb=(rss_empty_mb, rss_filled_mb),
            restarts_s=(restarts_empty_s, restarts_deep_s),
        )


def tables(figures: DepthFigures) -> list[Table]:
    """For people."""
    sends = figures.send_empty_per_s, figures.send_deep_per_s
    receives = figures.receive_empty_per_s, figures.receive_deep_per_s
    restarts = _ms(figures.restart_empty_s), _ms(figures.restart_deep_s)
    return [
        Table(
            f"{figures.depth:,} messages waiting: {'within' if figures.is_within_limits else 'NOT within'} the limits",
            ["", "empty", "min-max", "deep", "min-max", "deep by empty", "limit"],
            [
                _row("SendMessage/s", *sends, _range(figures.send_ratio), f">= {RATE_LIMIT}"),
                _row("receive 1 + delete, pairs/s", *receives, _range(figures.receive_ratio), f">= {RATE_LIMIT}"),
                _plain("SendMessage, CPU us", figures.send_empty_us, figures.send_deep_us),
                _plain("receive 1 + delete, CPU us", figures.receive_empty_us, figures.receive_deep_us),
                _row("restart to first answer, ms", *restarts, "", f"<= {RESTART_LIMIT_S * 1000:.0f}"),
                ["Python alone, ms", f"{figures.python_start_s * 1000:.0f}", "", "", "", "", ""],
                _memory("memory when filled, MB", figures.rss_empty_mb, figures.rss_filled_mb),
                _memory("memory at the end, MB", figures.rss_empty_end_mb, figures.rss_deep_end_mb),
            ],
        )
    ]


def _restart_in_turns(empty: Broker, deep: Broker) -> tuple[list[float], list[float]]:
    took: tuple[list[float], list[float]] = ([], [])
    for _ in range(_RESTARTS):
        for running, times in zip((empty, deep), took, strict=True):
            running.kill()
            times.append(running.start())
    return took


def _figures(
    a: _Rates,
    b: _Rates,
    *,
    filling: Outcome,
    rss_mb: tuple[float, float],
    restarts_s: tuple[list[float], list[float]],
) -> DepthFigures:
    ends = _rss_mb(a.running), _rss_mb(b.running)
    difference = max(rss_mb[1] - rss_mb[0], ends[1] - ends[0])
    sends = [machine.spread(outcome.messages_per_s for outcome in rates.sends) for rates in (a, b)]
    receives = [machine.spread(outcome.messages_per_s for outcome in rates.receives) for rates in (a, b)]
    send_ratio = _ratio(a.sends, b.sends)
    receive_ratio = _ratio(a.receives, b.receives)
    is_small, is_quick = difference <= MEMORY_LIMIT_MB, statistics.median(restarts_s[1]) <= RESTART_LIMIT_S
    is_fast = min(send_ratio.median, receive_ratio.median) >= RATE_LIMIT
    depth = b.running.depth()
    return DepthFigures(
        depth=depth,
        missing=b.expected_depth - depth,
        fill_messages_per_s=filling.messages_per_s,
        rss_empty_mb=rss_mb[0],
        rss_filled_mb=rss_mb[1],
        rss_empty_end_mb=ends[0],
        rss_deep_end_mb=ends[1],
        restart_empty_s=machine.spread(restarts_s[0]),
        restart_deep_s=machine.spread(restarts_s[1]),
        python_start_s=machine.python_start_s(),
        send_empty_per_s=sends[0],
        send_deep_per_s=sends[1],
        receive_empty_per_s=receives[0],
        receive_deep_per_s=receives[1],
        memory_difference_mb=difference,
        send_ratio=send_ratio,
        receive_ratio=receive_ratio,
        send_empty_us=_cpu_us(a.sends),
        send_deep_us=_cpu_us(b.sends),
        receive_empty_us=_cpu_us(a.receives),
        receive_deep_us=_cpu_us(b.receives),
        is_within_limits=is_small and is_quick and is_fast,
        errors=a.errors + b.errors,
    )


def _line(rates: _Rates) -> str:
    return f"{rates.sends[-1].messages_per_s:,.0f} sends/s {rates.receives[-1].messages_per_s:,.0f} pairs/s"


def _rss_mb(running: Broker) -> float:
    return running.rss_bytes / 1e6


def _ratio(empty: list[Outcome], deep: list[Outcome]) -> Spread:
    return machine.spread(b.messages_per_s / a.messages_per_s for a, b in zip(empty, deep, strict=True))


def _cpu_us(outcomes: list[Outcome]) -> float:
    return statistics.median(outcome.server_cpu_s / outcome.messages for outcome in outcomes) * 1e6


def _range(ratio: Spread) -> str:
    return f"{ratio.median:.2f} ({ratio.least:.2f}-{ratio.most:.2f})"


def _plain(what: str, empty: float, deep: float) -> list[str]:
    return [what, f"{empty:.0f}", "", f"{deep:.0f}", "", f"{deep / max(empty, 1):.2f}", ""]


def _ms(seconds: Spread) -> Spread:
    return Spread(seconds.median * 1000, seconds.least * 1000, seconds.most * 1000)


def _row(what: str, empty: Spread, deep: Spread, ratio: str, limit: str) -> list[str]:
    cells = [what]
    for side in (empty, deep):
        cells += [f"{side.median:,.0f}", f"{side.least:,.0f}-{side.most:,.0f}"]
    return [*cells, ratio, limit]


def _memory(what: str, empty_mb: float, deep_mb: float) -> list[str]:
    more, limit = f"+{deep_mb - empty_mb:.0f}", f"<= +{MEMORY_LIMIT_MB:.0f}"
    return [what, f"{empty_mb:.0f}", "", f"{deep_mb:.0f}", "", more, limit]
