"""Queue attributes: which there are, what may be set, and in what form they are kept.

Source: AWS API reference, SetQueueAttributes and GetQueueAttributes. Whether a queue that a policy names exists, and
what a Policy says, is not this module's business.
"""

import re
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any, Literal, cast, get_args

import msgspec
from msgspec import Struct

from amply.broker.sqs.faults import (
    INVALID_ATTRIBUTE_NAME,
    INVALID_ATTRIBUTE_VALUE,
    Fault,
    invalid_parameter,
    unknown_attribute,
)
from amply.broker.sqs.limits import AWS, Limits
from amply.broker.sqs.names import parse_queue_arn

Permission = Literal["allowAll", "denyAll", "byQueue"]


class AttributeRule(Struct, frozen=True, kw_only=True):
    """What one attribute may be.

    `range` is inclusive; `values` are the only ones allowed. `is_deletable`: the empty value takes it away.
    """

    default: str | None = None
    range: tuple[int, int] | None = None
    values: tuple[str, ...] = ()
    is_boolean: bool = False
    is_deletable: bool = False
    is_fifo_only: bool = False


@cache
def settable(limits: Limits) -> dict[str, AttributeRule]:
    """The attributes that can be set, by name. Ranges are as the limits say; defaults are AWS's always."""
    return {
        "DelaySeconds": AttributeRule(range=(0, limits.delay_s_max), default="0"),
        "MaximumMessageSize": AttributeRule(
            range=(limits.message_size_bytes_min, limits.message_size_bytes_max),
            default=str(AWS.message_size_bytes_max),
        ),
        "MessageRetentionPeriod": AttributeRule(
            range=(limits.retention_s_min, limits.retention_s_max), default=str(AWS.retention_s_default)
        ),
        "ReceiveMessageWaitTimeSeconds": AttributeRule(range=(0, limits.wait_time_s_max), default="0"),
        "VisibilityTimeout": AttributeRule(
            range=(0, limits.visibility_timeout_s_max), default=str(AWS.visibility_timeout_s_default)
        ),
        "Policy": AttributeRule(is_deletable=True),
        "RedrivePolicy": AttributeRule(is_deletable=True),
        "RedriveAllowPolicy": AttributeRule(is_deletable=True),
        "KmsMasterKeyId": AttributeRule(is_deletable=True),
        "KmsDataKeyReusePeriodSeconds": AttributeRule(
            range=(limits.kms_data_key_reuse_s_min, limits.kms_data_key_reuse_s_max)
        ),
        "SqsManagedSseEnabled": AttributeRule(is_boolean=True, default="true"),
        "FifoQueue": AttributeRule(is_boolean=True, is_fifo_only=True, default="true"),
        "ContentBasedDeduplication": AttributeRule(is_boolean=True, is_fifo_only=True, default="false"),
        "DeduplicationScope": AttributeRule(values=("queue", "messageGroup"), is_fifo_only=True, default="queue"),
        "FifoThroughputLimit": AttributeRule(
            values=("perQueue", "perMessageGroupId"), is_fifo_only=True, default="perQueue"
        ),
    }


SETTABLE = settable(AWS)

COMPUTED = (
    "ApproximateNumberOfMessages",
    "ApproximateNumberOfMessagesDelayed",
    "ApproximateNumberOfMessagesNotVisible",
    "CreatedTimestamp",
    "LastModifiedTimestamp",
    "QueueArn",
)

_READABLE = frozenset({"All", *SETTABLE, *COMPUTED})
_NUMBER = re.compile(r"[0-9]{1,10}")


class RedrivePolicy(Struct, frozen=True):
    """Where a message goes that was received `max_receive_count` times (1-1000) in vain."""

    dead_letter_target_arn: str
    max_receive_count: int


class RedriveAllowPolicy(Struct, frozen=True):
    """Which queues may name this one as their dead letter queue. ARNs only with `byQueue`, at most 10."""

    permission: Permission
    source_queue_arns: tuple[str, ...] = ()


def check_names(names: Iterable[str]) -> None:
    """Fault InvalidAttributeName for one that GetQueueAttributes does not know."""
    for name in names:
        if name not in _READABLE:
            raise unknown_attribute(name)


def validate(
    attributes: Mapping[str, str],
    *,
    is_fifo: bool,
    creating: bool,
    current: Mapping[str, str] | None = None,
    limits: Limits = AWS,
) -> dict[str, str]:
    """The attributes as they are kept, or a Fault.

    `current` is what was set on the queue before. An empty value in the answer means: take the attribute away. Numbers
    and booleans come back in their one canonical form; policies as they were given.
    """
    valid = {
        name: _valid(name, value, is_fifo=is_fifo, creating=creating, limits=limits)
        for name, value in attributes.items()
    }
    together = {**(current or {}), **valid}
    if together.get("KmsMasterKeyId") and valid.get("SqsManagedSseEnabled") == "true":
        raise Fault(
            INVALID_ATTRIBUTE_NAME,
            "You can use one type of server-side encryption (SSE) at one time. "
            "You can either enable KMS SSE or SQS SSE.",
        )
    if (
        together.get("FifoThroughputLimit") == "perMessageGroupId"
        and together.get("DeduplicationScope") != "messageGroup"
    ):
        raise invalid_value("FifoThroughputLimit", "perMessageGroupId needs DeduplicationScope messageGroup.")
    return valid


def with_defaults(attributes: Mapping[str, str], *, is_fifo: bool) -> dict[str, str]:
    """Every settable attribute that has a value, as GetQueueAttributes shows it."""
    shown = {
        name: rule.default
        for name, rule in SETTABLE.items()
        if rule.default is not None and (is_fifo or not rule.is_fifo_only)
    }
    shown.update(attributes)
    if "KmsMasterKeyId" in attributes:
        shown["SqsManagedSseEnabled"] = "false"
    return shown


def redrive_policy(text: str) -> RedrivePolicy:
    """Read the attribute of that name, whatever its count; Fault InvalidParameterValue."""
    policy = _json_object("RedrivePolicy", text)
    for name in ("deadLetterTargetArn", "maxReceiveCount"):
        if name not in policy:
            reason = f"Redrive policy does not contain mandatory attribute: {name}."
            raise invalid_parameter("RedrivePolicy", text, reason)
    arn, count = policy["deadLetterTargetArn"], policy["maxReceiveCount"]
    if not isinstance(arn, str) or parse_queue_arn(arn) is None:
        raise invalid_parameter("RedrivePolicy", text, "Dead letter target does not exist.")
    if isinstance(count, str) and _NUMBER.fullmatch(count):
        count = int(count)
    if type(count) is not int:
        raise invalid_parameter("RedrivePolicy", text, f"Invalid value for maxReceiveCount: {count}.")
    return RedrivePolicy(arn, count)


def redrive_allow_policy(text: str) -> RedriveAllowPolicy:
    """Read the attribute of that name, however many ARNs it holds; Fault InvalidParameterValue."""
    policy = _json_object("RedriveAllowPolicy", text)
    permission, arns = policy.get("redrivePermission"), policy.get("sourceQueueArns", [])
    if permission not in get_args(Permission):
        raise invalid_parameter(
            "RedriveAllowPolicy", text, "redrivePermission must be one of allowAll, denyAll, byQueue."
        )
    if not isinstance(arns, list) or not all(isinstance(arn, str) and parse_queue_arn(arn) for arn in arns):
        raise invalid_parameter("RedriveAllowPolicy", text, "sourceQueueArns must be a list of queue ARNs.")
    if bool(arns) != (permission == "byQueue"):
        reason = "sourceQueueArns must be given with redrivePermission byQueue, and only with it."
        raise invalid_parameter("RedriveAllowPolicy", text, reason)
    return RedriveAllowPolicy(cast(Permission, permission), tuple(arns))


def invalid_value(name: str, reason: str | None = None) -> Fault:
    """An attribute that exists cannot have this value. `reason` is a sentence with its full stop."""
    message = f"Invalid value for the parameter {name}."
    return Fault(INVALID_ATTRIBUTE_VALUE, f"{message} Reason: {reason}" if reason else message)


def _valid(name: str, value: str, *, is_fifo: bool, creating: bool, limits: Limits) -> str:
    rule = settable(limits).get(name)
    if rule is None:
        raise unknown_attribute(name)
    if rule.is_fifo_only and not is_fifo:
        if rule.values:
            raise Fault(INVALID_ATTRIBUTE_NAME, f"You can specify the {name} only when FifoQueue is set to true.")
        raise unknown_attribute(name)
    if rule.is_deletable and not value:
        return ""
    if rule.is_boolean:
        value = value.lower()
        if name == "FifoQueue" and value != "true":
            reason = "Modifying queue type is not supported."
            raise invalid_value(name, None if creating else reason)
        if value not in {"true", "false"}:
            raise invalid_value(name)
    elif rule.range:
        if not _NUMBER.fullmatch(value) or not rule.range[0] <= int(value) <= rule.range[1]:
            raise invalid_value(name)
        value = str(int(value))
    elif rule.values and value not in rule.values:
        raise invalid_value(name)
    if name == "KmsDataKeyReusePeriodSeconds" and int(value) == AWS.kms_data_key_reuse_s_default:
        return ""
    _check_document(name, value, limits)
    return value


def _check_document(name: str, text: str, limits: Limits) -> None:
    if name == "RedrivePolicy":
        count, most = redrive_policy(text).max_receive_count, limits.receive_count_max
        if not 1 <= count <= most:
            reason = f"Invalid value for maxReceiveCount: {count}, valid values are from 1 to {most} both inclusive."
            raise invalid_parameter(name, text, reason)
    elif name == "RedriveAllowPolicy":
        if len(redrive_allow_policy(text).source_queue_arns) > limits.redrive_source_queues_max:
            reason = f"sourceQueueArns can hold at most {limits.redrive_source_queues_max} ARNs."
            raise invalid_parameter(name, text, reason)
    elif name == "Policy":
        try:
            msgspec.json.decode(text, type=dict[str, Any])
        except (ValueError, RecursionError):
            raise invalid_value(name, "Policy must be a JSON object.") from None


def _json_object(name: str, text: str) -> dict[str, Any]:
    try:
        return msgspec.json.decode(text, type=dict[str, Any])
    except (ValueError, RecursionError):  # every decoding error of msgspec is a ValueError
        raise invalid_parameter(name, text, f"{name} is not a valid JSON map.") from None
