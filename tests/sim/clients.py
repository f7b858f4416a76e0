"""Who sends, receives, deletes, and goes away."""

from facts import Poll, is_fifo
from stage import Stage
from witness import ACCOUNT, Held

from amply.broker.engine.commands import (
    ChangeVisibility,
    Delete,
    Deletion,
    GiveBack,
    Outgoing,
    Receive,
    Send,
    Unpark,
    VisibilityChange,
)
from amply.broker.engine.decision import UNSETTLED, Decision
from amply.broker.engine.records import Content
from amply.broker.sqs.faults import Fault


class Clients(Stage):
    """Producers and consumers; `witness.held` is what consumers hold."""

    def send(self) -> None:
        key = self.key()
        if key[1] not in self.model.queues:
            return
        messages = []
        for _ in range(self.random.choice((1, 1, 1, 10))):
            self.sent += 1
            name = f"message {self.sent}"
            if is_fifo(key[1]):
                deduplication_id = f"id-{self.random.randrange(self.deduplication_ids)}"
                group = self.random.choice(self.groups)
                content = Content(name, name, "sender", {}, None, group, deduplication_id)
                messages.append(Outgoing(content))
            else:
                group = self.random.choice((None, *self.groups))
                delay_s = self.random.choice((None, None, 0, 1, 20))
                messages.append(Outgoing(Content(name, name, "sender", {}, None, group), delay_s))
        decision = self.run(Send(key, messages))
        if isinstance(decision, Fault):
            self.reached["a send was refused: too many deduplication ids"] += 1
            remembered = 2 * self.model.fifo.remembered(
                key[1], self.now_ms
            )  # an id may be there anew, and as of before
            assert remembered + len(messages) > self.ids_max

    def receive(self) -> None:
        key = self.key()
        if key[1] not in self.model.queues:
            return
        choice = self.random.choice
        timeout_s, wait_s = choice((None, None, 0, 1, 60, 400)), choice((None, 0, 5, 20))
        attempt_id = choice((None, "a", "b", "c")) if is_fifo(key[1]) else None
        self.poll(key, choice((1, 3, 10)), timeout_s, wait_s or 0, attempt_id)

    def poll(
        self, key: tuple[str, str], count: int, timeout_s: int | None, wait_s: int, attempt_id: str | None = None
    ) -> None:
        self.tickets += 1
        queue, now_ms = key[1], self.now_ms
        holds = attempt_id is not None and self.model.fifo.valid_attempt(queue, attempt_id, now_ms) is not None
        poll = Poll(queue, count, timeout_s, now_ms + wait_s * 1000, attempt_id, holds)
        self.witness.polls[self.tickets] = poll
        decision = self.shell.run(Receive(key, self.tickets, count, timeout_s, wait_s, attempt_id))
        assert isinstance(decision, Decision)
        if isinstance(decision.answer, Fault):
            self.reached["refused at the in-flight cap"] += 1
            assert not is_fifo(queue)
            assert self.model.in_flight_count(queue, now_ms) >= self.model.in_flight_max
            del self.witness.polls[self.tickets]
        elif decision.answer is not UNSETTLED:
            decision.woken.insert(0, (self.tickets, decision.answer))
        self.witness.saw(decision)

    def some_held(self) -> list[Held]:
        """Deliveries of one queue, recent ones more often."""
        held = [one for one in self.witness.held[-20:] if self.is_of_a_queue(one)]
        if not held:
            return []
        queue = self.random.choice(held).queue
        same_queue = [one for one in held if one.queue == queue]
        return self.random.sample(same_queue, min(len(same_queue), self.random.choice((1, 1, 3, 10))))

    def is_of_a_queue(self, held: Held) -> bool:
        """Handles of a queue that is gone are refused before they come to the engine."""
        queue = self.shell.engine.queues.get((ACCOUNT, held.queue))
        return queue is not None and queue.record.queue_id == held.receipt.queue_id

    def delete(self) -> None:
        if some := self.some_held():
            self.run(Delete((ACCOUNT, some[0].queue), [Deletion(held.receipt, "handle") for held in some]))

    def change_visibility(self) -> None:
        if some := self.some_held():
            timeouts_s = (0, 1, 30, 43_200)
            changes = [VisibilityChange(held.receipt, "handle", self.random.choice(timeouts_s)) for held in some]
            self.run(ChangeVisibility((ACCOUNT, some[0].queue), changes))

    def give_back(self) -> None:
        """The client of a delivery turns out to be gone: as if it had not been received."""
        if not self.witness.held:
            return
        held = self.witness.held.pop(self.random.randrange(len(self.witness.held)))
        entry = held.delivery.entry
        pending = self.shell.pending()
        in_use = {one.receipt.seq for c in pending for one in (c.deletions if isinstance(c, Delete) else c.changes)}
        queue = self.shell.engine.queues.get((ACCOUNT, held.queue))
        if entry.seq in in_use or queue is None:
            return  # a client that uses its receipt has got it
        known = self.model.messages[held.queue].get(held.name)
        is_untouched = (
            known is not None
            and known.received == entry.receive_count
            and known.visible_ms == entry.visible_ms
            and known.visible_ms > self.now_ms
        )
        if is_untouched and queue.in_flight.get(entry.seq) is entry:
            self.reached["a receive was undone"] += 1
            self.model.given_back(held.name, held.queue, self.now_ms)
        self.run(GiveBack((ACCOUNT, held.queue), [entry]))

    def unpark(self) -> None:
        if self.witness.polls:
            ticket = self.random.choice(list(self.witness.polls))
            self.run(Unpark((ACCOUNT, self.witness.polls.pop(ticket).queue), ticket))
