"""A message as Celery's worker gets it: kombu's own, but that its verdicts know their reasons.

Knows what Celery does with a message it cannot use; must not know SQS.
"""

import sys
from typing import Any

from kombu.transport import virtual

from amply.transport.delivery import Cause, Delivery


class Message(virtual.Message):
    """A delivery in kombu's form."""

    def __init__(self, payload: dict[str, Any], channel: Any, delivery: Delivery | None = None, **kwargs: Any) -> None:
        super().__init__(payload, channel=channel, **kwargs)
        self.delivery = delivery
        self._cannot_be_read: Exception | None = None

    def _decode(self) -> Any:
        try:
            return super()._decode()
        except Exception as error:
            self._cannot_be_read = error
            raise

    def ack(self, multiple: bool = False) -> None:  # noqa: FBT001, FBT002 - kombu's signature
        """Acknowledge, but for a body that could not be decoded: Celery's worker would lose it."""
        if self._cannot_be_read is not None:
            self.reject()
        else:
            super().ack(multiple=multiple)

    def reject(self, requeue: bool = False) -> None:  # noqa: FBT001, FBT002
        """Reject, for the reason that is known: a failed run's, or the exception that is being handled."""
        if self.delivery is not None and self.delivery.cause is None:
            self.delivery.cause = self._reason()
        super().reject(requeue=requeue)

    def _reason(self) -> Cause | None:
        # Celery rejects unknown tasks and invalid messages from within its except blocks (celery/worker/consumer).
        error = self._cannot_be_read or sys.exception()
        if error is None:
            return None
        name = type(error).__name__
        if isinstance(error, KeyError) and error.args == (self.headers.get("task"),):
            return Cause("unknown task", "NotRegistered", f"no task {error.args[0]!r} is registered in this worker")
        if self._cannot_be_read is not None:
            return Cause("content that is not accepted or cannot be decoded", name, str(error))
        if isinstance(error, KeyError | TypeError):
            return Cause("not a Celery task", name, str(error))
        return Cause("invalid task message", name, str(error))
