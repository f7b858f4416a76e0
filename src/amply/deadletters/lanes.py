"""Threads that work side by side, each on one piece after another. Knows threads; must not know what the work is."""

from collections.abc import Callable
from queue import Full, Queue
from threading import Thread
from types import TracebackType
from typing import Generic, Self, TypeVar

Work = TypeVar("Work")
_LOOK_S = 0.1
_AHEAD = 2


class Lanes(Generic[Work]):
    """So many threads that `do` what they are given; for a `with` block of one thread.

    Where `in_order`, each lane is a thread of its own, and the work of a lane is done in the order it was given in.
    When the block ends all that was given is done. The first error ends the rest, and is raised in the block.
    """

    def __init__(self, do: Callable[[Work], None], threads: int, *, in_order: bool) -> None:
        self._do = do
        self._error: BaseException | None = None
        shared: Queue[Work | None] = Queue(threads * _AHEAD)
        self._queues = [Queue[Work | None](_AHEAD) for _ in range(threads)] if in_order else [shared] * threads
        self._threads = [Thread(target=self._work, args=(queue,), daemon=True) for queue in self._queues]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is not None and self._error is None:
            self._error = error
        for queue in self._queues:
            queue.put(None)
        for thread in self._threads:
            thread.join()
        if error is None:
            self._raise()

    def give(self, work: Work, lane: int = 0) -> None:
        """Hand work to a lane; waits while enough is waiting there."""
        queue = self._queues[lane % len(self._queues)]
        while True:
            self._raise()
            try:
                return queue.put(work, timeout=_LOOK_S)
            except Full:
                continue

    def _raise(self) -> None:
        if self._error is not None:
            raise self._error

    def _work(self, queue: Queue[Work | None]) -> None:
        while (work := queue.get()) is not None:
            if self._error is not None:
                continue
            try:
                self._do(work)
            except BaseException as error:  # noqa: BLE001 - raised again by the thread that gives the work
                self._error = error
