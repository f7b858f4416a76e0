"""The shell: answers after the disk, groups of commits, and what happens when the disk or the client fails."""

import asyncio
import threading
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import pytest

from amply.broker.engine.records import Change
from amply.broker.service.dispatch import submit
from amply.broker.service.service import Outcome, Service
from amply.broker.sqs.calls import Call, Context
from amply.broker.sqs.faults import Fault
from amply.broker.sqs.shapes import (
    ChangeMessageVisibilityRequest,
    CreateQueueRequest,
    DeleteMessageRequest,
    GetQueueAttributesRequest,
    ReceiveMessageRequest,
    ReceiveMessageResult,
    RequestShape,
    SendMessageRequest,
    SendMessageResult,
)
from amply.broker.store.memory import MemoryStore
from amply.broker.store.port import Room, StoreBroken, StoreError, StoreFull
from amply.clock import ManualClock
from amply.ids import CountingIds

URL = "http://localhost/000000000000/work"
CONTEXT = Context(account="000000000000", base_url="http://localhost", sender_id="somebody", request_id="1")


class StubbornStore(MemoryStore):
    """A store whose next commits can be made to wait or to fail."""

    def __init__(self) -> None:
        super().__init__()
        self.commits: list[int] = []
        self.may_commit = threading.Event()
        self.may_commit.set()
        self.next_error: StoreError | None = None
        self.is_full = False

    def commit(self, changes: Sequence[Change], now_ms: int) -> None:
        self.may_commit.wait()
        if self.next_error is not None:
            error, self.next_error = self.next_error, None
            raise error
        self.commits.append(len(changes))
        super().commit(changes, now_ms)

    def tend(self) -> Room:
        return Room(is_full=self.is_full, free_bytes=0)


class Client:
    """Calls a service and keeps what it answers."""

    def __init__(self, service: Service) -> None:
        self.service = service

    def submit(self, action: str, request: RequestShape) -> "asyncio.Future[Outcome]":
        answer: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()

        def respond(outcome: Outcome) -> bool:
            answer.set_result(outcome)
            return True

        submit(self.service, Call(action, request, CONTEXT), respond)
        return answer

    def send(self, body: str = "hello") -> "asyncio.Future[Outcome]":
        return self.submit("SendMessage", SendMessageRequest(queue_url=URL, message_body=body))

    def receive(self, **members: Any) -> "asyncio.Future[Outcome]":
        return self.submit("ReceiveMessage", ReceiveMessageRequest(queue_url=URL, **members))

    def delete(self, handle: str) -> "asyncio.Future[Outcome]":
        return self.submit("DeleteMessage", DeleteMessageRequest(queue_url=URL, receipt_handle=handle))

    async def attributes(self) -> dict[str, str]:
        request = GetQueueAttributesRequest(queue_url=URL, attribute_names=["All"])
        result: Any = await self.submit("GetQueueAttributes", request)
        return result.attributes


class Setting:
    """A service with one queue, on a store and a clock that tests can move."""

    def __init__(self) -> None:
        self.store = StubbornStore()
        self.clock = ManualClock()
        self.broken: list[StoreError] = []
        self.service = Service(
            self.store, region="eu-central-1", clock=self.clock, ids=CountingIds(), on_broken=self.broken.append
        )
        self.client = Client(self.service)


Story = Callable[[Setting], Coroutine[None, None, None]]


def play(story: Story) -> None:
    async def main() -> None:
        setting = Setting()
        await setting.client.submit("CreateQueue", CreateQueueRequest(queue_name="work"))
        await story(setting)
        setting.store.may_commit.set()
        await asyncio.wait_for(setting.service.close(), 10)

    asyncio.run(asyncio.wait_for(main(), 30))


async def turns(count: int = 5) -> None:
    """Let the event loop turn without waiting for anything."""
    for _ in range(count):
        await asyncio.sleep(0)


def message_of(outcome: Outcome) -> Any:
    assert isinstance(outcome, ReceiveMessageResult)
    (message,) = outcome.messages
    return message


def test_a_send_is_answered_only_when_its_commit_has_returned() -> None:
    async def story(setting: Setting) -> None:
        setting.store.may_commit.clear()
        answer = setting.client.send()
        await turns()
        assert not answer.done()
        setting.store.may_commit.set()
        assert isinstance(await answer, SendMessageResult)

    play(story)


def test_sends_that_arrive_together_share_one_commit() -> None:
    async def story(setting: Setting) -> None:
        before = len(setting.store.commits)
        await asyncio.gather(*(setting.client.send() for _ in range(50)))
        assert setting.store.commits[before:] == [50]

    play(story)


def test_what_arrives_during_a_commit_goes_with_the_next_one() -> None:
    async def story(setting: Setting) -> None:
        before = len(setting.store.commits)
        setting.store.may_commit.clear()
        first = setting.client.send()
        await turns()
        rest = [setting.client.send() for _ in range(9)]
        setting.store.may_commit.set()
        await asyncio.gather(first, *rest)
        assert setting.store.commits[before:] == [1, 9]

    play(story)


def test_deleting_what_another_request_is_just_deleting_waits_for_that_commit() -> None:
    async def story(setting: Setting) -> None:
        await setting.client.send()
        handle = message_of(await setting.client.receive()).receipt_handle
        setting.store.may_commit.clear()
        first, second = setting.client.delete(handle), setting.client.delete(handle)
        await turns()
        assert not second.done(), "acknowledged a deletion that may still be lost"
        setting.store.may_commit.set()
        assert await asyncio.gather(first, second) == [None, None]

    play(story)


def test_a_commit_refused_by_a_full_disk_fails_its_requests_and_changes_nothing() -> None:
    async def story(setting: Setting) -> None:
        await setting.client.send("kept")
        setting.store.next_error = StoreFull("no room")
        answers = await asyncio.gather(setting.client.send("lost"), setting.client.send("lost too"))
        assert [fault.row.shape for fault in answers if isinstance(fault, Fault)] == ["ServiceUnavailable"] * 2
        assert (await setting.client.attributes())["ApproximateNumberOfMessages"] == "1"
        assert isinstance(await setting.client.send("too early"), Fault)
        message = message_of(await setting.client.receive())
        assert message.body == "kept"
        assert await setting.client.delete(message.receipt_handle) is None
        setting.service.room = Room(is_full=False, free_bytes=1)
        assert isinstance(await setting.client.send("taken again"), SendMessageResult)
        assert not setting.broken

    play(story)


def test_what_was_decided_after_a_refused_commit_fails_with_it() -> None:
    async def story(setting: Setting) -> None:
        setting.store.next_error = StoreFull("no room")
        setting.store.may_commit.clear()
        first = setting.client.send("first")
        await turns()
        second = setting.client.receive()
        setting.store.may_commit.set()
        assert isinstance(await first, Fault)
        assert await second == ReceiveMessageResult()

    play(story)


def test_a_deletion_that_waits_for_a_look_up_is_answered_when_a_commit_is_refused() -> None:
    async def story(setting: Setting) -> None:
        await setting.client.send()
        handle = message_of(await setting.client.receive(visibility_timeout=1)).receipt_handle
        setting.clock.advance(1)  # the message is on disk only, from here on
        setting.store.may_commit.clear()
        setting.store.next_error = StoreFull("no room")
        send, deletion = setting.client.send(), setting.client.delete(handle)
        await turns()
        setting.store.may_commit.set()
        assert isinstance(await send, Fault)
        assert isinstance(await deletion, Fault)
        assert await setting.client.delete(handle) is None

    play(story)


def test_a_parked_poll_is_answered_empty_when_a_commit_is_refused() -> None:
    async def story(setting: Setting) -> None:
        poll = setting.client.receive(wait_time_seconds=20)
        setting.store.next_error = StoreFull("no room")
        await setting.client.send()
        assert await poll == ReceiveMessageResult()

    play(story)


def test_a_broken_store_is_reported_and_nothing_is_acknowledged_any_more() -> None:
    async def story(setting: Setting) -> None:
        setting.store.next_error = StoreBroken("the disk is gone")
        assert isinstance(await setting.client.send(), Fault)
        assert [str(error) for error in setting.broken] == ["the disk is gone"]
        assert isinstance(await setting.client.send(), Fault)

    play(story)


def test_a_defect_in_the_engine_stops_the_broker_and_acknowledges_nothing(caplog: pytest.LogCaptureFixture) -> None:
    async def story(setting: Setting) -> None:
        queue = setting.service.engine.queues.existing(("000000000000", "work"))
        queue.send = None  # type: ignore[assignment, method-assign]
        fault = await setting.client.send()
        assert isinstance(fault, Fault)
        assert fault.row.shape == "InternalFailure"
        assert "the engine failed" in str(setting.broken[0])
        answer = await setting.client.submit("CreateQueue", CreateQueueRequest(queue_name="another"))
        assert isinstance(answer, Fault), "acknowledged something after memory could not be trusted any more"
        assert "SendMessage failed" in caplog.text

    play(story)


def test_a_receive_that_reaches_nobody_is_undone() -> None:
    async def story(setting: Setting) -> None:
        await setting.client.send()
        is_gone = False

        def respond(outcome: Outcome) -> bool:
            nonlocal is_gone
            is_gone = True
            return False

        submit(setting.service, Call("ReceiveMessage", ReceiveMessageRequest(queue_url=URL), CONTEXT), respond)
        second = setting.client.receive(message_system_attribute_names=["All"], wait_time_seconds=20)
        message = message_of(await second)
        assert is_gone
        assert message.attributes["ApproximateReceiveCount"] == "1"

    play(story)


def test_a_poll_whose_client_left_takes_no_message() -> None:
    async def story(setting: Setting) -> None:
        request = ReceiveMessageRequest(queue_url=URL, wait_time_seconds=20)

        def nobody(outcome: Outcome) -> bool:
            raise AssertionError("answered a client that had left")

        cancel = submit(setting.service, Call("ReceiveMessage", request, CONTEXT), nobody)
        assert cancel is not None
        cancel()
        poll = setting.client.receive(wait_time_seconds=20)
        await setting.client.send()
        assert message_of(await poll).body == "hello"

    play(story)


def test_a_long_poll_ends_empty_when_its_time_is_up() -> None:
    async def story(setting: Setting) -> None:
        poll = setting.client.receive(wait_time_seconds=20)
        setting.clock.advance(19.9)
        setting.service.time_has_come()
        await turns()
        assert not poll.done()
        setting.clock.advance(0.1)
        setting.service.time_has_come()
        assert await poll == ReceiveMessageResult()

    play(story)


def test_a_long_poll_gets_the_message_whose_visibility_timeout_ends() -> None:
    async def story(setting: Setting) -> None:
        await setting.client.send()
        message_of(await setting.client.receive(visibility_timeout=10))
        poll = setting.client.receive(wait_time_seconds=20)
        setting.clock.advance(10)
        setting.service.time_has_come()
        assert message_of(await poll).body == "hello"

    play(story)


def test_a_long_poll_gets_the_message_that_is_given_back() -> None:
    async def story(setting: Setting) -> None:
        await setting.client.send()
        handle = message_of(await setting.client.receive()).receipt_handle
        poll = setting.client.receive(wait_time_seconds=20)
        request = ChangeMessageVisibilityRequest(queue_url=URL, receipt_handle=handle, visibility_timeout=0)
        await setting.client.submit("ChangeMessageVisibility", request)
        assert message_of(await poll).body == "hello"

    play(story)


def test_stopping_answers_parked_polls_and_parks_no_more() -> None:
    async def story(setting: Setting) -> None:
        poll = setting.client.receive(wait_time_seconds=20)
        setting.service.release_polls()
        assert await poll == ReceiveMessageResult()
        assert await setting.client.receive(wait_time_seconds=20) == ReceiveMessageResult()

    play(story)


def test_a_nearly_full_disk_refuses_sends_and_lets_receives_and_deletes_go_on() -> None:
    async def story(setting: Setting) -> None:
        await setting.client.send("before")
        setting.service.room = Room(is_full=True, free_bytes=0)
        fault = await setting.client.send("during")
        assert isinstance(fault, Fault)
        assert (fault.row.shape, fault.row.status) == ("ServiceUnavailable", 503)
        message = message_of(await setting.client.receive())
        assert message.body == "before"
        assert await setting.client.delete(message.receipt_handle) is None

    play(story)


def test_above_the_cap_on_parked_polls_a_receive_is_answered_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("amply.broker.service.service.PARKED_POLLS_MAX", 2)

    async def story(setting: Setting) -> None:
        parked = [setting.client.receive(wait_time_seconds=20) for _ in range(2)]
        assert await setting.client.receive(wait_time_seconds=20) == ReceiveMessageResult()
        assert not any(answer.done() for answer in parked)
        await setting.client.send("for the first")
        assert message_of(await parked[0]).body == "for the first"
        again = setting.client.receive(wait_time_seconds=20)
        await turns()
        assert not again.done()
        setting.service.release_polls()
        await asyncio.gather(parked[1], again)

    play(story)
