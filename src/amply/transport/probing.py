"""Asks SQS what a worker would need to know, and changes nothing: what a queue is, and which actions are allowed on it.

Knows which requests are harmless and what their answers mean; must not know what is right or wrong about them.
"""

import json
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Any, Literal

from msgspec import Struct
from msgspec.structs import replace

from amply.clock import wall_ms
from amply.transport.client import SqsClient
from amply.transport.endpoint import Endpoint
from amply.transport.faults import SqsFault, Transient
from amply.transport.http import Connection, Response
from amply.transport.options import Options
from amply.transport.queues import Queue, Queues, UndefinedQueue, is_missing

_TIMEOUT_S = 5.0
_CONNECT_TIMEOUT_S = 3.0
# Whoever gives attributes asks for a queue that may be created.
_OWN = {"MessageRetentionPeriod": "1209600"}
# "probably": SQS answered as to somebody who is allowed, but might have looked at the request before the permission.
Permission = Literal["allowed", "probably", "denied", "unknown", "not tried"]

# A request that cannot succeed, and the codes that say so to somebody who may make it. Amazon does not document in
# which order it checks. That an invalid receipt handle is told only to who is allowed is what it does, as far as is
# known; a body that is missing is told by some front ends to anybody. Any other code tells nothing.
_PROBES: dict[str, tuple[dict[str, Any], set[str], Permission]] = {
    "DeleteMessage": ({"ReceiptHandle": "amply-self-check"}, {"ReceiptHandleIsInvalid"}, "allowed"),
    "ChangeMessageVisibility": (
        {"ReceiptHandle": "amply-self-check", "VisibilityTimeout": 0},
        {"ReceiptHandleIsInvalid"},
        "allowed",
    ),
    "SendMessage": (
        {"MessageBody": ""},
        {"MissingParameter", "MissingRequiredParameterException", "InvalidParameterValue", "EmptyValue"},
        "probably",
    ),
}


class DeadLetterQueue(Struct, frozen=True):
    """Where dead letters go. `is_there` and `retention_s` are None where the role may not look."""

    name: str
    is_there: bool | None
    retention_s: int | None


class QueueFacts(Struct, frozen=True, kw_only=True):
    """What is known of a queue, by Celery's `name` for it.

    `state`: "there"; "missing" at SQS; "undefined", which `predefined_queues` does not name; "unseen", with the reason
    in `told`, when SQS did not show it. Counts are messages, and approximate. What is not known is None.
    """

    name: str
    state: Literal["there", "missing", "undefined", "unseen"]
    told: str = ""
    sqs_name: str | None = None
    url: str | None = None
    is_fifo: bool = False
    visible: int | None = None
    in_flight: int | None = None
    delayed: int | None = None
    visibility_timeout_s: int | None = None
    retention_s: int | None = None
    maximum_message_bytes: int | None = None
    max_receive_count: int | None = None
    dead_letter_queue: DeadLetterQueue | None = None
    permissions: dict[str, Permission] = {}


class Prober(SqsClient):
    """A client for one check: over one connection, with short deadlines, and it creates nothing."""

    def __init__(self, endpoint: Endpoint, *, timeout_s: float = _TIMEOUT_S) -> None:
        super().__init__(endpoint)
        self._timeout_s = timeout_s
        self._own = _DatedConnection(endpoint.url, connect_timeout_s=_CONNECT_TIMEOUT_S, ca_bundle=endpoint.ca_bundle)

    def call(
        self,
        action: str,
        members: Mapping[str, Any],
        *,
        timeout_s: float = _TIMEOUT_S,
        connection: Connection | None = None,
    ) -> dict[str, Any]:
        """As a client does it, but that a queue which would be created is missing."""
        if action == "CreateQueue":
            raise SqsFault(action, 0, "QueueDoesNotExist", "the queue does not exist")
        return super().call(
            action, members, timeout_s=min(timeout_s, self._timeout_s), connection=connection or self._own
        )

    @property
    def clock_ahead_s(self) -> float | None:
        """How far this machine's clock was ahead of the server's at the last answer, to about a second."""
        return self._own.clock_ahead_s

    def close(self) -> None:
        """Close the connection."""
        super().close()
        self._own.close()


class _DatedConnection(Connection):
    """Notes what the server takes for the time."""

    clock_ahead_s: float | None = None

    def exchange(
        self, headers: Mapping[str, str], body: bytes, *, timeout_s: float, is_repeatable: bool = False
    ) -> Response:
        """The exchange."""
        response = super().exchange(headers, body, timeout_s=timeout_s, is_repeatable=is_repeatable)
        try:
            server_s = parsedate_to_datetime(response.headers.get("date", "")).timestamp()
        except ValueError:
            self.clock_ahead_s = None
        else:
            # The header names the second that has begun.
            self.clock_ahead_s = wall_ms() / 1000 - server_s - 0.5
        return response


def look(client: SqsClient, options: Options, name: str, *, is_consumed: bool) -> QueueFacts:
    """What is to be known of the queue, and of the permissions to consume it, or only to send to it.

    One that is not consumed is the transport's own, which it would find or create beside the predefined ones as well.

    Raises Unreachable, Transient and NoCredentials: then nothing is known of any queue.
    """
    try:
        queue = Queues(client, options).get(name, **({} if is_consumed else _OWN))
    except UndefinedQueue as undefined:
        return QueueFacts(name=name, state="undefined", told=undefined.message)
    except SqsFault as fault:
        return _not_seen(QueueFacts(name=name, state="unseen"), fault, "GetQueueUrl")
    facts = QueueFacts(name=name, state="there", sqs_name=queue.sqs_name, url=queue.url, is_fifo=queue.is_fifo)
    try:
        answer = client.call("GetQueueAttributes", {"QueueUrl": queue.url, "AttributeNames": ["All"]})
    except SqsFault as fault:
        facts = _not_seen(facts, fault, "GetQueueAttributes")
    else:
        facts = _with_attributes(client, facts, queue, answer.get("Attributes") or {})
    return facts if facts.state == "missing" else _with_permissions(client, facts, queue, is_consumed=is_consumed)


def may_list(client: SqsClient) -> Permission:
    """Whether the role may look for queues by their names."""
    try:
        client.call("ListQueues", {"QueueNamePrefix": "amply-self-check", "MaxResults": 1})
    except SqsFault as fault:
        return _judged(fault, set(), "allowed")
    return "allowed"


def _not_seen(facts: QueueFacts, fault: SqsFault, action: str) -> QueueFacts:
    if is_missing(fault):
        return replace(facts, state="missing", told="SQS knows no queue of this name")
    if not fault.is_denied:
        raise fault
    return replace(facts, state="unseen", told=str(fault), permissions={action: "denied"})


def _with_attributes(client: SqsClient, facts: QueueFacts, queue: Queue, attributes: Mapping[str, str]) -> QueueFacts:
    def number(name: str) -> int | None:
        return int(attributes[name]) if name in attributes else None

    policy = json.loads(attributes.get("RedrivePolicy") or "{}")
    target = str(policy.get("deadLetterTargetArn", "")).rpartition(":")[2]
    return replace(
        facts,
        visible=number("ApproximateNumberOfMessages"),
        in_flight=number("ApproximateNumberOfMessagesNotVisible"),
        delayed=number("ApproximateNumberOfMessagesDelayed"),
        visibility_timeout_s=number("VisibilityTimeout"),
        retention_s=number("MessageRetentionPeriod"),
        maximum_message_bytes=number("MaximumMessageSize"),
        max_receive_count=int(policy["maxReceiveCount"]) if "maxReceiveCount" in policy else None,
        dead_letter_queue=_dead_letter_queue(client, queue, target) if target else None,
        permissions={"GetQueueAttributes": "allowed"},
    )


def _dead_letter_queue(client: SqsClient, queue: Queue, name: str) -> DeadLetterQueue:
    # It is in the account and region of its source (SQS developer guide, "Dead-letter queues"), so its URL is known.
    url = f"{queue.url.rpartition('/')[0]}/{name}"
    asked = {"QueueUrl": url, "AttributeNames": ["MessageRetentionPeriod"]}
    try:
        attributes = client.call("GetQueueAttributes", asked).get("Attributes") or {}
    except Transient:
        raise
    except SqsFault as fault:
        # Workers need no permission on it.
        return DeadLetterQueue(name, False if is_missing(fault) else None, None)
    retention = attributes.get("MessageRetentionPeriod")
    return DeadLetterQueue(name, is_there=True, retention_s=int(retention) if retention else None)


def _with_permissions(client: SqsClient, facts: QueueFacts, queue: Queue, *, is_consumed: bool) -> QueueFacts:
    # A receive that works is not harmless: it counts against maxReceiveCount. Whether it is allowed shows at once in a
    # worker's log, for it polls.
    found: dict[str, Permission] = {"ReceiveMessage": "not tried"} if is_consumed else {}
    for action in _PROBES if is_consumed else ("SendMessage",):
        found[action] = _probe(client, queue, action)
    return replace(facts, permissions={**found, **facts.permissions})


def _probe(client: SqsClient, queue: Queue, action: str) -> Permission:
    members, codes, permission = _PROBES[action]
    try:
        client.call(action, {"QueueUrl": queue.url, **members})
    except SqsFault as fault:
        return _judged(fault, codes, permission)
    # Some servers that speak SQS's language take any receipt handle.
    return "allowed"


def _judged(fault: SqsFault, codes: set[str], permission: Permission) -> Permission:
    if fault.is_denied:
        return "denied"
    return permission if fault.code in codes else "unknown"
