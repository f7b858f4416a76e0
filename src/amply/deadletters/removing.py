"""Letters that nobody wants back: each into an archive, on the disk, and only then deleted.

Knows archives; must not know how a run keeps its order.
"""

from collections.abc import Sequence

from amply.deadletters.archive import Archive
from amply.deadletters.deaths import Found
from amply.deadletters.gateway import Sent
from amply.deadletters.moving import Stays


class Removing:
    """The archive that letters go to; a target of `moving.Moving`."""

    # An archive holds a letter once, however often it is told.
    may_double = False

    def __init__(self, archive: Archive) -> None:
        self._archive = archive

    def of(self, _one: Found) -> str | Stays:
        """The archive, for every letter."""
        return str(self._archive.path)

    def store(self, _place: str, letters: Sequence[Found]) -> list[Sent]:
        """Write letters there; on the disk when it returns."""
        self._archive.add(letters)
        return [Sent(one.letter.message_id) for one in letters]
