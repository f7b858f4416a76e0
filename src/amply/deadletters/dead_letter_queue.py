"""A dead letter queue, and all that can be done with it: what the command line, the dashboard and scripts use.

    with DeadLetterQueue("amply-celery-dlq") as dlq:
        for group in dlq.groups().groups:
            print(group.count, group.task, group.death.text)
        dlq.redrive(Match(task="amply.jobs.webhooks.*"))

Knows how the parts of this room belong together; must not know the environment, or people.
"""

from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from threading import Event
from typing import Self

from msgspec.structs import replace

from amply.clock import Clock, SystemClock
from amply.deadletters import archive, groups, moving
from amply.deadletters.archive import Archive
from amply.deadletters.collecting import Collected, collect
from amply.deadletters.deaths import Found, found
from amply.deadletters.editing import edit
from amply.deadletters.failures import FILE_NAME, Failure, Failures
from amply.deadletters.gateway import Gateway, NotFoundError, Queue, RefusedError
from amply.deadletters.groups import Groups
from amply.deadletters.importing import Imported, import_letters
from amply.deadletters.journal import Asked, Journal, interrupted
from amply.deadletters.matching import Match, is_called
from amply.deadletters.moving import Moving, Outcome, Progress, Target
from amply.deadletters.redriving import Redriving
from amply.deadletters.removing import Removing
from amply.deadletters.walks import walk
from amply.topology.model import Topology
from amply.transport.endpoint import Endpoint, resolve

Tell = Callable[[Outcome], object]

_SEVERAL = 3


def _nobody(_: Outcome) -> None:
    """Nobody is told."""


class DeadLetterQueue:
    """The queue `name`, in SQS's own spelling. For a `with` block.

    - `region`, `endpoint_url`: where SQS is, botocore's configuration unless given; or an `endpoint` with its keys
    - `data`: the folder where causes of failures, journals and archives are kept
    - `telemetry_queue`: the queue that workers send their failures to; None: no causes are fetched from anywhere
    - `topology`: names the queue of a job where SQS does not know where it came from
    """

    def __init__(
        self,
        name: str,
        *,
        region: str | None = None,
        endpoint_url: str | None = None,
        endpoint: Endpoint | None = None,
        data: Path = Path("amply-data"),
        telemetry_queue: str | None = None,
        topology: Topology | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.name = name
        self.gateway = Gateway(endpoint or resolve(region=region, endpoint_url=endpoint_url))
        self.failures = Failures(data / FILE_NAME)
        self._data = data
        self._telemetry_queue = telemetry_queue
        self._topology = topology
        self._clock = clock or SystemClock()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close connections and files."""
        self.gateway.close()
        self.failures.close()

    @property
    def queue(self) -> Queue:
        """The queue as it is now; NotFoundError if there is none."""
        return self.gateway.queue(self.name)

    # Looking

    def collect(self, limit_s: float = 10.0) -> Collected | None:
        """Fetch what workers have told of failures since; None if there is no telemetry queue."""
        if self._telemetry_queue is None:
            return None
        now_ms = self._clock.now_ms()
        return collect(self.gateway, self._telemetry_queue, self.failures, now_ms=now_ms, limit_s=limit_s)

    def letters(self, match: Match = Match()) -> Generator[Found, None, None]:  # noqa: B008 - it never changes
        """The letters that are meant, why they died, and nothing else happens to them. Close it if you stop early."""
        now_ms = self._clock.now_ms()
        with closing(self._pages(self.queue)) as pages:
            for page in pages:
                yield from (one for one in page if match.fits(one, now_ms))

    def groups(self, match: Match = Match()) -> Groups:  # noqa: B008
        """The letters that are meant by task and failure."""
        queue, now_ms = self.queue, self._clock.now_ms()
        with closing(self._pages(queue)) as pages:
            meant = ([one for one in page if match.fits(one, now_ms)] for page in pages)
            return groups.group(meant, retention_s=queue.retention_s, now_ms=now_ms)

    def letter(self, named: str) -> Found:
        """A letter by the id of its message or its job, or the first eight or more characters of either.

        NotFoundError if there is none, RefusedError if there are several.
        """
        close: dict[str, Found] = {}
        with closing(self._pages(self.queue)) as pages:
            for page in pages:
                for one in page:
                    if one.letter.message_id == named:
                        return one
                    if len(close) < _SEVERAL and is_called(one, named):
                        close[one.letter.message_id] = one
        if not close:
            raise NotFoundError(f"there is no letter {named} in {self.name}", hint="See them with: amply dlq ls")
        if len(close) > 1:
            raise RefusedError(f"several letters are called {named}", hint=f"Name one by its id: {', '.join(close)}")
        return next(iter(close.values()))

    def history(self, one: Found) -> list[Failure]:
        """The failed runs of a letter's job that are known, oldest first."""
        return self.failures.history(one.letter.message_id, one.job.id)

    def traceback(self, kind: str) -> str | None:
        """A traceback of this kind of failure."""
        return self.failures.traceback(kind)

    def _pages(self, queue: Queue) -> Generator[list[Found], None, None]:
        with walk(self.gateway, queue, takes=False) as steps:
            yield from found(steps.pages(), self.failures)

    # Bringing back

    def plan(self, match: Match = Match(), *, to: str | None = None) -> Outcome:  # noqa: B008
        """What `redrive` would do now: `destinations` and `stayed`."""
        queue = self.queue
        asked = self._redrive(match, to=to)
        with self._target(queue, asked) as target, closing(self._pages(queue)) as pages:
            return moving.count(pages, asked, target, asked.started_ms)

    def redrive(
        self,
        match: Match = Match(),  # noqa: B008
        *,
        to: str | None = None,
        rate: float | None = None,
        total: int | None = None,
        progress: Progress | None = None,
        cancel: Event | None = None,
        told: Tell | None = None,
    ) -> Outcome:
        """Send the letters that are meant back to where they came from, or to a queue; then delete them here.

        - `rate`: messages a second at most
        - `total`: how many are meant, for `progress`, which is called with (done, total, messages a second)
        - `cancel`: once set, what is in hand is finished and nothing more begun
        - `told`: gets the outcome before it is forgotten here, so that a kill leaves no duplicate that nobody named

        What an interrupted run has left is put in order first; `settled` says so.
        """
        return self._run(self._redrive(match, to=to, rate=rate), total, progress, cancel, told)

    def edit(self, message_id: str, body: str, *, to: str | None = None, told: Tell | None = None) -> Outcome:
        """Send a letter with another body, as `redrive` does; `editing.edited_body` makes one of a Celery job.

        NotFoundError if there is no letter with that message id, RefusedError for a body that SQS does not take.
        """
        with self._journal() as journal:
            outcome = edit(
                self.gateway,
                self.queue,
                journal,
                self.failures,
                message_id=message_id,
                body=body,
                clock=self._clock,
                to=to,
                topology=self._topology,
            )
            (told or _nobody)(outcome)
            return outcome

    def resume(
        self,
        *,
        rate: float | None = None,
        progress: Progress | None = None,
        cancel: Event | None = None,
        told: Tell | None = None,
    ) -> Outcome:
        """Go on with the run that did not end, with the same letters meant. NotFoundError if there is none."""
        asked = self.interrupted()
        if asked is None:
            raise NotFoundError(f"nothing was interrupted that was done with {self.name}")
        again = replace(asked, started_ms=self._clock.now_ms(), rate=rate or asked.rate)
        return self._run(again, None, progress, cancel, told)

    def interrupted(self) -> Asked | None:
        """What the run was asked that did not end; None if there is none. RefusedError while one runs."""
        return interrupted(self._data, self.name)

    # Putting away

    def export(self, path: Path | str, match: Match = Match()) -> int:  # noqa: B008
        """Write the letters that are meant to a new file, and leave them where they are; how many."""
        now_ms = self._clock.now_ms()
        with closing(self._pages(self.queue)) as pages:
            meant = ([one for one in page if match.fits(one, now_ms)] for page in pages)
            return archive.export(Path(path), self.name, meant)

    def import_(
        self,
        path: Path | str,
        *,
        to: str | None = None,
        progress: Progress | None = None,
        cancel: Event | None = None,
    ) -> Imported:
        """Send the letters of a file into this queue again, or to work in the queue `to`.

        An import that was killed goes on where it was when it is repeated; so does one that is repeated for no reason.
        """
        queue = self.gateway.queue(to or self.name)
        return import_letters(
            self.gateway,
            Path(path),
            queue,
            self._data,
            clock=self._clock,
            is_redrive=to is not None and to != self.name,
            progress=progress,
            cancel=cancel,
        )

    def remove(
        self,
        match: Match,
        archive_path: Path | str,
        *,
        total: int | None = None,
        progress: Progress | None = None,
        cancel: Event | None = None,
        told: Tell | None = None,
    ) -> Outcome:
        """Delete the letters that are meant, each after it was added to the archive, on the disk."""
        path = str(Path(archive_path).absolute())
        asked = Asked(verb="rm", match=match, archive=path, started_ms=self._clock.now_ms())
        return self._run(asked, total, progress, cancel, told)

    # Running

    def _run(
        self, asked: Asked, total: int | None, progress: Progress | None, cancel: Event | None, told: Tell | None
    ) -> Outcome:
        queue = self.queue
        with self._journal() as journal, self._target(queue, asked) as target:
            run = Moving(
                self.gateway,
                queue,
                journal,
                target,
                clock=self._clock,
                total=total,
                progress=progress,
                cancel=cancel,
            )
            outcome = run.run(asked, self.failures)
            (told or _nobody)(outcome)
            return outcome

    @contextmanager
    def _target(self, queue: Queue, asked: Asked) -> Iterator[Target]:
        if asked.archive is not None:
            with Archive(Path(asked.archive), self.name) as opened:
                yield Removing(opened)
        else:
            yield Redriving(
                self.gateway, queue, clock=self._clock, to=asked.to, body=asked.body, topology=self._topology
            )

    def _redrive(self, match: Match, *, to: str | None, rate: float | None = None) -> Asked:
        return Asked(verb="redrive", match=match, started_ms=self._clock.now_ms(), to=to, rate=rate)

    def _journal(self) -> Journal:
        return Journal(self._data, self.name)
