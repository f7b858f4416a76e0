"""A broker for tests of rules: an engine on a forgetful store, whose look-ups come back at once."""

import json
from typing import Any

from amply.broker.engine.commands import (
    ChangeVisibility,
    Command,
    CreateQueue,
    Delete,
    Deletion,
    Observe,
    Outgoing,
    Receive,
    Send,
    Tick,
    VisibilityChange,
)
from amply.broker.engine.decision import UNSETTLED, Decision, Delivery, Fetch, Find, ReadInOrder, ReadQuiet, ReadReady
from amply.broker.engine.engine import Engine
from amply.broker.engine.queue import Queue
from amply.broker.engine.records import Content
from amply.broker.service.restoring import restored
from amply.broker.sqs.faults import Fault
from amply.broker.sqs.limits import AWS
from amply.broker.sqs.receipts import Receipt
from amply.broker.store.memory import MemoryStore
from amply.ids import CountingIds

ACCOUNT = "000000000000"
WORK, DEAD, OTHER = (ACCOUNT, "work"), (ACCOUNT, "dead"), (ACCOUNT, "other")
DAY_S = 86_400


class Broker:
    """An engine on a forgetful store and a clock that tests move."""

    def __init__(self) -> None:
        self.ids = CountingIds()
        self.engine = Engine("eu-central-1", new_message_id=self.ids.message_id)
        self.store = MemoryStore()
        self.now_ms = 1_700_000_000_000
        self.answers: dict[int, Any] = {}
        self.tickets = 0

    def run(self, command: Command) -> Any:
        decision = self.engine.decide(command, self.now_ms)
        return self._settle(decision)

    def _settle(self, decision: Decision) -> Any:
        self.store.commit(decision.changes, self.now_ms)
        self.answers.update(decision.woken)
        answer = decision.answer
        for read in decision.reads:
            if isinstance(read, ReadReady):
                page = self.store.ready(read.shelf, read.after, read.until_ms, read.count, read.size_bytes)
                self._settle(self.engine.ready_were_read(read, page.messages, [], self.now_ms, is_last=page.is_last))
            elif isinstance(read, ReadQuiet):
                limits = (read.count, read.size_bytes)
                page, to = self.store.ready_without(read.shelf, read.after, read.until_ms, limits, read.without)
                self._settle(
                    self.engine.quiet_were_read(read, page.messages, [], to, self.now_ms, is_last=page.is_last)
                )
            elif isinstance(read, ReadInOrder):
                page = self.store.in_order(read.shelf, read.after, read.until, read.count, read.size_bytes)
                self._settle(self.engine.were_read_in_order(read, page.messages, [], self.now_ms, is_last=page.is_last))
            elif isinstance(read, Fetch):
                page = self.store.fetch(read.shelf, read.seqs, read.size_bytes)
                self._settle(self.engine.were_fetched(read, page.messages, self.now_ms, is_last=page.is_last))
            elif isinstance(read, Find):
                answer = self._settle(self.engine.were_found(read, self.store.find(read.seqs), self.now_ms))
            else:
                aged = self.store.sent_before(read.shelf, read.before_ms, read.count)
                self._settle(self.engine.aged_were_read(read, aged.entries, aged.next_oldest_ms, self.now_ms))
        return answer

    def queue(self, key: tuple[str, str], **attributes: Any) -> None:
        texts = {name: value if isinstance(value, str) else json.dumps(value) for name, value in attributes.items()}
        self.run(CreateQueue(key, texts, {}))

    def work_with_dead_letters(self, max_receive_count: int = 2, **attributes: Any) -> None:
        self.queue(DEAD)
        self.queue(WORK, RedrivePolicy=redrive(DEAD, max_receive_count), **attributes)

    def send(self, *bodies: str, key: tuple[str, str] = WORK, delay_s: int | None = None) -> None:
        self.run(Send(key, [Outgoing(Content(body, body, "sender", {}), delay_s) for body in bodies]))

    def receive(self, key: tuple[str, str] = WORK, count: int = 10, timeout_s: int | None = None) -> list[Delivery]:
        return self.outcome(self.poll(key, count, timeout_s, 0))

    def poll(
        self, key: tuple[str, str] = WORK, count: int = 10, timeout_s: int | None = None, wait_s: int | None = 20
    ) -> int:
        self.tickets += 1
        answer = self.run(Receive(key, self.tickets, count, timeout_s, wait_s))
        if answer is not UNSETTLED:
            self.answers[self.tickets] = answer
        return self.tickets

    def outcome(self, ticket: int) -> Any:
        answer = self.answers[ticket]
        if isinstance(answer, Fault):
            raise answer
        return answer

    def bodies(self, key: tuple[str, str] = WORK, count: int = 10, timeout_s: int | None = None) -> list[str]:
        return [delivery.content.body for delivery in self.receive(key, count, timeout_s)]

    def delete(self, *deliveries: Delivery, key: tuple[str, str] = WORK) -> None:
        self.run(Delete(key, [Deletion(receipt(delivery), "handle") for delivery in deliveries]))

    def change(self, delivery: Delivery, timeout_s: int, key: tuple[str, str] = WORK) -> Fault | None:
        (fault,) = self.run(ChangeVisibility(key, [VisibilityChange(receipt(delivery), "handle", timeout_s)]))
        return fault

    def pass_time(self, seconds: float) -> None:
        self.now_ms += round(seconds * 1000)
        self.run(Tick())

    def counts(self, key: tuple[str, str] = WORK) -> tuple[int, int, int]:
        queue: Queue = self.run(Observe(key))
        return queue.ready_count, len(queue.in_flight), queue.delayed_count

    def restart(self) -> None:
        self.engine = restored(self.store.load(self.now_ms), "eu-central-1", AWS, self.ids.message_id)


def receipt(delivery: Delivery) -> Receipt:
    entry = delivery.entry
    return Receipt(delivery.queue_id, entry.seq, entry.receive_count, delivery.received_ms)


def redrive(target: tuple[str, str], max_receive_count: int) -> dict[str, Any]:
    return {
        "deadLetterTargetArn": f"arn:aws:sqs:eu-central-1:{ACCOUNT}:{target[1]}",
        "maxReceiveCount": max_receive_count,
    }
