"""The command `python -m bench jobs`, run small, and how its figures come about. No speed is judged."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from bench.jobs_figures import FAR_MS, JobsFigures, compare
from bench.jobs_plans import STAMP_BYTES, stamp, stamps_s
from bench.jobs_processes import Contender
from bench.jobs_runs import Idle, Load, Lone

ROOT = Path(__file__).resolve().parents[2]


def load(name: str, jobs_per_s: float, **changes: Any) -> Load:
    """A run with this rate; what does not matter here is the same in all."""
    whole = {
        "contender": Contender(name, changes.pop("multiplier", 10)),
        "way": "single",
        "delay_ms": 0.0,
        "round": 0,
        "publish_per_s": 100.0,
        "jobs_per_s": jobs_per_s,
        "publish_us": 1.0,
        "main_us": 1.0,
        "pool_us": 1.0,
        "server_us": 1.0,
        "publish_requests": {},
        "consume_requests": {},
        "faults": [],
    }
    return Load(**{**whole, **changes})


def lone(name: str, **requests: float) -> Lone:
    return Lone(contender=Contender(name, 1), requests=requests, latency_ms=[5.0], faults=[])


def idle(name: str, receives: float) -> Idle:
    hourly = {"ReceiveMessage": receives}
    return Idle(contender=Contender(name, 1), requests_per_hour=hourly, main_cpu=0.0, faults=[])


def compared(jobs_per_s: float) -> JobsFigures:
    """Ours with this rate, near and far, beside stock with 100 and Redis with 200."""
    batch = {"way": "batch", "publish_requests": {"SendMessageBatch": 0.1}}
    loads = [
        load("ours", jobs_per_s, multiplier=1, publish_per_s=290.0),
        load("ours", 1.0, **batch),
        load("stock", 100.0),
        load("redis", 200.0),
        load("ours", jobs_per_s, multiplier=1, delay_ms=FAR_MS, consume_requests={"ReceiveMessage": 0.3}),
        load("ours", 1.0, delay_ms=FAR_MS, **batch),
        load("stock", 100.0, delay_ms=FAR_MS),
    ]
    lones = [lone("ours", ReceiveMessage=1.0, DeleteMessageBatch=1.0, SendMessage=1.5), lone("stock"), lone("redis")]
    idles = [idle("ours", 360.0), idle("stock", 360.0)]
    return compare(["ours", "stock", "redis"], loads, lones, idles, [1000.0])


def test_ratios_are_taken_within_each_round_and_to_the_best_setting_of_the_other() -> None:
    loads = [
        *(load("redis", rate, round=number) for number, rate in enumerate((300.0, 1000.0, 800.0))),
        *(load("stock", rate, round=number) for number, rate in enumerate((100.0, 200.0, 400.0))),
        *(load("stock", rate, round=number, multiplier=1) for number, rate in enumerate((500.0, 100.0, 100.0))),
    ]

    figures = compare(["stock", "redis"], loads, [lone("stock"), lone("redis")], [], [1000.0])

    row = next(row for row in figures.loads if row.name == "redis")
    assert (row.jobs_per_s.least, row.jobs_per_s.median, row.jobs_per_s.most) == (300.0, 800.0, 1000.0)
    assert row.by_stock is not None
    assert (row.by_stock.least, row.by_stock.median, row.by_stock.most) == (2.0, 3.0, 5.0)


def test_an_action_that_only_some_rounds_used_counts_as_none_in_the_others() -> None:
    used = [{"DeleteMessage": 1.0}, {"DeleteMessage": 1.0}, {"DeleteMessage": 1.0, "ChangeMessageVisibility": 9.0}]
    loads = [load("stock", 100.0, round=number, consume_requests=requests) for number, requests in enumerate(used)]

    figures = compare(["stock"], loads, [lone("stock")], [], [1000.0])

    assert figures.loads[0].requests == {"DeleteMessage": 1.0, "ChangeMessageVisibility": 0.0}


def test_a_fault_of_any_run_is_an_error_of_the_whole() -> None:
    loads = [load("stock", 100.0, faults=["a job never ran"])]

    assert compare(["stock"], loads, [lone("stock")], [], [1000.0]).errors == 1


@pytest.mark.parametrize(
    ("jobs_per_s", "near", "far"), [(800.0, True, True), (799.0, True, False), (239.0, False, False)]
)
def test_a_promise_is_kept_from_its_limit_on(jobs_per_s: float, near: bool, far: bool) -> None:
    kept = {claim.what: claim.is_kept for claim in compared(jobs_per_s).claims}

    assert kept == {
        "jobs/s by stock": near,
        "jobs/s by redis": near,
        "jobs/s by stock, +10 ms a request": far,
        "published/s by stock, .delay()": False,
        "requests a job at load, published in batches": True,
        "requests a job, alone": False,
        "requests an hour, idle; the limit is stock's": True,
    }


def test_the_times_of_jobs_are_read_in_order_and_without_one_that_is_still_being_written(tmp_path: Path) -> None:
    first, second = stamp(), stamp()
    path = tmp_path / "stamps"
    path.write_bytes(second + first + stamp()[: STAMP_BYTES - 1])

    assert [round(at_s * 1e9) for at_s in stamps_s(path)] == pytest.approx(
        [int.from_bytes(first, "little"), int.from_bytes(second, "little")], rel=1e-12
    )


def test_jobs_measures_all_contenders_and_loses_no_job(tmp_path: Path) -> None:
    results = tmp_path / "results.json"
    command = [sys.executable, "-m", "bench", "jobs", "--quick", "--json", str(results)]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr

    figures = json.loads(results.read_text())["figures"]
    assert figures["errors"] == 0
    assert {(row["name"], row["delay_ms"]) for row in figures["loads"]} == {
        *(("ours", 0.0), ("stock", 0.0), ("redis", 0.0)),
        *(("ours", FAR_MS), ("stock", FAR_MS)),
    }
    assert all(row["jobs_per_s"]["least"] > 0 for row in figures["loads"] + figures["publishing"])
    ways = {(row["name"], row["way"]): row["requests"] for row in figures["publishing"] if row["delay_ms"]}
    assert ways["stock", "single"]["SendMessage"] == 1
    assert ways["ours", "single"]["SendMessage"] == 1
    assert 0.1 <= ways["ours", "batch"]["SendMessageBatch"] < 1
    assert "SendMessage" not in ways["ours", "batch"]
    alone = {row["name"]: row for row in figures["lone"]}
    assert alone["stock"]["requests"]["DeleteMessage"] == 1
    assert alone["redis"]["requests"] == {}
    assert [row["contender"]["name"] for row in figures["idle"]] == ["ours", "stock"]
    assert "no-op jobs at -c 4" in ended.stderr
    assert "what is promised of ours" in ended.stderr
