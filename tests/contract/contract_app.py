"""The Celery app of the contract's runs: a worker loads it, and run as a program it sends jobs and tells their results.

Runs under Celery 5.6 and 5.7, and knows nothing of this project but the broker URL and its options.
"""

import json
import os
import sys
import time
from pathlib import Path

from celery import Celery

JOBS = 50
BACKOFF = {"first_s": 0, "most_s": 0, "jitter": 0}

app = Celery("contract", broker="amply://")
app.conf.update(
    broker_transport_options={
        "region": "eu-central-1",
        "queue_name_prefix": "amply-celery-",
        "predefined_queues": json.loads(os.environ["CONTRACT_QUEUES"]),
        "backoff": BACKOFF,
        "wait_time_seconds": 5,
    },
    result_backend=f"file://{os.environ['CONTRACT_RESULTS']}",
    task_acks_late=True,
    task_reject_on_worker_lost=True,
    task_acks_on_failure_or_timeout=False,
    task_acks_on_failure=False,
    task_acks_on_timeout=False,
    worker_prefetch_multiplier=1,
    worker_redirect_stdouts=False,
)


@app.task(name="contract.double")
def double(number):
    return 2 * number


@app.task(name="contract.fail", bind=True)
def fail(task):
    raise ValueError(f"run {task.request.attempt}")


@app.task(name="contract.again", bind=True, default_retry_delay=0, max_retries=2)
def again(task):
    if task.request.retries < 2:
        raise task.retry()
    return task.request.retries


@app.task(name="contract.meet")
def meet(own, other):
    """Ends only if the other one runs at the same time."""
    Path(own).touch()
    while not Path(other).exists():
        time.sleep(0.05)


def send(slots):
    """Send jobs to both queues and say what came of them, as JSON. Jobs meet where there are slots for two."""
    a, b = (str(Path(os.environ["CONTRACT_RESULTS"], name)) for name in ("a", "b"))
    doomed = fail.apply_async(queue="low")
    retried = again.apply_async(queue="low")
    pairs = [(a, b), (b, a)] if slots > 1 else []
    meetings = [meet.apply_async(pair, queue="high") for pair in pairs]
    waiting = [double.apply_async((number,), queue="high" if number % 2 else "low") for number in range(JOBS)]
    answer = {
        "doubled": [result.get(timeout=60) for result in waiting],
        "met": [result.get(timeout=60) for result in meetings],
        "retried": retried.get(timeout=60),
        "doomed": doomed.id,
    }
    json.dump(answer, sys.stdout)


if __name__ == "__main__":
    send(int(sys.argv[1]))
