"""Tasks that note their runs in a file, loaded into the app's own workers. Knows nothing of queues.

A worker gets them without a word on its command line: CELERY_LOADER is Celery's own way to name another loader, and
this one imports them beside the app's modules. So the app, its settings and the commands stay as they are.
"""

import os
import signal
import time
from pathlib import Path

from celery import shared_task
from celery.loaders.app import AppLoader


class Loader(AppLoader):
    """Celery's loader of apps, with these tasks."""

    builtin_modules = frozenset({"ledger_tasks"})


def note(task, number):
    """Add a line: the task, the number, the job's id, the queue. One write, so that lines of processes never mix."""
    line = f"{task.name} {number} {task.request.id} {task.request.delivery_info['routing_key']}\n"
    descriptor = os.open(os.environ["LEDGER"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(descriptor, line.encode())
    os.close(descriptor)


@shared_task(bind=True, name="ledger.count")
def count(task, number):
    note(task, number)
    return 2 * number


@shared_task(bind=True, name="ledger.hold")
def hold(task, number, gate):
    """Runs until the gate is there."""
    note(task, number)
    while not Path(gate).exists():
        time.sleep(0.05)
    return number


@shared_task(bind=True, name="ledger.add")
def add(task, numbers):
    note(task, len(numbers))
    return sum(numbers)


@shared_task(bind=True, name="ledger.fail")
def fail(task, number):
    note(task, number)
    raise ValueError(number)


@shared_task(bind=True, name="ledger.die")
def die(task, number):
    """Kills the worker's child that runs it, as the kernel does when memory is short."""
    note(task, number)
    os.kill(os.getpid(), signal.SIGKILL)
