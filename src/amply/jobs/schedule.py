"""What beat sends, and when. Times are UTC."""

from typing import Any

from celery.schedules import crontab

_MINUTE_S = 60


def beat_schedule() -> dict[str, dict[str, Any]]:
    """Celery's `beat_schedule`. A run that the next one makes up for expires when the next one comes."""
    return {
        "dispatch-due-webhooks": {
            "task": "amply.jobs.webhooks.dispatch_due_webhooks",
            "schedule": float(_MINUTE_S),
            "options": {"expires": _MINUTE_S},
        },
        "generate-checkpoint": {
            "task": "amply.jobs.checkpoints.generate_checkpoint",
            "schedule": float(5 * _MINUTE_S),
            "options": {"expires": 5 * _MINUTE_S},
        },
        "generate-monthly-reports": {
            "task": "amply.jobs.reports.generate_monthly_reports",
            "schedule": crontab(minute="0", hour="1", day_of_month="1"),
        },
        "remove-expired-records": {
            "task": "amply.jobs.cleanup.remove_expired_records",
            "schedule": crontab(minute="15", hour="3"),
        },
    }
