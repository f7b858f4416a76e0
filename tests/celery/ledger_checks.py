"""What the file of moments says about jobs: their runs, in order, each with its start and its end."""

import itertools
import json
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path


@dataclass
class Run:
    """One run of a job in a worker's child. `ended_ns` is None while it runs, and for ever if it was cut off."""

    task: str
    number: int
    job: str
    queue: str
    receive_count: int | None
    attempt: int | None
    message: str | None
    pid: int
    parent: int
    started_ns: int
    ended_ns: int | None = None


def runs(folder: Path) -> list[Run]:
    """Every run that the tasks noted in a system's folder, by their start."""
    path = folder / "ledger.moments"
    if not path.exists():
        return []
    found: list[Run] = []
    open_runs: dict[tuple[str, int], Run] = {}
    # The last line may be on its way.
    for line in path.read_text().split("\n")[:-1]:
        noted = json.loads(line)
        key = noted["job"], noted["pid"]
        what, at_ns = noted.pop("what"), noted.pop("at_ns")
        if what == "start":
            open_runs[key] = Run(**noted, started_ns=at_ns)
            found.append(open_runs[key])
        else:
            open_runs.pop(key).ended_ns = at_ns
    return sorted(found, key=lambda run: run.started_ns)


def of_numbers(found: Iterable[Run], numbers: Iterable[int]) -> dict[int, list[Run]]:
    """The runs of these numbers; a number that never ran has none."""
    by_number = defaultdict(list)
    for run in found:
        by_number[run.number].append(run)
    return {number: by_number[number] for number in numbers}


def not_ended(found: Iterable[Run], numbers: Iterable[int]) -> set[int]:
    """The numbers without a run that came to its end."""
    ended = {run.number for run in found if run.ended_ns is not None}
    return set(numbers) - ended


def repeated(found: Iterable[Run], numbers: Iterable[int]) -> Counter[int]:
    """How often each of these numbers ran, of those that ran more than once."""
    wanted = set(numbers)
    counts = Counter(run.number for run in found if run.number in wanted)
    return Counter({number: count for number, count in counts.items() if count > 1})


def gaps_s(found: Iterable[Run]) -> list[float]:
    """The seconds between the starts of these runs."""
    starts = sorted(run.started_ns for run in found)
    return [(later - earlier) / 1e9 for earlier, later in itertools.pairwise(starts)]
