"""The permissions of SQS, and which of them the Action of a statement names.

Knows names only. Source: Service Authorization Reference, "Actions, resources, and condition keys for Amazon SQS": a
batch has no permission of its own.
"""

import re

from amply.broker.auth.patterns import Syntax, parse_pattern
from amply.broker.auth.policy_errors import PolicyError, did_you_mean
from amply.broker.sqs.actions import ACTIONS

_BATCH = "Batch"
_SERVICE = "sqs"
_ACTION = re.compile(r"([A-Za-z0-9-]+):([A-Za-z0-9*?]+)")

# Every permission that a request can need.
PERMISSIONS = frozenset(f"{_SERVICE}:{name}" for name in ACTIONS if not name.endswith(_BATCH))


def permission_of(action: str) -> str:
    """The permission that an action of SQS needs: its own, or that of the action which a batch does many times."""
    return f"{_SERVICE}:{action.removesuffix(_BATCH)}"


def permissions_of(texts: list[str], *, is_not: bool, is_sqs_only: bool, where: str) -> frozenset[str]:
    """What an Action element names or, with `is_not`, all but what a NotAction element names. Raises `PolicyError`.

    Actions of other services name nothing here; the policy of a queue cannot name them.
    """
    named: set[str] = set()
    for text in texts:
        named |= _named(text, is_sqs_only, where)
    return PERMISSIONS - named if is_not else frozenset(named)


def _named(text: str, is_sqs_only: bool, where: str) -> frozenset[str]:  # noqa: FBT001
    if text == "*":
        return PERMISSIONS
    match = _ACTION.fullmatch(text)
    if match is None:
        raise PolicyError(text, where, "an action is written sqs:SendMessage, sqs:Receive* or *")
    service, name = match.groups()
    if service.lower() != _SERVICE:
        if is_sqs_only:
            raise PolicyError(text, where, "the policy of a queue speaks of actions of SQS alone")
        return frozenset()
    pattern = parse_pattern(f"{_SERVICE}:{name}", Syntax(ignores_case=True), where)
    named = frozenset(one for one in PERMISSIONS if pattern.matches(one, {}))
    if named:
        return named
    batch = next((one for one in ACTIONS if one.endswith(_BATCH) and pattern.matches(f"{_SERVICE}:{one}", {})), None)
    if batch:
        why = f"a batch has no permission of its own; {permission_of(batch)} is asked for it"
        raise PolicyError(text, where, why)
    raise PolicyError(text, where, "SQS has no such action" + did_you_mean(text, PERMISSIONS))
