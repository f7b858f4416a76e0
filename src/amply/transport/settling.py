"""What is decided about messages, told to SQS: deletes, visibility changes, fresh copies and records, in batches.

A thread of its own, so that no worker waits for it: an order leaves with up to nine others within `LINGER_S`. An order
that SQS could not take is tried again for as long as it makes sense. Must not know why something was decided.
"""

import logging
import threading
from collections import deque
from collections.abc import Callable
from random import Random
from typing import Any, Literal

from msgspec import Struct

from amply.clock import Clock
from amply.transport.backoff import Backoff
from amply.transport.client import SqsClient
from amply.transport.delivery import Delivery
from amply.transport.faults import SqsFault, TimedOut, Transient, Unreachable
from amply.transport.leases import Leases
from amply.transport.publishing import ATTEMPTS, DELAY_S_MAX
from amply.transport.queues import Queue
from amply.transport.turns import MOST_AT_ONCE

logger = logging.getLogger(__name__)

LINGER_S = 0.02
_FIRST_PAUSE_S = 0.2
_LONGEST_PAUSE_S = 10.0
# Beyond so many orders that SQS does not take, the oldest are given up: their messages come back by themselves.
_MOST_ORDERS = 20_000
# SendMessageBatch takes no more bytes at once (AWS API reference, SendMessageBatch); a queue's own limit may be lower.
_LARGEST_BATCH_BYTES = 262_144

Kind = Literal["delete", "show", "renew", "send"]


class Order(Struct, eq=False):
    """Something to tell SQS.

    - delete: the message is done.
    - show: it is hidden for `seconds` more, 0 shows it at once.
    - renew: a fresh copy of it, with `attempts` carried, comes in `seconds` or as late as SQS can; then it is deleted.
    - send: `body` goes to `queue`, best effort.
    """

    kind: Kind
    queue: Queue
    delivery: Delivery | None = None
    seconds: int = 0
    attempts: int = 0
    body: str = ""

    def size_bytes(self) -> int:
        """What it weighs in a batch that sends."""
        return len((self.delivery.body if self.delivery else self.body).encode()) + 1_000


class _Lane:
    """The orders of one kind for one queue, and when they may leave."""

    def __init__(self, kind: Kind) -> None:
        self.kind = kind
        self.orders: deque[Order] = deque()
        self.lingers_until_s = 0.0
        self.paused_until_s = 0.0
        # A pause between two tries is jittered, or the workers of a fleet would come back together.
        self.backoff = Backoff(_FIRST_PAUSE_S, _LONGEST_PAUSE_S, random=Random())  # noqa: S311 - not a secret

    def due_in_s(self, now_s: float, *, hurry: bool) -> float:
        if hurry or len(self.orders) >= MOST_AT_ONCE:
            return self.paused_until_s - now_s
        return max(self.paused_until_s, self.lingers_until_s) - now_s


class Settler(threading.Thread):
    """Takes orders from any thread and carries them out until it is told to stop and has none left."""

    def __init__(
        self,
        client: SqsClient,
        leases: Leases,
        clock: Clock,
        *,
        distrust: Callable[[], None],
        after_delete: Callable[[Delivery], None],
    ) -> None:
        super().__init__(name="amply-settler", daemon=True)
        self._client = client
        self._leases = leases
        self._clock = clock
        self._distrust = distrust
        self._after_delete = after_delete
        self._condition = threading.Condition()
        self._lanes: dict[tuple[Kind, str], _Lane] = {}
        self._in_hand = 0
        self._is_stopping = False
        self._is_hurried = False

    def put(self, order: Order) -> None:
        """Take an order. Its delivery, if there is one, is settled from now on."""
        if order.delivery is not None:
            self._leases.settle(order.delivery)
        key = (order.kind, order.queue.url)
        with self._condition:
            lane = self._lanes.get(key)
            if lane is None:
                lane = self._lanes[key] = _Lane(order.kind)
            orders = lane.orders
            orders.append(order)
            if len(orders) == 1:
                lane.lingers_until_s = self._now_s() + LINGER_S
                self._condition.notify_all()
            elif len(orders) == MOST_AT_ONCE:
                self._condition.notify_all()
            elif len(orders) > _MOST_ORDERS:
                self._give_up(orders.popleft())

    def flush(self, timeout_s: float) -> bool:
        """Send everything now; whether all of it was taken in time."""
        with self._condition:
            self._is_hurried = True
            self._condition.notify_all()
            try:
                return self._condition.wait_for(self._is_idle, timeout_s)
            finally:
                self._is_hurried = False

    def stop(self) -> None:
        """End as soon as there are no orders and nothing is held that could still bring one."""
        with self._condition:
            self._is_stopping = True
            self._condition.notify_all()

    def run(self) -> None:
        """The thread."""
        while (batch := self._next_batch()) is not None:
            lane, orders = batch
            try:
                again = self._carry_out(lane, orders)
            except Exception:  # an order that breaks the code must not take the others with it
                logger.exception("%d orders (%s) could not be carried out", len(orders), lane.kind)
                for order in orders:
                    self._give_up(order)
                again = []
            self._put_back(lane, orders, again)

    def _next_batch(self) -> tuple[_Lane, list[Order]] | None:
        with self._condition:
            while True:
                now_s = self._now_s()
                waits_s = None
                for key, lane in self._lanes.items():
                    if not lane.orders:
                        continue
                    due_in_s = lane.due_in_s(now_s, hurry=self._is_hurried or self._is_stopping)
                    if due_in_s <= 0:
                        orders = self._take(lane)
                        self._in_hand += len(orders)
                        # The others first, next time: a busy lane must not keep them waiting until leases end.
                        self._lanes[key] = self._lanes.pop(key)
                        return lane, orders
                    waits_s = due_in_s if waits_s is None else min(waits_s, due_in_s)
                if self._is_stopping and waits_s is None:
                    if not len(self._leases):
                        return None
                    waits_s = 0.5
                self._condition.wait(waits_s)

    @staticmethod
    def _take(lane: _Lane) -> list[Order]:
        orders = [lane.orders.popleft()]
        room_bytes = _LARGEST_BATCH_BYTES - orders[0].size_bytes()
        while lane.orders and len(orders) < MOST_AT_ONCE:
            if lane.kind in ("renew", "send"):
                room_bytes -= lane.orders[0].size_bytes()
                if room_bytes < 0:
                    break
            orders.append(lane.orders.popleft())
        return orders

    def _put_back(self, lane: _Lane, orders: list[Order], again: list[Order]) -> None:
        with self._condition:
            self._in_hand -= len(orders)
            if again:
                lane.orders.extendleft(reversed(again))
                lane.paused_until_s = self._now_s() + lane.backoff.next_s()
            else:
                lane.backoff.reset()
                lane.lingers_until_s = self._now_s() + LINGER_S
            self._condition.notify_all()

    def _now_s(self) -> float:
        return self._clock.now_ms() / 1000

    def _is_idle(self) -> bool:
        return not self._in_hand and not any(lane.orders for lane in self._lanes.values())

    def _carry_out(self, lane: _Lane, orders: list[Order]) -> list[Order]:
        """The orders that have to be tried again."""
        extending = [order for order in orders if order.delivery is not None and order.delivery.is_extending]
        if extending and lane.kind == "show":
            # An extension that is on its way would hide the message again.
            orders = [order for order in orders if order not in extending]
        else:
            extending = []
        try:
            again = self._request(lane.kind, orders) if orders else []
        except Unreachable as error:
            if isinstance(error, TimedOut):
                self._distrust()
            logger.warning("%d orders (%s) wait: %s", len(orders), lane.kind, error)
            again = self._worth_another_try(orders)
        except Transient as error:
            logger.warning("%d orders (%s) wait: %s", len(orders), lane.kind, error)
            again = self._worth_another_try(orders)
        except SqsFault as error:
            hint = f"; the role may lack sqs:{error.action.removesuffix('Batch')}" if error.is_denied else ""
            logger.error("%d orders (%s) were refused: %s%s", len(orders), lane.kind, error, hint)  # noqa: TRY400
            may_pass = error.is_denied and lane.kind != "renew"
            again = self._worth_another_try(orders) if may_pass else self._without(orders)
        return extending + again

    def _request(self, kind: Kind, orders: list[Order]) -> list[Order]:
        match kind:
            case "delete":
                return self._ask_to_delete(orders)
            case "show":
                return self._ask_to_show(orders)
            case "renew":
                return self._ask_to_renew(orders)
            case "send":
                return self._ask_to_send(orders)

    def _ask_to_delete(self, orders: list[Order]) -> list[Order]:
        entries = [{"Id": str(index), "ReceiptHandle": _of(order).receipt_handle} for index, order in enumerate(orders)]
        done, again = self._batch("DeleteMessageBatch", orders, entries)
        for order in done:
            delivery = _of(order)
            self._leases.drop(delivery)
            self._after_delete(delivery)
        return again

    def _ask_to_show(self, orders: list[Order]) -> list[Order]:
        entries = [
            {"Id": str(index), "ReceiptHandle": _of(order).receipt_handle, "VisibilityTimeout": order.seconds}
            for index, order in enumerate(orders)
        ]
        done, again = self._batch("ChangeMessageVisibilityBatch", orders, entries)
        for order in done:
            self._leases.drop(_of(order))
        return again

    def _ask_to_renew(self, orders: list[Order]) -> list[Order]:
        entries = []
        for index, order in enumerate(orders):
            delivery = _of(order)
            attributes = {name: value for name, value in delivery.attributes.items() if name != ATTEMPTS}
            if order.attempts:
                attributes[ATTEMPTS] = {"DataType": "Number", "StringValue": str(order.attempts)}
            entry = {
                "Id": str(index),
                "MessageBody": delivery.body,
                "DelaySeconds": min(DELAY_S_MAX, order.seconds),
                "MessageAttributes": attributes,
            }
            if delivery.group_id is not None:
                entry["MessageGroupId"] = delivery.group_id
            entries.append(entry)
        done, again = self._batch("SendMessageBatch", orders, entries)
        # Only now: between the two there is a moment with both copies, never one with none.
        for order in done:
            self.put(Order("delete", order.queue, order.delivery))
        return again

    def _ask_to_send(self, orders: list[Order]) -> list[Order]:
        entries = [{"Id": str(index), "MessageBody": order.body} for index, order in enumerate(orders)]
        return self._batch("SendMessageBatch", orders, entries)[1]

    def _batch(
        self, action: str, orders: list[Order], entries: list[dict[str, Any]]
    ) -> tuple[list[Order], list[Order]]:
        """Those that SQS took, and those to try again. What it refuses for good is let go."""
        members = {"QueueUrl": orders[0].queue.url, "Entries": entries}
        answer = self._client.call(action, members, timeout_s=self._leases.request_timeout_s)
        again, refused = [], set()
        for entry in answer.get("Failed") or ():
            index = int(entry["Id"])
            refused.add(index)
            if entry.get("SenderFault", True):
                logger.warning("%s of %s was refused: %s", action, orders[index].delivery or "a record", entry)
                self._refused(orders[index])
            else:
                again.append(orders[index])
        return [order for index, order in enumerate(orders) if index not in refused], self._worth_another_try(again)

    def _worth_another_try(self, orders: list[Order]) -> list[Order]:
        """A delete always: the job is done. The rest only while the message is ours."""
        worth = []
        for order in orders:
            if order.delivery is None or order.kind == "delete" or not self._leases.is_lost(order.delivery):
                worth.append(order)
            else:
                self._give_up(order)
        return worth

    def _without(self, orders: list[Order]) -> list[Order]:
        for order in orders:
            self._refused(order)
        return []

    def _refused(self, order: Order) -> None:
        if order.kind == "renew" and not self._leases.is_lost(_of(order)):
            # There is no copy, for the role may not send, or because one attribute more is too many: then the message
            # itself is hidden, though that takes one of its receives.
            seconds = min(order.seconds, self._leases.longest_hidden_s(_of(order)))
            self.put(Order("show", order.queue, order.delivery, seconds))
        else:
            self._give_up(order)

    def _give_up(self, order: Order) -> None:
        if order.delivery is not None:
            self._leases.drop(order.delivery)


def _of(order: Order) -> Delivery:
    if order.delivery is None:
        raise TypeError(f"an order to {order.kind} needs a delivery")
    return order.delivery
