"""Queue attributes: what may be set, and in what form it is kept."""

import json
from typing import Any

import pytest

from amply.broker.sqs.attributes import (
    RedriveAllowPolicy,
    RedrivePolicy,
    check_names,
    redrive_allow_policy,
    redrive_policy,
    validate,
    with_defaults,
)
from amply.broker.sqs.faults import (
    INVALID_ATTRIBUTE_NAME,
    INVALID_ATTRIBUTE_VALUE,
    INVALID_PARAMETER_VALUE,
    Fault,
    FaultRow,
)
from amply.broker.sqs.limits import Limits

ARN = "arn:aws:sqs:us-east-1:000000000000:dead"


def fault_of(attributes: dict[str, str], *, is_fifo: bool = False, **others: Any) -> tuple[FaultRow, str]:
    with pytest.raises(Fault) as caught:
        validate(attributes, is_fifo=is_fifo, creating=others.pop("creating", False), **others)
    return caught.value.row, caught.value.message


def set_on_standard(attributes: dict[str, str]) -> dict[str, str]:
    return validate(attributes, is_fifo=False, creating=False)


@pytest.mark.parametrize(
    ("name", "low", "high"),
    [
        ("DelaySeconds", 0, 900),
        ("MaximumMessageSize", 1024, 1_048_576),
        ("MessageRetentionPeriod", 60, 1_209_600),
        ("ReceiveMessageWaitTimeSeconds", 0, 20),
        ("VisibilityTimeout", 0, 43_200),
        ("KmsDataKeyReusePeriodSeconds", 60, 86_400),
    ],
)
def test_a_number_is_taken_within_its_range_only(name: str, low: int, high: int) -> None:
    for value in (low, high):
        assert set_on_standard({name: str(value)}) == {name: str(value)}
    for text in (str(low - 1), str(high + 1), "", "x", "1.0", "1e1", " 30", "\u0661", "9" * 5000):
        assert fault_of({name: text}) == (INVALID_ATTRIBUTE_VALUE, f"Invalid value for the parameter {name}.")


def test_numbers_and_booleans_are_kept_in_one_form() -> None:
    assert set_on_standard({"DelaySeconds": "007", "SqsManagedSseEnabled": "True"}) == {
        "DelaySeconds": "7",
        "SqsManagedSseEnabled": "true",
    }


@pytest.mark.parametrize("name", ["Foobar", "All", "QueueArn", "CreatedTimestamp", "ApproximateNumberOfMessages"])
def test_unknown_and_computed_attributes_cannot_be_set(name: str) -> None:
    assert fault_of({name: "1"}) == (INVALID_ATTRIBUTE_NAME, f"Unknown Attribute {name}.")


@pytest.mark.parametrize("name", ["FifoQueue", "ContentBasedDeduplication"])
@pytest.mark.parametrize("creating", [True, False])
def test_a_standard_queue_does_not_know_fifo_switches(name: str, creating: bool) -> None:
    assert fault_of({name: "true"}, creating=creating) == (INVALID_ATTRIBUTE_NAME, f"Unknown Attribute {name}.")


@pytest.mark.parametrize(("name", "value"), [("DeduplicationScope", "queue"), ("FifoThroughputLimit", "perQueue")])
def test_a_standard_queue_has_no_fifo_throughput_settings(name: str, value: str) -> None:
    text = f"You can specify the {name} only when FifoQueue is set to true."
    assert fault_of({name: value}) == (INVALID_ATTRIBUTE_NAME, text)


def test_a_fifo_queue_cannot_be_made_standard() -> None:
    text = "Invalid value for the parameter FifoQueue. Reason: Modifying queue type is not supported."
    assert fault_of({"FifoQueue": "false"}, is_fifo=True) == (INVALID_ATTRIBUTE_VALUE, text)


def test_throughput_per_group_needs_the_scope_of_a_group() -> None:
    per_group = {"FifoThroughputLimit": "perMessageGroupId"}
    scope = {"DeduplicationScope": "messageGroup"}
    assert fault_of(per_group, is_fifo=True)[0] is INVALID_ATTRIBUTE_VALUE
    assert fault_of({"DeduplicationScope": "queue"}, is_fifo=True, current=scope | per_group)[0] is (
        INVALID_ATTRIBUTE_VALUE
    )
    assert validate(per_group, is_fifo=True, creating=False, current=scope) == per_group
    assert validate(per_group | scope, is_fifo=True, creating=True) == per_group | scope


def test_a_kms_key_and_sqs_encryption_exclude_each_other() -> None:
    key, sse = {"KmsMasterKeyId": "alias/x"}, {"SqsManagedSseEnabled": "true"}
    for row, text in (fault_of(key | sse), fault_of(sse, current=key)):
        assert row is INVALID_ATTRIBUTE_NAME
        assert text.startswith("You can use one type of server-side encryption (SSE) at one time.")
    assert set_on_standard({"KmsMasterKeyId": "", **sse}) == {"KmsMasterKeyId": "", **sse}


@pytest.mark.parametrize("name", ["Policy", "RedrivePolicy", "RedriveAllowPolicy", "KmsMasterKeyId"])
def test_an_empty_value_takes_the_attribute_away(name: str) -> None:
    assert set_on_standard({name: ""}) == {name: ""}


def test_the_default_key_reuse_period_takes_the_attribute_away() -> None:
    assert set_on_standard({"KmsDataKeyReusePeriodSeconds": "300"}) == {"KmsDataKeyReusePeriodSeconds": ""}


@pytest.mark.parametrize("text", ["x", "[]", "{" * 100_000, '{"a":' * 100_000])
def test_a_policy_must_be_a_json_object(text: str) -> None:
    assert fault_of({"Policy": text})[0] is INVALID_ATTRIBUTE_VALUE


@pytest.mark.parametrize("count", [1, 5, 1000, "5"])
def test_a_redrive_policy_takes_its_count_as_number_or_text(count: int | str) -> None:
    text = json.dumps({"deadLetterTargetArn": ARN, "maxReceiveCount": count})
    assert redrive_policy(text) == RedrivePolicy(ARN, int(count))
    assert set_on_standard({"RedrivePolicy": text}) == {"RedrivePolicy": text}


@pytest.mark.parametrize("count", [0, 1001, -1, "x", "", True, None, 5.5, [], {}, "1e1", 10**30, "9" * 5000])
def test_a_redrive_policy_refuses_other_counts(count: object) -> None:
    row, text = fault_of({"RedrivePolicy": json.dumps({"deadLetterTargetArn": ARN, "maxReceiveCount": count})})
    assert row is INVALID_PARAMETER_VALUE
    assert "Invalid value for maxReceiveCount" in text


def test_a_redrive_policy_must_be_complete() -> None:
    text = json.dumps({"deadLetterTargetArn": ARN})
    reason = "Redrive policy does not contain mandatory attribute: maxReceiveCount."
    assert fault_of({"RedrivePolicy": text}) == (
        INVALID_PARAMETER_VALUE,
        f"Value {text} for parameter RedrivePolicy is invalid. Reason: {reason}",
    )
    assert "deadLetterTargetArn" in fault_of({"RedrivePolicy": '{"maxReceiveCount":1}'})[1]


@pytest.mark.parametrize(
    "text", ["x", "[]", "null", '{"a":' * 100_000, '{"deadLetterTargetArn":1,"maxReceiveCount":1}']
)
@pytest.mark.parametrize("name", ["RedrivePolicy", "RedriveAllowPolicy"])
def test_a_malformed_redrive_policy_is_refused(name: str, text: str) -> None:
    assert fault_of({name: text})[0] is INVALID_PARAMETER_VALUE


def test_a_redrive_allow_policy_names_queues_only_with_by_queue() -> None:
    assert redrive_allow_policy('{"redrivePermission":"allowAll"}') == RedriveAllowPolicy("allowAll")
    by_queue = json.dumps({"redrivePermission": "byQueue", "sourceQueueArns": [ARN]})
    assert redrive_allow_policy(by_queue) == RedriveAllowPolicy("byQueue", (ARN,))
    for policy in (
        {"redrivePermission": "byQueue"},
        {"redrivePermission": "denyAll", "sourceQueueArns": [ARN]},
        {"redrivePermission": "byQueue", "sourceQueueArns": ["q"]},
        {"redrivePermission": ["byQueue"]},
        {},
    ):
        with pytest.raises(Fault):
            redrive_allow_policy(json.dumps(policy))


def test_a_redrive_allow_policy_names_ten_queues_at_most() -> None:
    ten, eleven = (json.dumps({"redrivePermission": "byQueue", "sourceQueueArns": [ARN] * n}) for n in (10, 11))
    assert set_on_standard({"RedriveAllowPolicy": ten}) == {"RedriveAllowPolicy": ten}
    assert fault_of({"RedriveAllowPolicy": eleven})[0] is INVALID_PARAMETER_VALUE


def test_relaxed_limits_allow_more_and_leave_the_defaults() -> None:
    relaxed = Limits(retention_s_min=1, receive_count_max=5000)
    policy = json.dumps({"deadLetterTargetArn": ARN, "maxReceiveCount": 5000})
    for given in ({"MessageRetentionPeriod": "1"}, {"RedrivePolicy": policy}):
        assert validate(given, is_fifo=False, creating=True, limits=relaxed) == given
        assert fault_of(given)[1].startswith(("Invalid value", "Value {"))


def test_a_standard_queue_shows_its_defaults() -> None:
    assert with_defaults({"DelaySeconds": "5"}, is_fifo=False) == {
        "DelaySeconds": "5",
        "MaximumMessageSize": "1048576",
        "MessageRetentionPeriod": "345600",
        "ReceiveMessageWaitTimeSeconds": "0",
        "VisibilityTimeout": "30",
        "SqsManagedSseEnabled": "true",
    }


def test_a_fifo_queue_shows_its_own_attributes_too() -> None:
    shown = with_defaults({"FifoQueue": "true"}, is_fifo=True)
    assert (shown["FifoQueue"], shown["ContentBasedDeduplication"]) == ("true", "false")
    assert (shown["DeduplicationScope"], shown["FifoThroughputLimit"]) == ("queue", "perQueue")


def test_a_kms_key_switches_sqs_encryption_off() -> None:
    assert with_defaults({"KmsMasterKeyId": "k"}, is_fifo=False)["SqsManagedSseEnabled"] == "false"


def test_asking_for_an_unknown_attribute_is_a_fault() -> None:
    check_names(["All", "QueueArn", "Policy"])
    with pytest.raises(Fault, match=r"Unknown Attribute Foobar\."):
        check_names(["All", "Foobar"])
