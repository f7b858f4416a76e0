"""An SQS with a queue whose messages die at once, where they lie dead, and what a redrive makes of them.

Knows requests and letters' names; must not know how a redrive goes about it, nor when it is killed.
"""

import base64
import http.client
import json
import time
from collections import Counter
from typing import Any

from broker_process import PATIENCE_S, until

GROUPS = 20


class Place:
    """SQS at a port of this machine; `is_plain`: not ours. `lease_s`: so long are letters hidden that were received."""

    def __init__(self, port: int, *, lease_s: int = 300, is_plain: bool = False, is_fifo: bool = False) -> None:
        self.endpoint_url = f"http://127.0.0.1:{port}"
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_S)
        self.lease_s = lease_s
        self.is_plain = is_plain
        self.is_fifo = is_fifo
        suffix = ".fifo" if is_fifo else ""
        self.work, self.dead = f"work{suffix}", f"dead{suffix}"
        # How often each letter arrived at the work queue again, and in which order those of a group did.
        self.arrived: Counter[str] = Counter()
        self.orders: dict[str, list[int]] = {}
        self.buried: list[str] = []
        kind = {"FifoQueue": "true"} if is_fifo else {}
        self.call("CreateQueue", QueueName=self.dead, Attributes=kind)
        arn = self._attributes(self.dead)["QueueArn"]
        policy = json.dumps({"deadLetterTargetArn": arn, "maxReceiveCount": 1})
        self.call("CreateQueue", QueueName=self.work, Attributes={**kind, "RedrivePolicy": policy})

    def call(self, action: str, **members: Any) -> dict[str, Any]:
        """One request. The connection is kept as long as the peer keeps it."""
        headers = {"Content-Type": "application/x-amz-json-1.0", "X-Amz-Target": f"AmazonSQS.{action}"}
        self.connection.request("POST", "/", json.dumps(members).encode(), headers)
        answer = self.connection.getresponse()
        content = answer.read()
        if answer.status != 200:
            raise RuntimeError(f"{action} was answered {answer.status}: {content.decode()}")
        return dict(json.loads(content or b"{}"))

    def hang_up(self) -> None:
        """Close the connection; the next request opens another."""
        self.connection.close()

    def bury(self, count: int) -> None:
        """So many messages more, of twenty groups, are received once too often. The work queue must be empty."""
        names = [str(number) for number in range(len(self.buried), len(self.buried) + count)]
        self.buried += names
        for start in range(0, count, 10):
            entries = [self._entry(name) for name in names[start : start + 10]]
            answer = self.call("SendMessageBatch", QueueUrl=self.work, Entries=entries)
            if answer.get("Failed"):
                raise RuntimeError(f"not sent: {answer}")

        def is_buried() -> bool:
            self._receive(visibility_timeout_s=0)
            return not sum(self.counts(self.work))

        until(is_buried, "all messages are dead")

    def _entry(self, name: str) -> dict[str, Any]:
        entry: dict[str, Any] = {"Id": name, "MessageBody": body(name)}
        if self.is_fifo:
            entry |= {"MessageGroupId": str(int(name) % GROUPS), "MessageDeduplicationId": name}
        return entry

    def counts(self, queue: str) -> tuple[int, int]:
        """How many messages are visible and in flight."""
        told = self._attributes(queue)
        return int(told["ApproximateNumberOfMessages"]), int(told["ApproximateNumberOfMessagesNotVisible"])

    def _attributes(self, queue: str) -> dict[str, str]:
        return dict(self.call("GetQueueAttributes", QueueUrl=queue, AttributeNames=["All"])["Attributes"])

    def _receive(self, visibility_timeout_s: int) -> list[dict[str, Any]]:
        asked = {"MaxNumberOfMessages": 10, "VisibilityTimeout": visibility_timeout_s, "AttributeNames": ["All"]}
        return self.call("ReceiveMessage", QueueUrl=self.work, **asked).get("Messages") or []

    def wait_for_leases(self) -> None:
        """Return when no dead letter is hidden any more: whoever had it is dead itself."""
        deadline = time.monotonic() + self.lease_s + PATIENCE_S
        while self.counts(self.dead)[1]:
            if time.monotonic() > deadline:
                raise TimeoutError(f"letters are hidden for more than {self.lease_s} s: {self.counts(self.dead)}")
            time.sleep(0.05)

    def take_arrived(self) -> None:
        """Take everything out of the work queue. Nobody else may be at it."""
        while sum(self.counts(self.work)):
            messages = self._receive(visibility_timeout_s=600)
            for message in messages:
                name = json.loads(message["Body"])["headers"]["id"]
                self.arrived[name] += 1
                self.orders.setdefault(message["Attributes"].get("MessageGroupId", ""), []).append(int(name))
            if messages:
                entries = [
                    {"Id": str(number), "ReceiptHandle": message["ReceiptHandle"]}
                    for number, message in enumerate(messages)
                ]
                self.call("DeleteMessageBatch", QueueUrl=self.work, Entries=entries)


def body(name: str) -> str:
    """A Celery job whose id is the name."""
    arguments = base64.b64encode(json.dumps([[int(name)], {}, {}]).encode()).decode()
    headers = {"lang": "py", "task": "shop.charge", "id": name, "argsrepr": f"({name},)", "retries": 0}
    properties = {"correlation_id": name, "body_encoding": "base64", "delivery_info": {"routing_key": "work"}}
    return json.dumps(
        {
            "body": arguments,
            "content-type": "application/json",
            "content-encoding": "utf-8",
            "headers": headers,
            "properties": properties,
        }
    )
