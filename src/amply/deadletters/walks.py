"""A walk through a queue: every letter once, in pages, as carefully as the SQS at hand allows.

On our own broker a walk looks at letters and touches none until it is told to take one. Elsewhere SQS shows a message
only to whoever receives it: there a walk receives everything, which counts as a receive of each, hides it from others
meanwhile, and shows in the end whatever was not deleted. Of a FIFO queue it sees no more than SQS hands out at once of
each group.
"""

import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from types import TracebackType
from typing import IO, Protocol, Self

import msgspec

from amply.deadletters.gateway import BATCH_COUNT_MAX, PEEKED_BATCH_COUNT_MAX, Gateway, Peeked, Queue
from amply.deadletters.letters import Letter
from amply.errors import AmplyError

LEASE_S = 300
# Long enough that SQS asks all of its servers, and an empty answer means empty (SQS developer guide, short and long
# polling).
LAST_WAIT_S = 1


class Walk(AbstractContextManager["Walk"], Protocol):
    """A walk, to be used in a `with` block by one thread at a time, but for the verbs on letters."""

    is_plain: bool
    at_once: int  # how many letters are taken or deleted with one request
    seen: int
    damaged: int

    def pages(self) -> Iterator[list[Letter]]:
        """Every letter once at most. What comes into the queue meanwhile may be missed."""

    def take(self, letters: Sequence[Letter]) -> list[Letter]:
        """Those that nobody else has: for the next five minutes nobody else gets them."""

    def leave(self, letters: Sequence[Letter]) -> None:
        """Show letters again that were taken."""

    def delete(self, letters: Sequence[Letter]) -> list[Letter]:
        """Delete letters that were taken; those that are deleted."""


def walk(gateway: Gateway, queue: Queue, *, takes: bool) -> Walk:
    """Begin a walk. One that `takes` may take letters, another only looks."""
    first = gateway.peek(queue, None, with_handles=takes)
    return _Receiving(gateway, queue) if first is None else _Looking(gateway, queue, first, takes=takes)


class _Looking:
    """On our own broker."""

    is_plain = False
    at_once = PEEKED_BATCH_COUNT_MAX

    def __init__(self, gateway: Gateway, queue: Queue, first: Peeked, *, takes: bool) -> None:
        self._gateway = gateway
        self._queue = queue
        self._first = first
        self._takes = takes
        self.seen = 0
        self.damaged = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Nothing was touched."""

    def pages(self) -> Iterator[list[Letter]]:
        # The next page is fetched while this one is looked at: half of a look at many letters is waiting.
        with ThreadPoolExecutor(1, "amply-looking") as ahead:
            page: Peeked | None = self._first
            while page is not None:
                coming = None if page.token is None else ahead.submit(self._peek, page.token)
                self.seen += len(page.letters)
                self.damaged += page.damaged
                if page.letters:
                    yield page.letters
                page = None if coming is None else coming.result()

    def _peek(self, token: str) -> Peeked | None:
        return self._gateway.peek(self._queue, token, with_handles=self._takes)

    def take(self, letters: Sequence[Letter]) -> list[Letter]:
        return self._gateway.hide(self._queue, letters, LEASE_S, at_once=self.at_once)

    def leave(self, letters: Sequence[Letter]) -> None:
        self._gateway.hide(self._queue, letters, 0, at_once=self.at_once)

    def delete(self, letters: Sequence[Letter]) -> list[Letter]:
        return self._gateway.delete(self._queue, letters, at_once=self.at_once)


class _Receiving:
    """On any other SQS. Handles wait in a file, since Amazon's are half a kilobyte each."""

    is_plain = True
    at_once = BATCH_COUNT_MAX

    def __init__(self, gateway: Gateway, queue: Queue) -> None:
        self._gateway = gateway
        self._queue = queue
        self._held: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - closed by `__exit__`
        self._met: set[str] = set()
        self._gone: set[str] = set()
        self.seen = 0
        self.damaged = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Show what was received and is still there. What that fails for shows itself when the lease ends."""
        with self._held:
            try:
                self._show_all()
            except AmplyError:
                if error is None:
                    raise

    def pages(self) -> Iterator[list[Letter]]:
        while letters := self._receive():
            # A letter whose lease ended during the walk comes again.
            new = [letter for letter in letters if letter.message_id not in self._met]
            self._met.update(letter.message_id for letter in new)
            self.seen += len(new)
            if new:
                yield new

    def _receive(self) -> list[Letter]:
        letters = self._gateway.receive(self._queue, LEASE_S, 0) or self._gateway.receive(
            self._queue, LEASE_S, LAST_WAIT_S
        )
        held = [(letter.message_id, letter.handle) for letter in letters]
        self._held.write(msgspec.json.encode(held) + b"\n")
        return letters

    def take(self, letters: Sequence[Letter]) -> list[Letter]:
        return list(letters)

    def leave(self, letters: Sequence[Letter]) -> None:
        self._gateway.hide(self._queue, letters, 0)

    def delete(self, letters: Sequence[Letter]) -> list[Letter]:
        deleted = self._gateway.delete(self._queue, letters)
        self._gone.update(letter.message_id for letter in deleted)
        return deleted

    def _show_all(self) -> None:
        self._held.seek(0)
        for line in self._held:
            held = msgspec.json.decode(line, type=list[tuple[str, str]])
            letters = [_named(name, handle) for name, handle in held if name not in self._gone]
            self._gateway.hide(self._queue, letters, 0)


def _named(message_id: str, handle: str) -> Letter:
    """As much of a letter as it takes to show it."""
    return Letter(message_id=message_id, body="", handle=handle, attributes={}, sent_ms=0, receive_count=0)
