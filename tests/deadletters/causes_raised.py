"""Failures with the tracebacks that Python itself writes, and the records that a worker would make of them."""

import traceback
from collections.abc import Callable
from typing import Any, NamedTuple

from amply.deadletters.failures import Failure

TRACEBACK_CHARS = 4_000
NOW_MS = 1_700_000_000_000


class Told(NamedTuple):
    """What a record tells of an exception; a fingerprint is made of it."""

    reason: str
    exception: str
    message: str
    traceback: str


def told(call: Callable[..., object], *args: Any, reason: str = "raised") -> Told:
    """What is told of the exception that the call ends with, cut as the transport cuts it."""
    try:
        call(*args)
    except Exception as error:  # noqa: BLE001 - whatever it is
        text = "".join(traceback.format_exception(error))
        return Told(reason, type(error).__name__, str(error)[:1_000], text[-TRACEBACK_CHARS:])
    raise AssertionError("it did not fail")


def failure(number: int = 1, attempt: int = 1, **more: Any) -> Failure:
    """The record of a run of job `number`, which is message `number`; each run a minute after the one before."""
    members = {
        "timestamp_ms": NOW_MS + attempt * 60_000 + number,
        "hostname": "host-a",
        "pid": 42,
        "nodename": "high@host-a",
        "queue": "jobs",
        "message_id": f"message-{number}",
        "id": f"job-{number}",
        "task": "tasks.charge",
        "attempt": attempt,
        "receive_count": attempt,
        "reason": "raised",
        "exception": "ValueError",
        "message": f"no {number}",
        "traceback": 'Traceback (most recent call last):\n  File "/app/a.py", line 1, in charge\nValueError: no\n',
        "again_in_s": 5.0,
    }
    return Failure(**members | more)
