"""AddPermission and RemovePermission: statements of a queue's policy under a label (AWS API reference, AddPermission).

Edits JSON that was found to be a policy when it was set.
"""

import re
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from amply.broker.auth.policies import PolicyError, parse
from amply.broker.sqs.actions import ACTIONS
from amply.broker.sqs.faults import OVER_LIMIT, Fault, invalid_parameter, missing_parameter
from amply.broker.sqs.limits import Limits
from amply.broker.sqs.names import is_account

# What an owner can let others do. A batch is allowed by its singular, everything else is for the owner alone.
GRANTABLE = frozenset(
    {
        "*",
        "ChangeMessageVisibility",
        "DeleteMessage",
        "GetQueueAttributes",
        "GetQueueUrl",
        "ListDeadLetterSourceQueues",
        "PurgeQueue",
        "ReceiveMessage",
        "SendMessage",
    }
)

_LABEL = re.compile(r"[A-Za-z0-9_-]+")


def add_permission(
    policy: str | None, *, arn: str, label: str, account_ids: Sequence[str], actions: Sequence[str], limits: Limits
) -> str:
    """The policy with one more statement: these accounts may call these actions on the queue `arn`.

    Faults: MissingParameter, InvalidParameterValue (label taken, no account id, no grantable action), OverLimit.
    """
    _check(label, account_ids, actions, limits)
    document = _read(policy) if policy else {"Version": "2008-10-17", "Id": f"{arn}/SQSDefaultPolicy", "Statement": []}
    statements = _statements(document)
    if any(statement.get("Sid") == label for statement in statements):
        raise invalid_parameter("Label", label, "Already exists.")
    added = {
        "Sid": label,
        "Effect": "Allow",
        "Principal": {"AWS": _one_or_many(f"arn:aws:iam::{account_id}:root" for account_id in account_ids)},
        "Action": _one_or_many(f"SQS:{action}" for action in actions),
        "Resource": arn,
    }
    changed = _write(document | {"Statement": [*statements, added]})
    try:
        parse(changed, kind="resource", limits=limits)
    except PolicyError as error:
        raise Fault(OVER_LIMIT, f"{error.message}.") from None
    return changed


def remove_permission(policy: str | None, label: str) -> str:
    """The policy without the statement of that label, "" if no statement is left; Fault InvalidParameterValue."""
    document = _read(policy) if policy else {}
    statements = _statements(document)
    left = [statement for statement in statements if statement.get("Sid") != label]
    if len(left) == len(statements):
        raise invalid_parameter("Label", label, "can't find label.")
    return _write(document | {"Statement": left}) if left else ""


def _check(label: str, account_ids: Sequence[str], actions: Sequence[str], limits: Limits) -> None:
    if not label:
        raise missing_parameter("Label")
    if len(label) > limits.permission_label_length_max or not _LABEL.fullmatch(label):
        reason = (
            "Can only include alphanumeric characters, hyphens, or underscores. "
            f"1 to {limits.permission_label_length_max} in length."
        )
        raise invalid_parameter("Label", label, reason)
    if not actions:
        raise missing_parameter("Actions")
    if len(actions) > limits.permission_actions_max:
        text = f"{len(actions)} Actions were found, maximum allowed is {limits.permission_actions_max}."
        raise Fault(OVER_LIMIT, text)
    for action in actions:
        if action not in GRANTABLE:
            is_owners = action in ACTIONS and not action.endswith("Batch")
            reason = (
                "Only the queue owner is allowed to invoke this action."
                if is_owners
                else "Please refer to the appropriate WSDL for a list of valid actions."
            )
            raise invalid_parameter("ActionName", f"SQS:{action}", reason)
    if not account_ids or not all(map(is_account, account_ids)):
        raise invalid_parameter("PrincipalId", f"[{', '.join(account_ids)}]", "Unable to verify.")


def _read(policy: str) -> dict[str, Any]:
    return msgspec.json.decode(policy, type=dict[str, Any])


def _statements(document: dict[str, Any]) -> list[dict[str, Any]]:
    """Policies may write their only statement without a list (IAM user guide, grammar of the policy language)."""
    statements = document.get("Statement", [])
    return statements if isinstance(statements, list) else [statements]


def _one_or_many(texts: Iterable[str]) -> str | list[str]:
    listed = list(texts)
    return listed[0] if len(listed) == 1 else listed


def _write(document: dict[str, Any]) -> str:
    return msgspec.json.encode(document).decode()
