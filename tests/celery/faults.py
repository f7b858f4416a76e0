"""The faults that a worker meets while jobs flow to it, and the flow. Knows no transport."""

import contextlib
import itertools
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from celery import Celery
from kombu.exceptions import OperationalError
from ledger_checks import not_ended, repeated
from running import PATIENCE_S, until
from transported import Transported

from bench import proxy as proxies
from bench.proxy import Fault, Proxy

RECEIVE = ("ReceiveMessage",)
DELETE = ("DeleteMessage", "DeleteMessageBatch")
EXTEND = ("ChangeMessageVisibility", "ChangeMessageVisibilityBatch")
SEND = ("SendMessage", "SendMessageBatch")

# Every way to fail of a service or a network before or at an answer.
EVERY_FAULT = (
    proxies.INTERNAL_ERROR,
    proxies.UNAVAILABLE,
    proxies.THROTTLED,
    proxies.EXPIRED_TOKEN,
    proxies.ACCESS_DENIED,
    proxies.RESET,
    proxies.RESET_AFTER,
    proxies.HALF,
    proxies.HANG,
    proxies.DRIP,
    proxies.GARBAGE,
    proxies.TORN_JSON,
    proxies.WRONG_JSON,
)
_numbers = itertools.count(1)


@dataclass
class Flow:
    """Jobs sent one after the other, as long as a test likes. `sent` are those whose send was confirmed."""

    system: Transported
    app: Celery
    queue: str = "celery"
    seconds: float = 0.02
    tried: list[int] = field(default_factory=list)
    sent: list[int] = field(default_factory=list)

    def send(self) -> int:
        """Send one job; OperationalError if it was not confirmed."""
        number = next(_numbers)
        self.tried.append(number)
        self.app.send_task("ledger.work", [number, self.seconds], queue=self.queue, retry=False)
        self.sent.append(number)
        return number

    def run(self, seconds: float) -> None:
        """Send about twenty a second; a send that fails is not counted as sent."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            with contextlib.suppress(OperationalError):
                self.send()
            time.sleep(0.05)

    def seconds_to_recovery(self) -> float:
        """Until a job that is sent now, or again and again from now on, has come to its end."""
        since = time.monotonic()
        fresh: list[int] = []
        while time.monotonic() < since + PATIENCE_S:
            with contextlib.suppress(OperationalError):
                fresh.append(self.send())
            time.sleep(0.05)
            ends = [run.ended_ns for run in self.system.found() if run.number in fresh and run.ended_ns]
            if ends:
                return min(ends) / 1e9 - since
        raise TimeoutError(f"no job in {PATIENCE_S} s after the fault; {self.system.said()}")

    def wait_until_done(self) -> None:
        """Return when every job whose send was confirmed has come to its end."""
        until(
            lambda: not not_ended(self.system.found(), self.sent),
            lambda: f"no end of {sorted(not_ended(self.system.found(), self.sent))}; {self.system.said()}",
        )

    def repeated(self) -> dict[int, int]:
        """How often a job ran, of those that ran more than once."""
        return dict(repeated(self.system.found(), self.tried))


@contextlib.contextmanager
def striking(proxy: Proxy, fault: Fault | None, actions: tuple[str, ...]) -> Iterator[None]:
    """The fault, for these actions; None: nobody listens. A fault that met no request would prove nothing."""
    if fault is None:
        with proxy.refusing():
            yield
        return
    before = proxy.met.total()
    with proxy.failing(fault, *actions):
        yield
        met = proxy.met.total() - before
    if not met:
        raise RuntimeError(f"{fault.name} met no request of {', '.join(actions)}; counted: {dict(proxy.counts)}")
