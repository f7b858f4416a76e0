"""Whose turn it is: which queue may ask SQS for how many messages, and how long it may wait for them.

The queues stand in order of priority and share one budget. A queue may ask only while every queue above it is known to
be empty: its poll is open and unanswered, or it was just asked and had nothing. The rules, without threads or time;
must not know how a request is made.
"""

from msgspec import Struct

# ReceiveMessage gives no more at once (AWS API reference, ReceiveMessage).
MOST_AT_ONCE = 10


class Ask(Struct, frozen=True):
    """A receive: up to `messages` of them; one that finds none waits for them if `waits`.

    `goes_first` marks a turn of the guard against starvation: what it brings goes before everything else.
    """

    messages: int
    waits: bool
    goes_first: bool = False


class _Line(Struct):
    name: str
    asked: Ask | None = None
    is_dry: bool = False
    is_failing: bool = False
    passed_over: int = 0

    @property
    def is_parked(self) -> bool:
        return self.asked is not None and self.asked.waits

    @property
    def at_work(self) -> int:
        """How many messages a short receive may bring. What an open poll may bring is given back if it does not fit."""
        return self.asked.messages if self.asked is not None and not self.asked.waits else 0

    @property
    def is_known_empty(self) -> bool:
        return self.is_dry or self.is_parked or self.is_failing


class Turns:
    """The plan for a worker's queues. Not thread-safe: its caller holds a lock.

    `limit` is the most messages that may be held at once (prefetch), `slots` how many of them can run at once. With
    more limit than slots, a poll on each higher queue stays open while lower ones are served, inside the difference.
    """

    def __init__(self, *, guard: int = 0) -> None:
        self.limit = 1
        self.slots = 1
        self.held = 0
        self._guard = guard
        self._lines: list[_Line] = []

    def set_queues(self, names: list[str]) -> None:
        """The queues by falling priority. One that stays keeps its state."""
        known = {line.name: line for line in self._lines}
        self._lines = [known.get(name) or _Line(name) for name in names]

    def next_ask(self, name: str) -> Ask | None:
        """What the queue may ask for now; it counts as asked until `answered` or `failed`. None: not its turn."""
        position = self._position(name)
        if position is None or self._lines[position].asked is not None:
            return None
        line = self._lines[position]
        ask = self._turn(line, position)
        line.asked = ask
        return ask

    def answered(self, name: str, received: int, most: int = MOST_AT_ONCE) -> int:
        """The queue's request, for at most so many, brought some messages; gives how many there is room for."""
        position = self._position(name)
        if position is None:
            return 0
        line = self._lines[position]
        asked = min(line.asked.messages, most) if line.asked else received
        line.asked = None
        line.passed_over = 0
        if received:
            # Something has changed: what was found empty before may not be so any more.
            self._forget()
            for lower in self._lines[position + 1 :]:
                lower.passed_over += received
        line.is_dry = received < asked
        kept = max(0, min(received, self.limit - self.held))
        self.held += kept
        return kept

    def failed(self, name: str) -> None:
        """The queue's request failed. The queues below it do not wait for its recovery."""
        position = self._position(name)
        if position is not None:
            line = self._lines[position]
            line.asked = None
            line.is_failing = True
            # It had its turn; the others are not to wait for each of its further tries.
            line.passed_over = 0

    def recovered(self, name: str) -> None:
        """The pause after a failure is over: the queue has its turn again."""
        position = self._position(name)
        if position is not None:
            self._lines[position].is_failing = False

    def released(self, messages: int = 1) -> None:
        """So many messages are held no longer."""
        if self.held >= self.limit:
            # Nobody could ask for a while, so what was known of the queues is old.
            self._forget()
        self.held -= messages

    def _forget(self) -> None:
        for line in self._lines:
            line.is_dry = False

    def _position(self, name: str) -> int | None:
        return next((index for index, line in enumerate(self._lines) if line.name == name), None)

    def _turn(self, line: _Line, position: int) -> Ask | None:
        room = self.limit - self.held - sum(other.at_work for other in self._lines)
        if room <= 0:
            return None
        starving = self._starving()
        if starving is not None:
            return Ask(1, waits=False, goes_first=True) if starving is line else None
        if not all(higher.is_known_empty for higher in self._lines[:position]):
            return None
        return self._parked(position, room) if line.is_dry else self._served(position, room)

    def _parked(self, position: int, room: int) -> Ask | None:
        """An open poll: when all queues are empty, or, where there is spare, while lower ones are served."""
        if all(other.is_known_empty for other in self._lines):
            return Ask(min(MOST_AT_ONCE, max(1, room // len(self._lines))), waits=True)
        if self._spare and position < len(self._lines) - 1:
            return Ask(min(MOST_AT_ONCE, max(1, self._spare // (len(self._lines) - 1))), waits=True)
        return None

    @property
    def _spare(self) -> int:
        return max(0, self.limit - self.slots)

    def _served(self, position: int, room: int) -> Ask | None:
        """A short receive, leaving alone what the open polls above were promised."""
        promised = sum(higher.asked.messages for higher in self._lines[:position] if higher.asked is not None)
        room -= min(promised, self._spare)
        return Ask(min(MOST_AT_ONCE, room), waits=False) if room > 0 else None

    def _starving(self) -> _Line | None:
        """The queue that was passed over too often. While it waits for its answer, nobody else asks."""
        if not self._guard:
            return None
        passed_over = (line for line in self._lines if line.passed_over >= self._guard)
        return next((line for line in passed_over if not line.is_parked and not line.is_failing), None)
