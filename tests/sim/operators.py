"""Who declares, changes, purges and deletes queues, and moves dead letters back."""

import json

from facts import Rules, is_fifo
from stage import Stage
from witness import ACCOUNT, arn

from amply.broker.engine.commands import (
    CancelMove,
    CreateQueue,
    DeleteQueue,
    PurgeQueue,
    SetQueueAttributes,
    StartMove,
)
from amply.broker.engine.decision import Decision
from amply.broker.engine.records import MoveTaskPut
from amply.broker.sqs.faults import Fault

VISIBILITY_S = (0, 5, 30, 400)
RETENTION_S = (60, 600, 86_400, 345_600)
DELAY_S = (0, 0, 3, 60)
RECEIVES = (None, 1, 1, 3)


class Operators(Stage):
    """Each step asks for something that may be refused, and knows whether it must be."""

    def some_rules(self, name: str) -> Rules:
        choice = self.random.choice
        is_work = name.startswith("work")
        max_receive_count = choice(RECEIVES) if is_work else None
        return Rules(
            visibility_timeout_s=choice(VISIBILITY_S),
            retention_s=choice(RETENTION_S),
            delay_s=choice(DELAY_S) if is_work or is_fifo(name) else 0,
            max_receive_count=max_receive_count,
            dead_letters=name.replace("work", "dead") if max_receive_count else None,
            scope=choice(("queue", "messageGroup")) if is_fifo(name) else "queue",
        )

    def attributes(self, name: str, rules: Rules) -> dict[str, str]:
        redrive = {"deadLetterTargetArn": arn(rules.dead_letters or ""), "maxReceiveCount": rules.max_receive_count}
        attributes = {
            "VisibilityTimeout": str(rules.visibility_timeout_s),
            "MessageRetentionPeriod": str(rules.retention_s),
            "DelaySeconds": str(rules.delay_s),
            "RedrivePolicy": json.dumps(redrive) if rules.dead_letters else "",
        }
        return attributes | ({"FifoQueue": "true", "DeduplicationScope": rules.scope} if is_fifo(name) else {})

    def declare(self, name: str, rules: Rules) -> None:
        """Create a queue, or change one that exists."""
        is_new = name not in self.model.queues
        make = CreateQueue((ACCOUNT, name), self.attributes(name, rules), {})
        decision = self.shell.run(make if is_new else SetQueueAttributes(make.key, make.attributes))
        is_missing = rules.dead_letters is not None and rules.dead_letters not in self.model.queues
        is_too_soon = is_new and not self.model.may_create(name, self.now_ms)
        assert isinstance(decision, Fault) == (is_missing or is_too_soon), decision
        if isinstance(decision, Fault):
            self.reached["a queue was refused: " + decision.row.shape] += 1
            return
        if is_new:
            self.model.created(name, rules)
        else:
            self.model.declare(name, rules, self.now_ms)
        self.witness.saw(decision)

    def create_queue(self) -> None:
        gone = [name for name in self.names if name not in self.model.queues]
        if gone:
            self.declare(gone[-1], self.some_rules(gone[-1]))
            self.reached["a queue was created anew"] += 1

    def change_attributes(self) -> None:
        name = self.key()[1]
        before = self.model.queues.get(name)
        if before is not None:
            rules = self.some_rules(name)
            if is_fifo(name) and rules.delay_s != before.delay_s and self.model.counts(name, self.now_ms)[2]:
                self.reached["the delay changed while messages were delayed"] += 1
            if rules.scope != before.scope:
                self.reached["the scope of deduplication changed"] += 1
            self.declare(name, rules)

    def delete_queue(self) -> None:
        key = self.key()
        exists = key[1] in self.model.queues
        assert isinstance(self.run(DeleteQueue(key)), Decision) == exists

    def purge(self) -> None:
        key = self.key()
        may = key[1] in self.model.queues and self.model.may_purge(key[1], self.now_ms)
        assert isinstance(self.run(PurgeQueue(key)), Decision) == may, "purged too soon, or refused"

    # Move tasks

    def start_move(self) -> None:
        source = self.names[self.random.choice((1, 1, 1, 0))]
        destination = self.random.choice((None, None, *self.names))
        self.tasks += 1
        name, now_ms = f"task {self.tasks}", self.now_ms
        may_start = self.model.moves.may_start(source, destination)
        to = None if destination is None else arn(destination)
        decision = self.shell.run(StartMove(name, arn(source), to, self.random.choice((None, 1, 50))))
        assert isinstance(decision, Decision) == may_start, decision
        if isinstance(decision, Decision):
            self.model.moves.started(name, source, destination, now_ms)
            (start,) = (change for change in decision.changes if isinstance(change, MoveTaskPut))
            assert start.task.to_move == self.model.moves.tasks[name].to_move
            self.reached["a move task began"] += 1

    def cancel_move(self) -> None:
        running = [(name, task) for name, task in self.model.moves.tasks.items() if task.status == "RUNNING"]
        if running:
            name, task = self.random.choice(running)
            decision = self.run(CancelMove(name, arn(task.source)))
            assert isinstance(decision, Decision)
            assert decision.answer == task.moved
