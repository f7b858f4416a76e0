"""What jobs returned, in one SQLite file: a Celery result backend. Knows Celery and SQLite, no job and no queue."""
