"""`amply up` as a person runs it, and what it shows."""

import io
import itertools
import re
import signal
import socket
import subprocess
import sys
from contextlib import contextmanager

import psutil
import pytest

from amply import settings
from amply.cli.up_board import View, line, table
from amply.cli.up_run import tally_text
from amply.cli.up_samples import RATE_WINDOW_MS, QueueCounts, QueueSample, Sample, Sampler
from amply.clock import ManualClock
from amply.scaling.fleet import Phase, ProcessState
from amply.topology.load import load

PATIENCE_S = 120.0
# Of the lines that come every three seconds, so that a test that waits for one in vain ends.
LINES_MAX = 60


def counts(name="amply-celery-high", **changes):
    told = {"visible": 0, "in_flight": 0, "delayed": 0, "sent": 0, "deleted": 0, "dead_lettered": 0}
    return QueueCounts(name=name, **{**told, **changes})


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


@contextmanager
def amply_up(data, port, *options):
    """A running `amply up`; in the end nothing of it may be left."""
    changes = {"AMPLY_TOPOLOGY": "", "DATABASE_URL": "", "REDIS_URL": ""}
    running = subprocess.Popen(
        [sys.executable, "-m", "amply", "up", "--port", str(port), "--data", str(data), *options],
        env=settings.child_environment(changes),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    family = []
    try:
        with running:
            try:
                yield running, family
            finally:
                running.kill()  # else a failed test would wait for its end
    finally:
        _, left = psutil.wait_procs(family, timeout=PATIENCE_S)
        for process in left:
            process.kill()
        assert left == []


def test_the_demonstration_fills_and_drains_every_queue_and_a_stop_loses_nothing(tmp_path):
    with amply_up(tmp_path, free_port(), "--demo") as (running, family):
        filled, done, seen = set(), set(), []
        for shown in itertools.islice(running.stdout, LINES_MAX):
            seen.append(shown)
            for name, visible, count in re.findall(
                r"(celery|high|low) (\d+)\+\d+\+\d+ \S+ \S+ \S+ \S+ done (\d+)", shown
            ):
                filled |= {name} if int(visible) else set()
                done |= {name} if int(count) else set()
            if done == {"celery", "high", "low"} and {"celery", "high"} <= filled:
                break
        assert done == {"celery", "high", "low"}, seen
        assert {"celery", "high"} <= filled, seen
        family.extend(psutil.Process(running.pid).children(recursive=True))
        running.send_signal(signal.SIGINT)
        _, err = running.communicate(timeout=PATIENCE_S)
    assert running.returncode == 0, err
    assert "export AWS_ENDPOINT_URL_SQS=http://127.0.0.1:" in "".join(seen)
    sent, finished, waiting, dead, lost = map(
        int, re.search(r"all: (\d+) sent = (\d+) done \+ (\d+) waiting \+ (\d+) dead \+ (\d+) lost", err).groups()
    )
    assert sent == finished + waiting
    assert sent >= 3  # how many there are by then is up to the machine
    assert (dead, lost) == (0, 0)
    logs = {path.name for path in (tmp_path / "logs").iterdir()}
    assert {"broker.log", "amply-worker-high.log", "amply-worker-low.log", "beat.log", "demo-load.log"} <= logs


def test_a_killed_broker_comes_back_and_takes_jobs_again(tmp_path):
    port = free_port()
    with amply_up(tmp_path, port) as (running, family):
        for shown in itertools.islice(running.stdout, LINES_MAX):
            if "3 of 4 processes run" in shown or "4 of 4 processes run" in shown:
                break
        broker = next(child for child in psutil.Process(running.pid).children() if "broker" in child.cmdline())
        broker.kill()
        environment = settings.child_environment(
            {"AWS_ENDPOINT_URL_SQS": f"http://127.0.0.1:{port}", "AMPLY_DATA": str(tmp_path)}
        )
        task = "amply.jobs.cleanup.remove_expired_records"
        sent = None
        while sent is None or "unreachable" in sent.stderr.lower() or "refused" in sent.stderr.lower():
            sent = subprocess.run(
                [sys.executable, "-m", "amply", "job", "send", task, "--wait", str(PATIENCE_S)],
                env=environment,
                capture_output=True,
                text=True,
                check=False,
            )
        # By the workers that were there before.
        assert "SUCCESS" in sent.stdout, sent.stderr
        family.extend(psutil.Process(running.pid).children(recursive=True))
        running.send_signal(signal.SIGTERM)
        _, err = running.communicate(timeout=PATIENCE_S)
    assert running.returncode == 0
    assert "The queues are empty." in err


def test_killing_it_hard_leaves_no_process_behind(tmp_path):
    with amply_up(tmp_path, free_port()) as (running, family):
        for shown in itertools.islice(running.stdout, LINES_MAX):
            if "4 of 4 processes run" in shown:
                break
        family.extend(psutil.Process(running.pid).children(recursive=True))
        assert len(family) >= 5
        running.kill()
        _, left = psutil.wait_procs(family, timeout=PATIENCE_S)
    assert left == []


def test_a_port_in_use_is_the_brokers_own_error_and_exit_code(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with amply_up(tmp_path, port) as (running, _):
            out, err = running.communicate(timeout=PATIENCE_S)
    assert running.returncode == 1
    assert out == ""
    assert err.startswith(f"Error: port {port} on 127.0.0.1 is in use\n")


@pytest.fixture
def clock():
    return ManualClock()


@pytest.fixture
def sampler(clock):
    return Sampler("http://127.0.0.1:1", load(), clock)


def test_rates_are_taken_over_the_window(sampler, clock):
    first = sampler.rated([counts(sent=100, deleted=50)])[0]
    assert (first.in_per_s, first.out_per_s) == (None, None)
    for second in range(1, 6):
        clock.advance(1)
        last = sampler.rated([counts(sent=100 + 10 * second, deleted=50 + 4 * second)])[0]
    assert (last.in_per_s, last.out_per_s) == (10, 4)
    clock.advance(RATE_WINDOW_MS / 1000)
    idle = sampler.rated([counts(sent=150, deleted=70)])[0]
    assert (idle.in_per_s, idle.out_per_s) == (0, 0)


def test_a_restarted_broker_counts_anew_and_rates_begin_anew(sampler, clock):
    sampler.rated([counts(sent=100)])
    clock.advance(1)
    assert sampler.rated([counts(sent=5)])[0].in_per_s is None
    clock.advance(1)
    assert sampler.rated([counts(sent=6)])[0].in_per_s == 1


def test_queues_of_jobs_are_shown_in_the_order_of_the_topology_and_others_not(sampler):
    names = ["amply-telemetry", "amply-celery-dlq", "amply-celery", "amply-celery-high", "amply-celery-low"]
    samples = sampler.rated([counts(name) for name in ["zzz", *names]])
    assert [sample.counts.name for sample in samples] == [
        queue.name for queue in load().queues if queue.name != "amply-telemetry"
    ]


def test_without_an_answer_the_last_counts_stay_with_the_reason(sampler):
    sampler.newest = Sample((QueueSample(celery_name="high", counts=counts()),))
    assert sampler.look() == Sample(sampler.newest.queues, "The broker does not answer at the moment.")


def view(**changes):
    high = QueueSample(
        celery_name="high", counts=counts(visible=12, in_flight=3, delayed=1, deleted=99), in_per_s=4.25, out_per_s=None
    )
    dead = QueueSample(celery_name=None, counts=counts("amply-celery-dlq", visible=2))
    process = ProcessState(
        service="amply-worker-high",
        label="amply-worker-high",
        phase=Phase.RUNNING,
        pid=4242,
        starts=3,
        uptime_s=3_725.0,
        restart_in_s=None,
        last_exit_code=-9,
        last_exit="SIGKILL",
        last_words=(),
    )
    told = {
        "uptime_s": 75.0,
        "sample": Sample((high, dead)),
        "processes": [process],
        "error_count": 0,
        "last_error": None,
        "logs": "/data/logs",
        "is_stopping": False,
    }
    return View(**{**told, **changes})


def test_the_plain_line_tells_counts_rates_and_processes():
    assert line(view()) == (
        "   75 s | high 12+3+1 in 4.2/s out -/s done 99 | amply-celery-dlq 2+0+0 | 1 of 1 processes run"
    )
    assert line(view(error_count=2)).endswith("1 of 1 processes run | 2 errors in /data/logs")


def test_the_table_tells_queues_processes_and_the_last_error_without_letting_it_steer_the_terminal():
    from rich.console import Console

    console = Console(width=140, record=True, file=io.StringIO())
    console.print(table(view(error_count=2, last_error=("beat", "ERROR \x1b[2J boom"))))
    text = console.export_text()
    assert re.search(r"amply-celery-high .* 12 .* 3 .* 1 .* 4\.2 .* - .* 99 .* █████ ", text)
    assert re.search(r"amply-worker-high .* running .* 4242 .* 1:02:05 .* 3 .* SIGKILL", text)
    assert "Up 1:15. Ctrl-C drains and stops everything." in text
    assert "2 errors in /data/logs, the last from beat: ERROR \\x1b[2J boom" in text


def sample(high=0, dead=0):
    return Sample(
        (
            QueueSample(celery_name="high", counts=counts(visible=high)),
            QueueSample(celery_name=None, counts=counts("amply-celery-dlq", visible=dead)),
        )
    )


@pytest.mark.parametrize(
    ("last", "summed"),
    [
        (sample(high=10), "10 sent = 7 done + 3 waiting + 0 dead + 0 lost"),
        (sample(high=2, dead=1), "10 sent = 7 done + 2 waiting + 1 dead + 0 lost"),
        (sample(), "10 sent = 7 done + 0 waiting + 0 dead + 3 lost"),
    ],
)
def test_a_job_that_is_neither_done_nor_in_a_queue_is_called_lost(last, summed):
    assert tally_text({"high": 10}, {"high": 7}, last).endswith(f"  high: 10 sent, 7 done\n  all: {summed}")
