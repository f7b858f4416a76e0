"""Numbers that are given out once, for messages, queues and shelves."""


class Numbers:
    """Counts up from the last number that was given out, ever."""

    __slots__ = ("last",)

    def __init__(self, last: int = 0) -> None:
        self.last = last

    def take(self, count: int = 1) -> int:
        """The first of `count` numbers in a row."""
        first = self.last + 1
        self.last += count
        return first
