"""The same random calls to the broker, to the model and to moto, another SQS.

From the model the broker must not differ at all. Where it differs from moto is told in moto_differences.txt, with who
is right; the list may only get shorter: a line that nothing shows any more fails, too.
"""

import datetime as dt
import random
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import boto3
import moto
import pytest

sys.path.insert(0, str(Path(__file__).parent))

from facts import Got, Poll, Rules, is_fifo
from model import Model
from two_sqs import Sqs, difference

from amply.clock import ManualClock

SEEDS = 100
STEPS = 40
DIFFERENCES = Path(__file__).with_name("moto_differences.txt")


@pytest.fixture
def moto_client(clock: ManualClock, boto3_session: boto3.session.Session) -> Iterator[Any]:
    """A client of moto, which lives in this process, on the tests' clock."""

    def now() -> dt.datetime:
        return dt.datetime.fromtimestamp(clock.now_ms() / 1000, dt.UTC).replace(tzinfo=None)

    with moto.mock_aws(), mock.patch("moto.core.utils.utcnow", now):
        client = boto3.client("sqs", region_name="eu-central-1", aws_access_key_id="test", aws_secret_access_key="test")
        yield client
        client.close()


class Comparison:
    """One sequence of calls. Receives ask for ten, and there are rarely more: which ones come is SQS's choice."""

    def __init__(self, seed: int, ours: Sqs, theirs: Sqs, clock: ManualClock, advance: Callable[[float], None]) -> None:
        self.random = random.Random(seed)
        self.ours, self.theirs = ours, theirs
        self.clock, self.advance = clock, advance
        self.model = Model(120_000)
        fifo = self.random.choice(("", ".fifo"))
        self.names = (f"work-{seed}{fifo}", f"dead-{seed}{fifo}")
        self.sent = 0
        self.receipts: list[tuple[str, str, int, int]] = []  # queue, body, receive count, when
        self.create()

    def both(self, action: str, queue: str, **members: Any) -> tuple[Any, str | None]:
        ours = self.ours.call(action, queue, **members)
        return ours, difference(action, queue, ours, self.theirs.call(action, queue, **members))

    def create(self) -> None:
        choice = self.random.choice
        work = Rules(choice((0, 5, 30)), delay_s=choice((0, 0, 3)), max_receive_count=2, dead_letters=self.names[1])
        for name, rules in ((self.names[1], Rules()), (self.names[0], work)):
            attributes = {
                "VisibilityTimeout": str(rules.visibility_timeout_s),
                "MessageRetentionPeriod": str(rules.retention_s),
                "DelaySeconds": str(rules.delay_s),
            } | ({"FifoQueue": "true"} if is_fifo(name) else {})
            told, differs = self.both(
                "create_queue", name, attributes=attributes, dead_letters=rules.dead_letters, most=2
            )
            assert (told, differs) == ("created", None)
            self.model.created(name, rules)

    def compare(self) -> str | None:
        """Up to the first difference from moto."""
        steps = [self.send, self.send, self.receive, self.receive, self.delete, self.change, self.wait, self.wait]
        steps += [self.count, self.count]
        for _ in range(STEPS):
            step = self.purge if self.random.random() < 0.02 else self.random.choice(steps)
            if differs := step():
                return differs
        return None

    def send(self) -> str | None:
        queue, now_ms = self.names[self.random.random() < 0.1], self.clock.now_ms()
        self.sent += 1
        body = f"message {self.sent}"
        if is_fifo(queue):
            group, deduplication_id = self.random.choice("ab"), self.random.choice("123456")
            told, differs = self.both(
                "send", queue, body=body, MessageGroupId=group, MessageDeduplicationId=deduplication_id
            )
            number = int(self.ours.raw["SequenceNumber"])
            original = self.model.fifo.original(queue, deduplication_id, group, now_ms)
            if original is None:
                self.model.fifo.sent(body, number, queue, group, deduplication_id, now_ms)
            assert told[1] == (body if original is None else original.name)
            assert original is None or number == original.number
        else:
            delay = self.random.choice(({}, {}, {"DelaySeconds": 2}))
            _, differs = self.both("send", queue, body=body, **delay)
            self.model.sent(body, self.sent, queue, now_ms, delay.get("DelaySeconds"), None)
        return differs

    def receive(self) -> str | None:
        queue, now_ms, model = self.random.choice(self.names), self.clock.now_ms(), self.model
        timeout_s = self.random.choice((None, 0, 4, 60))
        self.ours.settle(queue)
        _, differs = self.both("receive", queue, count=10, timeout_s=timeout_s)
        limit = model.limit(queue)
        for name in sorted(model.available(queue, now_ms), key=lambda name: model.messages[queue][name].number):
            known = model.messages[queue][name]
            if limit is not None and known.received >= limit:
                number = model.fifo.last_number.get(self.names[1], 0) + 1 if is_fifo(queue) else known.number
                model.moved(name, queue, self.names[1], number, now_ms)
        got = [self.got(queue, message, now_ms) for message in self.ours.raw]
        model.answered(Poll(queue, 10, timeout_s, now_ms, None, False), got, now_ms, ())
        self.receipts += [(queue, one.name, one.received, now_ms) for one in got]
        return differs

    def got(self, queue: str, message: dict[str, Any], now_ms: int) -> Got:
        told, known = message["Attributes"], self.model.messages[queue][message["Body"]]
        died_in = told.get("DeadLetterQueueSourceArn")
        number = int(told["SequenceNumber"]) if is_fifo(queue) and died_in is None else known.number
        return Got(
            message["Body"],
            number,
            int(told["SentTimestamp"]),
            int(told["ApproximateReceiveCount"]),
            int(told["ApproximateFirstReceiveTimestamp"]),
            told.get("MessageGroupId"),
            known.deduplication_id if died_in else told.get("MessageDeduplicationId"),
            died_in and died_in.rsplit(":", 1)[1],
            now_ms,
        )

    def delete(self) -> str | None:
        if not self.receipts:
            return None
        queue, body, received, _ = self.random.choice(self.receipts[-6:])
        told, differs = self.both("delete", queue, receipt=(body, received))
        expected = self.model.judge_deletion(body, queue, received, self.clock.now_ms())
        assert told == (expected or "deleted")
        return differs

    def change(self) -> str | None:
        if not self.receipts:
            return None
        queue, body, received, received_ms = self.random.choice(self.receipts[-6:])
        timeout_s, now_ms = self.random.choice((0, 7, 90, 43_200)), self.clock.now_ms()
        told, differs = self.both("change", queue, receipt=(body, received), timeout_s=timeout_s)
        expected = self.model.judge_change(body, queue, (received, received_ms), timeout_s, now_ms)
        assert told == (expected or "changed")
        return differs

    def wait(self) -> None:
        self.advance(self.random.choice((1, 5, 31, 70, 301)))

    def count(self) -> str | None:
        queue, model = self.random.choice(self.names), self.model
        told, differs = self.both("count", queue)
        assert told == model.counts(queue, self.clock.now_ms())
        return differs

    def purge(self) -> str | None:
        queue, now_ms = self.names[0], self.clock.now_ms()
        told, differs = self.both("purge", queue)
        assert (told == "purged") == self.model.may_purge(queue, now_ms)
        if told == "purged":
            self.model.purged(queue, now_ms)
        return differs


def listed() -> dict[str, str]:
    """The known differences, each with what it is and who is right."""
    lines = [line for line in DIFFERENCES.read_text().splitlines() if line and not line.startswith("#")]
    pairs = [line.split(" | ", 1) for line in lines]
    return dict(pairs)


def test_the_broker_differs_from_the_model_nowhere_and_from_moto_as_listed(
    clock: ManualClock, broker: Any, sqs: Any, moto_client: Any
) -> None:
    seen: dict[str, list[int]] = {}
    for seed in range(SEEDS):
        try:
            differs = Comparison(seed, Sqs(sqs), Sqs(moto_client), clock, broker.advance).compare()
        except AssertionError as error:
            error.add_note(f"seed {seed}")
            raise
        if differs is not None:
            seen.setdefault(differs, []).append(seed)
    known = set(listed())
    assert {differs: seeds for differs, seeds in seen.items() if differs not in known} == {}
    assert known - set(seen) == set(), "differences that are listed, and not there any more: take them off the list"
