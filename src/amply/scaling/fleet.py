"""The fleet: the processes of declared services, started, watched, restarted and stopped; one machine's ECS services.

Knows how many processes a service has and how they end. Must not know what they run; time and jitter are handed in, and
nothing happens between two calls of `tick`. It signals only processes that it started.
"""

import signal
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from types import TracebackType
from typing import Self

from amply.clock import Clock
from amply.scaling.lifeline import Lifeline
from amply.scaling.process import Process, exit_text
from amply.scaling.restarts import Restarts

# Between the cold stop that a worker can still answer (it gives its jobs back) and the kill that it cannot.
COLD_STOP_MS = 5_000


class Phase(Enum):
    """What a process is doing."""

    STOPPED = "stopped"
    RUNNING = "running"
    WAITING = "restarting"
    STOPPING = "stopping"


@dataclass(frozen=True, kw_only=True)
class Service:
    """So many processes of one command. `environment` is the whole of it; None passes on the fleet's own."""

    name: str
    command: tuple[str, ...]
    count: int = 1
    environment: Mapping[str, str] | None = None
    # How long a warm stop may take: a worker finishes the jobs that it runs.
    grace_s: float = 30.0


@dataclass(frozen=True, kw_only=True)
class ProcessState:
    """What a person wants to see of one process."""

    service: str
    label: str
    phase: Phase
    pid: int | None
    starts: int
    uptime_s: float
    restart_in_s: float | None
    last_exit_code: int | None
    last_exit: str | None
    last_words: tuple[str, ...]


# Gets the label of a process and a line that it wrote, on that process's reading thread.
LineSink = Callable[[str, str], None]


@dataclass
class _Slot:
    """One place in a service: the process in it now, and what is known of those before."""

    service: Service
    label: str
    phase: Phase = Phase.STOPPED
    process: Process | None = None
    restarts: Restarts = field(default_factory=Restarts)
    starts: int = 0
    started_ms: int = 0
    restart_at_ms: int = 0
    # Signals still to send while stopping, each with its moment.
    escalation: list[tuple[int, signal.Signals]] = field(default_factory=list)
    last_exit_code: int | None = None
    last_exit: str | None = None
    last_words: tuple[str, ...] = ()


class Fleet:
    """The processes of some services. Leaving it as a context kills whatever still runs."""

    def __init__(
        self, services: Iterable[Service], *, clock: Clock, jitter: Callable[[], float], on_line: LineSink
    ) -> None:
        """`jitter` gives numbers from 0.0 to 1.0 that spread restarts."""
        self._clock = clock
        self._jitter = jitter
        self._on_line = on_line
        self._lifeline = Lifeline()
        self._slots = [
            _Slot(service, f"{service.name}.{number}" if service.count > 1 else service.name)
            for service in services
            for number in range(1, service.count + 1)
        ]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def start(self, *names: str) -> None:
        """Start the named services, all of them if none is named; those that run are left alone."""
        for slot in self._named(names):
            if slot.phase is Phase.STOPPED:
                self._launch(slot)

    def stop(self, *names: str) -> None:
        """Begin to stop the named services, all of them if none is named; `tick` carries it through.

        Warm stop (SIGTERM) now, cold stop (SIGQUIT) when the service's grace is over, then the kill of the group.
        """
        now_ms = self._clock.now_ms()
        for slot in self._named(names):
            if slot.phase is Phase.WAITING:
                slot.phase = Phase.STOPPED
            elif slot.phase is Phase.RUNNING:
                slot.phase = Phase.STOPPING
                cold_ms = now_ms + round(slot.service.grace_s * 1000)
                slot.escalation = [
                    (now_ms, signal.SIGTERM),
                    (cold_ms, signal.SIGQUIT),
                    (cold_ms + COLD_STOP_MS, signal.SIGKILL),
                ]
        self.tick()

    def hasten(self) -> None:
        """Take the next step of every stop that is under way now: cold for a warm one, the kill for a cold one."""
        now_ms = self._clock.now_ms()
        for slot in self._slots:
            if slot.escalation:
                early_ms = slot.escalation[0][0] - now_ms
                slot.escalation = [(at_ms - early_ms, number) for at_ms, number in slot.escalation]
        self.tick()

    def is_stopped(self, *names: str) -> bool:
        """Whether no process of the named services, or of any if none is named, runs or is to run."""
        return all(slot.phase is Phase.STOPPED for slot in self._named(names))

    def tick(self) -> None:
        """Notice ends, start what is due, carry stops on. To be called several times a second, from one thread."""
        now_ms = self._clock.now_ms()
        for slot in self._slots:
            if slot.process is not None:
                self._watch(slot, slot.process, now_ms)
            elif slot.phase is Phase.WAITING and now_ms >= slot.restart_at_ms:
                self._launch(slot)

    def states(self) -> list[ProcessState]:
        """Every process, in the order of the services."""
        now_ms = self._clock.now_ms()
        return [
            ProcessState(
                service=slot.service.name,
                label=slot.label,
                phase=slot.phase,
                pid=slot.process.pid if slot.process else None,
                starts=slot.starts,
                uptime_s=(now_ms - slot.started_ms) / 1000 if slot.process else 0.0,
                restart_in_s=max(0, slot.restart_at_ms - now_ms) / 1000 if slot.phase is Phase.WAITING else None,
                last_exit_code=slot.last_exit_code,
                last_exit=slot.last_exit,
                last_words=slot.last_words,
            )
            for slot in self._slots
        ]

    def close(self) -> None:
        """Kill what still runs, without grace. After an orderly stop there is nothing left to kill."""
        running = [slot for slot in self._slots if slot.process is not None]
        for slot in running:
            if slot.process is not None:
                slot.process.kill()
        for slot in running:
            if slot.process is not None:
                slot.process.wait()
                self._lifeline.release(slot.process.pid)
                slot.process = None
        for slot in self._slots:
            slot.phase = Phase.STOPPED
        self._lifeline.close()

    def _named(self, names: tuple[str, ...]) -> list[_Slot]:
        return [slot for slot in self._slots if not names or slot.service.name in names]

    def _launch(self, slot: _Slot) -> None:
        slot.starts += 1
        slot.started_ms = self._clock.now_ms()
        label = slot.label
        try:
            slot.process = Process(
                slot.service.command, slot.service.environment, lambda line: self._on_line(label, line)
            )
        except OSError as error:
            # A missing program or a full process table today may be there tomorrow.
            self._ended(slot, code=127, words=(f"cannot start {slot.service.command[0]}: {error.strerror}",))
            return
        self._lifeline.hold(slot.process.pid)
        slot.phase = Phase.RUNNING

    def _watch(self, slot: _Slot, process: Process, now_ms: int) -> None:
        code = process.ended()
        if code is not None:
            self._lifeline.release(process.pid)
            slot.process = None
            self._ended(slot, code=code, words=tuple(process.last_words))
            return
        while slot.escalation and now_ms >= slot.escalation[0][0]:
            number = slot.escalation.pop(0)[1]
            if number is signal.SIGKILL:
                process.kill()
            else:
                process.send(number)

    def _ended(self, slot: _Slot, *, code: int, words: tuple[str, ...]) -> None:
        now_ms = self._clock.now_ms()
        slot.last_exit_code, slot.last_exit, slot.last_words = code, exit_text(code), words
        slot.escalation = []
        if slot.phase is Phase.STOPPING:
            slot.phase = Phase.STOPPED
            return
        slot.phase = Phase.WAITING
        delay_ms = slot.restarts.delay_ms(ran_ms=now_ms - slot.started_ms, jitter=self._jitter())
        slot.restart_at_ms = now_ms + delay_ms
