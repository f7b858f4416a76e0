"""One truth: the declared queues, routes and worker services, and what follows from them.

Knows the words of SQS and Celery. Must not know the broker's rooms above `broker.sqs`, the jobs, or the environment.
"""
