"""What follows from a topology: the queues as CreateQueue wants them, Celery's settings, the workers' command lines.

Pure functions. Knows how SQS, kombu and Celery read their settings; must not import them.
"""

import json
from typing import Any

from amply.broker.sqs import names
from amply.broker.sqs.limits import AWS
from amply.topology import roles
from amply.topology.model import DEFAULT_CELERY_QUEUE, Queue, Role, Topology, WorkerService

# Our own transport by name; this room must not import it.
_TRANSPORT = "amply.transport:Transport"
# For stock kombu, should a worker use it with these settings; our transport has no use for it. It adds up to this to an
# empty poll, and 5.7 waits this long before it looks again after it was full: 1 s is `concurrency` jobs a second.
_POLLING_INTERVAL_S = 0


def queue_arn(topology: Topology, queue_name: str) -> str:
    """The ARN that SQS gives the queue."""
    return names.queue_arn(topology.region, topology.account, queue_name)


def queue_attributes(topology: Topology, queue: Queue) -> dict[str, str]:
    """The Attributes of CreateQueue: what was declared and nothing else, RedrivePolicy as the JSON text SQS wants."""
    attributes = dict(queue.attributes)
    if queue.redrive:
        policy = {
            "deadLetterTargetArn": queue_arn(topology, queue.redrive.dead_letter_queue),
            "maxReceiveCount": queue.redrive.max_receive_count,
        }
        attributes["RedrivePolicy"] = json.dumps(policy, separators=(",", ":"))
    return attributes


def queues_in_creation_order(topology: Topology) -> tuple[Queue, ...]:
    """Dead letter queues before the queues that name them, because SQS refuses a target that does not exist yet."""
    ordered: list[Queue] = []

    def add(queue: Queue) -> None:
        if queue.redrive:
            add(topology.queue(queue.redrive.dead_letter_queue))
        if queue not in ordered:
            ordered.append(queue)

    for queue in topology.queues:
        add(queue)
    return tuple(ordered)


def queue_url(topology: Topology, queue: Queue, endpoint_url: str | None) -> str:
    """The queue's URL at an SQS endpoint (`http://127.0.0.1:9324`), by default AWS's own for the region."""
    base_url = endpoint_url or f"https://sqs.{topology.region}.amazonaws.com"
    return names.queue_url(base_url.rstrip("/"), topology.account, queue.name)


def celery_settings(topology: Topology, *, endpoint_url: str | None) -> dict[str, Any]:
    """Settings for `app.conf.update` that make Celery 5.6 and 5.7 do what the topology says.

    Left to the app: `result_backend`, `include`, the schedule. `endpoint_url` names the queues' URLs; which host is
    called is botocore's to decide, from AWS_ENDPOINT_URL_SQS.
    """
    default = next(queue for queue in topology.work_queues if queue.celery_name == DEFAULT_CELERY_QUEUE)
    return {
        "broker_url": "sqs://",
        "broker_transport": _TRANSPORT,
        "broker_transport_options": {
            "region": topology.region,
            "visibility_timeout": int(default.attributes.get("VisibilityTimeout", AWS.visibility_timeout_s_default)),
            "polling_interval": _POLLING_INTERVAL_S,
            "wait_time_seconds": AWS.wait_time_s_max,
            "queue_name_prefix": topology.queue_name_prefix,
            "predefined_queues": _predefined_queues(topology, endpoint_url),
            "telemetry_queue": topology.telemetry_queue or None,
        },
        "broker_connection_retry_on_startup": True,
        "task_queues": {name: _celery_queue(name) for name in _celery_names(topology)},
        "task_default_queue": DEFAULT_CELERY_QUEUE,
        # A misspelt queue is an error at once, not a queue that nobody reads.
        "task_create_missing_queues": False,
        "task_routes": {route.task: {"queue": route.queue} for route in topology.routes},
        "task_serializer": "json",
        "accept_content": ["json"],
        "result_accept_content": ["json"],
        "task_acks_late": True,
        "task_reject_on_worker_lost": True,
        # A failed task stays on the queue, so that SQS counts its receives and moves it to the dead letter queue.
        # Celery 5.6 has this setting only; 5.7 also has one for each case, and falls back on this one.
        "task_acks_on_failure_or_timeout": False,
        "worker_prefetch_multiplier": 1,
    }


def role_policy(topology: Topology, role: Role) -> dict[str, Any]:
    """The role's IAM policy with full ARNs: what the broker holds its keys to, and what the role is given on AWS."""
    return roles.full(topology, role.policy)


def worker_command(service: WorkerService) -> list[str]:
    """The command line of one worker of the service."""
    return [
        *("celery", "-A", service.app, "worker"),
        *("-Q", ",".join(service.queues)),
        f"--concurrency={service.concurrency}",
        "--loglevel=info",
    ]


def _celery_names(topology: Topology) -> list[str]:
    return [queue.celery_name for queue in topology.work_queues if queue.celery_name is not None]


def _celery_queue(name: str) -> dict[str, str]:
    return {"exchange": name, "exchange_type": "direct", "routing_key": name}


def _predefined_queues(topology: Topology, endpoint_url: str | None) -> dict[str, dict[str, str]]:
    """Every work queue under two keys, so that stock kombu can be used with the same settings.

    It looks a queue up with the prefix when it publishes, consumes and acknowledges, and without it when it purges and
    when it backs off (kombu 5.6 and 5.7, transport/SQS). With one key only, one half or the other fails.
    """
    predefined = {}
    for queue in topology.work_queues:
        for key in (queue.celery_name, f"{topology.queue_name_prefix}{queue.celery_name}"):
            predefined[str(key)] = {"url": queue_url(topology, queue, endpoint_url)}
    if topology.telemetry_queue:
        queue = topology.queue(topology.telemetry_queue)
        predefined[queue.name] = {"url": queue_url(topology, queue, endpoint_url)}
    return predefined
