"""What a topology is made of. Immutable facts; `load` checks them, `derive` draws consequences from them."""

from typing import Any

from msgspec import Struct

from amply.broker.sqs.names import FIFO_SUFFIX

# Celery's own default for tasks without a route (Celery documentation, task_default_queue).
DEFAULT_CELERY_QUEUE = "celery"


class RedrivePolicy(Struct, frozen=True):
    """Where a message goes that was received `max_receive_count` times (1..1000) without being deleted."""

    dead_letter_queue: str
    max_receive_count: int


class Queue(Struct, frozen=True):
    """A queue as SQS knows it (`name`) and, for a work queue, as Celery knows it (`celery_name`).

    `attributes` are SQS's own, as the strings that CreateQueue takes, without RedrivePolicy. Only what was declared.
    """

    name: str
    celery_name: str | None
    attributes: dict[str, str]
    redrive: RedrivePolicy | None

    @property
    def is_fifo(self) -> bool:
        """Whether SQS keeps its messages in order; told by the name alone."""
        return self.name.endswith(FIFO_SUFFIX)


class Route(Struct, frozen=True):
    """Tasks whose name fits `task` (`*` stands for anything) go to the queue with the Celery name `queue`."""

    task: str
    queue: str


class WorkerService(Struct, frozen=True):
    """A set of equal Celery workers: `concurrency` processes of `app` serving `queues` (Celery names)."""

    name: str
    app: str
    queues: tuple[str, ...]
    concurrency: int


class Role(Struct, frozen=True):
    """What the holders of its keys may do: an IAM policy as it was declared, its ARNs perhaps in their short form.

    In `policy`, Action, Resource and their opposites are lists.
    """

    name: str
    policy: dict[str, Any]


class Topology(Struct, frozen=True):
    """Everything declared, in the order of the file. `queue_name_prefix` is kombu's option, "" for none.

    `telemetry_queue` is the SQS name of the queue that gets the causes of failures and Celery's events; "" for none.
    """

    region: str
    account: str
    queue_name_prefix: str
    queues: tuple[Queue, ...]
    routes: tuple[Route, ...]
    workers: tuple[WorkerService, ...]
    telemetry_queue: str = ""
    roles: tuple[Role, ...] = ()

    @property
    def work_queues(self) -> tuple[Queue, ...]:
        """The queues that Celery sends to and its workers read."""
        return tuple(queue for queue in self.queues if queue.celery_name is not None)

    def queue(self, name: str) -> Queue:
        """The queue with this SQS name; KeyError when there is none."""
        for queue in self.queues:
            if queue.name == name:
                return queue
        raise KeyError(name)

    def role(self, name: str) -> Role:
        """The role with this name; KeyError when there is none."""
        for role in self.roles:
            if role.name == name:
                return role
        raise KeyError(name)
