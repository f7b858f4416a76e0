"""The size of a worker's pool, which Celery's pools tell in different ways. Knows nothing else of them."""

from typing import Any


def size(pool: Any) -> int | None:
    """How many jobs the pool runs at once; None if it does not say.

    Celery 5.6's gevent pool counts the greenlets that are busy as its processes, and prefork's limit is not moved by
    --autoscale. Only prefork uses a semaphore.
    """
    told = pool.num_processes if pool.uses_semaphore else pool.limit
    return int(told) if told else None
