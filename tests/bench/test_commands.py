"""The commands of `python -m bench`, each run small. No figure is judged: only that it is there and adds up."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]


def bench(tmp_path: Path, name: str, *arguments: str) -> tuple[Any, str]:
    """The content of the results file, and what the person sees."""
    results = tmp_path / "new" / "results.json"
    ended = subprocess.run(
        [sys.executable, "-m", "bench", name, "--json", str(results), *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout == ""
    return json.loads(results.read_text()), ended.stderr


def test_send_gives_a_rate_for_each_number_of_connections_and_says_on_what_machine(tmp_path: Path) -> None:
    content, seen = bench(tmp_path, "send", "--connections", "1,3", "--seconds", "0.3", "--rounds", "2")

    assert content["parameters"]["connections"] == [1, 3]
    assert {"cores", "kernel", "python", "sqlite", "commit"} <= content["machine"].keys()
    for row, connections in zip(content["figures"], (1, 3), strict=True):
        assert row["connections"] == connections
        rate = row["requests_per_s"]
        assert 0 < rate["least"] <= rate["median"] <= rate["most"]
        assert row["fsyncs_per_s"]["median"] > 0
        assert 0 < row["p50_ms"] <= row["p99_ms"]
        assert row["errors"] == 0
        assert len(row["rounds"]) == 2
    assert "durable SendMessage" in seen


def test_strict_compares_signed_requests_with_those_that_nobody_looks_at(tmp_path: Path) -> None:
    content, seen = bench(tmp_path, "strict", "--connections", "2", "--seconds", "0.3", "--rounds", "2")

    (row,) = content["figures"]
    assert row["rate_ratio"]["median"] > 0
    assert row["strict_us"]["median"] > 0
    assert row["errors"] == 0
    assert len(row["rounds"]) == 2
    assert "strict by open" in seen


def test_fifo_compares_the_kinds_of_queue_and_finds_the_message_behind_a_locked_group(tmp_path: Path) -> None:
    sizes = "--messages", "50", "--backlog", "200"
    content, seen = bench(tmp_path, "fifo", "--connections", "2", "--seconds", "0.3", "--rounds", "1", *sizes)

    rows = content["figures"]["rates"]
    assert len(rows) == 3
    for row in rows:
        assert row["ratio"]["median"] > 0
        assert row["fifo_us"]["median"] > 0
    many, locked = content["figures"]["backlogs"]
    assert many["groups"] > locked["groups"] == 1
    for row in (many, locked):
        assert row["messages"] >= 200
        assert min(row["found_ms"], row["restart_ms"], row["found_again_ms"]) > 0
    assert content["figures"]["errors"] == 0
    assert "FIFO by standard" in seen


def test_receive_empties_the_queue_that_it_filled(tmp_path: Path) -> None:
    content, _ = bench(tmp_path, "receive", "--connections", "2", "--messages", "100", "--rounds", "1")

    for row in content["figures"]:
        # Each of the eight connections that fill the queue may have one more batch of ten under way.
        assert 100 <= row["rounds"][0]["messages"] <= 180
        assert row["errors"] == 0


def test_depth_compares_a_deep_queue_with_an_empty_one_and_loses_no_message(tmp_path: Path) -> None:
    content, seen = bench(tmp_path, "depth", "--messages", "300", "--turn", "40", "--rounds", "1")

    figures = content["figures"]
    assert figures["depth"] >= 300
    assert figures["missing"] == 0
    assert figures["errors"] == 0
    assert figures["send_ratio"]["median"] > 0
    assert figures["receive_ratio"]["median"] > 0
    assert figures["restart_deep_s"]["median"] > 0
    assert figures["rss_filled_mb"] > 1
    assert "messages waiting" in seen


def test_dead_letters_are_all_grouped_and_all_redriven(tmp_path: Path) -> None:
    sizes = "--letters", "200", "--rounds", "1", "--rate", "200", "--rate-seconds", "0.3"
    content, seen = bench(tmp_path, "dead-letters", *sizes)

    figures = content["figures"]
    assert figures["letters"] == 200
    assert min(figures["groups_s"]["median"], figures["few_groups_s"], figures["groups_mb"]) > 0
    assert min(figures["redrive_per_s"], figures["redrive_us"], figures["redrive_broker_us"]) > 0
    assert figures["rate_held"] > 0
    assert figures["errors"] == 0
    assert "200 dead letters" in seen


def test_profile_shows_the_functions_of_the_event_loop(tmp_path: Path) -> None:
    content, seen = bench(tmp_path, "profile", "--connections", "8", "--seconds", "1")

    samples = content["figures"]["samples"]
    assert samples["total"] == sum(samples["own"].values()) == sum(samples["lines"].values()) > 0
    assert any("Connection.data_received" in name for name in samples["with_callees"])
    assert "by own time" in seen


def test_ceiling_measures_the_generator_alone(tmp_path: Path) -> None:
    content, _ = bench(tmp_path, "ceiling", "--connections", "2", "--seconds", "0.3", "--rounds", "1")

    assert content["figures"]["requests_per_s"]["median"] > 0
    assert content["figures"]["errors"] == 0
