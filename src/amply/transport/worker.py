"""What the transport needs to know of Celery's worker: its concurrency, when a job starts, and why one failed.

Celery asks every task class for its `Strategy` and its `Request`; this puts ours in the place of Celery's defaults. A
task class with its own keeps it, and fails with a shorter reason. Must not know SQS.
"""

import traceback
from typing import Any

from celery.app.task import Task
from celery.exceptions import Reject, TimeLimitExceeded, WorkerLostError
from celery.signals import worker_ready
from celery.worker import request, strategy

from amply.transport import checkup, pool
from amply.transport.delivery import Cause, Delivery
from amply.transport.message import Message

_OWN = "amply.transport.worker:"
_installed = {"Request": f"{_OWN}Request", "Strategy": f"{_OWN}start"}
_celerys = {"Request": "celery.worker.request:Request", "Strategy": "celery.worker.strategy:default"}


def install() -> None:
    """Make Celery's workers in this process use ours. Harmless with another transport, and when done twice."""
    for name, celerys in _celerys.items():
        if getattr(Task, name) == celerys:
            setattr(Task, name, _installed[name])
    worker_ready.connect(checkup.start, dispatch_uid=checkup.__name__)


def start(task: Any, app: Any, consumer: Any, **kwargs: Any) -> Any:
    """Celery's own strategy; on the way the transport gets to know the worker's pool and name."""
    transport = getattr(consumer.connection, "transport", None)
    intake = getattr(transport, "intake", None)
    if intake is not None:
        intake.concurrency = lambda: pool.size(consumer.pool)
        intake.verdicts.nodename = str(consumer.hostname)
    return strategy.default(task, app, consumer, **kwargs)


class Request(request.Request):  # type: ignore[misc]
    """A job in the worker. Tells its delivery when it starts and why it fails."""

    def on_accepted(self, pid: int, time_accepted: float) -> None:
        """The pool has begun to run it."""
        delivery = self._delivery
        if delivery is not None:
            delivery.is_started = True
        super().on_accepted(pid, time_accepted)

    def on_timeout(self, soft: bool, timeout: float) -> None:  # noqa: FBT001 - Celery's signature
        """A time limit was reached; the soft one is the task's own to deal with."""
        if not soft:
            self._failed(Cause("time limit", "TimeLimitExceeded", _too_long(timeout)))
        super().on_timeout(soft, timeout)

    def on_failure(self, exc_info: Any, send_failed_event: bool = True, return_ok: bool = False) -> Any:  # noqa: FBT001, FBT002
        """The task raised, or its process was lost."""
        self._failed(_cause(exc_info))
        return super().on_failure(exc_info, send_failed_event=send_failed_event, return_ok=return_ok)

    def acknowledge(self) -> None:
        """The job is done."""
        super().acknowledge()
        self._nudge()

    def reject(self, requeue: bool = False) -> None:  # noqa: FBT001, FBT002
        """The job failed."""
        super().reject(requeue=requeue)
        self._nudge()

    def _nudge(self) -> None:
        if isinstance(self.message, Message):
            self.message.channel.nudge()

    @property
    def _delivery(self) -> Delivery | None:
        message = self.message
        return message.delivery if isinstance(message, Message) else None

    def _failed(self, cause: Cause) -> None:
        delivery = self._delivery
        if delivery is not None and delivery.cause is None:
            delivery.cause = cause


def _cause(exc_info: Any) -> Cause:
    error = getattr(exc_info.exception, "exc", None) or exc_info.exception
    if isinstance(error, WorkerLostError):
        reason = "worker process lost"
    elif isinstance(error, TimeLimitExceeded):
        reason = "time limit"
    elif isinstance(error, Reject):
        reason = "rejected by the task"
    else:
        reason = "raised"
    told = getattr(exc_info, "traceback", None) or "".join(traceback.format_exception(error))
    message = _too_long(error.args[0]) if reason == "time limit" and error.args else str(error)
    return Cause(reason, type(error).__name__, message, str(told))


def _too_long(limit_s: float) -> str:
    return f"it ran longer than {limit_s} s"
