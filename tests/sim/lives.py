"""Many lives on several processes, for as long as you like: `make sim`, or one again by its seed.

    python tests/sim/lives.py --first 0 --seeds 100000 --jobs 2
    python tests/sim/lives.py --first 4711 --seeds 1

Prints how far it got, so that a run can go on with `--first`. The first life that differs from the model ends the run.
"""

import argparse
import multiprocessing
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from life import Life

STEPS = 500
BLOCK = 100


def block(task: tuple[int, int, int]) -> Counter[str]:
    """Live through some seeds; what was reached."""
    first, seeds, steps = task
    reached: Counter[str] = Counter()
    for seed in range(first, first + seeds):
        life = Life(seed)
        life.live(steps)
        reached += life.reached
    return reached


def blocks(first: int, seeds: int, steps: int) -> Iterator[tuple[int, int, int]]:
    end = first + seeds
    for start in range(first, end, BLOCK):
        yield start, min(BLOCK, end - start), steps


def main() -> None:
    parser = argparse.ArgumentParser(description="Simulated lives of the broker, compared with the model.")
    parser.add_argument("--first", type=int, default=0, help="the first seed (default 0)")
    parser.add_argument("--seeds", type=int, default=100_000, help="how many (default 100000)")
    parser.add_argument("--steps", type=int, default=STEPS, help=f"operations in each life (default {STEPS})")
    parser.add_argument("--jobs", type=int, default=multiprocessing.cpu_count(), help="processes (default: all cores)")
    args = parser.parse_args()
    tasks = blocks(args.first, args.seeds, args.steps)
    reached: Counter[str] = Counter()
    began_s, done = time.monotonic(), 0
    with multiprocessing.Pool(args.jobs) as pool:
        for one in pool.imap(block, tasks):
            reached += one
            done = min(done + BLOCK, args.seeds)
            rate = done / (time.monotonic() - began_s)
            sys.stdout.write(f"\rseeds {args.first} to {args.first + done - 1} agree, {rate:.0f} a second")
            sys.stdout.flush()
    sys.stdout.write("\n")
    for state, count in sorted(reached.items()):
        sys.stdout.write(f"{count:>12} {state}\n")


if __name__ == "__main__":
    main()
