"""The runs of `python -m bench jobs` in figures: medians, ranges, ratios within each round, and what was promised.

Does not know how a run is done, nor how figures are shown.
"""

import statistics
from collections.abc import Iterable
from typing import Final

from msgspec import Struct

from bench import machine
from bench.jobs_plans import Way
from bench.jobs_processes import Contender, Name
from bench.jobs_profiled import JobsProfile
from bench.jobs_runs import Idle, Load, Lone
from bench.machine import Spread
from bench.report import say

FAR_MS: Final = 10.0


class LoadFigures(Struct, frozen=True, kw_only=True):
    """One contender at one setting. Ratios are to the best setting of the other, taken within each round."""

    name: Name
    multiplier: int
    delay_ms: float
    jobs_per_s: Spread
    by_stock: Spread | None
    by_redis: Spread | None
    main_us: float
    pool_us: float
    server_us: float
    requests: dict[str, float]


class PublishFigures(Struct, frozen=True, kw_only=True):
    """One contender's way to publish, one process with one thread."""

    name: Name
    way: Way
    delay_ms: float
    jobs_per_s: Spread
    by_stock: Spread | None
    by_redis: Spread | None
    publish_us: float
    requests: dict[str, float]


class LoneFigures(Struct, frozen=True, kw_only=True):
    """Jobs with 300 ms between them. The latency is from the call to the run, the spread that of all jobs."""

    name: Name
    latency_ms: Spread
    requests: dict[str, float]


class Claim(Struct, frozen=True, kw_only=True):
    """What the project promises of its own transport, and what was measured."""

    what: str
    figure: float
    limit: float
    is_kept: bool


class JobsFigures(Struct, frozen=True, kw_only=True):
    """Medians of the rounds, with the range; `rounds` has each run. Requests are by job, in `idle` by hour.

    `fsyncs_per_s` is what the disk did before each round: how steady the machine was.
    """

    loads: list[LoadFigures]
    publishing: list[PublishFigures]
    lone: list[LoneFigures]
    idle: list[Idle]
    claims: list[Claim]
    fsyncs_per_s: Spread
    errors: int
    rounds: list[Load]
    profiles: list[JobsProfile]


def compare(
    contenders: list[Name], loads: list[Load], lones: list[Lone], idles: list[Idle], fsyncs: list[float]
) -> JobsFigures:
    """All runs in figures, in the order of `contenders`. Runs that are compared have the same round."""
    ordered = sorted(loads, key=lambda run: (run.delay_ms, contenders.index(run.contender.name)))
    settings = dict.fromkeys((run.contender, run.delay_ms) for run in ordered)
    ways = dict.fromkeys((run.contender.name, run.way, run.delay_ms) for run in ordered)
    consumed = [_load_figures(loads, *setting) for setting in settings]
    published = [_publish_figures(loads, *way) for way in ways]
    alone = [_lone_figures(lones, name) for name in contenders]
    runs: list[Load | Lone | Idle] = [*loads, *lones, *idles]
    faults = [fault for run in runs for fault in run.faults]
    for fault in faults:
        say(f"one of {len(faults)} errors: {fault}")
    return JobsFigures(
        loads=consumed,
        publishing=published,
        lone=alone,
        idle=idles,
        claims=_claims(consumed, published, alone, idles) if {"ours", "stock"} <= set(contenders) else [],
        fsyncs_per_s=machine.spread(fsyncs),
        errors=len(faults),
        rounds=loads,
        profiles=[],
    )


def _load_figures(loads: list[Load], contender: Contender, delay_ms: float) -> LoadFigures:
    at_delay = [run for run in loads if run.delay_ms == delay_ms]
    own = [run for run in at_delay if run.contender == contender]
    rates = [run.jobs_per_s for run in own]
    return LoadFigures(
        name=contender.name,
        multiplier=contender.multiplier,
        delay_ms=delay_ms,
        jobs_per_s=machine.spread(rates),
        by_stock=_ratio(rates, _best_rates(at_delay, "stock")),
        by_redis=_ratio(rates, _best_rates(at_delay, "redis")),
        main_us=statistics.median(run.main_us for run in own),
        pool_us=statistics.median(run.pool_us for run in own),
        server_us=statistics.median(run.server_us for run in own),
        requests=_middle(run.consume_requests for run in own),
    )


def _publish_figures(loads: list[Load], name: Name, way: Way, delay_ms: float) -> PublishFigures:
    at_delay = [run for run in loads if run.delay_ms == delay_ms]
    own = [run for run in at_delay if run.contender.name == name and run.way == way]
    rates = _publish_rates(own)
    return PublishFigures(
        name=name,
        way=way,
        delay_ms=delay_ms,
        jobs_per_s=machine.spread(run.publish_per_s for run in own),
        by_stock=_ratio(rates, _publish_rates(run for run in at_delay if run.contender.name == "stock")),
        by_redis=_ratio(rates, _publish_rates(run for run in at_delay if run.contender.name == "redis")),
        publish_us=statistics.median(run.publish_us for run in own),
        requests=_middle(run.publish_requests for run in own),
    )


def _lone_figures(lones: list[Lone], name: Name) -> LoneFigures:
    own = [run for run in lones if run.contender.name == name]
    return LoneFigures(
        name=name,
        latency_ms=machine.spread([ms for run in own for ms in run.latency_ms] or [0.0]),
        requests=_middle(run.requests for run in own),
    )


def _best_rates(loads: list[Load], name: Name) -> list[float]:
    """Jobs a second of a contender's best setting, by round; empty if it did not take part."""
    by_setting: dict[Contender, list[float]] = {}
    for run in loads:
        if run.contender.name == name:
            by_setting.setdefault(run.contender, []).append(run.jobs_per_s)
    return max(by_setting.values(), key=statistics.median, default=[])


def _publish_rates(loads: Iterable[Load]) -> list[float]:
    """Jobs published a second, by round; some contenders publish twice in a round."""
    by_round: dict[int, list[float]] = {}
    for run in loads:
        by_round.setdefault(run.round, []).append(run.publish_per_s)
    return [statistics.median(rates) for rates in by_round.values()]


def _ratio(own: list[float], others: list[float]) -> Spread | None:
    ratios = [mine / theirs for mine, theirs in zip(own, others, strict=False) if theirs]
    return machine.spread(ratios) if ratios else None


def _middle(runs: Iterable[dict[str, float]]) -> dict[str, float]:
    """The median of each action; an action that a run did not use counts as 0 there."""
    listed = list(runs)
    actions = sorted({action for requests in listed for action in requests})
    return {action: statistics.median(requests.get(action, 0.0) for requests in listed) for action in actions}


def _claims(
    loads: list[LoadFigures], publishing: list[PublishFigures], alone: list[LoneFigures], idles: list[Idle]
) -> list[Claim]:
    near, far = (_best(row for row in loads if row.name == "ours" and row.delay_ms == ms) for ms in (0.0, FAR_MS))
    ways = {(row.way, row.delay_ms): row for row in publishing if row.name == "ours"}
    lonely = next(row for row in alone if row.name == "ours")
    hourly = {row.contender.name: sum(row.requests_per_hour.values()) for row in idles}
    at_load = sum(ways["batch", FAR_MS].requests.values()) + sum(far.requests.values())
    return [
        *_at_least("jobs/s by stock", near.by_stock, 3.0),
        *_at_least("jobs/s by redis", near.by_redis, 1.2),
        *_at_least(f"jobs/s by stock, +{FAR_MS:.0f} ms a request", far.by_stock, 8.0),
        *_at_least("published/s by stock, .delay()", ways["single", 0.0].by_stock, 3.0),
        _at_most("requests a job at load, published in batches", at_load, 0.6),
        _at_most("requests a job, alone", sum(lonely.requests.values()), 3.0),
        _at_most("requests an hour, idle; the limit is stock's", hourly["ours"], hourly["stock"]),
    ]


def _best(rows: Iterable[LoadFigures]) -> LoadFigures:
    return max(rows, key=lambda row: row.jobs_per_s.median)


def _at_least(what: str, ratio: Spread | None, limit: float) -> list[Claim]:
    if ratio is None:
        return []
    return [Claim(what=what, figure=ratio.median, limit=limit, is_kept=ratio.median >= limit)]


def _at_most(what: str, figure: float, limit: float) -> Claim:
    return Claim(what=what, figure=figure, limit=limit, is_kept=figure <= limit)
