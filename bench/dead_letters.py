"""Dead letters in great numbers: how long it takes to see why they died, in how much memory, and to bring them back."""

import base64
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]
from msgspec import Struct

from amply.clock import wall_ms
from amply.deadletters.dead_letter_queue import DeadLetterQueue
from amply.deadletters.failures import FILE_NAME, Failure, Failures
from amply.deadletters.gateway import Gateway, Message
from amply.settings import child_environment
from amply.transport.endpoint import Endpoint, resolve
from bench import ROOT, machine, processes
from bench.machine import Spread
from bench.processes import Broker
from bench.report import Table, say

_DEAD = "bench-dead"
_AT_ONCE = 1000
_FEW_PART = 10
_ARGUMENT_CHARS = 280
# What each letter died of, by turns.
_KINDS = (
    ("raised", "ValueError", "order {number}: {number}.50 EUR is not what was agreed", "check_amount"),
    ("raised", "KeyError", "'article {number}'", "take_from_stock"),
    ("raised", "shop.BankError", "payment {number} was not made", "pay"),
    ("worker process lost", "WorkerLostError", "Worker exited prematurely: signal 9 (SIGKILL) Job: {number}.", ""),
    ("time limit", "TimeLimitExceeded", "TimeLimitExceeded(300)", ""),
)

GROUPS_LIMIT_S = 3.0
# All letters against a tenth of them: causes come through a cache of 32 MiB, which fills as more of them are read.
MEMORY_LIMIT_MB = 40.0
REDRIVE_LIMIT_PER_S = 3000.0
RATE_LIMIT = 0.05


class Told(Struct, frozen=True, kw_only=True):
    """A command that came to its end. CPU times are its own and, meanwhile, the broker's."""

    answer: dict[str, Any]
    seconds: float
    cpu_s: float
    broker_cpu_s: float
    rss_mb: float


class DeadLetterFigures(Struct, frozen=True, kw_only=True):
    """Times of commands count from the start of their process. Memory is their largest resident size, in MB.

    `few` is a tenth of the letters. Microseconds are CPU time a letter, of the command and of the broker. `rate_held`
    is the rate between the first progress that was told and the last, by the rate that was asked for.
    """

    letters: int
    body_bytes: int
    few_groups_s: float
    groups_s: Spread
    few_groups_mb: float
    groups_mb: float
    groups_us: float
    groups_broker_us: float
    redrive_per_s: float
    redrive_us: float
    redrive_broker_us: float
    rate: float
    rate_held: float
    is_within_limits: bool
    errors: int


class _Bench:
    """A broker with a dead letter queue, and the commands that are asked about it."""

    def __init__(self, running: Broker, data: Path) -> None:
        self._running = running
        self._data = data
        self._sent = 0
        url = f"http://{running.host}"
        self.endpoint: Endpoint = resolve(endpoint_url=url, region="eu-central-1", userid="any", password="any")
        self._environment = child_environment(
            {
                **dict.fromkeys(("AMPLY_TOPOLOGY", "AWS_ENDPOINT_URL", "DATABASE_URL", "REDIS_URL"), ""),
                "AMPLY_DATA": str(data),
                "AWS_ENDPOINT_URL_SQS": url,
                "AWS_ACCESS_KEY_ID": "any",
                "AWS_SECRET_ACCESS_KEY": "any",
            }
        )
        dead_url = running.call("CreateQueue", QueueName=_DEAD)["QueueUrl"]
        arn = running.call("GetQueueAttributes", QueueUrl=dead_url, AttributeNames=["QueueArn"])["Attributes"][
            "QueueArn"
        ]
        policy = json.dumps({"deadLetterTargetArn": arn, "maxReceiveCount": 1})
        running.call("SetQueueAttributes", QueueUrl=running.queue_url, Attributes={"RedrivePolicy": policy})

    def bury(self, count: int) -> None:
        """So many letters more, and why each died."""
        gateway, failures = Gateway(self.endpoint), Failures(self._data / FILE_NAME)
        queue = gateway.queue(_DEAD)
        try:
            for start in range(self._sent, self._sent + count, _AT_ONCE):
                numbers = range(start, min(start + _AT_ONCE, self._sent + count))
                sent = gateway.send(queue, [Message(body=body(number), attributes={}) for number in numbers])
                records = [failure(number, one.message_id or "") for number, one in zip(numbers, sent, strict=True)]
                failures.add(records, wall_ms())
        finally:
            failures.close()
            gateway.close()
        self._sent += count

    def ask(self, *arguments: str) -> Told:
        """Run `amply dlq` to its end in a process of its own. RuntimeError if it fails."""
        command = [sys.executable, "-m", "amply", "dlq", *arguments, "--queue", _DEAD, "--json"]
        path = self._data / "told.json"
        broker = psutil.Process(self._running.pid)
        before_s = _cpu_s(broker)
        started = time.perf_counter()
        with path.open("wb") as file:
            process = subprocess.Popen(command, env=self._environment, stdout=file, cwd=ROOT)
            _, status, used = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - started
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise RuntimeError(f"{command} ended with {process.returncode}")
        return Told(
            answer=json.loads(path.read_bytes()),
            seconds=seconds,
            cpu_s=used.ru_utime + used.ru_stime,
            broker_cpu_s=_cpu_s(broker) - before_s,
            # Linux counts in KiB (getrusage(2)).
            rss_mb=used.ru_maxrss * 1024 / 1e6,
        )

    def groups(self, letters: int) -> Told:
        """Ask for the groups; RuntimeError if they are not what was buried."""
        told = self.ask("groups")
        counts = sorted(group["count"] for group in told.answer["groups"])
        if sum(counts) != letters or len(counts) != len(_KINDS):
            raise RuntimeError(f"{letters} letters of {len(_KINDS)} kinds were told as {counts}")
        return told

    def held_rate(self, letters: int, rate: float) -> float:
        """Redrive so many letters at a rate; by how much of it they went."""
        moments: list[tuple[float, int]] = []

        def note(done: int, _total: int | None, _per_s: float) -> None:
            moments.append((time.perf_counter(), done))

        with DeadLetterQueue(_DEAD, endpoint=self.endpoint, data=self._data) as queue:
            moved = queue.redrive(rate=rate, progress=note).moved
        if moved != letters:
            raise RuntimeError(f"{moved} of {letters} letters were redriven")
        (first_s, first), (last_s, last) = moments[0], moments[-1]
        return (last - first) / (last_s - first_s) / rate


def measure(*, letters: int, rounds: int, rate: float, rate_seconds: float) -> DeadLetterFigures:
    """`letters` are redriven at once, and as many as go in `rate_seconds` at `rate` a second."""
    with processes.scratch() as folder, processes.broker(folder / "broker") as running:
        bench = _Bench(running, folder)
        few = max(letters // _FEW_PART, len(_KINDS))
        bench.bury(few)
        of_few = bench.groups(few)
        bench.bury(letters - few)
        say(f"{letters:,} dead letters")
        looks = [bench.groups(letters) for _ in range(rounds)]
        say(f"groups: {', '.join(f'{look.seconds:.2f}' for look in looks)} s")
        redrive = bench.ask("redrive", "--all", "--yes")
        say(f"redrive: {letters / redrive.seconds:,.0f} a second")
        arrived = running.depth()
        at_a_rate = max(int(rate * rate_seconds), 2)
        bench.bury(at_a_rate)
        return _figures(letters, of_few, looks, redrive, arrived, rate=rate, held=bench.held_rate(at_a_rate, rate))


def _figures(
    letters: int, of_few: Told, looks: list[Told], redrive: Told, arrived: int, *, rate: float, held: float
) -> DeadLetterFigures:
    middle = sorted(looks, key=lambda look: look.seconds)[len(looks) // 2]
    groups_mb, per_s = max(look.rss_mb for look in looks), letters / redrive.seconds
    is_quick = middle.seconds <= GROUPS_LIMIT_S and per_s >= REDRIVE_LIMIT_PER_S
    is_flat = groups_mb - of_few.rss_mb <= MEMORY_LIMIT_MB
    return DeadLetterFigures(
        letters=letters,
        body_bytes=len(body(0)),
        few_groups_s=of_few.seconds,
        groups_s=machine.spread(look.seconds for look in looks),
        few_groups_mb=of_few.rss_mb,
        groups_mb=groups_mb,
        groups_us=middle.cpu_s / letters * 1e6,
        groups_broker_us=middle.broker_cpu_s / letters * 1e6,
        redrive_per_s=per_s,
        redrive_us=redrive.cpu_s / letters * 1e6,
        redrive_broker_us=redrive.broker_cpu_s / letters * 1e6,
        rate=rate,
        rate_held=held,
        is_within_limits=is_quick and is_flat and abs(held - 1) <= RATE_LIMIT,
        errors=abs(letters - arrived) + abs(letters - int(redrive.answer["moved"])),
    )


def tables(figures: DeadLetterFigures) -> list[Table]:
    """For people."""
    groups_s, memory = figures.groups_s, f"+{figures.groups_mb - figures.few_groups_mb:.0f}"
    limits = "within" if figures.is_within_limits else "NOT within"
    return [
        Table(
            f"{figures.letters:,} dead letters of {figures.body_bytes} bytes: {limits} the limits",
            ["", "a tenth of them", "all", "limit", "CPU us a letter", "broker's"],
            [
                [
                    "amply dlq groups, s",
                    f"{figures.few_groups_s:.2f}",
                    f"{groups_s.median:.2f} ({groups_s.least:.2f}-{groups_s.most:.2f})",
                    f"<= {GROUPS_LIMIT_S}",
                    f"{figures.groups_us:.1f}",
                    f"{figures.groups_broker_us:.1f}",
                ],
                [
                    "its memory, MB",
                    f"{figures.few_groups_mb:.0f}",
                    f"{figures.groups_mb:.0f} ({memory})",
                    f"<= +{MEMORY_LIMIT_MB:.0f}",
                    "",
                    "",
                ],
                [
                    "amply dlq redrive --all, letters/s",
                    "",
                    f"{figures.redrive_per_s:,.0f}",
                    f">= {REDRIVE_LIMIT_PER_S:,.0f}",
                    f"{figures.redrive_us:.0f}",
                    f"{figures.redrive_broker_us:.0f}",
                ],
                [
                    f"rate of {figures.rate:,.0f}/s held",
                    "",
                    f"{figures.rate_held:.3f}",
                    f"1 +- {RATE_LIMIT}",
                    "",
                    "",
                ],
            ],
        )
    ]


def body(number: int) -> str:
    """A Celery job of about 1 KB."""
    arguments = [[], {"order": number, "note": "x" * _ARGUMENT_CHARS}, {"callbacks": None, "errbacks": None}]
    name = f"00000000-0000-4000-8000-{number:012d}"
    headers = {"lang": "py", "task": "shop.charge", "id": name, "root_id": name, "parent_id": None, "retries": 0}
    envelope = {
        "body": base64.b64encode(json.dumps(arguments).encode()).decode(),
        "content-type": "application/json",
        "content-encoding": "utf-8",
        "headers": headers | {"argsrepr": "()", "kwargsrepr": f"{{'order': {number}}}", "origin": "gen1@host"},
        "properties": {"correlation_id": name, "body_encoding": "base64", "delivery_info": {"routing_key": "bench"}},
    }
    return json.dumps(envelope)


def failure(number: int, message_id: str) -> Failure:
    """What a worker tells of a letter's only run."""
    reason, exception, message, function = _KINDS[number % len(_KINDS)]
    frames = f'  File "/srv/shop/charging.py", line {number % 90 + 1}, in {function}\n    raise\n' if function else ""
    return Failure(
        timestamp_ms=wall_ms(),
        hostname="host",
        pid=1,
        nodename="celery@host",
        queue="bench",
        message_id=message_id,
        id=f"00000000-0000-4000-8000-{number:012d}",
        task="shop.charge",
        attempt=1,
        receive_count=1,
        reason=reason,
        exception=exception,
        message=message.format(number=number),
        traceback=f"Traceback (most recent call last):\n{frames}{exception}\n",
    )


def _cpu_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)
