"""The head of a queue's ready messages, with their content, in memory. The rest waits on disk.

However many messages wait, a window holds a bounded number of them. Every ready message is either in the window or on
disk behind the cursor; a message that becomes ready again joins those on disk, and the cursor goes back if it has to.

Messages of noisy tenants stand in lanes of their own, so that those of quiet ones can be given out first. What quiet
tenants have behind a noisy one's backlog is looked for with a second cursor.
"""

from collections import OrderedDict
from typing import TYPE_CHECKING, TypeAlias

from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Callable

    from amply.broker.engine.records import Content, Entry

    Held: TypeAlias = tuple[Entry, Content]

Place: TypeAlias = tuple[int, int]  # (visible_ms, seq)

START: Place = (-1, -1)


class WindowSize(Struct, frozen=True):
    """How much of a queue may be in memory. Bodies and attributes count as bytes."""

    count: int = 1000
    size_bytes: int = 4 * 1024 * 1024


def size_bytes(content: "Content") -> int:
    """What a message takes of a window's size."""
    return len(content.body) + 256 * len(content.attributes)


class Cursor:
    """How far a kind of messages has been read from disk: every one of them that is there lies behind `place`."""

    __slots__ = ("_rewound", "expected", "is_reading", "place")

    def __init__(self, place: Place) -> None:
        self.place = place
        self.is_reading = False
        self.expected = 0  # how many messages the current read may bring
        self._rewound: Place | None = None  # where to go back to after the current read

    def go_back(self, before: Place) -> None:
        """Something became ready behind this place."""
        self.place = min(self.place, before)
        if self.is_reading and (self._rewound is None or before < self._rewound):
            self._rewound = before

    def start(self, expected: int) -> None:
        """From now until `finish`, what becomes ready may be missing from what is read."""
        self.is_reading = True
        self.expected = expected
        self._rewound = None

    def finish(self, place: Place) -> bool:
        """Everything up to there was read. Returns whether that is still so."""
        self.is_reading = False
        self.expected = 0
        self.place = place if self._rewound is None else min(place, self._rewound)
        return self._rewound is None


class Window:
    """Ready messages in the order (visible_ms, seq) in which they became ready."""

    __slots__ = ("_bytes", "_lanes", "_messages", "cursor", "on_disk", "quiet", "size")

    def __init__(self, size: WindowSize) -> None:
        self.size = size
        self.on_disk = 0  # ready messages that are not in the window
        self.cursor = Cursor(START)
        self.quiet: Cursor | None = None  # for the messages of quiet tenants; None: all that there are, are here
        self._messages: OrderedDict[int, Held] = OrderedDict()
        self._lanes: dict[str, OrderedDict[int, Held]] = {}  # by noisy tenant
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._messages) + self._noisy_count()

    def __contains__(self, seq: int) -> bool:
        return seq in self._messages or (bool(self._lanes) and any(seq in lane for lane in self._lanes.values()))

    @property
    def is_reading(self) -> bool:
        """Whether messages are on their way from disk."""
        return self.cursor.is_reading or (self.quiet is not None and self.quiet.is_reading)

    def add(self, entry: "Entry", content: "Content") -> None:
        """A message just became ready, and its content is at hand: keep it here if nothing waits on disk before it."""
        place = (entry.visible_ms, entry.seq)
        has_room = self._bytes < self.size.size_bytes
        if not self._lanes:
            has_room = has_room and len(self._messages) < self.size.count
        elif has_room := has_room and self._room() > 0:
            if entry.group_id in self._lanes:
                has_room = not self._is_crowded()
            elif self.quiet is None and self.on_disk:
                self._put(entry, content)  # past the backlog of the noisy ones
                return
        if has_room and self.on_disk == 0 and not self.cursor.is_reading:
            self._put(entry, content)
            self.cursor.place = max(self.cursor.place, place)
        else:
            self.leave_on_disk(*place)

    def leave_on_disk(self, visible_ms: int, seq: int, count: int = 1) -> None:
        """Messages became ready, the first of them at this place; their content is on disk only."""
        self.on_disk += count
        before = (visible_ms, seq - 1)
        self.cursor.go_back(before)
        if self.quiet is not None:
            self.quiet.go_back(before)
        elif self._lanes:
            self.quiet = Cursor(before)

    def first(self) -> "Held | None":
        """The message that has been ready longest, whoever's it is; it stays here. None if the window is empty."""
        heads = [next(iter(lane.values())) for lane in (self._messages, *self._lanes.values()) if lane]
        return min(heads, key=lambda held: (held[0].visible_ms, held[0].seq), default=None)

    def pop_first(self) -> "Held":
        """Take the message that has been ready longest; of quiet tenants, while there are any."""
        entry, content = self._messages.popitem(last=False)[1]
        self._bytes -= size_bytes(content)
        return entry, content

    def get(self, seq: int) -> "Entry | None":
        """One message's entry, None if it is not here."""
        lane = next((lane for lane in (self._messages, *self._lanes.values()) if seq in lane), None)
        return None if lane is None else lane[seq][0]

    def pop(self, seq: int) -> "Entry | None":
        """Take one message out, None if it is not here."""
        found = self._messages.pop(seq, None)
        if found is None:
            for lane in self._lanes.values():
                found = found or lane.pop(seq, None)
        if found is None:
            return None
        self._bytes -= size_bytes(found[1])
        return found[0]

    # Noisy tenants

    @property
    def has_quiet(self) -> bool:
        """Whether the next message is no noisy tenant's."""
        return len(self._messages) > 0

    def lanes(self) -> list[str]:
        """The tenants that are known to be noisy."""
        return list(self._lanes)

    def lane_length(self, group: str) -> int:
        """How many messages of a noisy tenant are here."""
        return len(self._lanes[group])

    def pop_noisy(self, group: str) -> "Held":
        """Take the first message of a noisy tenant."""
        entry, content = self._lanes[group].popitem(last=False)[1]
        self._bytes -= size_bytes(content)
        return entry, content

    def open_lane(self, group: str) -> None:
        """A tenant turned out to be noisy. Half of the window is for the others."""
        if not self._lanes and self.on_disk:
            self.quiet = Cursor(self.cursor.place)
        lane = self._lanes[group] = OrderedDict()
        for seq, held in list(self._messages.items()):
            if held[0].group_id == group:
                lane[seq] = self._messages.pop(seq)
        while len(lane) > 1 and self._is_crowded():
            entry, content = lane.popitem()[1]
            self._bytes -= size_bytes(content)
            self.leave_on_disk(entry.visible_ms, entry.seq)

    def close_lane(self, group: str) -> None:
        """A tenant is quiet again; nothing of it is here, but there may be more of it on disk."""
        del self._lanes[group]
        if not self._lanes:
            self.quiet = None
        elif self.quiet is not None:
            self.quiet.go_back(self.cursor.place)
        elif self.on_disk:
            self.quiet = Cursor(self.cursor.place)

    def _noisy_count(self) -> int:
        return sum(map(len, self._lanes.values())) if self._lanes else 0

    def _is_crowded(self) -> bool:
        """Whether noisy tenants fill what they may."""
        return self._noisy_count() >= self._half() or self._bytes * 2 >= self.size.size_bytes

    # Reading from disk

    def wants_more(self) -> bool:
        """Whether it is time to read on from disk: early enough that receivers do not have to wait for it."""
        if not self.on_disk or self.cursor.is_reading or not self._room():
            return False
        if self._lanes:
            return self._noisy_count() * 4 < self._half()
        return len(self._messages) * 4 < self.size.count

    def wants_quiet(self) -> bool:
        """Whether it is time to look for messages of quiet tenants."""
        if self.quiet is None or self.quiet.is_reading or not self.on_disk or not self._room():
            return False
        return len(self._messages) * 4 < self._half()

    def start_reading(self, cursor: Cursor) -> tuple[int, int]:
        """How many messages, and how many bytes of them, there is room for."""
        room = self._room()
        if self._lanes:
            room = min(room, self._half())
        cursor.start(room)
        return room, max(0, self.size.size_bytes - self._bytes)

    def _room(self) -> int:
        expected = self.cursor.expected + (self.quiet.expected if self.quiet is not None else 0)
        return max(0, self.size.count - len(self) - expected)

    def finish_reading(
        self, cursor: Cursor, messages: "list[Held]", is_known: "Callable[[int], bool]", read_to: Place | None
    ) -> bool:
        """Take in what was read, but for messages whose truth is in memory already (`is_known`, by seq).

        `read_to` is the place up to which nothing more was ready on disk; None: up to the last message. Returns whether
        that still holds for everything before `read_to`: False once more became ready meanwhile.
        """
        place = cursor.place
        for entry, content in messages:
            place = (entry.visible_ms, entry.seq)
            if entry.seq not in self and not is_known(entry.seq):
                self._put(entry, content)
                self.on_disk -= 1
        return cursor.finish(place if read_to is None else read_to) and read_to is not None

    def start_again(self) -> None:
        """Read everything on disk again, from the first message on."""
        self.cursor.place = START

    def _half(self) -> int:
        return max(1, self.size.count // 2)

    def _put(self, entry: "Entry", content: "Content") -> None:
        lane = self._lanes.get(entry.group_id) if self._lanes and entry.group_id is not None else None
        (self._messages if lane is None else lane)[entry.seq] = (entry, content)
        self._bytes += size_bytes(content)
