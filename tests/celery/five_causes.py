"""Jobs that die of five causes on a real worker, and somebody who counts all the time where each of them is.

Knows the jobs, the queue they wait in and the one they lie dead in. Must not know what the tests do with them.
"""

import json
import random
import sys
import threading
import time
from collections import Counter
from pathlib import Path

from running import Running
from system import DEAD_LETTERS, QUEUES
from transported import Transported, topology

from amply.deadletters.jobs import headline
from amply.topology.load import load

MOTO = Path(__file__).parents[1] / "deadletters" / "moto_process.py"
WORK = QUEUES["celery"]
# The reason that a job is given, and the exception that its death is told by. `fine` is none.
CAUSES = {
    "amount": "ValueError",
    "stock": "KeyError",
    "bank": "BankError",
    "memory": "WorkerLostError",
    "refund": "NotRegistered",
}


class Shop(Transported):
    """A system with one worker, on the embedded broker or on moto, in which a job is run once and then is dead."""

    def __init__(self, folder: Path, *, is_plain: bool) -> None:
        self.topology = topology(folder)
        self.topology.write_text(self.topology.read_text().replace("maxReceiveCount: 5", "maxReceiveCount: 1"))
        super().__init__(folder, topology=self.topology)
        self.is_plain = is_plain

    def start_broker(self) -> None:
        if not self.is_plain:
            super().start_broker()
            return
        command = [sys.executable, str(MOTO), str(self.port)]
        self.broker = Running(
            command, {**self.environment, "MOTO_ACCOUNT_ID": "000000000000"}, self.folder / "moto.log"
        )
        self.broker.wait_until_says("SQS endpoint http")
        queues = load(self.topology).queues
        for queue in queues:
            self.ask("CreateQueue", "", QueueName=queue.name, Attributes=queue.attributes)
        for queue in queues:
            if queue.redrive is not None:
                arn = self.ask("GetQueueAttributes", DEAD_LETTERS, AttributeNames=["QueueArn"])["Attributes"][
                    "QueueArn"
                ]
                policy = json.dumps({"deadLetterTargetArn": arn, "maxReceiveCount": queue.redrive.max_receive_count})
                self.ask("SetQueueAttributes", queue.name, Attributes={"RedrivePolicy": policy})

    def start_shop(self, **changes: str) -> None:
        """Start the worker, with these changes to its environment."""
        self.start_worker("shop", queues="celery", CELERY_LOADER="failing_tasks:Loader", **changes)

    def fix(self, reason: str) -> None:
        """From now on jobs do not fail for this reason."""
        (self.folder / f"fixed-{reason}").touch()

    def done(self) -> Counter[int]:
        """How often each job was done, by its number."""
        counts: Counter[int] = Counter()
        for task in ("shop.charge", "shop.refund"):
            for (number, _), times in self.runs(task).items():
                counts[number] += times
        return counts

    def count(self, queue: str) -> int:
        """How many messages a queue has, by its attributes."""
        told = self.ask("GetQueueAttributes", queue, AttributeNames=["All"])["Attributes"]
        return sum(int(value) for name, value in told.items() if name.startswith("ApproximateNumberOfMessages"))

    def numbers(self, queue: str) -> set[int]:
        """The jobs in a queue, whoever has them; on the embedded broker, which shows them."""
        found: set[int] = set()
        token: dict[str, str] = {}
        while True:
            page = self.ask("PeekMessages", queue, MaxNumberOfMessages=1000, **token)
            found |= {int(headline(message["Body"]).id or "") for message in page["Messages"]}
            if "NextToken" not in page:
                return found
            token = {"NextToken": page["NextToken"]}


class Jobs:
    """Which job is to die of what, by number; `sent` are those that SQS has taken."""

    def __init__(self, dead_letters: int) -> None:
        few = max(2, dead_letters // 40)
        most = ["amount", "stock", "bank", "refund"]
        reasons = ["memory"] * few + [most[number % 4] for number in range(dead_letters - few)]
        reasons += ["fine"] * max(1, dead_letters // 4)
        random.Random(5).shuffle(reasons)
        self.reasons = dict(enumerate(reasons))
        self.sent: list[int] = []

    def of(self, *reasons: str) -> set[int]:
        """The numbers of the jobs with these reasons."""
        return {number for number, reason in self.reasons.items() if reason in reasons}

    def send(self, shop: Shop) -> None:
        """Send all of them."""
        for number, reason in self.reasons.items():
            task = "shop.refund" if reason == "refund" else "shop.charge"
            shop.app.send_task(task, [number, reason], queue="celery", task_id=str(number))
            self.sent.append(number)


class Sampler(threading.Thread):
    """Looks all the time where the jobs are, until it is stopped; `faults` is what was wrong.

    It never sees everything at once, so it looks in the order in which jobs move: a job that is gone from where it
    looked first has arrived, by then, where it looks next. While jobs die they go from the work queue to the dead
    letter queue, or are done; when they return they go from the dead letter queue to the work queue, and are done.
    Within one of these two phases no job goes back. So each job whose send was answered before a look must be met in it
    at least once, and may be met twice. While jobs return, those that are `staying` must be met in the dead letter
    queue and nowhere else. Change from one phase to the other while nothing moves.
    """

    def __init__(self, shop: Shop, jobs: Jobs) -> None:
        super().__init__()
        self._shop = shop
        self._jobs = jobs
        self._stopped = threading.Event()
        self.is_returning = False
        self.staying: set[int] = set()
        self.looks = 0
        self.faults: list[str] = []

    def run(self) -> None:
        look = self._count if self._shop.is_plain else self._identify
        while not self._stopped.is_set() and not self.faults:
            try:
                look()
            except Exception as error:
                self.faults.append(repr(error))
                raise
            self.looks += 1

    def stop(self) -> None:
        """Return after the last look."""
        self._stopped.set()
        self.join()

    def wait_for_look(self) -> None:
        """Return after a look that began from now on."""
        wanted = self.looks + 2
        while self.looks < wanted and self.is_alive():
            time.sleep(0.01)

    def _identify(self) -> None:
        """By the jobs' ids, which the embedded broker shows."""
        is_returning = self.is_returning
        sent = set(self._jobs.sent)
        if not is_returning:
            queued, dead = self._shop.numbers(WORK), self._shop.numbers(DEAD_LETTERS)
        else:
            dead, queued = self._shop.numbers(DEAD_LETTERS), self._shop.numbers(WORK)
        done = set(self._shop.done())
        self._check(sent <= queued | dead | done, "lost", sent - queued - dead - done)
        self._check(queued | dead | done <= set(self._jobs.reasons), "from nowhere", queued | dead | done)
        if not is_returning:
            self._check(not dead & done, "both done and dead", dead & done)
        else:
            self._check(self.staying <= dead, "gone", self.staying - dead)
            self._check(not self.staying & (queued | done), "touched", self.staying & (queued | done))

    def _count(self) -> None:
        """By numbers, which is all that others tell without a receive."""
        if self._is_short():
            # Their counts are not of one moment either: a message that becomes visible between two of them is in none.
            self._check(not self._is_short(), "lost", set())

    def _is_short(self) -> bool:
        sent = len(self._jobs.sent)
        queues = (WORK, DEAD_LETTERS) if not self.is_returning else (DEAD_LETTERS, WORK)
        waiting = sum([self._shop.count(queue) for queue in queues])
        return sent > waiting + self._shop.done().total()

    def _check(self, is_right: bool, what: str, which: set[int]) -> None:
        if not is_right:
            self.faults.append(f"{what}: {len(which)} jobs, such as {sorted(which)[:5]}")
