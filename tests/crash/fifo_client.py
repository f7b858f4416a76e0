"""A client process of the FIFO kill loop: `fifo_client.py ROLE FOLDER NAME`, as load_client.py.

It repeats what had no answer, as an SDK does: a send under its deduplication id, a receive under its attempt id.
"""

import sys
import time
import zlib
from collections import Counter
from pathlib import Path
from typing import Any

from json_client import JsonClient
from ledger import make_body
from load_client import LoadClient

QUEUE = "load.fifo"
GROUPS = 12  # of each sender; nobody else sends to them
_SIZES = 0, 100, 1000, 10_000
# Far fewer than a group gets within the deduplication window.
_REPEATABLE = 20


def sending(name: str, size: int) -> dict[str, str]:
    """The members of a send; the group is in the name."""
    return {
        "MessageBody": make_body(name, size),
        "MessageGroupId": name.rpartition("-")[0],
        "MessageDeduplicationId": name,
    }


class FifoClient(LoadClient):
    """Sends the next message of a group only when the one before is acknowledged."""

    queue = QUEUE
    too_late_to_change = ("Message does not exist", "The receipt handle has expired", "isn't in flight")
    too_late_to_delete = ("The receipt handle has expired",)

    def __init__(self, folder: Path, name: str) -> None:
        super().__init__(folder, name)
        self.numbers: Counter[str] = Counter()
        self.unanswered: dict[str, str] = {}  # name by group
        self.receive_again: dict[str, Any] | None = None

    @property
    def is_done(self) -> bool:
        """Every send is acknowledged in the end."""
        return self.is_stopping and not self.unanswered

    def send(self, client: JsonClient) -> None:
        """The next message of a group or of several; again where there was no answer, and sometimes where there was."""
        groups = list(self.unanswered) if self.is_stopping else [f"{self.name}.{group}" for group in range(GROUPS)]
        count = min(len(groups), self.random.choice((1, 1, 1, self.random.randint(2, 10))))
        names = [self._next(group) for group in self.random.sample(groups, count)]
        self.ledger.attempted(names)
        entries = [
            {"Id": str(number), **sending(name, _SIZES[zlib.crc32(name.encode()) % len(_SIZES)])}
            for number, name in enumerate(names)
        ]
        if count == 1:
            del entries[0]["Id"]
            answer = client.call("SendMessage", QueueUrl=self.queue, **entries[0])
            acknowledged = {names[0]: answer}
        else:
            answer = client.call("SendMessageBatch", QueueUrl=self.queue, Entries=entries)
            acknowledged = {names[int(entry["Id"])]: entry for entry in answer["Successful"]}
            for entry in answer.get("Failed", ()):
                self.ledger.refused(str(entry))
        self.ledger.acknowledged(
            {name: one["MessageId"] for name, one in acknowledged.items()},
            {name: one["SequenceNumber"] for name, one in acknowledged.items()},
        )
        for name in acknowledged:
            self.unanswered.pop(name.rpartition("-")[0], None)

    def _next(self, group: str) -> str:
        if group in self.unanswered:
            return self.unanswered[group]
        sent = self.numbers[group]
        if sent and self.random.random() < 0.05:
            return f"{group}-{self.random.randrange(max(0, sent - _REPEATABLE), sent)}"
        self.numbers[group] += 1
        self.unanswered[group] = f"{group}-{sent}"
        return self.unanswered[group]

    def receive(self, client: JsonClient) -> None:
        """Some messages. With an attempt id, the receive is repeated if there was no answer, and sometimes as if."""
        asked = self.receive_again or self._new_receive()
        self.receive_again = asked if "ReceiveRequestAttemptId" in asked else None
        asked_ns = time.monotonic_ns()
        messages = client.call("ReceiveMessage", QueueUrl=self.queue, **asked).get("Messages", [])
        attempt_id, timeout_s = asked.get("ReceiveRequestAttemptId"), asked["VisibilityTimeout"]
        self.ledger.delivered(messages, self.queue, asked_ns, time.monotonic_ns(), timeout_s, attempt_id=attempt_id)
        if messages and attempt_id is not None and self.random.random() < 0.2:
            time.sleep(self.random.uniform(0, 0.5))
            return
        self.receive_again = None
        self._settle(client, messages)

    def _new_receive(self) -> dict[str, Any]:
        asked: dict[str, Any] = {
            "MaxNumberOfMessages": self.random.randint(1, 10),
            "VisibilityTimeout": self.random.randint(1, 3),
            "WaitTimeSeconds": self.random.choice((0, 1, 2)),
            "MessageSystemAttributeNames": ["All"],
        }
        if self.random.random() < 0.5:
            asked["ReceiveRequestAttemptId"] = f"{self.name}-{time.monotonic_ns()}"
        return asked


if __name__ == "__main__":
    role, folder, name = sys.argv[1:]
    FifoClient(Path(folder), name).run(role)
