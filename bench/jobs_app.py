"""The Celery app of `python -m bench jobs`: one task that does nothing but note when it ran.

What broker it has, a file says; where the file is, the environment says.
"""

import os
from pathlib import Path

import msgspec
from celery import Celery

from bench.jobs_plans import PLAN_VARIABLE, AppPlan, stamp

_plan = msgspec.json.decode(Path(os.environ[PLAN_VARIABLE]).read_bytes(), type=AppPlan)
app = Celery("bench", set_as_current=False)
app.conf.update(_plan.settings)
# Stock has none over SQS, and a worker's mailbox is one more poll.
app.conf.worker_enable_remote_control = False
# Opened before the pool forks. What one write appends stays in one piece, whoever else appends.
_stamps = os.open(_plan.stamps, os.O_WRONLY | os.O_CREAT | os.O_APPEND)


@app.task(name="bench.note")  # type: ignore[untyped-decorator]
def note() -> None:
    """The same cost whoever delivers it: one clock, one write."""
    os.write(_stamps, stamp())
