"""Celery jobs: our transport beside stock `sqs://` and Celery on Redis, in turns on the same machine in the same run.

Every contender runs at its best settings, and at two prefetch multipliers, of which the better one counts.
"""

from typing import Final

import msgspec
from msgspec import Struct

from bench import machine, processes
from bench.jobs_figures import FAR_MS, JobsFigures, LoadFigures, PublishFigures, compare
from bench.jobs_plans import Way
from bench.jobs_processes import CONCURRENCY, Contender, Name
from bench.jobs_profiled import JobsProfile
from bench.jobs_runs import Ground, Load, Lone, ground, idle, load, lone, profile
from bench.machine import Spread
from bench.proxy import Proxy
from bench.report import Table, say

# Ours publishes in both ways, each once a round; the worker that follows does not see the difference.
_SETTINGS: Final[dict[Name, tuple[tuple[int, Way], ...]]] = {
    "ours": ((1, "single"), (10, "batch")),
    "stock": ((1, "single"), (10, "single")),
    "redis": ((4, "single"), (10, "single")),
}
# The slower a contender is far away, the fewer jobs it gets there, so that all take about the same time.
_FAR_SHARES: Final[dict[Name, int]] = {"ours": 2, "stock": 8}
_LONE_INTERVAL_S: Final = 0.3
_IDLE_S: Final = 60.0  # three long polls of 20 s on each queue; a remainder would count for one contender by chance
_SHOWN: Final = 0.02  # of a profile: what is less is left out


class _Amounts(Struct, frozen=True):
    rounds: int
    jobs: int
    lone_jobs: int
    idle_s: float


def measure(contenders: list[Name], *, rounds: int, jobs: int, is_quick: bool, is_profiled: bool) -> JobsFigures:
    """Each round goes through all contenders and settings, in another order. `is_quick`: only to see that it works."""
    amounts = _Amounts(1, 60, 3, 1.0) if is_quick else _Amounts(rounds, jobs, 20, _IDLE_S)
    loads: list[Load] = []
    lones: list[Lone] = []
    fsyncs: list[float] = []
    with (
        processes.scratch() as folder,
        ground(folder, with_redis="redis" in contenders) as where,
        Proxy(f"http://{where.sqs.host}", delay_ms=FAR_MS) as far,
    ):
        for number in range(amounts.rounds):
            fsyncs.append(machine.fsync_rate(folder, min(1.0, amounts.idle_s)))
            turns = contenders[number % len(contenders) :] + contenders[: number % len(contenders)]
            for name in turns:
                loads += _loads(where, name, amounts.jobs, number)
            for name in (name for name in turns if name in _FAR_SHARES):
                loads += _loads(where, name, amounts.jobs // _FAR_SHARES[name], number, far)
            lones += [lone(where, _first(name), amounts.lone_jobs, _LONE_INTERVAL_S) for name in turns]
        on_sqs = [_first(name) for name in contenders if name != "redis"]
        idles = idle(where, on_sqs, amounts.idle_s)
        deep = [Contender(contender.name, _SETTINGS[contender.name][-1][0]) for contender in on_sqs if is_profiled]
        profiles = [profile(where, contender, amounts.jobs) for contender in deep]
    return msgspec.structs.replace(compare(contenders, loads, lones, idles, fsyncs), profiles=profiles)


def _loads(where: Ground, name: Name, jobs: int, number: int, proxy: Proxy | None = None) -> list[Load]:
    runs = []
    for multiplier, way in _SETTINGS[name]:
        run = load(where, Contender(name, multiplier), way, jobs, number, proxy)
        say(
            f"round {number + 1}, +{run.delay_ms:.0f} ms, {name}, multiplier {multiplier}: "
            f"{run.publish_per_s:,.0f} published/s ({way}), {run.jobs_per_s:,.0f} jobs/s"
        )
        runs.append(run)
    return runs


def _first(name: Name) -> Contender:
    return Contender(name, _SETTINGS[name][0][0])


def tables(figures: JobsFigures) -> list[Table]:
    """For people."""
    shown = [
        Table(
            f"no-op jobs at -c {CONCURRENCY}; disk {_range(figures.fsyncs_per_s)} fsync/s",
            [
                *("contender", "multiplier", "ms a request", "jobs/s", "min-max", "by stock", "by redis"),
                *("main us/job", "pool us/job", "broker us/job"),
            ],
            [_load_row(row) for row in figures.loads],
        ),
        Table(
            "publishing, one process with one thread",
            ["contender", "way", "ms a request", "jobs/s", "min-max", "by stock", "by redis", "us/job"],
            [_publish_row(row) for row in figures.publishing],
        ),
        Table("SQS requests a job, and an hour when idle on two queues", *_requests(figures)),
        Table(
            "one job every 300 ms, from the call to the run",
            ["contender", "ms", "min-max"],
            [[row.name, f"{row.latency_ms.median:.1f}", _range(row.latency_ms)] for row in figures.lone],
        ),
    ]
    if figures.claims:
        claims = [
            [claim.what, f"{claim.figure:.2f}", f"{claim.limit:.2f}", "kept" if claim.is_kept else "NOT kept"]
            for claim in figures.claims
        ]
        shown.append(Table("what is promised of ours", ["", "measured", "limit", ""], claims))
    return shown + [_profile_table(found) for found in figures.profiles]


def _load_row(row: LoadFigures) -> list[str]:
    return [
        row.name,
        f"{row.multiplier}",
        f"+{row.delay_ms:.0f}",
        *_compared(row),
        f"{row.main_us:,.0f}",
        f"{row.pool_us:,.0f}",
        f"{row.server_us:,.0f}",
    ]


def _publish_row(row: PublishFigures) -> list[str]:
    return [row.name, row.way, f"+{row.delay_ms:.0f}", *_compared(row), f"{row.publish_us:,.0f}"]


def _compared(row: LoadFigures | PublishFigures) -> list[str]:
    rate = row.jobs_per_s
    return [f"{rate.median:,.0f}", _range(rate), _ratio(row.by_stock), _ratio(row.by_redis)]


def _requests(figures: JobsFigures) -> tuple[list[str], list[list[str]]]:
    """One row for each contender, moment and action; loads are those with the proxy, that is far away."""
    moments = [(f"{row.name}, publishing, {row.way}", row.requests) for row in figures.publishing if row.delay_ms]
    moments += [(f"{row.name}, working, x{row.multiplier}", row.requests) for row in figures.loads if row.delay_ms]
    moments += [(f"{row.name}, alone", row.requests) for row in figures.lone if row.requests]
    moments += [(f"{row.contender.name}, idle, an hour", row.requests_per_hour) for row in figures.idle]
    actions = sorted({action for _, requests in moments for action in requests})
    return ["", *actions, "together"], [
        [
            what,
            *(f"{requests[action]:,.2f}" if action in requests else "" for action in actions),
            f"{sum(requests.values()):,.2f}",
        ]
        for what, requests in moments
    ]


def _profile_table(found: JobsProfile) -> Table:
    """The threads of one worker's main process, and their functions, own time and with what they called."""
    total_s = sum(thread.cpu_s for thread in found.threads)
    rows = []
    for thread in found.threads:
        rows.append([f"[{thread.name}]", f"{thread.cpu_s / total_s:.1%}", ""])
        ordered = sorted(thread.with_callees_s.items(), key=lambda pair: -pair[1])
        rows += [
            [f"  {name}", f"{spent_s / total_s:.1%}", f"{thread.own_s.get(name, 0.0) / total_s:.1%}"]
            for name, spent_s in ordered
            if spent_s > _SHOWN * total_s
        ]
    return Table(f"{found.name}: the worker's main process", ["CPU time", "with callees", "own"], rows)


def _range(found: Spread) -> str:
    return f"{found.least:,.0f}-{found.most:,.0f}"


def _ratio(found: Spread | None) -> str:
    return f"{found.median:.2f} ({found.least:.2f}-{found.most:.2f})" if found else ""
