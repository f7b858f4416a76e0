"""A FIFO queue on the broker for tests of rules, and what is done with it in a word."""

from typing import Any

from settled import ACCOUNT, Broker, receipt

from amply.broker.engine.commands import Delete, Deletion, Outgoing, Receive, Send, Sent
from amply.broker.engine.decision import UNSETTLED, Delivery
from amply.broker.engine.records import Content
from amply.broker.sqs.faults import Fault

FIFO, DEAD = (ACCOUNT, "work.fifo"), (ACCOUNT, "dead.fifo")


def declare(broker: Broker, key: tuple[str, str] = FIFO, **attributes: Any) -> None:
    broker.queue(key, FifoQueue="true", **attributes)


def send(broker: Broker, *names: str, key: tuple[str, str] = FIFO) -> list[Sent]:
    """Messages named after their group: `a1` is of group `a`. The name is the deduplication id, too."""
    contents = [Content(f"id of {name}", name, "sender", {}, None, name[0], name) for name in names]
    answer: list[Sent] = broker.run(Send(key, [Outgoing(content) for content in contents]))
    return answer


def names(broker: Broker, count: int = 10, timeout_s: int | None = None) -> list[str]:
    return broker.bodies(FIFO, count, timeout_s)


def attempt(broker: Broker, attempt_id: str, count: int = 10, timeout_s: int | None = None) -> list[Delivery]:
    broker.tickets += 1
    answer = broker.run(Receive(FIFO, broker.tickets, count, timeout_s, 0, attempt_id))
    return broker.answers[broker.tickets] if answer is UNSETTLED else answer


def delete(broker: Broker, delivery: Delivery) -> Fault | None:
    (fault,) = broker.run(Delete(FIFO, [Deletion(receipt(delivery), "handle")]))
    return fault
