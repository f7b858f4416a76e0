"""While `amply up` runs, workers' records of failures are taken out of their queue and kept, on a thread of its own.

So `amply dlq` knows at once why a job died. Trouble with it is told now and then, and stops nothing.
"""

import threading
from collections import deque
from pathlib import Path

from amply.cli.sqs_endpoint import sqs_endpoint
from amply.clock import Clock
from amply.deadletters.collecting import collect
from amply.deadletters.failures import FILE_NAME, Failures
from amply.deadletters.gateway import Gateway
from amply.errors import AmplyError
from amply.topology.model import Topology

EVERY_S = 5.0
# A stop waits no longer than this for what is under way; what is left is collected later.
_LIMIT_S = 1.0
_WARNING_EVERY_MS = 60_000


class CausesCollector:
    """Collects until it is told to stop. `warnings` are sentences for whoever shows them, from oldest to newest."""

    def __init__(self, endpoint_url: str, topology: Topology, data: Path, clock: Clock) -> None:
        self.warnings: deque[str] = deque()
        self._queue_name = topology.telemetry_queue
        self._gateway = Gateway(sqs_endpoint(endpoint_url, topology.region))
        self._failures = Failures(data / FILE_NAME)
        self._clock = clock
        self._warning_due_ms = 0
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="causes of failures", daemon=True)

    def start(self) -> None:
        """Begin, unless the topology has no queue for records."""
        if self._queue_name:
            self._thread.start()

    def stop(self) -> None:
        """Collect no more."""
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join()
        self._gateway.close()
        self._failures.close()

    def collect(self) -> bool:
        """Collect what is there now; whether nothing more is to be had at the moment."""
        try:
            now_ms = self._clock.now_ms()
            return collect(
                self._gateway, self._queue_name, self._failures, now_ms=now_ms, limit_s=_LIMIT_S, clock=self._clock
            ).is_complete
        except AmplyError as error:
            self._warn(error.message)
        except Exception as error:  # noqa: BLE001 - the jobs go on, whatever it is
            self._warn(repr(error))
        return True

    def _run(self) -> None:
        while not self._stopped.is_set():
            if self.collect():
                self._stopped.wait(EVERY_S)

    def _warn(self, why: str) -> None:
        now_ms = self._clock.now_ms()
        if now_ms >= self._warning_due_ms:
            self._warning_due_ms = now_ms + _WARNING_EVERY_MS
            self.warnings.append(f"The causes of failures are not collected at the moment: {why}")
