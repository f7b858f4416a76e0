"""The demonstration's own account of the jobs it sent: kept outside the broker, so that it can show a loss."""

from collections.abc import Callable
from pathlib import Path

import msgspec


class Ledger(msgspec.Struct, kw_only=True):
    """Jobs by Celery queue. `open` are those not known to be done yet, (queue, task id), the oldest first."""

    sent: dict[str, int] = {}
    done: dict[str, int] = {}
    open: list[tuple[str, str]] = []

    def note_sent(self, queue: str, task_id: str) -> None:
        """SQS took a job."""
        self.sent[queue] = self.sent.get(queue, 0) + 1
        self.open.append((queue, task_id))

    def check(self, is_done: Callable[[str], bool], limit: int) -> None:
        """Ask of so many open jobs whether they are done; those that are not go to the end of the line."""
        asked, self.open = self.open[:limit], self.open[limit:]
        for queue, task_id in asked:
            if is_done(task_id):
                self.done[queue] = self.done.get(queue, 0) + 1
            else:
                self.open.append((queue, task_id))

    def save(self, path: Path) -> None:
        """Write it to a file, whole or not at all."""
        part = path.with_name(f"{path.name}.part")
        part.write_bytes(msgspec.json.encode(self))
        part.replace(path)


def load(path: Path) -> Ledger:
    """The ledger in a file; an empty one if there is no such file."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Ledger)
    except FileNotFoundError:
        return Ledger()
