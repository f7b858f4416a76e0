"""The company's background jobs: Celery tasks, and the small store they work on.

Knows Celery, the store's tables and the world outside (webhook receivers, report files). Must not know who answers
SQS requests, Amazon or the embedded broker.
"""
