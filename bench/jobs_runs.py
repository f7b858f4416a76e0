"""One run of `python -m bench jobs`: one contender at one setting, with queues and processes of its own.

Knows how a load, lone jobs and idleness are watched. Does not know how runs are compared.
"""

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import count
from pathlib import Path
from typing import Final

import msgspec
import psutil  # type: ignore[import-untyped]
import redis
from msgspec import Struct

from bench import processes
from bench.jobs_plans import PublishPlan, Way, stamps_s
from bench.jobs_processes import Contender, Site, Stage, Worker, cpu_s, redis_server
from bench.jobs_profiled import JobsProfile, ThreadTimes
from bench.processes import Broker
from bench.proxy import Proxy

_PATIENCE_S: Final = 30.0
_EMPTY_S: Final = 10.0
_LOOK_S: Final = 0.02
_LOG_SHOWN: Final = 600
_DEPTHS: Final = (
    "ApproximateNumberOfMessages",
    "ApproximateNumberOfMessagesNotVisible",
    "ApproximateNumberOfMessagesDelayed",
)


class Load(Struct, frozen=True, kw_only=True):
    """A queue that was filled and then emptied, in the round of that number.

    `..._us` is CPU time a job in microseconds: of the publisher, of the worker's main process, of its pool, of the
    broker's or the Redis server's process. Requests are by job and action, counted where there was a proxy.
    """

    contender: Contender
    way: Way
    delay_ms: float
    round: int
    publish_per_s: float
    jobs_per_s: float
    publish_us: float
    main_us: float
    pool_us: float
    server_us: float
    publish_requests: dict[str, float]
    consume_requests: dict[str, float]
    faults: list[str]


class Lone(Struct, frozen=True, kw_only=True):
    """Jobs at intervals, each alone. `latency_ms`: from the call of apply_async to the run of the task, of each."""

    contender: Contender
    requests: dict[str, float]
    latency_ms: list[float]
    faults: list[str]


class Idle(Struct, frozen=True, kw_only=True):
    """A worker without jobs on two queues. `main_cpu` is the main process's share of a core."""

    contender: Contender
    requests_per_hour: dict[str, float]
    main_cpu: float
    faults: list[str]


class Ground:
    """The brokers, and queues that nobody has used before."""

    def __init__(self, folder: Path, sqs: Broker, redis_url: str, redis_pid: int) -> None:
        self.sqs = sqs
        self._folder = folder
        self._redis_url = redis_url
        self._redis_pid = redis_pid
        self._numbers = count(1)

    def stage(self, contender: Contender, *, queues: int = 1, sqs_host: str = "") -> Stage:
        """New queues for a contender. `sqs_host` is the proxy's, if it has one."""
        names = [f"jobs-{next(self._numbers)}" for _ in range(queues)]
        urls = dict.fromkeys(names, "")
        if contender.is_on_sqs:
            attributes = {"VisibilityTimeout": "600"}
            urls = {
                name: self.sqs.call("CreateQueue", QueueName=name, Attributes=attributes)["QueueUrl"] for name in names
            }
        return Stage(Site(self._folder, sqs_host or self.sqs.host, self._redis_url), contender, urls)

    def unfinished(self, stage: Stage) -> int:
        """How many messages of these queues are not acknowledged yet."""
        if not stage.contender.is_on_sqs:
            with redis.Redis.from_url(self._redis_url) as client:
                return int(sum(client.llen(name) for name in stage.queues) + client.hlen("unacked"))
        total = 0
        for url in stage.queue_urls.values():
            answer = self.sqs.call("GetQueueAttributes", QueueUrl=url, AttributeNames=list(_DEPTHS))
            total += sum(int(answer["Attributes"][name]) for name in _DEPTHS)
        return total

    def server_cpu_s(self, contender: Contender) -> float:
        """CPU time so far of the process that keeps the messages."""
        return cpu_s(psutil.Process(self.sqs.pid if contender.is_on_sqs else self._redis_pid))


@contextmanager
def ground(folder: Path, *, with_redis: bool) -> Iterator[Ground]:
    """The brokers' processes, stopped at the end."""
    with ExitStack() as stack:
        sqs = stack.enter_context(processes.broker(folder / "broker"))
        redis_url, redis_pid = stack.enter_context(redis_server(folder)) if with_redis else ("", 0)
        yield Ground(folder, sqs, redis_url, redis_pid)


def load(  # noqa: PLR0917
    where: Ground, contender: Contender, way: Way, jobs: int, number: int, proxy: Proxy | None = None
) -> Load:
    """Publish everything, then start the worker. A tenth as many jobs again, 200 at most, are its warm-up."""
    warm = max(1, min(200, jobs // 10))
    stage = where.stage(contender, sqs_host=f"127.0.0.1:{proxy.port}" if proxy else "")
    counts: Counter[str] = proxy.counts if proxy else Counter()
    with stage.publisher(PublishPlan(warm_jobs=warm, jobs=jobs, queues=stage.queues, way=way)) as publisher:
        before = counts.copy()
        published = publisher.publish()
        publish_requests = _by(jobs, counts - before)
    before = counts.copy()
    with stage.worker() as worker:
        faults = _wait(stage, worker, warm)
        marks = [_mark(where, stage, worker)]
        faults = faults or _wait(stage, worker, warm + jobs)
        marks.append(_mark(where, stage, worker))
        faults = faults or _wait_until_empty(where, stage, warm + jobs)
        consume_requests = _by(warm + jobs, counts - before)
    ran_s = stamps_s(stage.stamps)[max(warm - 1, 0) :]
    main_us, pool_us, server_us = _between(*marks)
    return Load(
        contender=contender,
        way=way,
        delay_ms=proxy.delay_ms if proxy else 0.0,
        round=number,
        publish_per_s=jobs / published.elapsed_s,
        jobs_per_s=(len(ran_s) - 1) / (ran_s[-1] - ran_s[0]) if len(ran_s) > 1 else 0.0,
        publish_us=published.cpu_s / jobs * 1e6,
        main_us=main_us,
        pool_us=pool_us,
        server_us=server_us,
        publish_requests=publish_requests,
        consume_requests=consume_requests,
        faults=faults,
    )


def profile(where: Ground, contender: Contender, jobs: int) -> JobsProfile:
    """Where the CPU time of the worker's main process goes while it empties a queue."""
    stage = where.stage(contender)
    with stage.publisher(PublishPlan(warm_jobs=0, jobs=jobs, queues=stage.queues)) as publisher:
        publisher.publish()
    path = stage.stamps.with_name("profile.json")
    with stage.worker(path) as worker:
        faults = _wait(stage, worker, jobs) or _wait_until_empty(where, stage, jobs)
        worker.stop()
    if faults:
        raise RuntimeError(faults[0])
    return JobsProfile(contender.name, msgspec.json.decode(path.read_bytes(), type=list[ThreadTimes]))


def lone(where: Ground, contender: Contender, jobs: int, interval_s: float) -> Lone:
    """One job every `interval_s` to a worker that has nothing else to do."""
    with Proxy(f"http://{where.sqs.host}") as proxy:
        stage = where.stage(contender, sqs_host=f"127.0.0.1:{proxy.port}")
        plan = PublishPlan(warm_jobs=1, jobs=jobs, queues=stage.queues, interval_s=interval_s)
        with stage.worker() as worker, stage.publisher(plan) as publisher:
            faults = _wait(stage, worker, 1) or _wait_until_empty(where, stage, 1)
            before = proxy.counts.copy()
            published = publisher.publish()
            faults = faults or _wait(stage, worker, jobs + 1) or _wait_until_empty(where, stage, jobs + 1)
            requests = _by(jobs, proxy.counts - before)
    pairs = zip(published.sent_s, stamps_s(stage.stamps)[1:], strict=False)
    return Lone(
        contender=contender,
        requests=requests,
        latency_ms=[(ran_s - sent_s) * 1000 for sent_s, ran_s in pairs],
        faults=faults,
    )


def idle(where: Ground, contenders: list[Contender], seconds: float) -> list[Idle]:
    """All of them at once, each with a proxy of its own: they do nothing, so they do not disturb each other."""
    with ExitStack() as stack:
        watched = []
        for contender in contenders:
            proxy = stack.enter_context(Proxy(f"http://{where.sqs.host}"))
            stage = where.stage(contender, queues=2, sqs_host=f"127.0.0.1:{proxy.port}")
            worker = stack.enter_context(stage.worker())
            with stage.publisher(PublishPlan(warm_jobs=2, jobs=0, queues=stage.queues)) as publisher:
                publisher.publish()
            faults = _wait(stage, worker, 2) or _wait_until_empty(where, stage, 2)
            watched.append((contender, proxy, worker, faults))
        before = [(proxy.counts.copy(), worker.cpu().main_s) for _, proxy, worker, _ in watched]
        time.sleep(seconds)
        return [
            Idle(
                contender=contender,
                requests_per_hour=_by(seconds / 3600, proxy.counts - counts),
                main_cpu=(worker.cpu().main_s - main_s) / seconds,
                faults=faults,
            )
            for (contender, proxy, worker, faults), (counts, main_s) in zip(watched, before, strict=True)
        ]


class _Mark(Struct, frozen=True):
    jobs: int
    main_s: float
    pool_s: float
    server_s: float


def _mark(where: Ground, stage: Stage, worker: Worker) -> _Mark:
    cpu = worker.cpu()
    return _Mark(stage.jobs_run(), cpu.main_s, cpu.pool_s, where.server_cpu_s(stage.contender))


def _between(first: _Mark, last: _Mark) -> tuple[float, float, float]:
    """CPU time a job in microseconds: main process, pool, server."""
    jobs = max(last.jobs - first.jobs, 1)
    spent = last.main_s - first.main_s, last.pool_s - first.pool_s, last.server_s - first.server_s
    main_us, pool_us, server_us = (seconds / jobs * 1e6 for seconds in spent)
    return main_us, pool_us, server_us


def _wait(stage: Stage, worker: Worker, jobs: int) -> list[str]:
    """The faults, if not all of them ran."""
    if stage.wait_for_jobs(jobs, _PATIENCE_S):
        return []
    said = worker.log.read_text(encoding="utf-8", errors="replace")[-_LOG_SHOWN:]
    state = "has ended" if worker.has_ended() else "runs"
    return [f"{stage.contender.name}: {stage.jobs_run()} of {jobs} jobs ran; the worker {state} and said: {said}"]


def _wait_until_empty(where: Ground, stage: Stage, jobs: int) -> list[str]:
    """The faults, if jobs are not acknowledged in the end or ran twice."""
    deadline_s = time.monotonic() + _EMPTY_S
    while unfinished := where.unfinished(stage):
        if time.monotonic() > deadline_s:
            return [f"{stage.contender.name}: {unfinished} of {jobs} jobs were never acknowledged"]
        time.sleep(_LOOK_S)
    ran = stage.jobs_run()
    return [] if ran == jobs else [f"{stage.contender.name}: {jobs} jobs ran {ran} times"]


def _by(divisor: float, counts: Counter[str]) -> dict[str, float]:
    return {action: number / divisor for action, number in sorted(counts.items())}
