"""A client process of the kill loop: `load_client.py ROLE FOLDER NAME`; SIGTERM ends it after its current request.

It finds the broker's port in FOLDER/port, which is missing while there is no broker, and keeps FOLDER/NAME.ledger.
"""

import random
import signal
import sys
import time
from pathlib import Path
from typing import Any

from json_client import JsonClient, RefusedError
from ledger import Ledger, make_body, name_in

QUEUE = "load"
# Slow enough that the queue stays short and a start of the broker is not starved of processors.
PAUSE_S = 0.002


class LoadClient:
    """Does one thing after the other until it is told to stop; what has no answer is left open in the ledger."""

    queue = QUEUE
    # What the broker says of a message whose visibility timeout may have ended, so that others may have had it since.
    too_late_to_change: tuple[str, ...] = ("Message does not exist",)
    too_late_to_delete: tuple[str, ...] = ()

    def __init__(self, folder: Path, name: str) -> None:
        self.folder = folder
        self.name = name
        self.ledger = Ledger(folder / f"{name}.ledger")
        self.random = random.Random(name)
        self.is_stopping = False
        self.sent = 0

    def run(self, step: str) -> None:
        """Make steps, over one connection after the other."""
        signal.signal(signal.SIGTERM, self._stop)
        while not self.is_done:
            try:
                with JsonClient(int((self.folder / "port").read_text())) as client:
                    while not self.is_done:
                        getattr(self, step)(client)
                        time.sleep(PAUSE_S)
            except RefusedError as error:
                self.ledger.refused(str(error))
            except TimeoutError:
                self.ledger.refused("no answer in time")
            except OSError:  # killed, or not there yet
                time.sleep(0.01)
        self.ledger.close()

    @property
    def is_done(self) -> bool:
        """Whether it was told to stop, and nothing is left to do."""
        return self.is_stopping

    def _stop(self, *_: object) -> None:
        self.is_stopping = True

    def send(self, client: JsonClient) -> None:
        """One message, or a batch of them."""
        count = self.random.choice((1, 1, 1, self.random.randint(2, 10)))
        names = [f"{self.name}-{self.sent + number}" for number in range(count)]
        self.sent += count
        bodies = [make_body(name, self.random.choice((0, 100, 1000, 10_000))) for name in names]
        delay_s = self.random.choice((0, 0, 0, 0, 1))
        self.ledger.attempted(names)
        if count == 1:
            answer = client.call("SendMessage", QueueUrl=self.queue, MessageBody=bodies[0], DelaySeconds=delay_s)
            self.ledger.acknowledged({names[0]: answer["MessageId"]})
            return
        entries = [
            {"Id": str(number), "MessageBody": body, "DelaySeconds": delay_s} for number, body in enumerate(bodies)
        ]
        answer = client.call("SendMessageBatch", QueueUrl=self.queue, Entries=entries)
        self.ledger.acknowledged({names[int(entry["Id"])]: entry["MessageId"] for entry in answer["Successful"]})
        for entry in answer.get("Failed", ()):
            self.ledger.refused(str(entry))

    def receive(self, client: JsonClient) -> None:
        """Some messages; then most are deleted, some made visible sooner or later, and some are forgotten."""
        timeout_s = self.random.randint(1, 3)
        asked_ns = time.monotonic_ns()
        answer = client.call(
            "ReceiveMessage",
            QueueUrl=self.queue,
            MaxNumberOfMessages=self.random.randint(1, 10),
            VisibilityTimeout=timeout_s,
            WaitTimeSeconds=self.random.choice((0, 1, 2)),
            MessageSystemAttributeNames=["ApproximateReceiveCount"],
        )
        messages = answer.get("Messages", [])
        self.ledger.delivered(messages, self.queue, asked_ns, time.monotonic_ns(), timeout_s)
        self._settle(client, messages)

    def _settle(self, client: JsonClient, messages: list[dict[str, Any]]) -> None:
        handles = {name_in(message["Body"]): message["ReceiptHandle"] for message in messages}
        to_delete: dict[str, str] = {}
        for name, handle in handles.items():
            fate = self.random.random()
            if fate < 0.75:
                to_delete[str(name)] = handle
            elif fate < 0.9:
                self._change_visibility(client, str(name), handle)
        if to_delete:
            self._delete(client, to_delete)

    def _delete(self, client: JsonClient, handles: dict[str, str]) -> None:
        if self.random.random() < 0.5:
            entries = [{"Id": str(number), "ReceiptHandle": handle} for number, handle in enumerate(handles.values())]
            asked_ns = time.monotonic_ns()
            self.ledger.deleting(handles, asked_ns)
            answer = client.call("DeleteMessageBatch", QueueUrl=self.queue, Entries=entries)
            names = list(handles)
            deleted = [names[int(entry["Id"])] for entry in answer.get("Successful", ())]
            self.ledger.deleted(deleted, time.monotonic_ns())
            for entry in answer.get("Failed", ()):
                self._not_deleted(names[int(entry["Id"])], asked_ns, str(entry))
            return
        for name, handle in handles.items():
            asked_ns = time.monotonic_ns()
            self.ledger.deleting([name], asked_ns)
            try:
                client.call("DeleteMessage", QueueUrl=self.queue, ReceiptHandle=handle)
            except RefusedError as error:
                self._not_deleted(name, asked_ns, str(error))
            else:
                self.ledger.deleted([name], time.monotonic_ns())

    def _not_deleted(self, name: str, asked_ns: int, why: str) -> None:
        if any(words in why for words in self.too_late_to_delete):
            self.ledger.kept([name], asked_ns)
        else:
            self.ledger.refused(why)

    def _change_visibility(self, client: JsonClient, name: str, handle: str) -> None:
        self.ledger.changing([name])
        change: dict[str, Any] = {"ReceiptHandle": handle, "VisibilityTimeout": self.random.choice((0, 0, 2))}
        try:
            client.call("ChangeMessageVisibility", QueueUrl=self.queue, **change)
        except RefusedError as error:
            if not any(words in str(error) for words in self.too_late_to_change):
                raise


if __name__ == "__main__":
    role, folder, name = sys.argv[1:]
    LoadClient(Path(folder), name).run(role)
