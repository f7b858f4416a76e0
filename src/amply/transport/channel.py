"""kombu's channel over SQS: what kombu and Celery ask for, turned into publishing and into an intake's orders.

Knows kombu's virtual channels; must not know how requests are made or when.
"""

from collections.abc import Mapping
from itertools import count
from typing import TYPE_CHECKING, Any

from kombu.transport import virtual
from kombu.transport.virtual.base import queue_declare_ok_t  # type: ignore[attr-defined]

from amply.ids import secret
from amply.transport import batch, remote
from amply.transport import message as messages
from amply.transport.delivery import Cause, Delivery
from amply.transport.letters import Shared, Source
from amply.transport.publishing import label_of, prepare

if TYPE_CHECKING:
    from amply.transport.boxes import Box
    from amply.transport.transport import Transport

# Tags name deliveries within a channel. A counter's next is one step even among threads.
_tags = count(1)


class Channel(virtual.Channel):
    """A channel. All channels of a connection share one intake."""

    Message = messages.Message  # type: ignore[assignment]
    # What is not settled is given back by the intake, which knows what was started.
    do_restore = False

    connection: "Transport | None"

    def __init__(self, connection: "Transport", **kwargs: Any) -> None:
        super().__init__(connection, **kwargs)
        # A verdict may come when the connection is closed already, and is taken nevertheless.
        self._transport = connection
        self._deliveries: dict[str, Delivery] = {}
        # Queues of our own, by Celery's names.
        self._boxes: dict[str, Box] = {}

    # Publishing

    def basic_publish(self, message: dict[str, Any], exchange: str, routing_key: str, **kwargs: Any) -> None:
        """Send a job to its queue; a command, an answer or an event to whoever it is for."""
        speech = remote.speech(exchange, self._type(exchange), message["headers"]) if exchange else None
        if speech is None:
            super().basic_publish(message, exchange, routing_key, **kwargs)
            return
        text = message["body"]
        self._inplace_augment_message(message, exchange, routing_key)
        match speech:
            case "command":
                self._transport.remote.command(exchange, message, text)
            case "answer":
                self._transport.remote.answer(routing_key, message)
            case "event":
                self._transport.remote.event(exchange, routing_key, message, text)

    def _type(self, exchange: str) -> str | None:
        declared: str | None = self.state.exchanges.get(exchange, {}).get("type")
        return declared

    def _put(self, queue: str, message: dict[str, Any], **_kwargs: Any) -> None:
        """Send a message; it is in the queue when this returns, or collected by `publish_batch`."""
        transport = self._transport
        target = transport.queues.get(queue)
        outgoing = prepare(
            message,
            form=transport.options.message_format,
            is_fifo=target.is_fifo,
            now_ms=transport.wall_ms(),
            maximum_bytes=lambda: transport.queues.limits(target).maximum_message_bytes,
            payloads=transport.payloads,
        )
        collecting = batch.current()
        if collecting is not None:
            collecting.add(transport.send_batch, queue, outgoing, label_of(message))
        else:
            transport.sqs.call("SendMessage", {"QueueUrl": target.url, **outgoing.members()})

    # Queues

    def queue_declare(self, queue: str | None = None, passive: bool = False, **kwargs: Any) -> Any:  # noqa: FBT001, FBT002
        """Declare a queue. SQS is asked only for what has to exist at once, or for the count (`passive`)."""
        queue = queue or f"amq.gen-{secret(16).hex()}"
        if passive:
            return queue_declare_ok_t(queue, self._size(queue), 0)
        self._new_queue(queue, **kwargs)
        if queue not in self._boxes and (box := self._transport.remote.open_reply(queue)):
            # It has to be there before anybody is asked.
            self._boxes[queue] = box
        return queue_declare_ok_t(queue, 0, 0)

    def _size(self, queue: str) -> int:
        queues = self._transport.queues
        return queues.size(queues.get(queue))

    def _purge(self, queue: str) -> int:
        transport = self._transport
        target = transport.queues.get(queue)
        size = transport.queues.size(target)
        transport.sqs.call("PurgeQueue", {"QueueUrl": target.url})
        return size

    def _delete(self, queue: str, *_args: Any, **_kwargs: Any) -> None:
        if self._close_box(queue):
            return
        transport = self._transport
        transport.sqs.call("DeleteQueue", {"QueueUrl": transport.queues.get(queue).url})
        transport.queues.forget(queue)

    # Consuming

    def basic_qos(self, prefetch_size: int = 0, prefetch_count: int = 0, apply_global: bool = False) -> None:  # noqa: ARG002, FBT001, FBT002
        """How many messages may be held at once; 0 is as many as make sense."""
        self._transport.intake.set_prefetch(prefetch_count)

    def basic_consume(self, queue: str, no_ack: bool, callback: Any, consumer_tag: str, **_kwargs: Any) -> None:  # noqa: FBT001
        """Receive from a queue from now on. Queues are served in the order of these calls, or in `queue_order`."""
        self._tag_to_queue[consumer_tag] = queue
        self._active_queues.append(queue)
        self._consumers.add(consumer_tag)
        intake = self._transport.intake
        if no_ack:
            intake.read_letters(queue, self._source(queue), lambda payload: callback(self._letter(payload)))
        else:
            intake.consume(queue, lambda delivery: callback(self._message(delivery)))

    def basic_cancel(self, consumer_tag: str) -> None:
        """Stop receiving; messages that Celery has not got yet are given back."""
        if consumer_tag not in self._consumers:
            return
        self._consumers.remove(consumer_tag)
        queue = self._tag_to_queue.pop(consumer_tag)
        self._active_queues.remove(queue)
        self._transport.intake.cancel(queue)
        self._close_box(queue)

    def _source(self, queue: str) -> Source:
        """Where the letters of a queue come from."""
        if queue not in self._boxes:
            for exchange, _, _ in self.state.queue_bindings(queue):
                if box := self._transport.remote.open(queue, exchange, self._type(exchange)):
                    self._boxes[queue] = box
        shared = Shared(self._transport.queues, queue, self._transport.options.lease_seconds)
        return self._boxes.get(queue, shared)

    def _close_box(self, queue: str) -> bool:
        box = self._boxes.pop(queue, None)
        if box is not None:
            self._transport.remote.close(box)
        return box is not None

    def after_reply_message_received(self, queue: str) -> None:
        """The answers are in: nobody reads the queue any more."""
        self._close_box(queue)

    def close(self) -> None:
        """Cancel the consumers, and delete queues of our own that nobody consumed."""
        super().close()
        for queue in list(self._boxes):
            self._close_box(queue)

    def basic_get(self, queue: str, no_ack: bool = False, **_kwargs: Any) -> messages.Message | None:  # noqa: FBT001, FBT002
        """One message, if one is there."""
        intake = self._transport.intake
        delivery = intake.receive_one(self._transport.queues.get(queue))
        if delivery is None:
            return None
        message = self._message(delivery)
        if no_ack:
            self.basic_ack(message.delivery_tag)
        return message

    def basic_ack(self, delivery_tag: str, multiple: bool = False) -> None:  # noqa: ARG002, FBT001, FBT002
        """The message is done."""
        delivery = self._deliveries.pop(delivery_tag, None)
        if delivery is not None:
            self._transport.intake.acknowledge(delivery)

    def basic_reject(self, delivery_tag: str, requeue: bool = False) -> None:  # noqa: FBT001, FBT002
        """The message failed: it waits for its next run. SQS counts the receive whether Celery requeues or not."""
        delivery = self._deliveries.pop(delivery_tag, None)
        if delivery is not None:
            asked = "requeued" if requeue else "rejected"
            self._transport.intake.fail(delivery, delivery.cause or Cause(asked))

    def nudge(self) -> None:
        """A verdict on a message of this channel is on its way to the loop."""
        self._transport.intake.nudge()

    def _message(self, delivery: Delivery) -> messages.Message:
        payload = self._tagged(delivery)
        self._deliveries[payload["properties"]["delivery_tag"]] = delivery
        return messages.Message(payload, channel=self, delivery=delivery)

    def _letter(self, payload: Mapping[str, Any]) -> messages.Message:
        self._transport.remote.heard(payload)
        properties = {**payload["properties"], "delivery_tag": str(next(_tags))}
        return messages.Message({**payload, "properties": properties}, channel=self)

    @staticmethod
    def _tagged(delivery: Delivery) -> dict[str, Any]:
        payload = delivery.payload or {}
        payload["properties"]["delivery_tag"] = str(next(_tags))
        return payload
