"""Celery over Amazon SQS: a kombu transport that serves any Celery app.

    app.conf.broker_url = "sqs://"
    app.conf.broker_transport = "amply.transport:Transport"     # or broker_url = "amply://"

Knows Celery, kombu and SQS's API; must not know this project's topology, jobs, settings or broker. Celery and kombu are
imported when `Transport` is asked for: the alias `amply://` is registered in the middle of kombu's own import.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from amply.transport.batch import PublishBatchError, publish_batch
    from amply.transport.transport import Transport

__all__ = ["PublishBatchError", "Transport", "publish_batch"]


def __getattr__(name: str) -> Any:
    if name == "Transport":
        from amply.transport.transport import Transport  # noqa: PLC0415

        return Transport
    if name in {"PublishBatchError", "publish_batch"}:
        from amply.transport import batch  # noqa: PLC0415

        return getattr(batch, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
