"""The envelope: what a Celery job looks like inside an SQS message, read from any writer and written in three forms.

Knows kombu's and Celery's wire formats; must not know queues, SQS requests, channels, or how a job is run.
"""

from amply.envelope.jobs import Job, job
from amply.envelope.json_text import Unreadable
from amply.envelope.reading import read
from amply.envelope.writing import Form, foreign, write

__all__ = ["Form", "Job", "Unreadable", "foreign", "job", "read", "write"]
