"""The verdict: may this principal do this to this resource?

Knows how the statements of a role's and of a queue's policy are weighed. Must not know keys, signatures, requests or
which queue has which policy. Source: IAM guide, "Policy evaluation logic", for accounts without organisations,
permissions boundaries and session policies.
"""

from collections.abc import Iterator, Sequence

from msgspec import Struct

from amply.broker.auth.patterns import Context
from amply.broker.auth.policies import Policy, Statement
from amply.broker.auth.principals import Principal

__all__ = ["OWNER_ONLY", "Access", "Principal", "Verdict", "decide"]

# What no policy of a queue can give to another account. Source: SQS guide, "Limitations of Amazon SQS custom policies";
# the guide does not name the tasks that move messages, which reach into queues of their own account alone.
OWNER_ONLY = frozenset(
    f"sqs:{action}"
    for action in (
        *("AddPermission", "CancelMessageMoveTask", "CreateQueue", "DeleteQueue", "ListMessageMoveTasks"),
        *("ListQueueTags", "ListQueues", "RemovePermission", "SetQueueAttributes", "StartMessageMoveTask"),
        *("TagQueue", "UntagQueue"),
    )
)

_IDENTITY = "an identity-based policy"
_RESOURCE = "a resource-based policy"


class Access(Struct, frozen=True):
    """What is asked for: a permission as `sqs:SendMessage` (never a batch), on an ARN or on `*`.

    `context` are the condition keys of the request, in lower case; `decide` adds those that follow from who asks.
    """

    action: str
    resource: str
    context: Context


class Verdict(Struct, frozen=True):
    """Whether it may be done. `reason` is a sentence: of a refusal, for the client; of a grant, for the audit alone."""

    is_allowed: bool
    reason: str


_AS_ROOT = Verdict(True, "root of the account that owns the resource")
_BY_IDENTITY = Verdict(True, f"{_IDENTITY} allows it")
_BY_RESOURCE = Verdict(True, f"{_RESOURCE} allows it")
_BY_BOTH = Verdict(True, f"{_IDENTITY} and {_RESOURCE} allow it")


def decide(
    principal: Principal,
    identity: Sequence[Policy],
    resource: Policy | None,
    access: Access,
    *,
    resource_account: str,
) -> Verdict:
    """Weigh the policies of whoever asks (`identity`) and of what is asked for (`resource`).

    An explicit denial wins wherever it stands. Within one account one grant suffices, and root needs none. From another
    account both sides must grant, and what is the owner's alone is never granted. What nobody grants is refused.
    """
    if any(policy.kind != "identity" for policy in identity) or (resource and resource.kind != "resource"):
        raise ValueError("a role's policy and a queue's policy stand in each other's place")
    is_own = principal.account == resource_account
    context = {**access.context, **principal.context()}
    by_identity = [one for policy in identity for one in _speaking(policy, access, context)]
    by_resource = [
        one
        for one in (_speaking(resource, access, context) if resource else ())
        if one.concerns(principal, is_account_enough=not is_own)
    ]
    for source, statements in ((_IDENTITY, by_identity), (_RESOURCE, by_resource)):
        if not all(statement.is_allow for statement in statements):
            return _refused(principal, access, f"with an explicit deny in {source}")
    if is_own and principal.is_root:
        return _AS_ROOT
    return (_within_account if is_own else _across_accounts)(principal, by_identity, by_resource, access)


def _within_account(
    principal: Principal, by_identity: Sequence[Statement], by_resource: Sequence[Statement], access: Access
) -> Verdict:
    if by_identity:
        return _BY_IDENTITY
    return _BY_RESOURCE if by_resource else _refused_by_default(principal, access, "identity")


def _across_accounts(
    principal: Principal, by_identity: Sequence[Statement], by_resource: Sequence[Statement], access: Access
) -> Verdict:
    if not by_identity and not principal.is_root:
        return _refused_by_default(principal, access, "identity")
    if not by_resource or access.action in OWNER_ONLY:
        return _refused_by_default(principal, access, "resource")
    return _BY_BOTH


def _speaking(policy: Policy, access: Access, context: Context) -> Iterator[Statement]:
    return (one for one in policy.statements if one.applies(access.action, access.resource, context))


def _refused_by_default(principal: Principal, access: Access, kind: str) -> Verdict:
    return _refused(principal, access, f"because no {kind}-based policy allows the {access.action} action")


def _refused(principal: Principal, access: Access, why: str) -> Verdict:
    asked = f"User: {principal.session_arn} is not authorized to perform: {access.action}"
    return Verdict(False, f"{asked} on resource: {access.resource} {why}")
