"""Tasks that note their runs in a file, loaded into the app's own workers. Knows nothing of queues.

A worker gets them without a word on its command line: CELERY_LOADER is Celery's own way to name another loader, and
this one imports them beside the app's modules. So the app, its settings and the commands stay as they are.
"""

import json
import os
import signal
import time
from pathlib import Path

from celery import shared_task
from celery.loaders.app import AppLoader
from celery.signals import celeryd_init


class Loader(AppLoader):
    """Celery's loader of apps, with these tasks."""

    builtin_modules = frozenset({"ledger_tasks"})


@celeryd_init.connect
def change_settings(conf, **_):
    """A test's settings go before the app's, and its transport options are added to the app's."""
    changes = json.loads(os.environ.get("CELERY_CHANGES") or "{}")
    options = changes.pop("broker_transport_options", {})
    conf.update(changes, broker_transport_options={**conf.broker_transport_options, **options})


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


def moment(task, what, number):
    """Add a line to the file of moments: what happened to which run, and when on this machine's monotonic clock."""
    request = task.request
    line = {
        "what": what,
        "task": task.name,
        "number": number,
        "job": request.id,
        "queue": request.delivery_info["routing_key"],
        "receive_count": getattr(request, "receive_count", None),
        "attempt": getattr(request, "attempt", None),
        "message": getattr(request, "message_id", None),
        "pid": os.getpid(),
        "parent": os.getppid(),
        "at_ns": time.monotonic_ns(),
    }
    descriptor = os.open(f"{os.environ['LEDGER']}.moments", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(descriptor, f"{json.dumps(line)}\n".encode())
    os.close(descriptor)


@shared_task(bind=True, name="ledger.work")
def work(task, number, seconds=0.0):
    """Notes its start, and its end so many seconds later."""
    moment(task, "start", number)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        time.sleep(0.005)
    moment(task, "end", number)
    return number


@shared_task(bind=True, name="ledger.wait")
def wait(task, number, gate):
    """Notes its start, and its end once the gate is there, or the gate of this child alone."""
    moment(task, "start", number)
    while not (Path(gate).exists() or Path(f"{gate}.{os.getpid()}").exists()):
        time.sleep(0.02)
    moment(task, "end", number)


@shared_task(bind=True, name="ledger.break_down")
def break_down(task, number):
    """Notes its start, then raises."""
    moment(task, "start", number)
    raise RuntimeError(f"number {number} always breaks")


@shared_task(bind=True, name="ledger.be_killed")
def be_killed(task, number):
    """Notes its start, then kills the child that runs it."""
    moment(task, "start", number)
    os.kill(os.getpid(), signal.SIGKILL)


@shared_task(name="ledger.echo")
def echo(text):
    return text
