"""Fuzzing guided by coverage: `python tests/fuzz/run.py SECONDS [TARGET ...]`, or `make fuzz`.

Every target gets its share of the time, in a process of its own. What it learns is kept in `.fuzz/`, which may be
deleted; an input that fails is written to `tests/fuzz/corpus/TARGET/found-...`, where the tests replay it. `--minimise`
instead of the seconds takes from `.fuzz/` into the stored corpus what reaches code that nothing stored reaches.
"""

import shlex
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
STORED = HERE / "corpus"
LEARNT = HERE.parents[1] / ".fuzz"

INPUT_MAX_BYTES = 4096
HANG_S = 10
MEMORY_MAX_MB = 1024


def fuzz(target: str, arguments: list[str]) -> None:
    """Become libFuzzer; does not return."""
    import atheris

    with atheris.instrument_imports(include=["amply"]):
        from targets import TARGETS
    # libFuzzer starts itself again, through a shell, to merge corpora.
    itself = shlex.join([sys.executable, __file__, "--become", target])
    atheris.Setup([itself, *arguments], TARGETS[target])
    atheris.Fuzz()


def start(target: str, *arguments: str) -> int:
    """Run libFuzzer in a process of its own; returns its exit code, 0 when nothing was found."""
    learnt, stored = LEARNT / target, STORED / target
    learnt.mkdir(parents=True, exist_ok=True)
    options = [
        f"-max_len={INPUT_MAX_BYTES}",
        f"-timeout={HANG_S}",
        f"-rss_limit_mb={MEMORY_MAX_MB}",
        f"-dict={HERE / 'words.dict'}",
        f"-artifact_prefix={stored}/found-",
    ]
    folders = [stored, learnt] if "-merge=1" in arguments else [learnt, stored]
    command = [sys.executable, __file__, "--become", target, *arguments, *options, *map(str, folders)]
    return subprocess.run(command, check=False).returncode


def main(arguments: list[str]) -> int:
    if arguments[0] == "--become":
        fuzz(arguments[1], arguments[2:])
    wanted = arguments[1:] or sorted(folder.name for folder in STORED.iterdir())
    if arguments[0] == "--minimise":
        # What reaches new code is kept, not what reaches known code more often: that would be ten times as much.
        return max(start(target, "-merge=1", "-use_counters=0") for target in wanted)
    seconds = max(1, int(arguments[0]) // len(wanted))
    failed = [target for target in wanted if start(target, f"-max_total_time={seconds}", "-print_final_stats=1")]
    for target in failed:
        print(f"{target}: an input fails; it is in {STORED / target}, and `make test` replays it.")  # noqa: T201
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
