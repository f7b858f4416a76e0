"""The process that publishes the jobs of `python -m bench jobs`: one thread, as fast as it goes or at intervals.

It publishes a few jobs to set up its connection, says "warm", waits for a line on its standard input, does what its
plan says, and ends with the outcome as JSON on its standard output.
"""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import cycle, islice

import msgspec

from bench.jobs_app import app, note
from bench.jobs_plans import Published, PublishPlan, Way


def main() -> None:
    """The plan is the first argument, as JSON."""
    plan = msgspec.json.decode(sys.argv[1], type=PublishPlan)
    for queue in islice(cycle(plan.queues), plan.warm_jobs):
        note.apply_async(queue=queue)
    print("warm", flush=True)
    sys.stdin.readline()
    print(msgspec.json.encode(_publish(plan)).decode(), flush=True)


def _publish(plan: PublishPlan) -> Published:
    sent_s = []
    started_s, started_cpu_s = time.perf_counter(), time.process_time()
    with _way(plan.way):
        if plan.interval_s:
            for queue in islice(cycle(plan.queues), plan.jobs):
                sent_s.append(time.monotonic())
                note.apply_async(queue=queue)
                time.sleep(plan.interval_s)
        else:
            for _ in range(plan.jobs):
                note.delay()
    return Published(
        jobs=plan.jobs,
        elapsed_s=time.perf_counter() - started_s,
        cpu_s=time.process_time() - started_cpu_s,
        sent_s=sent_s,
    )


@contextmanager
def _way(way: Way) -> Iterator[None]:
    if way == "single":
        yield
        return
    from amply.transport.batch import publish_batch  # noqa: PLC0415 - the others' processes never load our transport

    with publish_batch(app):
        yield


if __name__ == "__main__":
    main()
