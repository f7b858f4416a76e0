"""`amply workers`: which processes there are, what they are given, and how they are stopped."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from amply import settings
from amply.cli.workers_environment import child_environment, is_loopback, local_credentials
from amply.cli.workers_services import worker_services
from amply.cli.workers_watch import News, StopRequests, drain
from amply.clock import SystemClock
from amply.scaling.fleet import Fleet, Phase, ProcessState, Service
from amply.topology.load import load

PATIENCE_S = 60.0


def state(phase, **changes):
    told = {
        "service": "w",
        "label": "w.1",
        "phase": phase,
        "pid": None,
        "starts": 1,
        "uptime_s": 0.0,
        "restart_in_s": None,
        "last_exit_code": None,
        "last_exit": None,
        "last_words": (),
    }
    return ProcessState(**{**told, **changes})


def test_the_services_are_the_declared_ones_with_their_exact_commands_and_one_beat():
    services = worker_services(load(), {}, with_beat=True)
    assert [service.name for service in services] == ["amply-worker-high", "amply-worker-low", "beat"]
    celery = str(Path(sys.executable).with_name("celery"))
    assert services[0].command == (
        *(celery, "-A", "amply.jobs.celery_app", "worker", "-Q", "high,celery", "--concurrency=4", "--loglevel=info"),
    )
    assert services[2].command == (celery, "-A", "amply.jobs.celery_app", "beat", "--loglevel=info")


def test_without_beat_there_is_none():
    assert [s.name for s in worker_services(load(), {}, with_beat=False)] == ["amply-worker-high", "amply-worker-low"]


@pytest.mark.parametrize(
    ("url", "is_local"),
    [
        ("http://127.0.0.1:9324", True),
        ("http://127.8.8.8", True),
        ("http://[::1]:9324", True),
        ("http://localhost:9324", True),
        ("https://sqs.eu-central-1.amazonaws.com", False),
        ("http://127.0.0.1.example.com", False),
        ("http://10.0.0.1", False),
        ("http://[::1", False),
    ],
)
def test_only_this_machine_is_loopback(url, is_local):
    assert is_loopback(url) is is_local


def test_credentials_are_filled_in_for_this_machine_only_and_never_in_place_of_real_ones():
    local, aws = "http://127.0.0.1:9324", "https://sqs.eu-central-1.amazonaws.com"
    filled = local_credentials(local, "eu-central-1", {})
    assert set(filled) == {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_DEFAULT_REGION"}
    assert local_credentials(aws, "eu-central-1", {}) == {}
    assert local_credentials(None, "eu-central-1", {}) == {}
    assert local_credentials(local, "eu-central-1", {"AWS_ACCESS_KEY_ID": "k", "AWS_REGION": "r"}) == {}
    assert local_credentials(local, "eu-central-1", {"AWS_PROFILE": "p", "AWS_DEFAULT_REGION": "r"}) == {}


def test_a_child_gets_the_endpoint_the_data_folder_and_everything_else_that_was_there(monkeypatch, tmp_path):
    monkeypatch.setenv("COLOUR", "teal")
    environment = child_environment(endpoint_url="http://127.0.0.1:1", region="eu-central-1", data=tmp_path)
    assert environment["AWS_ENDPOINT_URL_SQS"] == "http://127.0.0.1:1"
    assert environment["AMPLY_DATA"] == str(tmp_path)
    assert environment["COLOUR"] == "teal"


def test_news_are_told_once():
    news = News()
    waiting = state(Phase.WAITING, restart_in_s=0.4, last_exit="SIGKILL")
    assert news.of([state(Phase.RUNNING)]) == []
    assert news.of([waiting]) == ["w.1 ended (SIGKILL); starting it again in 0.4 s."]
    assert news.of([waiting]) == []
    news.of([state(Phase.STOPPING)])
    assert news.of([state(Phase.STOPPED, last_exit="SIGKILL")]) == ["w.1 did not stop when asked, and was killed."]


def test_a_second_request_to_stop_hurries_even_what_is_stopped_later():
    # A shell's background jobs ignore SIGQUIT, and so do their children unless they say otherwise.
    deaf = (
        "import signal,time; signal.signal(15, signal.SIG_IGN); signal.signal(3, signal.SIG_DFL); "
        "print('ready', flush=True); time.sleep(600)"
    )
    ready = []
    asked = StopRequests()
    services = [Service(name=name, command=(sys.executable, "-c", deaf), grace_s=3600) for name in ("first", "second")]
    clock = SystemClock()
    with Fleet(services, clock=clock, jitter=lambda: 1.0, on_line=lambda label, _: ready.append(label)) as fleet:
        with asked.listening():
            fleet.start()
            deadline = time.monotonic() + PATIENCE_S
            while len(ready) < 2 and time.monotonic() < deadline:
                fleet.tick()
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGTERM)
            assert asked.count == 2

            def lose_patience():
                assert time.monotonic() < deadline

            for name in ("first", "second"):
                drain(fleet, asked, lose_patience, name)
        assert [told.last_exit for told in fleet.states()] == ["SIGQUIT", "SIGQUIT"]


def test_workers_do_jobs_until_asked_to_stop_and_leave_nothing_behind(broker, sqs, tmp_path):
    environment = settings.child_environment(
        {"AMPLY_DATA": str(tmp_path / "jobs"), "AMPLY_TOPOLOGY": "", "DATABASE_URL": "", "REDIS_URL": ""}
    )
    amply = [sys.executable, "-m", "amply"]
    with subprocess.Popen(
        [*amply, "workers", "--data", str(tmp_path / "data"), "--endpoint", broker.endpoint_url],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as workers:
        try:
            url = sqs.get_queue_url(QueueName="amply-celery-low")["QueueUrl"]
            sent = {
                "AWS_ENDPOINT_URL_SQS": broker.endpoint_url,
                "AMPLY_DATA": str(tmp_path / "data"),
            }
            done = subprocess.run(
                [*amply, "job", "send", "amply.jobs.cleanup.remove_expired_records", "--wait", str(PATIENCE_S)],
                env={**environment, **sent},
                capture_output=True,
                text=True,
                check=False,
            )
            assert "SUCCESS\t0" in done.stdout, done.stderr
            family = psutil.Process(workers.pid).children(recursive=True)
            assert len(family) >= 2 + 4 + 2 + 1
            workers.send_signal(signal.SIGINT)
            out, err = workers.communicate(timeout=PATIENCE_S)
        finally:
            workers.kill()
    assert workers.returncode == 0
    assert "[amply-worker-low] " in out
    assert "worker -Q low --concurrency=2 --loglevel=info" in err
    assert err.endswith("All workers have stopped.\n")
    assert psutil.wait_procs(family, timeout=PATIENCE_S)[1] == []
    assert (
        sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]["ApproximateNumberOfMessages"]
        == "0"
    )
