"""What waits in the broker's queues and how fast it moves, looked at twice a second on a thread of its own."""

import http.client
import threading
from collections import deque
from urllib.request import urlopen

import msgspec

from amply.clock import Clock
from amply.topology.model import Topology

LOOK_EVERY_S = 0.5
# Rates are taken over so long: shorter, and they flicker; longer, and they lag behind the counts beside them.
RATE_WINDOW_MS = 3_000
_TIMEOUT_S = 2.0


class QueueCounts(msgspec.Struct, frozen=True, kw_only=True):
    """A queue's counts as the broker's `/ready` shows them; `sent` and what follows are since the broker's start."""

    name: str
    visible: int
    in_flight: int
    delayed: int
    sent: int
    deleted: int
    dead_lettered: int

    @property
    def waiting(self) -> int:
        """All messages that are there."""
        return self.visible + self.in_flight + self.delayed


class _Ready(msgspec.Struct, frozen=True):
    queues: list[QueueCounts]
    degraded: list[str] = []


class QueueSample(msgspec.Struct, frozen=True, kw_only=True):
    """One declared queue now. Rates are messages a second, None while there is no window to take them over."""

    celery_name: str | None
    counts: QueueCounts
    in_per_s: float | None = None
    out_per_s: float | None = None


class Sample(msgspec.Struct, frozen=True):
    """The declared queues now; `problem` says why there is nothing newer, or what the broker cannot do."""

    queues: tuple[QueueSample, ...] = ()
    problem: str | None = None


class Sampler:
    """Looks, keeps the newest sample in `newest`, and stops when it is told to."""

    def __init__(self, endpoint_url: str, topology: Topology, clock: Clock) -> None:
        self.newest = Sample()
        self._url = f"{endpoint_url}/ready"
        # Records about jobs are no jobs: their queue would upset every sum.
        job_queues = (queue for queue in topology.queues if queue.name != topology.telemetry_queue)
        self._celery_names = {queue.name: queue.celery_name for queue in job_queues}
        self._clock = clock
        self._before: deque[tuple[int, dict[str, QueueCounts]]] = deque()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="queue samples", daemon=True)

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def stop(self) -> None:
        """Look no more; what was seen last stays in `newest`."""
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join()

    def look(self) -> Sample:
        """Look now."""
        try:
            with urlopen(self._url, timeout=_TIMEOUT_S) as answer:  # noqa: S310 - our own http URL
                ready = msgspec.json.decode(answer.read(), type=_Ready)
        except (OSError, http.client.HTTPException, msgspec.MsgspecError):
            return Sample(self.newest.queues, "The broker does not answer at the moment.")
        return Sample(self.rated(ready.queues), "; ".join(ready.degraded) or None)

    def rated(self, all_counts: list[QueueCounts]) -> tuple[QueueSample, ...]:
        """The declared queues among these, in the topology's order, with their rates since the start of the window."""
        now_ms, now = self._clock.now_ms(), {counts.name: counts for counts in all_counts}
        if self._before and any(
            now[name].sent < then.sent for name, then in self._before[-1][1].items() if name in now
        ):
            self._before.clear()  # another broker process, which counts from nothing
        while len(self._before) > 1 and self._before[1][0] <= now_ms - RATE_WINDOW_MS:
            self._before.popleft()
        self._before.append((now_ms, now))
        then_ms, then = self._before[0]
        samples = []
        for name, celery_name in self._celery_names.items():
            if name not in now:
                continue
            sample = QueueSample(celery_name=celery_name, counts=now[name])
            if now_ms > then_ms and name in then:
                elapsed_s = (now_ms - then_ms) / 1000
                sample = msgspec.structs.replace(
                    sample,
                    in_per_s=(now[name].sent - then[name].sent) / elapsed_s,
                    out_per_s=(now[name].deleted - then[name].deleted) / elapsed_s,
                )
            samples.append(sample)
        return tuple(samples)

    def _run(self) -> None:
        while not self._stopped.is_set():
            self.newest = self.look()
            self._stopped.wait(LOOK_EVERY_S)
