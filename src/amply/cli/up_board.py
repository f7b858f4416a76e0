"""What `amply up` shows while it runs: a live table on a terminal, a plain line now and then anywhere else."""

import contextlib
import sys
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import click
from msgspec import Struct

from amply.cli import output
from amply.cli.up_samples import QueueSample, Sample
from amply.scaling.fleet import Phase, ProcessState

if TYPE_CHECKING:
    from rich.console import Group
    from rich.live import Live

_TABLE_EVERY_MS = 500
_LINE_EVERY_MS = 3_000
_BAR_CELLS = 20


class View(Struct, frozen=True, kw_only=True):
    """Everything that is shown at one moment."""

    uptime_s: float
    sample: Sample
    processes: list[ProcessState]
    error_count: int
    last_error: tuple[str, str] | None
    logs: str
    is_stopping: bool


class Board:
    """Shows a view when it is time for the next. Once nobody can see it any more, it is silent."""

    def __init__(self) -> None:
        self._live: Live | None = None
        self._due_ms = 0
        self._gone = False

    def __enter__(self) -> Self:
        if sys.stdout.isatty():
            from rich.live import Live

            self._live = Live(auto_refresh=False, transient=True)
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            with contextlib.suppress(OSError):
                self._live.stop()

    def say(self, text: str) -> None:
        """Say something that stays."""
        if self._gone:
            return
        try:
            if self._live is not None:
                self._live.console.print(output.safe(text), markup=False, highlight=False)
            else:
                click.echo(output.safe(text))
        except OSError:  # the terminal was closed; an orderly stop goes on without it
            self._gone = True

    def show(self, view: View, now_ms: int) -> None:
        """Show the view, if the last one was long enough ago."""
        if self._gone or now_ms < self._due_ms:
            return
        try:
            if self._live is not None:
                self._live.update(table(view), refresh=True)
            else:
                click.echo(line(view))
        except OSError:
            self._gone = True
        self._due_ms = now_ms + (_TABLE_EVERY_MS if self._live is not None else _LINE_EVERY_MS)


def line(view: View) -> str:
    """One line: each queue's visible + in flight + delayed, its rates and how many are done, and the processes."""
    parts = [f"{view.uptime_s:5.0f} s"]
    for queue in view.sample.queues:
        counts = queue.counts
        text = f"{queue.celery_name or counts.name} {counts.visible}+{counts.in_flight}+{counts.delayed}"
        if queue.celery_name is not None:
            text += f" in {_rate(queue.in_per_s)}/s out {_rate(queue.out_per_s)}/s done {counts.deleted}"
        parts.append(text)
    running = sum(state.phase is Phase.RUNNING for state in view.processes)
    parts.append(f"{running} of {len(view.processes)} processes run")
    if view.sample.problem:
        parts.append(output.safe(view.sample.problem))
    if view.error_count:
        parts.append(f"{view.error_count} errors in {view.logs}")
    return " | ".join(parts)


def table(view: View) -> "Group":
    """The queues, the processes and the last error, for a terminal."""
    from rich.console import Group
    from rich.text import Text

    keys = "Stopping; Ctrl-C again to hurry." if view.is_stopping else "Ctrl-C drains and stops everything."
    below = [f"Up {_duration(view.uptime_s)}. {keys}"]
    if view.sample.problem:
        below.append(view.sample.problem)
    if view.last_error is not None:
        label, said = view.last_error
        below.append(f"{view.error_count} errors in {view.logs}, the last from {label}: {said}")
    return Group(_queues(view), _processes(view), *(Text(output.safe(text), overflow="ellipsis") for text in below))


def _queues(view: View) -> Any:
    from rich.table import Table
    from rich.text import Text

    drawn = Table()
    drawn.add_column("Queue", no_wrap=True)
    for column in ("Visible", "In flight", "Delayed", "In/s", "Out/s", "Done"):
        drawn.add_column(column, justify="right", no_wrap=True)
    drawn.add_column("Waiting", min_width=_BAR_CELLS, no_wrap=True)
    for queue in view.sample.queues:
        counts, serves = queue.counts, queue.celery_name is not None
        drawn.add_row(
            Text(counts.name, style="red" if not serves and counts.waiting else ""),
            str(counts.visible),
            str(counts.in_flight),
            str(counts.delayed),
            _rate(queue.in_per_s) if serves else "",
            _rate(queue.out_per_s) if serves else "",
            str(counts.deleted) if serves else "",
            Text(_bar(queue), style="cyan"),
        )
    return drawn


def _processes(view: View) -> Any:
    from rich.table import Table
    from rich.text import Text

    drawn = Table()
    for column in ("Process", "State", "Pid", "Up", "Starts", "Last exit"):
        drawn.add_column(column, no_wrap=True)
    for state in view.processes:
        drawn.add_row(
            state.label,
            Text(state.phase.value, style="green" if state.phase is Phase.RUNNING else "yellow"),
            str(state.pid or ""),
            _duration(state.uptime_s) if state.pid else "",
            str(state.starts),
            state.last_exit or "",
        )
    return drawn


def _bar(queue: QueueSample) -> str:
    """A cell for each doubling, so that one waiting message shows and a million fit."""
    return "█" * min(_BAR_CELLS, queue.counts.waiting.bit_length())


def _rate(per_s: float | None) -> str:
    return "-" if per_s is None else f"{per_s:.1f}"


def _duration(seconds: float) -> str:
    minutes, left_s = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{left_s:02}" if hours else f"{minutes}:{left_s:02}"
