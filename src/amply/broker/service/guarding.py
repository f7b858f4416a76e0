"""Whether a call is allowed: the caller's role against what the call needs, and against the queues' own policies.

Knows the queues' policies and tags. Must not know how the caller was recognised.
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

from msgspec import Struct
from msgspec.structs import replace

from amply.broker.auth.access import Access, decide
from amply.broker.auth.needs import accesses, account_of
from amply.broker.auth.policies import Policy, parse
from amply.broker.auth.policy_errors import PolicyError
from amply.broker.sqs.limits import Limits
from amply.broker.sqs.names import parse_queue_arn, queue_arn

if TYPE_CHECKING:
    from amply.broker.auth.principals import Principal
    from amply.broker.service.service import Service
    from amply.broker.sqs.calls import Call

# What mends a policy that cannot be enforced.
_MENDING = "sqs:SetQueueAttributes"


class Denial(Struct, frozen=True):
    """What was not allowed on which resource, and why, in a sentence for the client and the audit."""

    resource: str
    reason: str


def denial(
    service: "Service",
    call: "Call",
    principal: "Principal",
    identity: Policy | None,
    conditions: Mapping[str, tuple[str, ...]],
) -> Denial | None:
    """The first permission that the call needs and the principal does not have; None if it may go on.

    `identity` is the policy of the principal's role, None if the role is not declared any more. `conditions` tell of
    the request, by condition keys in lower case. Raises the Fault of a call that names no queue at all.
    """
    queues = _Queues(service)
    policies = () if identity is None else (identity,)
    for needed in accesses(call, region=service.region, keys=conditions, queues=queues):
        access = _in_one_spelling(needed)
        policy = queues.policy(access.resource)
        if isinstance(policy, PolicyError):
            if access.action != _MENDING:
                reason = f"The policy of {access.resource} cannot be enforced, so nothing is allowed: {policy.message}"
                return Denial(access.resource, reason)
            policy = None
        owner = account_of(access, call.context.account)
        verdict = decide(principal, policies, policy, access, resource_account=owner)
        if not verdict.is_allowed:
            return Denial(access.resource, verdict.reason)
    return None


def _in_one_spelling(access: Access) -> Access:
    """A client may name a queue by the ARN that it would have in another partition; policies know it by one only."""
    named = parse_queue_arn(access.resource)
    arn = queue_arn(*named) if named is not None else access.resource
    return access if arn == access.resource else replace(access, resource=arn)


class _Queues:
    """What permissions depend on, of the queues there are."""

    def __init__(self, service: "Service") -> None:
        self._queues = service.engine.queues
        self._limits = service.limits

    def policy(self, arn: str) -> Policy | PolicyError | None:
        queue = self._queues.by_arn(arn)
        text = queue.record.attributes.get("Policy") if queue is not None else None
        return _parsed(text, self._limits) if text else None

    def tags(self, arn: str) -> Mapping[str, str]:
        queue = self._queues.by_arn(arn)
        return queue.record.tags if queue is not None else {}

    def dead_letter_sources(self, arn: str) -> Sequence[str]:
        queues = self._queues
        target = queues.by_arn(arn)
        return [queue.arn for queue in queues if target is not None and queues.dead_letters_of(queue) is target]


@lru_cache(maxsize=1024)
def _parsed(text: str, limits: Limits) -> Policy | PolicyError:
    try:
        return parse(text, kind="resource", limits=limits)
    except PolicyError as error:
        return error
