"""`python -m bench`: the commands and their parameters."""

import argparse
import sys
from pathlib import Path
from typing import Any

from bench import ROOT, ceiling, dead_letters, depth, fifo, jobs, profiles, receive, report, send, strict
from bench.jobs_processes import CONTENDERS, Name


def _counts(text: str) -> list[int]:
    return [int(part) for part in text.split(",")]


def _contenders(text: str) -> list[Name]:
    names = [name for name in CONTENDERS if name in text.split(",")]
    if len(names) != len(text.split(",")):
        raise argparse.ArgumentTypeError(f"name some of {', '.join(CONTENDERS)}, separated by commas, each once")
    return names


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measurements of Amply on this machine.")
    commands = parser.add_subparsers(dest="command", required=True)

    def command(name: str, what: str, rounds: int = 3) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=what, description=what)
        added.add_argument("--json", type=Path, default=ROOT / "bench" / "results" / f"{name}.json", metavar="FILE")
        if rounds:
            added.add_argument("--rounds", type=int, default=rounds)
        return added

    sending = command("send", "durable SendMessage requests a second")
    sending.add_argument("--connections", type=_counts, default=[1, 8, 32, 128])
    sending.add_argument("--seconds", type=float, default=5.0, help="of each round")
    sending.add_argument("--body-bytes", type=int, default=200)
    sending.add_argument("--rate", type=float, default=0.0, help="requests a second, answered or not (open loop)")
    asking = command("strict", "a strict broker against an open one, under durable SendMessage", rounds=6)
    asking.add_argument("--connections", type=_counts, default=[1, 32])
    asking.add_argument("--seconds", type=float, default=4.0, help="of each turn")
    asking.add_argument("--body-bytes", type=int, default=200)
    receiving = command("receive", "receiving and deleting, ten at a time and one at a time")
    receiving.add_argument("--connections", type=_counts, default=[1, 8])
    receiving.add_argument("--messages", type=int, default=10_000, help="of each round")
    receiving.add_argument("--body-bytes", type=int, default=200)
    diving = command("depth", "a deep queue against an empty one: memory, restart, rates", rounds=8)
    diving.add_argument("--messages", type=int, default=1_000_000, help="the backlog")
    diving.add_argument("--turn", type=int, default=2000, help="messages sent, then received, in each round")
    diving.add_argument("--body-bytes", type=int, default=200)
    ordering = command("fifo", "a FIFO queue against a standard one; backlogs of many groups, and of a locked one")
    ordering.add_argument("--connections", type=_counts, default=[1, 8, 32])
    ordering.add_argument("--seconds", type=float, default=4.0, help="of sending, of each turn")
    ordering.add_argument("--messages", type=int, default=5000, help="received in each turn")
    ordering.add_argument("--backlog", type=int, default=100_000, help="messages")
    ordering.add_argument("--body-bytes", type=int, default=200)
    working = command("jobs", "Celery jobs through our transport, stock sqs:// and Redis", rounds=5)
    working.add_argument("--contenders", type=_contenders, default=list(CONTENDERS), metavar=",".join(CONTENDERS))
    working.add_argument("--jobs", type=int, default=4000, help="of each run; fewer where each request takes 10 ms")
    working.add_argument("--quick", dest="is_quick", action="store_true", help="one round of a few jobs: does it work?")
    working.add_argument("--profile", dest="is_profiled", action="store_true", help="where the worker's time goes")
    burying = command("dead-letters", "100 000 dead letters: why they died, and back to work")
    burying.add_argument("--letters", type=int, default=100_000)
    burying.add_argument("--rate", type=float, default=500.0, help="letters a second of the redrive that has a rate")
    burying.add_argument("--rate-seconds", type=float, default=20.0, help="how long that takes")
    profiling = command("profile", "where the broker's time goes under SendMessage", rounds=0)
    profiling.add_argument("--connections", type=int, default=32)
    profiling.add_argument("--seconds", type=float, default=5.0)
    profiling.add_argument("--body-bytes", type=int, default=200)
    generating = command("ceiling", "what the load generator itself can do")
    generating.add_argument("--connections", type=int, default=32)
    generating.add_argument("--seconds", type=float, default=3.0)
    return parser


def main(arguments: list[str] | None = None) -> int:
    """0 if everything was answered with success."""
    parameters: dict[str, Any] = vars(_parser().parse_args(arguments))
    name, path = parameters.pop("command"), parameters.pop("json")
    module: Any = {
        "send": send,
        "strict": strict,
        "receive": receive,
        "depth": depth,
        "fifo": fifo,
        "jobs": jobs,
        "dead-letters": dead_letters,
        "profile": profiles,
        "ceiling": ceiling,
    }[name]
    figures = module.measure(**parameters)
    report.save(path, name, parameters, figures)
    for table in module.tables(figures):
        report.show(table)
    rows = figures if isinstance(figures, list) else [figures]
    return 1 if any(row.errors for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
