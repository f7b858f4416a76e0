"""Move tasks and the shell: a disk without room, and a broker that stops."""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from amply.broker.engine.records import Added, Change
from amply.broker.service.dispatch import submit
from amply.broker.service.service import Outcome, Service
from amply.broker.sqs.calls import Call, Context
from amply.broker.sqs.faults import Fault
from amply.broker.sqs.shapes import (
    CreateQueueRequest,
    ListMessageMoveTasksRequest,
    RequestShape,
    SendMessageRequest,
    StartMessageMoveTaskRequest,
)
from amply.broker.store.memory import MemoryStore
from amply.broker.store.port import Room, StoreFull
from amply.clock import ManualClock
from amply.ids import CountingIds

CONTEXT = Context(account="000000000000", base_url="http://localhost", sender_id="somebody", request_id="1")
DEAD, OTHER = ("arn:aws:sqs:eu-central-1:000000000000:" + name for name in ("dead", "other"))
COUNT = 3000


class FillingStore(MemoryStore):
    """A store that may have no room for new messages."""

    is_full = False
    refused = 0

    def commit(self, changes: Sequence[Change], now_ms: int) -> None:
        if self.is_full and any(isinstance(change, Added) for change in changes):
            self.refused += 1
            raise StoreFull("no room")
        super().commit(changes, now_ms)

    def tend(self) -> Room:
        return Room(is_full=self.is_full, free_bytes=0)

    def count(self, name: str) -> int:
        states = self.load(0).queues
        return next(state.messages for state in states if state.queue.name == name)


class Shell:
    """A service on such a store, with dead letters."""

    def __init__(self) -> None:
        self.store = FillingStore()
        self.service = self.begin()

    def begin(self) -> Service:
        def broken(error: Exception) -> None:
            raise error

        return Service(self.store, region="eu-central-1", clock=ManualClock(), ids=CountingIds(), on_broken=broken)

    async def submit(self, action: str, request: RequestShape) -> Any:
        answer: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()

        def respond(outcome: Outcome) -> bool:
            answer.set_result(outcome)
            return True

        submit(self.service, Call(action, request, CONTEXT), respond)
        await asyncio.sleep(0)  # an answer that is there already would leave the others no turn
        return await answer

    async def fill(self) -> None:
        for name in ("dead", "other"):
            await self.submit("CreateQueue", CreateQueueRequest(queue_name=name))
        policy = f'{{"deadLetterTargetArn":"{DEAD}","maxReceiveCount":1}}'
        await self.submit("CreateQueue", CreateQueueRequest(queue_name="work", attributes={"RedrivePolicy": policy}))
        message = SendMessageRequest(queue_url="dead", message_body="dead")
        await asyncio.gather(*(self.submit("SendMessage", message) for _ in range(COUNT)))

    async def start(self) -> None:
        await self.submit("StartMessageMoveTask", StartMessageMoveTaskRequest(source_arn=DEAD, destination_arn=OTHER))

    async def task(self) -> tuple[str, int]:
        request = ListMessageMoveTasksRequest(source_arn=DEAD)
        while isinstance(listed := await self.submit("ListMessageMoveTasks", request), Fault):
            pass  # it rested on a commit that was refused
        return listed.results[0].status, listed.results[0].approximate_number_of_messages_moved

    async def end(self) -> None:
        while (await self.task())[0] == "RUNNING":
            pass


def play(story: Callable[[Shell], Coroutine[None, None, None]]) -> None:
    async def main() -> None:
        shell = Shell()
        await shell.fill()
        await story(shell)
        await asyncio.wait_for(shell.service.close(), 10)

    asyncio.run(asyncio.wait_for(main(), 30))


def test_others_are_served_while_a_move_runs_as_fast_as_it_can() -> None:
    async def story(shell: Shell) -> None:
        await shell.start()
        seen = [await shell.task()]
        while seen[-1][0] == "RUNNING":
            seen.append(await shell.task())
        assert seen[-1] == ("COMPLETED", COUNT)
        assert len({moved for _, moved in seen}) > 3

    play(story)


def test_a_move_waits_while_the_disk_has_no_room_for_new_messages() -> None:
    async def story(shell: Shell) -> None:
        shell.store.is_full = True
        await shell.start()
        for _ in range(100):
            assert await shell.task() == ("RUNNING", 0)
        assert shell.store.refused == 1
        assert (shell.store.count("dead"), shell.store.count("other")) == (COUNT, 0)
        shell.store.is_full = False
        shell.service._was_tended(shell.store.tend())
        await shell.end()
        assert await shell.task() == ("COMPLETED", COUNT)
        assert (shell.store.count("dead"), shell.store.count("other")) == (0, COUNT)

    play(story)


def test_a_broker_stops_in_the_middle_of_a_move_and_goes_on_later() -> None:
    async def story(shell: Shell) -> None:
        await shell.start()
        await asyncio.wait_for(shell.service.close(), 10)
        moved = shell.store.count("other")
        assert moved < COUNT
        assert shell.store.count("dead") == COUNT - moved
        shell.service = shell.begin()
        await shell.end()
        assert await shell.task() == ("COMPLETED", COUNT)
        assert shell.store.count("other") == COUNT

    play(story)
