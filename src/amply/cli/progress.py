"""What a long command tells while it works, on stderr: a bar on a terminal, elsewhere a line every few seconds.

Ctrl-C asks the work to come to its end; a second one ends the process. Knows signals and screens; must not know the
work.
"""

import os
import signal
import sys
from threading import Event, Lock
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Any, Self

from amply.cli import output, times
from amply.clock import SystemClock

if TYPE_CHECKING:
    from rich.progress import Progress as Bar

EXIT_INTERRUPTED = 130
_LINE_EVERY_MS = 3_000


class Progress:
    """For a `with` block of the main thread; to be called from any with (done, total or None, a second).

    `cancel` is set by the first Ctrl-C. `after` is what to do after a second one, in a sentence.
    """

    def __init__(self, title: str, *, after: str) -> None:
        self.cancel = Event()
        self._title = title
        self._after = after
        self._clock = SystemClock()
        self._due_ms = self._clock.now_ms() + _LINE_EVERY_MS
        self._lock = Lock()
        self._bar: Bar | None = None
        self._handler: Any = None

    def __enter__(self) -> Self:
        if sys.stderr.isatty():
            self._bar = _bar()
            self._bar.start()
            self._bar.add_task(self._title, total=None, speed="")
        self._handler = signal.signal(signal.SIGINT, self._interrupt)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        signal.signal(signal.SIGINT, self._handler)
        self.end()

    def end(self) -> None:
        """Leave the screen to others: there is no more to tell. Ctrl-C means what it meant within the block."""
        if self._bar is not None:
            self._bar.stop()

    def __call__(self, done: int, total: int | None, per_s: float) -> None:
        """Tell how far it is, if it is time to."""
        speed = f"{output.count(round(per_s))} a second"
        if total is not None and per_s > 0:
            speed += f", {times.short((total - done) / per_s)} left"
        if self._bar is not None:
            self._bar.update(self._bar.task_ids[0], completed=done, total=total, speed=speed)
            return
        with self._lock:
            now_ms = self._clock.now_ms()
            if now_ms < self._due_ms:
                return
            self._due_ms = now_ms + _LINE_EVERY_MS
        of = "" if total is None else f" of {output.count(total)}"
        output.say(f"{self._title}: {output.count(done)}{of}, {speed}.")

    def _interrupt(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002 - a handler's signature
        if not self.cancel.is_set():
            self.cancel.set()
            output.say("Finishing what is in hand. Ctrl-C again to stop at once.")
            return
        self.end()
        output.say(f"Stopped at once. {self._after}")
        # Threads may wait for SQS; what is in hand is in the journal.
        os._exit(EXIT_INTERRUPTED)


def _bar() -> "Bar":
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
    from rich.progress import Progress as Bar

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[speed]}"))
    return Bar(*columns, console=Console(stderr=True), redirect_stdout=False)
