"""The same tests on the embedded broker, whose letters can be looked at, and on plain SQS, where they are received."""

import json
import logging
from collections.abc import Callable, Iterator
from typing import Any
from urllib.request import Request, urlopen

import pytest
from moto.server import ThreadedMotoServer

from amply.deadletters import walks
from amply.deadletters.gateway import Gateway
from amply.transport.endpoint import resolve

REGION = "eu-central-1"
PLACES = ("embedded", "moto")


class Place:
    """An SQS with a dead letter queue `dead`, and the queues `jobs` and `mails` whose letters go there."""

    def __init__(self, kind: str, url: str, sqs: Any, suffix: str = "") -> None:
        self.kind = kind
        self.url = url
        self.is_plain = kind == "moto"
        self.sqs = sqs
        self.endpoint = resolve(endpoint_url=url, region=REGION, userid="test", password="test")
        self.gateway = Gateway(self.endpoint, pause=lambda _: None)
        fifo = {"FifoQueue": "true"} if suffix else {}
        self.urls = {"dead": self._make(f"dead{suffix}", fifo)}
        arn = self._attributes("dead")["QueueArn"]
        policy = {"RedrivePolicy": json.dumps({"deadLetterTargetArn": arn, "maxReceiveCount": 1})}
        for name in ("jobs", "mails"):
            self.urls[name] = self._make(f"{name}{suffix}", fifo | policy)
        self.queue = self.gateway.queue(f"dead{suffix}")

    def _make(self, name: str, attributes: dict[str, str]) -> str:
        return str(self.sqs.create_queue(QueueName=name, Attributes=attributes)["QueueUrl"])

    def _attributes(self, name: str) -> dict[str, str]:
        answer = self.sqs.get_queue_attributes(QueueUrl=self.urls[name], AttributeNames=["All"])
        return dict(answer["Attributes"])

    def count(self, name: str = "dead") -> tuple[int, int]:
        """How many messages are visible and in flight."""
        told = self._attributes(name)
        visible, hidden = ("ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible")
        return int(told[visible]), int(told[hidden])

    def die(self, *bodies: str, queue: str = "jobs", **more: Any) -> None:
        """Send messages that are received once too often."""
        for start in range(0, len(bodies), 10):
            entries = [
                {"Id": str(index), "MessageBody": body, **more} for index, body in enumerate(bodies[start : start + 10])
            ]
            failed = self.sqs.send_message_batch(QueueUrl=self.urls[queue], Entries=entries).get("Failed")
            assert not failed, failed
        self.bury(queue)

    def bury(self, queue: str) -> None:
        """Receive what is in a queue until it is dead."""
        before = sum(self.count())
        wanted = before + sum(self.count(queue))
        while sum(self.count()) < wanted:
            self.receive(queue, VisibilityTimeout=0)

    def receive(self, queue: str, **more: Any) -> list[Any]:
        """Up to ten messages with all that SQS tells of them."""
        names = {"MessageSystemAttributeNames": ["All"], "MessageAttributeNames": ["All"]}
        answer = self.sqs.receive_message(QueueUrl=self.urls[queue], **names | {"MaxNumberOfMessages": 10} | more)
        return list(answer.get("Messages") or ())

    def everything(self, queue: str) -> list[Any]:
        """All visible messages; they stay hidden."""
        found: list[Any] = []
        while some := self.receive(queue, VisibilityTimeout=3600):
            found += some
        return found


@pytest.fixture(scope="session")
def moto_url() -> Iterator[str]:
    """Moto's server, for all tests of a process."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def make_place(
    request: pytest.FixtureRequest, make_client: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., Place]]:
    """Make a place of a kind, without anything in its queues."""
    made: list[Place] = []

    def make(kind: str, suffix: str = "") -> Place:
        if kind == "embedded":
            url = request.getfixturevalue("broker").endpoint_url
        else:
            url = request.getfixturevalue("moto_url")
            # It answers at once with all that it has.
            monkeypatch.setattr(walks, "LAST_WAIT_S", 0)
            with urlopen(Request(f"{url}/moto-api/reset", method="POST")) as answer:
                assert answer.status == 200
        made.append(Place(kind, url, make_client(url), suffix))
        return made[-1]

    yield make
    for place in made:
        place.gateway.close()


@pytest.fixture(params=PLACES)
def place(request: pytest.FixtureRequest, make_place: Callable[..., Place]) -> Place:
    """An SQS of either kind."""
    return make_place(request.param)
