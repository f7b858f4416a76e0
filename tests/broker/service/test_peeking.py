"""PeekMessages in the shell: behind what was decided before it, one look at a time, and never to nobody."""

import asyncio
import threading
from collections.abc import Callable, Coroutine
from typing import Any

from amply.broker.service import peeking
from amply.broker.service.dispatch import submit
from amply.broker.service.service import Outcome, Service
from amply.broker.sqs.calls import Call, Context
from amply.broker.sqs.extensions import PeekMessagesRequest, PeekMessagesResult
from amply.broker.sqs.faults import Fault
from amply.broker.sqs.shapes import CreateQueueRequest, SendMessageRequest
from amply.broker.store.memory import MemoryStore
from amply.broker.store.port import Peeked
from amply.clock import ManualClock
from amply.ids import CountingIds

URL = "http://localhost/000000000000/work"
CONTEXT = Context(account="000000000000", base_url="http://localhost", sender_id="somebody", request_id="1")


class WatchedStore(MemoryStore):
    """A store that tells in which order it was used, and whose looks can be made to wait."""

    def __init__(self) -> None:
        super().__init__()
        self.done: list[str] = []
        self.may_look = threading.Event()
        self.may_look.set()

    def commit(self, changes: Any, now_ms: int) -> None:
        self.done.append("commit")
        super().commit(changes, now_ms)

    def peek(self, *arguments: Any) -> Peeked:
        self.may_look.wait()
        self.done.append("look")
        return super().peek(*arguments)


class Setting:
    def __init__(self) -> None:
        self.store = WatchedStore()
        self.clock = ManualClock()
        self.service = Service(
            self.store, region="eu-central-1", clock=self.clock, ids=CountingIds(), on_broken=lambda _: None
        )

    def submit(self, action: str, request: Any) -> "asyncio.Future[Outcome]":
        answer: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        submit(self.service, Call(action, request, CONTEXT), lambda outcome: answer.set_result(outcome) is None)
        return answer

    def peek(self) -> "asyncio.Future[Outcome]":
        return self.submit("PeekMessages", PeekMessagesRequest(queue_url=URL))

    def send(self, body: str) -> "asyncio.Future[Outcome]":
        return self.submit("SendMessage", SendMessageRequest(queue_url=URL, message_body=body))


def play(story: Callable[[Setting], Coroutine[None, None, None]]) -> None:
    async def main() -> None:
        setting = Setting()
        await setting.submit("CreateQueue", CreateQueueRequest(queue_name="work"))
        setting.store.done.clear()
        await story(setting)
        await asyncio.wait_for(setting.service.close(), 10)

    asyncio.run(asyncio.wait_for(main(), 30))


def bodies(outcome: Outcome) -> list[str]:
    assert isinstance(outcome, PeekMessagesResult)
    return [message.body for message in outcome.messages]


def test_a_look_shows_everything_that_was_decided_before_it() -> None:
    async def story(setting: Setting) -> None:
        setting.send("a")
        assert bodies(await setting.peek()) == ["a"]
        assert setting.store.done == ["commit", "look"]

    play(story)


def test_a_commit_waits_for_one_look_at_most_however_many_were_asked_for() -> None:
    async def story(setting: Setting) -> None:
        setting.store.may_look.clear()
        looks = [setting.peek() for _ in range(3)]
        await asyncio.sleep(0)
        sent = setting.send("a")
        await asyncio.sleep(0)
        setting.store.may_look.set()
        await asyncio.gather(*looks, sent)
        assert setting.store.done == ["look", "commit", "look", "look"]

    play(story)


def test_what_is_past_its_retention_is_not_shown_even_if_it_is_still_there() -> None:
    async def story(setting: Setting) -> None:
        await setting.send("a")
        setting.clock.advance(345_599.9)
        await setting.send("b")
        setting.clock.advance(0.1)
        assert bodies(await setting.peek()) == ["b"]

    play(story)


def test_a_look_that_cannot_be_told_is_one_caller_s_trouble(monkeypatch: Any) -> None:
    async def story(setting: Setting) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(peeking, "system_attributes", lambda _: 1 / 0)
            await setting.send("a")
            fault = await setting.peek()
            assert isinstance(fault, Fault)
            assert fault.row.shape == "InternalFailure"
        assert bodies(await setting.peek()) == ["a"]

    play(story)


def test_a_queue_that_does_not_exist_is_named_before_any_other_mistake() -> None:
    async def story(setting: Setting) -> None:
        request = PeekMessagesRequest(queue_url=URL + "2", max_number_of_messages=0, next_token="?")
        fault = await setting.submit("PeekMessages", request)
        assert isinstance(fault, Fault)
        assert fault.row.shape == "QueueDoesNotExist"

    play(story)
