"""How many worker processes run, and keeping them running.

Knows processes, their restarts and their end. Must not know the broker, Celery, or what the processes do.
"""
