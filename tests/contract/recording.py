"""A transport that keeps every call that kombu makes of it, and a worker's consumer on it. Knows nothing of SQS.

It is written as ours is, on kombu.transport.virtual, so that what breaks it would break ours.
"""

import logging
import sys
from queue import Empty
from typing import Any

from celery import Celery, _state
from kombu import Connection
from kombu.transport import virtual


class Message(virtual.Message):
    """Says which exception was being handled when it was rejected or acknowledged."""

    def ack_log_error(self, logger: logging.Logger, errors: tuple[type[BaseException], ...], multiple: bool = False):
        self.channel.note("ack", during=sys.exception())
        return super().ack_log_error(logger, errors, multiple)

    def ack(self, multiple: bool = False):
        self.channel.note("plain ack", during=sys.exception())
        return super().ack(multiple)

    def reject_log_error(self, logger: logging.Logger, errors: tuple[type[BaseException], ...], requeue: bool = False):
        self.channel.note("reject", requeue=requeue, during=sys.exception())
        return super().reject_log_error(logger, errors, requeue)


class Channel(virtual.Channel):
    """Queues are lists of payloads. `calls` are the names of what kombu called, each with what it gave."""

    Message = Message
    do_restore = False
    supports_fanout = True
    from_transport_options = (*virtual.Channel.from_transport_options, "an_option")

    @property
    def calls(self) -> list[tuple[str, dict[str, Any]]]:
        return self.connection.calls

    def note(self, name: str, **given: Any) -> None:
        self.connection.calls.append((name, given))

    def _new_queue(self, queue, **kwargs):
        self.note("_new_queue", queue=queue, **kwargs)
        self.connection.queues.setdefault(queue, [])

    def _put(self, queue, message, **kwargs):
        self.note("_put", queue=queue, message=message, **kwargs)
        self.connection.queues.setdefault(queue, []).append(message)

    def _put_fanout(self, exchange, message, routing_key, **kwargs):
        self.note("_put_fanout", exchange=exchange, message=message, routing_key=routing_key)

    def _queue_bind(self, exchange, routing_key, pattern, queue):
        self.note("_queue_bind", exchange=exchange, queue=queue)

    def _get(self, queue, timeout=None):
        try:
            return self.connection.queues[queue].pop(0)
        except LookupError:
            raise Empty from None

    def _size(self, queue):
        return len(self.connection.queues.get(queue, ()))

    def _purge(self, queue):
        waiting = self._size(queue)
        self.connection.queues[queue] = []
        return waiting

    def _delete(self, queue, *args, **kwargs):
        self.note("_delete", queue=queue)

    def basic_consume(self, queue, no_ack, callback, consumer_tag, **kwargs):
        self.note("basic_consume", queue=queue, no_ack=no_ack)
        return super().basic_consume(queue, no_ack, callback, consumer_tag, **kwargs)

    def basic_cancel(self, consumer_tag):
        self.note("basic_cancel", queue=self._tag_to_queue.get(consumer_tag))
        return super().basic_cancel(consumer_tag)

    def basic_ack(self, delivery_tag, multiple=False):
        self.note("basic_ack", tag=delivery_tag)
        super().basic_ack(delivery_tag, multiple)

    def basic_reject(self, delivery_tag, requeue=False):
        self.note("basic_reject", tag=delivery_tag, requeue=requeue)
        self.qos.ack(delivery_tag)

    def basic_qos(self, prefetch_size=0, prefetch_count=0, apply_global=False):
        self.note("basic_qos", prefetch_count=prefetch_count)
        super().basic_qos(prefetch_size, prefetch_count, apply_global)

    def after_reply_message_received(self, queue):
        self.note("after_reply_message_received", queue=queue)


class Transport(virtual.Transport):
    """With an event loop, as ours."""

    Channel = Channel
    driver_type = "recording"
    driver_name = "recording"
    polling_interval = None
    connection_errors = (*virtual.Transport.connection_errors, ConnectionError)
    implements = virtual.Transport.implements.extend(
        asynchronous=True, exchange_type=frozenset(["direct", "topic", "fanout"])
    )

    def __init__(self, client, **kwargs):
        super().__init__(client, **kwargs)
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.queues: dict[str, list[dict[str, Any]]] = {}

    def register_with_event_loop(self, connection, loop):
        self.calls.append(("register_with_event_loop", {"connection": connection, "loop": loop}))


def connection(**options: Any) -> Connection:
    """A connection by way of the recording transport."""
    return Connection("recording://", transport=Transport, transport_options=options)


class Consuming:
    """The consumer of a worker that was made and not started: a message given to it runs in this thread, in `solo`."""

    def __init__(self, **settings: Any) -> None:
        self.app = Celery("contract", broker="sqs://", set_as_current=False)
        self.app.conf.update(
            {
                "broker_transport": Transport,
                "result_backend": "cache+memory://",
                "worker_hijack_root_logger": False,
                "task_acks_late": True,
                "task_reject_on_worker_lost": True,
                "task_acks_on_failure_or_timeout": False,
                "task_acks_on_failure": False,
                "task_acks_on_timeout": False,
                **settings,
            }
        )

    def task(self, name: str, **options: Any) -> Any:
        """Celery's decorator of tasks, for this app alone."""
        return self.app.task(name=name, shared=False, **options)

    def start(self) -> None:
        """Do by hand what a worker's boot steps do, without its loop. The app's tasks must be there."""
        # What `retry` sends goes by way of the current app; other tests have another.
        self._current_before = _state._tls.current_app
        self.app.set_current()
        self.app.finalize()
        self.worker = self.app.WorkController(pool="solo", concurrency=1, hostname="worker@here", use_eventloop=False)
        self.consumer = self.worker.consumer
        self.consumer.connection = self.consumer.connect()
        self.channel = self.consumer.connection.default_channel
        self.consumer.update_strategies()
        self._receive = self.consumer.create_task_handler()

    @property
    def calls(self) -> list[tuple[str, dict[str, Any]]]:
        return self.channel.calls

    def publish(self, task: str, args: tuple[Any, ...] = (), **options: Any) -> dict[str, Any]:
        """What arrives at the transport when a job is sent."""
        with self.app.producer_or_acquire() as producer:
            self.app.send_task(task, args, producer=producer, **options)
            return [given["message"] for name, given in producer.channel.calls if name == "_put"][-1]

    def receive(self, payload: dict[str, Any]) -> Message:
        """Hand a message to the worker as its transport does, and let it do what it puts off."""
        message = Message(payload, channel=self.channel)
        self.channel.qos.append(message, message.delivery_tag)
        self._receive(message)
        self.consumer.perform_pending_operations()
        return message

    def settled(self) -> list[tuple[str, Any]]:
        """What became of messages: basic_ack or basic_reject, with its `requeue`."""
        return [(name, given.get("requeue")) for name, given in self.calls if name in ("basic_ack", "basic_reject")]

    def during(self, name: str) -> list[BaseException | None]:
        """What was being handled each time that the message was told this."""
        return [given["during"] for called, given in self.calls if called == name]

    def stop(self) -> None:
        self.consumer.connection.close()
        self.app.close()
        _state._set_current_app(self._current_before)
