"""The processes of `python -m bench jobs`: Celery workers, publishers and a Redis server, each stopped by its own id.

Knows the contenders' settings and how their processes are started, watched and ended. Does not know what is measured.
"""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Literal

import msgspec
import psutil  # type: ignore[import-untyped]
from msgspec import Struct

from amply.settings import child_environment
from bench import ROOT, processes
from bench.jobs_plans import PLAN_VARIABLE, STAMP_BYTES, AppPlan, Published, PublishPlan

Name = Literal["ours", "stock", "redis"]

CONTENDERS: Final[tuple[Name, ...]] = ("ours", "stock", "redis")
CONCURRENCY: Final = 4
_REGION: Final = "eu-central-1"
_STOP_S: Final = 60.0
_LOOK_S: Final = 0.005
_WORKER: Final = ("-A", "bench.jobs_app", "worker")
_WORKER_OPTIONS: Final = (
    f"--concurrency={CONCURRENCY}",
    "--loglevel=warning",
    "--without-gossip",
    "--without-mingle",
    "--without-heartbeat",
)


class Contender(Struct, frozen=True):
    """One way to run the jobs, at one of its settings."""

    name: Name
    multiplier: int

    @property
    def is_on_sqs(self) -> bool:
        return self.name != "redis"


class Site(Struct, frozen=True):
    """Where the brokers are for the processes of one run: an SQS endpoint ("address:port") and a Redis server."""

    folder: Path
    sqs_host: str
    redis_url: str

    def settings(self, contender: Contender, queue_urls: Mapping[str, str]) -> dict[str, Any]:
        """Celery's settings: what all have in common, and each contender's best."""
        settings: dict[str, Any] = {
            "task_default_queue": next(iter(queue_urls)),
            "task_ignore_result": True,
            "task_acks_late": True,
            "worker_prefetch_multiplier": contender.multiplier,
            "broker_connection_retry_on_startup": True,
        }
        if not contender.is_on_sqs:
            return {**settings, "broker_url": self.redis_url}
        options: dict[str, Any] = {
            "region": _REGION,
            "wait_time_seconds": 20,
            "predefined_queues": {queue: {"url": url} for queue, url in queue_urls.items()},
        }
        if contender.name == "ours":
            settings["broker_transport"] = "amply.transport:Transport"
        else:
            # With any pause, kombu 5.7 takes no more than `concurrency` jobs of a queue between two pauses.
            options["polling_interval"] = 0
        return {**settings, "broker_url": "sqs://", "broker_transport_options": options}


class Stage:
    """One contender with its queues: its app's plan on disk, its publishers, its worker, the stamps of its jobs."""

    def __init__(self, site: Site, contender: Contender, queue_urls: Mapping[str, str]) -> None:
        self.contender = contender
        self.queue_urls = queue_urls
        self.queues = list(queue_urls)
        self._folder = site.folder / self.queues[0]
        self._folder.mkdir(parents=True)
        self.stamps = self._folder / "stamps"
        self.stamps.touch()
        plan = self._folder / "plan.json"
        settings = site.settings(contender, queue_urls)
        plan.write_bytes(msgspec.json.encode(AppPlan(settings, str(self.stamps))))
        self._environment = child_environment(
            {
                PLAN_VARIABLE: str(plan),
                "AWS_ENDPOINT_URL_SQS": f"http://{site.sqs_host}",
                "AWS_DEFAULT_REGION": _REGION,
                "AWS_ACCESS_KEY_ID": "any",
                "AWS_SECRET_ACCESS_KEY": "any",
                "AWS_EC2_METADATA_DISABLED": "true",
            }
        )

    def jobs_run(self) -> int:
        """How many jobs have run so far."""
        return self.stamps.stat().st_size // STAMP_BYTES

    def wait_for_jobs(self, count: int, patience_s: float) -> bool:
        """Return once so many jobs have run; False if `patience_s` went by without a single one."""
        seen, seen_s = self.jobs_run(), time.monotonic()
        while seen < count:
            time.sleep(_LOOK_S)
            now = self.jobs_run()
            if now != seen:
                seen, seen_s = now, time.monotonic()
            elif time.monotonic() - seen_s > patience_s:
                return False
        return True

    @contextmanager
    def publisher(self, plan: PublishPlan) -> Iterator["Publisher"]:
        """A process that has published its warm jobs and waits to go on."""
        command = [sys.executable, "-m", "bench.jobs_publisher", msgspec.json.encode(plan).decode()]
        with subprocess.Popen(
            command, cwd=ROOT, env=self._environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        ) as process:
            try:
                if process.stdout is None or process.stdout.readline() != b"warm\n":
                    raise RuntimeError("the publisher did not come as far as its first job; see above")
                yield Publisher(process)
            finally:
                process.kill()

    @contextmanager
    def worker(self, profile: Path | None = None) -> Iterator["Worker"]:
        """A worker process with its pool. `profile`: a file that it writes when it is stopped.

        At the end it is killed, unless it is stopped by then: its queues are empty, and Celery takes seconds to leave.
        """
        program = ("bench.jobs_profiled", str(profile)) if profile else ("celery",)
        command = [sys.executable, "-m", *program, *_WORKER, "--queues", ",".join(self.queues), *_WORKER_OPTIONS]
        log = self._folder / "worker.log"
        with log.open("ab") as file:
            process = subprocess.Popen(
                command, cwd=ROOT, env=self._environment, stdout=file, stderr=file, start_new_session=True
            )
        worker = Worker(process, log)
        try:
            yield worker
        finally:
            worker.kill()


class Publisher:
    """A process that waits at its barrier."""

    def __init__(self, process: "subprocess.Popen[bytes]") -> None:
        self._process = process

    def publish(self) -> Published:
        """Let it go on to its end. RuntimeError if it failed."""
        answer, _ = self._process.communicate(b"go\n")
        if self._process.returncode:
            raise RuntimeError(f"the publisher ended with {self._process.returncode}; see above")
        return msgspec.json.decode(answer, type=Published)


class CpuTimes(Struct, frozen=True):
    """Seconds of CPU time so far: of the worker's main process, of the children in its pool."""

    main_s: float
    pool_s: float


class Worker:
    """A running worker. `log` is the file with what it says."""

    def __init__(self, process: "subprocess.Popen[bytes]", log: Path) -> None:
        self.log = log
        self._process = process

    def has_ended(self) -> bool:
        return self._process.poll() is not None

    def cpu(self) -> CpuTimes:
        """Of a worker that runs."""
        main = psutil.Process(self._process.pid)
        return CpuTimes(cpu_s(main), sum(cpu_s(child) for child in main.children()))

    def stop(self) -> None:
        """As a person would end it. TimeoutExpired if it does not leave."""
        self._process.terminate()
        self._process.wait(_STOP_S)

    def kill(self) -> None:
        """End it and its pool, whatever state they are in; does nothing after `stop`."""
        if not self.has_ended():
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait(_STOP_S)


def cpu_s(process: psutil.Process) -> float:
    """CPU time of a process so far, kernel included; 0 if it is gone."""
    try:
        times = process.cpu_times()
    except psutil.NoSuchProcess:
        return 0.0
    return float(times.user + times.system)


@contextmanager
def redis_server(folder: Path) -> Iterator[tuple[str, int]]:
    """A Redis server of our own that keeps nothing: its URL and its process id."""
    program = shutil.which("redis-server")
    if program is None:
        raise FileNotFoundError("redis-server is not installed: install it, or leave redis out with --contenders")
    port = processes.free_port()
    command = [program, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
    with (folder / "redis.log").open("ab") as log, subprocess.Popen(command, cwd=folder, stdout=log) as server:
        try:
            _wait_for_port(server, port)
            yield f"redis://127.0.0.1:{port}/0", server.pid
        finally:
            server.terminate()


def _wait_for_port(server: "subprocess.Popen[bytes]", port: int) -> None:
    deadline_s = time.monotonic() + _STOP_S
    while True:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except OSError as error:
            if server.poll() is not None or time.monotonic() > deadline_s:
                raise RuntimeError("the Redis server did not start") from error
            time.sleep(_LOOK_S)
        else:
            return
