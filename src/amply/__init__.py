"""Celery on Amazon SQS, from a laptop to AWS, from one declared topology."""

__version__ = "0.1.0"
