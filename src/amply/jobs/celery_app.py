"""The Celery app. `celery -A amply.jobs.celery_app worker` finds `app` here.

Its settings follow from the topology, and so does the queue of every task: `queue=` at a task would go before the
topology's routes, and Celery 5.7 deprecates it. Knows where results and the schedule's state are kept; must not know
who answers SQS requests.
"""

from celery import Celery

import amply.transport.transport  # noqa: F401 - imported once, not by every worker process after its fork
from amply import settings
from amply.jobs.schedule import beat_schedule
from amply.topology.derive import celery_settings
from amply.topology.load import load

_found = settings.read()

app = Celery(
    "amply",
    include=[
        "amply.jobs.webhooks",
        "amply.jobs.payments",
        "amply.jobs.checkpoints",
        "amply.jobs.donations",
        "amply.jobs.reports",
        "amply.jobs.cleanup",
    ],
)
app.conf.update(celery_settings(load(_found.topology), endpoint_url=_found.sqs_endpoint_url))
app.conf.update(
    result_backend=_found.result_backend,
    beat_schedule=beat_schedule(),
    beat_schedule_filename=str(_found.data / "schedule"),
    timezone="UTC",
)
