"""One look at the declared queues, wherever SQS is: what waits in them and how they are set.

Asks SQS and nothing else, so that it shows the same of the embedded broker and of Amazon's.
"""

from typing import Any

import msgspec

from amply import settings
from amply.cli.workers_environment import local_credentials
from amply.errors import AmplyError
from amply.topology.model import Queue, Topology

# A look that takes longer is no look; the next one comes soon.
_CONNECT_TIMEOUT_S = 3
_READ_TIMEOUT_S = 10


class UnreachableError(AmplyError):
    """Nothing answered at the endpoint."""

    exit_code = 5


class RefusedError(AmplyError):
    """SQS refused to answer."""

    exit_code = 4


class QueueLook(msgspec.Struct, frozen=True, kw_only=True):
    """What a look shows of one queue. Counts are messages, None when the queue does not exist."""

    name: str
    celery_name: str | None
    visible: int | None = None
    in_flight: int | None = None
    delayed: int | None = None
    visibility_timeout_s: int | None = None
    retention_s: int | None = None
    dead_letter_queue: str | None = None
    receive_count_max: int | None = None

    @property
    def exists(self) -> bool:
        """Whether SQS knows the queue."""
        return self.visible is not None

    @property
    def waiting(self) -> int:
        """All messages that are neither done nor expired."""
        return (self.visible or 0) + (self.in_flight or 0) + (self.delayed or 0)


class Queues:
    """The declared queues at one endpoint; None is Amazon's for the topology's region."""

    def __init__(self, topology: Topology, endpoint_url: str | None) -> None:
        self._topology = topology
        self._client = _client(endpoint_url, topology.region)
        self._urls: dict[str, str] = {}
        self.endpoint_url: str = self._client.meta.endpoint_url

    def look(self) -> list[QueueLook]:
        """Every declared queue, in the topology's order.

        Raises:
            UnreachableError: nothing answers there. RefusedError: the caller may not look, or has no credentials.
        """
        return [self._ask(queue) for queue in self._topology.queues]

    def _look_at(self, queue: Queue) -> QueueLook:
        declared = QueueLook(name=queue.name, celery_name=queue.celery_name)
        try:
            if queue.name not in self._urls:
                self._urls[queue.name] = self._client.get_queue_url(QueueName=queue.name)["QueueUrl"]
            answer = self._client.get_queue_attributes(QueueUrl=self._urls[queue.name], AttributeNames=["All"])
        except self._client.exceptions.QueueDoesNotExist:
            self._urls.pop(queue.name, None)
            return declared
        return _read(declared, answer["Attributes"])

    def _ask(self, queue: Queue) -> QueueLook:
        from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError

        try:
            return self._look_at(queue)
        except NoCredentialsError as error:
            raise RefusedError(
                f"There are no AWS credentials to ask {self.endpoint_url} with.",
                hint="Give AWS credentials, or set AWS_ENDPOINT_URL_SQS to a broker of this machine: "
                "`amply up` and `amply broker` print the line.",
            ) from error
        except ClientError as error:
            told = error.response.get("Error", {})
            raise RefusedError(
                f"{self.endpoint_url} refused: {told.get('Code')}: {told.get('Message')}",
                hint="Looking takes the permissions sqs:GetQueueUrl and sqs:GetQueueAttributes.",
            ) from error
        except BotoCoreError as error:
            raise UnreachableError(
                f"SQS does not answer at {self.endpoint_url}: {error}",
                hint="Start it with `amply up` or `amply broker`, or give the right --endpoint.",
            ) from error


def _client(endpoint_url: str | None, region: str) -> Any:
    import boto3
    from botocore.config import Config

    local = local_credentials(endpoint_url, region, settings.child_environment({}))
    return boto3.client(
        "sqs",
        endpoint_url=endpoint_url,
        region_name=region,
        aws_access_key_id=local.get("AWS_ACCESS_KEY_ID"),
        aws_secret_access_key=local.get("AWS_SECRET_ACCESS_KEY"),
        config=Config(
            connect_timeout=_CONNECT_TIMEOUT_S,
            read_timeout=_READ_TIMEOUT_S,
            retries={"mode": "standard", "total_max_attempts": 2},
        ),
    )


def _read(declared: QueueLook, attributes: dict[str, str]) -> QueueLook:
    redrive = msgspec.json.decode(attributes.get("RedrivePolicy") or "{}")
    return msgspec.structs.replace(
        declared,
        visible=int(attributes["ApproximateNumberOfMessages"]),
        in_flight=int(attributes["ApproximateNumberOfMessagesNotVisible"]),
        delayed=int(attributes["ApproximateNumberOfMessagesDelayed"]),
        visibility_timeout_s=int(attributes["VisibilityTimeout"]),
        retention_s=int(attributes["MessageRetentionPeriod"]),
        dead_letter_queue=str(redrive["deadLetterTargetArn"]).rpartition(":")[2] if redrive else None,
        receive_count_max=int(redrive["maxReceiveCount"]) if redrive else None,
    )
