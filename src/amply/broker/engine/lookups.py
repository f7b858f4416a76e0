"""Look-ups on disk that have not come back, and what has changed since they left."""


class Lookups:
    """Tells whether what a look-up found may still be believed.

    A look-up sees every change decided before it, and none decided after. Changes are only remembered while look-ups
    are out.
    """

    __slots__ = ("_changed", "_changes", "_out")

    def __init__(self) -> None:
        self._out = 0
        self._changes = 0
        self._changed: dict[int, int] = {}  # seq -> number of its last change

    def start(self) -> int:
        """A look-up leaves; returns its place among the changes."""
        self._out += 1
        return self._changes

    def end(self) -> None:
        """A look-up has been dealt with."""
        self._out -= 1
        if not self._out:
            self._changed.clear()

    def mark_changed(self, seq: int) -> None:
        """The message is not what it was."""
        if self._out:
            self._changes += 1
            self._changed[seq] = self._changes

    def is_outdated(self, seq: int, issued: int) -> bool:
        """Whether the message changed after the look-up left."""
        return self._changed.get(seq, 0) > issued
