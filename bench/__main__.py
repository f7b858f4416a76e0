"""`python -m bench`: the commands and their parameters."""

import argparse
import sys
from pathlib import Path
from typing import Any

from bench import ceiling, report, send
from bench.processes import ROOT


def _counts(text: str) -> list[int]:
    return [int(part) for part in text.split(",")]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measurements of Amply on this machine.")
    commands = parser.add_subparsers(dest="command", required=True)

    def command(name: str, what: str) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=what, description=what)
        added.add_argument("--json", type=Path, default=ROOT / "bench" / "results" / f"{name}.json", metavar="FILE")
        added.add_argument("--rounds", type=int, default=3)
        return added

    sending = command("send", "durable SendMessage requests a second")
    sending.add_argument("--connections", type=_counts, default=[1, 8, 32, 128])
    sending.add_argument("--seconds", type=float, default=5.0, help="of each round")
    sending.add_argument("--body-bytes", type=int, default=200)
    sending.add_argument("--rate", type=float, default=0.0, help="requests a second, answered or not (open loop)")
    generating = command("ceiling", "what the load generator itself can do")
    generating.add_argument("--connections", type=int, default=32)
    generating.add_argument("--seconds", type=float, default=3.0)
    return parser


def main(arguments: list[str] | None = None) -> int:
    """0 if everything was answered with success."""
    parameters: dict[str, Any] = vars(_parser().parse_args(arguments))
    name, path = parameters.pop("command"), parameters.pop("json")
    module: Any = {"send": send, "ceiling": ceiling}[name]
    figures = module.measure(**parameters)
    report.show(module.table(figures))
    report.save(path, name, parameters, figures)
    return 0


if __name__ == "__main__":
    sys.exit(main())
