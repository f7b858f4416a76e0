"""One run of `amply up`: everything started in its order, watched and shown, and stopped in the opposite order.

Knows the order, and what a person is told. Must not know how a process is started or a table drawn.
"""

import contextlib
import json
import re
import subprocess
import sys
import time
from pathlib import Path

from amply.cli.up_board import Board, View
from amply.cli.up_causes import CausesCollector
from amply.cli.up_samples import Sample, Sampler
from amply.cli.workers_services import BEAT
from amply.cli.workers_watch import LOOK_EVERY_S, News, StopRequests, drain, jitter, tell
from amply.clock import SystemClock
from amply.logs import LogFolder
from amply.scaling.fleet import Fleet, Phase, Service
from amply.topology.model import Topology

BROKER, RECEIVER, LOAD = "broker", "demo-receiver", "demo-load"

_TALLY_WITHIN_S = 60
# What the broker says when it takes requests. A foreign one on the port would answer, too, but not say it to us.
_LISTENS = re.compile(r"^SQS endpoint http")
_ERROR = re.compile(r"\b(ERROR|CRITICAL)\b")


class Run:
    """One run, from the start of the broker to its stop."""

    def __init__(
        self,
        *,
        broker: Service,
        workers: list[Service],
        demonstration: list[Service],
        topology: Topology,
        endpoint_url: str,
        data: Path,
    ) -> None:
        self._topology = topology
        self._data = data
        self._tallied = demonstration[0] if demonstration else None
        beats = [service.name for service in workers if service.name.startswith(BEAT)]
        self._workers = [service.name for service in workers if service.name not in beats]
        # The receiver outlives the workers, which still call it while they finish their jobs.
        self._stopping_order = [[LOAD, *beats], self._workers, [RECEIVER]]
        self._clock = SystemClock()
        self._started_ms = self._clock.now_ms()
        self._logs = LogFolder(data / "logs")
        self._news = News()
        self._asked = StopRequests()
        self._board = Board()
        self._sampler = Sampler(endpoint_url, topology, self._clock)
        self._causes = CausesCollector(endpoint_url, topology, data, self._clock)
        # Written by the reading threads of the fleet, read by this one.
        self._broker_listened = False
        self._error_count = 0
        self._last_error: tuple[str, str] | None = None
        self._fleet = Fleet([broker, *workers, *demonstration], clock=self._clock, jitter=jitter, on_line=self._on_line)

    def go(self, banner: list[str]) -> int:
        """Run until somebody asks to stop; returns the exit code, which is the broker's if it does not start."""
        with self._asked.listening(), self._fleet:
            failed = self._start_broker()
            if failed is not None:
                return failed
            for text in banner:
                self._board.say(text)
            self._fleet.start()
            self._sampler.start()
            self._causes.start()
            with self._board:
                while not self._asked.count:
                    time.sleep(LOOK_EVERY_S)
                    self._fleet.tick()
                    self._show()
                self._board.say(
                    "Stopping: the workers finish their jobs, then the broker stops. Ctrl-C again to hurry."
                )
                for names in filter(None, self._stopping_order):
                    drain(self._fleet, self._asked, self._show, *names)
            self._causes.stop()
            self._sampler.stop()
            last = self._sampler.look()
            # It stops quickly, and keeps everything: whoever hurried the workers did not mean it.
            drain(self._fleet, self._asked, self._tell_news, BROKER, heard=self._asked.count)
        self._logs.close()
        self._tell_account(last)
        return 0

    def _start_broker(self) -> int | None:
        """Wait until it takes requests: None. If it ends before, its own words and its exit code."""
        self._fleet.start(BROKER)
        while not (self._broker_listened and self._sampler.look().problem is None):
            time.sleep(LOOK_EVERY_S)
            self._fleet.tick()
            broker = self._fleet.states()[0]
            if broker.phase is Phase.WAITING:
                tell("\n".join(_complaint(broker.last_words)))
                return broker.last_exit_code if broker.last_exit_code and broker.last_exit_code > 0 else 1
            if self._asked.count:
                drain(self._fleet, self._asked, self._tell_news, BROKER)
                return 0
        return None

    def _on_line(self, label: str, line: str) -> None:
        if label == BROKER and _LISTENS.match(line):
            self._broker_listened = True
        if _ERROR.search(line[:200]):
            self._error_count += 1
            self._last_error = (label, line)
        self._logs.write(label, line)

    def _tell_news(self) -> None:
        for text in self._news.of(self._fleet.states()):
            self._board.say(text)
        while self._causes.warnings:
            self._board.say(self._causes.warnings.popleft())

    def _show(self) -> None:
        self._tell_news()
        now_ms = self._clock.now_ms()
        view = View(
            uptime_s=(now_ms - self._started_ms) / 1000,
            sample=self._sampler.newest,
            processes=self._fleet.states(),
            error_count=self._error_count,
            last_error=self._last_error,
            logs=str(self._data / "logs"),
            is_stopping=self._asked.count > 0,
        )
        self._board.show(view, now_ms)

    def _tell_account(self, last: Sample) -> None:
        left = [queue.counts for queue in last.queues if queue.counts.waiting]
        if last.problem:
            tell("The broker did not tell what is left in the queues; it is kept for the next start.")
        elif left:
            counts = ", ".join(
                f"{queue.name} {queue.waiting} ({queue.visible} visible, {queue.in_flight} in flight, "
                f"{queue.delayed} delayed)"
                for queue in left
            )
            tell(f"Left in the queues, and kept for the next start: {counts}.")
        else:
            tell("The queues are empty.")
        if self._tallied is not None:
            self._tell_tally(self._tallied, last)

    def _tell_tally(self, demonstration: Service, last: Sample) -> None:
        """What the load sent, against what became of it; its own account, which the broker has no part in."""
        command = [sys.executable, "-m", "amply.cli.demo", "tally"]
        with contextlib.suppress(subprocess.SubprocessError, ValueError):
            ran = subprocess.run(  # noqa: S603 - our own program
                command,
                env=demonstration.environment,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                check=True,
                timeout=_TALLY_WITHIN_S,
            )
            account = json.loads(ran.stdout)
            tell(tally_text(account["sent"], account["done"], last))
            return
        tell("The demonstration's account could not be read.")


def _complaint(last_words: tuple[str, ...]) -> tuple[str, ...]:
    """From its error on, without the log lines before it; all of it if it names none."""
    errors = [number for number, word in enumerate(last_words) if word.startswith("Error")]
    return last_words[errors[0] :] if errors else last_words


def tally_text(sent: dict[str, int], done: dict[str, int], last: Sample) -> str:
    """The demonstration's jobs for each priority and in all: sent = done + waiting + dead.

    What waits is not subtracted but seen in the queues, so that a lost job shows.
    """
    lines = []
    for queue in last.queues:
        name = queue.celery_name
        if name is not None and sent.get(name):
            lines.append(f"  {name}: {sent[name]} sent, {done.get(name, 0)} done")
    open_count = sum(sent.values()) - sum(done.values())
    in_queues = sum(queue.counts.waiting for queue in last.queues if queue.celery_name is not None)
    in_dead_letters = sum(queue.counts.waiting for queue in last.queues if queue.celery_name is None)
    dead = min(in_dead_letters, open_count)
    waiting = min(in_queues, open_count - dead)
    lost = open_count - dead - waiting
    lines.append(
        f"  all: {sum(sent.values())} sent = {sum(done.values())} done + {waiting} waiting + {dead} dead + {lost} lost"
    )
    return "\n".join(["Jobs of the demonstration:", *lines])
