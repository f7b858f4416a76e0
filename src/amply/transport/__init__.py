"""Celery over Amazon SQS: a kombu transport that serves any Celery app.

Knows Celery, kombu and SQS's API; must not know this project's topology, jobs, settings or broker.
"""
