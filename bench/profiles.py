"""Where a broker's time goes under SendMessage: its threads from outside, its event loop's functions from inside."""

import sys
from concurrent.futures import ThreadPoolExecutor

import msgspec
from msgspec import Struct

from bench import machine, processes, thread_states
from bench.load import Outcome
from bench.profiled import Samples
from bench.report import Table, say
from bench.thread_states import ThreadShares

_WARM_UP_S = 1.0
_SHOWN = 30


class ProfileFigures(Struct, frozen=True, kw_only=True):
    """The outcome is that of the load while threads were watched, without the profiler in the broker."""

    outcome: Outcome
    fsyncs_per_s: float
    threads: list[ThreadShares]
    samples: Samples
    errors: int


def measure(*, connections: int, seconds: float, body_bytes: int) -> ProfileFigures:
    """Two loads, one for each way of looking, each on a broker of its own."""
    plan = {"work": "send", "connections": connections, "warm_up_s": _WARM_UP_S, "body_bytes": body_bytes}
    with processes.scratch() as folder, ThreadPoolExecutor(1) as pool:
        fsyncs = machine.fsync_rate(folder)
        with processes.broker(folder / "watched") as running:
            # The watch begins with the warm-up's end and ends before the load does.
            load = pool.submit(processes.run, running, seconds=seconds + 1.0, **plan)
            thread_states.watch(running.pid, _WARM_UP_S + 0.5)
            threads = thread_states.watch(running.pid, seconds)
            outcome = load.result()
        say(f"threads watched at {outcome.requests_per_s:,.0f} requests/s")
        path = folder / "samples.json"
        with processes.broker(folder / "sampled", (sys.executable, "-m", "bench.profiled", str(path))) as running:
            sampled = processes.run(running, seconds=seconds, **plan)
        say(f"functions sampled at {sampled.requests_per_s:,.0f} requests/s")
        samples = msgspec.json.decode(path.read_bytes(), type=Samples)
    return ProfileFigures(
        outcome=outcome,
        fsyncs_per_s=fsyncs,
        threads=threads,
        samples=samples,
        errors=outcome.errors + sampled.errors,
    )


def tables(figures: ProfileFigures) -> list[Table]:
    """For people."""
    outcome, samples = figures.outcome, figures.samples
    title = (
        f"threads at {outcome.requests_per_s:,.0f} requests/s, {figures.fsyncs_per_s:,.0f} fsync/s, "
        f"broker {outcome.server_cpu_s / outcome.elapsed_s:.0%}, generator "
        f"{outcome.generator_cpu_s / outcome.elapsed_s:.0%} of a core"
    )
    threads = [
        [thread.name, *(f"{thread.shares[state]:.0%}" for state in thread_states.STATES)] for thread in figures.threads
    ]
    return [
        Table(title, ["thread", *thread_states.STATES], threads),
        _top("event loop, by own time (C code counts for its caller)", samples.own, samples.total),
        _top("event loop, by line", samples.lines, samples.total),
        _top("event loop, with what was called", samples.with_callees, samples.total),
    ]


def _top(title: str, counts: dict[str, int], total: int) -> Table:
    ordered = sorted(counts.items(), key=lambda pair: -pair[1])[:_SHOWN]
    return Table(title, [f"where ({total} samples)", "share"], [[name, f"{n / total:.1%}"] for name, n in ordered])
