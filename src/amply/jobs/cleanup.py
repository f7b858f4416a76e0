"""Cleanup: what is kept for a time only, removed when that time is over.

Donations, payments, checkpoints and reports are kept for good. Expired results are removed by Celery's own nightly
`celery.backend_cleanup`.
"""

from amply.jobs import deliveries, runtime
from amply.jobs.celery_app import app

# Long after the last copy of a message can be on a queue (14 days), so that a repeated event is known as one.
DELIVERIES_KEPT_MS = 90 * 24 * 3600 * 1000

# One transaction's worth: other writers wait no longer than it takes.
_BATCH = 500


@app.task  # type: ignore[untyped-decorator]
def remove_expired_records() -> int:
    """Remove the deliveries that ended more than 90 days ago, with their attempts. Returns how many."""
    work = runtime.current()
    before_ms = work.clock.now_ms() - DELIVERIES_KEPT_MS
    removed = 0
    while count := deliveries.remove_finished(work.engine, before_ms, _BATCH):
        removed += count
    return removed
