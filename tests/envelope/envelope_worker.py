"""What a Celery worker does with a message up to its pool, on Celery's own code, without a broker."""

from types import SimpleNamespace
from typing import Any

from celery import Celery
from celery.worker import state
from celery.worker.consumer import Consumer
from envelope_samples import TASK
from kombu.transport import virtual
from kombu.transport.memory import Channel as MemoryChannel


class Worker:
    """What a Celery worker does with a message up to its pool, on Celery's own code."""

    def __init__(self) -> None:
        self.app = Celery("amply-test", broker="memory://", set_as_current=False)
        # Fourteen hours ahead of UTC, where a change of time zone overflows first.
        self.app.conf.update(timezone="Pacific/Kiritimati", task_acks_late=True)

        @self.app.task(name=TASK, shared=False)  # a shared one would be offered to every app made later
        def dispatch_webhook(*args: Any, **kwargs: Any) -> None: ...

        self.outcome = ""
        self.request: Any = None
        self.channel = MemoryChannel(self.app.connection().transport)
        consumer = SimpleNamespace(
            app=self.app,
            hostname="w1",
            pool=SimpleNamespace(apply_async=lambda *a, **k: None),
            event_dispatcher=None,
            timer=SimpleNamespace(call_at=lambda *a, **k: self._came("scheduled", a[2][0])),
            qos=SimpleNamespace(increment_eventually=lambda: None),
            controller=SimpleNamespace(state=state),
            connection_errors=(),
            disable_rate_limits=True,
            task_buckets={},
            apply_eta_task=None,
            _limit_task=None,
            _limit_post_eta=None,
            _maximum_prefetch_restored=True,
            _restore_prefetch_count_after_connection_restart=None,
            call_soon_ack=None,
            call_soon=None,  # its name in Celery 5.6
            on_task_message=[],
            on_task_request=lambda request: self._came("reserved", request),
            on_unknown_message=lambda *_: self._came("unknown message"),
            on_unknown_task=lambda body, message, exc: self._came("unknown task"),
            on_invalid_task=lambda body, message, exc: self._came(f"invalid: {exc}"),
            on_decode_error=lambda message, exc: self._came(f"undecoded: {exc}"),
        )
        task = self.app.tasks[TASK]
        consumer.strategies = {TASK: task.start_strategy(self.app, consumer)}
        self._handle = Consumer.create_task_handler(consumer)

    def _came(self, outcome: str, request: Any = None) -> None:
        self.outcome, self.request = outcome, request

    def take(self, message: dict[str, Any]) -> str:
        """Where the message went; raises whatever would have ended a worker."""
        self._came("")
        received = virtual.Message(message, channel=self.channel)
        received.accept = {"application/json"}
        if received.errors:
            return "undecoded"
        self._handle(received)
        if self.request is not None:
            request = self.request
            # What the main process looks at when the job fails, and when it is shown.
            repr(request), str(request), request.info(), request._context.as_execution_options()
            assert request._context.retries >= 0
            assert len(request.time_limits) == 2
            assert isinstance(request.id, str)
        received.serializable()
        state.reset_state()
        return self.outcome or "discarded"


WORKER = Worker()
