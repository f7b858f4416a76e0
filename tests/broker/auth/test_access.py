"""The verdict, as the IAM guide's evaluation logic has it."""

import json
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from amply.broker.auth.access import OWNER_ONLY, Access, Principal, Verdict, decide
from amply.broker.auth.policies import Policy, PolicyError, parse
from amply.broker.sqs.actions import ACTIONS

ACCOUNT, OTHER = "123456789012", "999999999999"
QUEUE = f"arn:aws:sqs:eu-central-1:{ACCOUNT}:amply-celery"
ADA = Principal(ACCOUNT, f"arn:aws:iam::{ACCOUNT}:user/ada", "ada")
WORKER = Principal(ACCOUNT, f"arn:aws:iam::{ACCOUNT}:role/worker", "laptop")
ROOT = Principal(ACCOUNT, f"arn:aws:iam::{ACCOUNT}:root", "", is_root=True)
EVE = Principal(OTHER, f"arn:aws:iam::{OTHER}:user/eve", "eve")
OTHER_ROOT = Principal(OTHER, f"arn:aws:iam::{OTHER}:root", "", is_root=True)

ALLOW = {"Effect": "Allow", "Action": "sqs:SendMessage", "Resource": "*"}
DENY = {**ALLOW, "Effect": "Deny"}


def role(*statements: dict) -> Policy:
    return parse({"Version": "2012-10-17", "Statement": [*statements]}, kind="identity")


def queue(*statements: dict, to="*") -> Policy:
    listed = [{"Principal": to, **statement} for statement in statements]
    return parse({"Version": "2012-10-17", "Statement": listed}, kind="resource")


def verdict(principal, identity=(), resource=None, action="SendMessage", arn=QUEUE, **context) -> Verdict:
    access = Access(f"sqs:{action}", arn, {f"aws:{key}": (value,) for key, value in context.items()})
    policies = [role(*identity)] if identity else []
    return decide(principal, policies, resource, access, resource_account=ACCOUNT)


TO_ADA, TO_ACCOUNT, TO_OTHER = {"AWS": ADA.arn}, {"AWS": ACCOUNT}, {"AWS": OTHER}
NO_IDENTITY = "because no identity-based policy allows the sqs:SendMessage action"
NO_RESOURCE = "because no resource-based policy allows the sqs:SendMessage action"
DENIED_BY_IDENTITY = "with an explicit deny in an identity-based policy"
DENIED_BY_RESOURCE = "with an explicit deny in a resource-based policy"

# who, the role's statements, the queue's policy, how a refusal ends
LOGIC = [
    # Within one account: a grant on either side is enough.
    (ADA, [], None, NO_IDENTITY),
    (ADA, [ALLOW], None, None),
    (ADA, [], queue(ALLOW), None),
    (ADA, [], queue(ALLOW, to=TO_ADA), None),
    (ADA, [], queue(ALLOW, to={"AWS": EVE.arn}), NO_IDENTITY),
    (ADA, [ALLOW], queue(ALLOW, to=TO_OTHER), None),
    # An account leaves it to its users' policies.
    (ADA, [], queue(ALLOW, to=TO_ACCOUNT), NO_IDENTITY),
    (ADA, [ALLOW], queue(ALLOW, to=TO_ACCOUNT), None),
    # An explicit denial wins wherever it stands.
    (ADA, [ALLOW, DENY], None, DENIED_BY_IDENTITY),
    (ADA, [DENY], queue(ALLOW, to=TO_ADA), DENIED_BY_IDENTITY),
    (ADA, [ALLOW], queue(DENY), DENIED_BY_RESOURCE),
    (ADA, [ALLOW], queue(ALLOW, DENY), DENIED_BY_RESOURCE),
    (ADA, [ALLOW], queue(DENY, to=TO_ACCOUNT), DENIED_BY_RESOURCE),
    (ADA, [ALLOW], queue(DENY, to=TO_OTHER), None),
    (ADA, [DENY], queue(DENY), DENIED_BY_IDENTITY),
    # Root needs no grant in its own account.
    (ROOT, [], None, None),
    (ROOT, [], queue(DENY), DENIED_BY_RESOURCE),
    (ROOT, [], queue(DENY, to=TO_ACCOUNT), DENIED_BY_RESOURCE),
    (ROOT, [], queue(DENY, to=TO_ADA), None),
    # From another account both sides must grant.
    (EVE, [], None, NO_IDENTITY),
    (EVE, [ALLOW], None, NO_RESOURCE),
    (EVE, [], queue(ALLOW), NO_IDENTITY),
    (EVE, [ALLOW], queue(ALLOW), None),
    (EVE, [ALLOW], queue(ALLOW, to=TO_OTHER), None),
    (EVE, [ALLOW], queue(ALLOW, to={"AWS": EVE.arn}), None),
    (EVE, [ALLOW], queue(ALLOW, to=TO_ADA), NO_RESOURCE),
    (EVE, [ALLOW, DENY], queue(ALLOW), DENIED_BY_IDENTITY),
    (EVE, [ALLOW], queue(ALLOW, DENY), DENIED_BY_RESOURCE),
    (OTHER_ROOT, [], None, NO_RESOURCE),
    (OTHER_ROOT, [], queue(ALLOW, to=TO_OTHER), None),
    (OTHER_ROOT, [], queue(ALLOW, to=TO_ACCOUNT), NO_RESOURCE),
]


@pytest.mark.parametrize(("principal", "identity", "resource", "refusal"), LOGIC)
def test_the_verdict_is_iam_s(principal, identity, resource, refusal):
    told = verdict(principal, identity, resource)
    assert told.is_allowed is (refusal is None)
    assert told.reason
    if refusal:
        asked = f"User: {principal.session_arn} is not authorized to perform: sqs:SendMessage on resource: {QUEUE}"
        assert told.reason == f"{asked} {refusal}"


def test_a_role_is_told_as_the_session_that_speaks_for_it():
    assert verdict(WORKER).reason == (
        f"User: arn:aws:sts::{ACCOUNT}:assumed-role/worker/laptop is not authorized to perform: sqs:SendMessage "
        f"on resource: {QUEUE} because no identity-based policy allows the sqs:SendMessage action"
    )


@pytest.mark.parametrize("action", [name for name in ACTIONS if not name.endswith("Batch")])
def test_what_is_the_owner_s_alone_is_never_another_account_s(action):
    everything = {"Effect": "Allow", "Action": "*", "Resource": "*"}
    shared = {
        *("ChangeMessageVisibility", "DeleteMessage", "GetQueueAttributes", "GetQueueUrl"),
        *("ListDeadLetterSourceQueues", "PurgeQueue", "ReceiveMessage", "SendMessage"),
    }
    assert verdict(ADA, [everything], queue(everything), action).is_allowed
    assert verdict(EVE, [everything], queue(everything), action).is_allowed is (action in shared)
    assert (f"sqs:{action}" in OWNER_ONLY) is (action not in shared)


def test_not_principal_denies_all_others():
    resource = parse({"Statement": [{**DENY, "NotPrincipal": {"AWS": [ADA.arn, ACCOUNT]}}]}, kind="resource")
    assert verdict(ADA, [ALLOW], resource).is_allowed
    assert verdict(ROOT, [], resource).is_allowed
    assert not verdict(WORKER, [ALLOW], resource).is_allowed
    assert not verdict(EVE, [ALLOW], resource).is_allowed


def test_list_queues_needs_every_resource():
    assert verdict(ADA, [{"Effect": "Allow", "Action": "sqs:*", "Resource": "*"}], None, "ListQueues", "*").is_allowed
    one = {"Effect": "Allow", "Action": "sqs:*", "Resource": f"arn:aws:sqs:*:{ACCOUNT}:*"}
    assert not verdict(ADA, [one], None, "ListQueues", "*").is_allowed


def test_a_denial_of_plain_http_stops_everybody():
    resource = queue({**DENY, "Condition": {"Bool": {"aws:SecureTransport": "false"}}})
    assert verdict(ADA, [ALLOW], resource, securetransport="true").is_allowed
    assert not verdict(ADA, [ALLOW], resource, securetransport="false").is_allowed


def test_who_asks_is_known_from_the_principal_and_not_from_the_request():
    mine = {**ALLOW, "Resource": "arn:aws:sqs:*:*:${aws:username}-*"}
    arn = f"arn:aws:sqs:eu-central-1:{ACCOUNT}:ada-jobs"
    assert verdict(ADA, [mine], arn=arn).is_allowed
    assert not verdict(WORKER, [mine], arn=arn).is_allowed
    assert not verdict(WORKER, [mine], arn=arn, username="ada").is_allowed
    for key, value, who in (
        ("aws:PrincipalArn", ADA.arn, ADA),
        ("aws:PrincipalArn", WORKER.arn, WORKER),
        ("aws:PrincipalAccount", ACCOUNT, ADA),
        ("aws:userid", "ada", ADA),
        ("aws:PrincipalIsAWSService", "false", ADA),
        ("aws:ViaAWSService", "false", ADA),
    ):
        assert verdict(who, [{**ALLOW, "Condition": {"StringEquals": {key: value}}}]).is_allowed, key
    root_only = {**DENY, "Condition": {"StringNotEquals": {"aws:userid": ACCOUNT}}}
    assert verdict(ROOT, [], queue(root_only)).is_allowed
    no_name = {**DENY, "Condition": {"Null": {"aws:username": "true"}}}
    assert not verdict(ROOT, [], queue(no_name)).is_allowed


def test_policies_in_each_other_s_place_are_a_mistake_and_no_grant():
    with pytest.raises(ValueError, match="place"):
        verdict(ADA, [], role(ALLOW))
    with pytest.raises(ValueError, match="place"):
        decide(ADA, [queue(ALLOW)], None, Access("sqs:SendMessage", QUEUE, {}), resource_account=ACCOUNT)


def test_several_policies_of_an_identity_are_weighed_together():
    access = Access("sqs:SendMessage", QUEUE, {})
    assert decide(ADA, [role(ALLOW), role(ALLOW)], None, access, resource_account=ACCOUNT).is_allowed
    assert not decide(ADA, [role(ALLOW), role(DENY)], None, access, resource_account=ACCOUNT).is_allowed


PRINCIPALS = st.sampled_from([ADA, WORKER, ROOT, EVE, OTHER_ROOT])
ARNS = ["*", QUEUE, f"{QUEUE}-dlq", f"arn:aws:sqs:*:{ACCOUNT}:amply-*", "arn:aws:sqs:*:*:${aws:username}-*"]
CONDITIONS = [
    {"Bool": {"aws:SecureTransport": "false"}},
    {"StringEquals": {"aws:username": ["ada", "laptop"]}},
    {"StringNotLike": {"aws:RequestTag/team": "a*"}},
    {"IpAddress": {"aws:SourceIp": "10.0.0.0/8"}},
    {"NotIpAddress": {"aws:SourceIp": "10.0.0.0/8"}},
    {"ForAllValues:StringEquals": {"aws:TagKeys": ["team"]}},
    {"StringEqualsIfExists": {"aws:RequestTag/team": "${aws:SourceAccount}"}},
]
NAMES = ["*", "sqs:SendMessage", "sqs:Send*", ["sqs:ReceiveMessage", "sqs:SendMessage"], "sqs:DeleteQueue"]
WHO = ["*", {"AWS": ACCOUNT}, {"AWS": [ADA.arn, OTHER]}, {"AWS": WORKER.arn}, {"Service": "sns.amazonaws.com"}]


@st.composite
def statements(draw, *, is_resource: bool, effect: str | None = None) -> dict:
    statement = {
        "Effect": effect or draw(st.sampled_from(["Allow", "Allow", "Deny"])),
        draw(st.sampled_from(["Action", "Action", "NotAction"])): draw(st.sampled_from(NAMES)),
        draw(st.sampled_from(["Resource", "Resource", "NotResource"])): draw(st.sampled_from(ARNS)),
    }
    if draw(st.booleans()):
        statement["Condition"] = draw(st.sampled_from(CONDITIONS))
    if is_resource:
        statement[draw(st.sampled_from(["Principal", "Principal", "NotPrincipal"]))] = draw(st.sampled_from(WHO))
    return statement


@st.composite
def situations(draw):
    """Who asks for what, and the statements on both sides."""
    context = {
        "aws:securetransport": (draw(st.sampled_from(["true", "false"])),),
        "aws:sourceip": (draw(st.sampled_from(["10.1.2.3", "192.0.2.1", "::1", "?"])),),
        "aws:requesttag/team": draw(st.sampled_from([(), ("a1",), ("b", "c")])),
        "aws:tagkeys": draw(st.sampled_from([(), ("team",), ("team", "cost")])),
    }
    arn = draw(st.sampled_from(["*", QUEUE, f"{QUEUE}-dlq", f"arn:aws:sqs:eu-central-1:{ACCOUNT}:ada-jobs"]))
    action = draw(st.sampled_from(["SendMessage", "ReceiveMessage", "DeleteQueue", "ListQueues"]))
    identity = draw(st.lists(statements(is_resource=False), max_size=4))
    resource = draw(st.lists(statements(is_resource=True), max_size=4))
    return draw(PRINCIPALS), Access(f"sqs:{action}", arn, context), identity, resource


def weigh(principal, access, identity, resource) -> Verdict:
    def read(listed, kind):
        return parse({"Version": "2012-10-17", "Statement": listed}, kind=kind) if listed else None

    role_policy, queue_policy = read(identity, "identity"), read(resource, "resource")
    return decide(principal, [role_policy] if role_policy else [], queue_policy, access, resource_account=ACCOUNT)


@settings(max_examples=60, deadline=None)
@given(situations(), statements(is_resource=False, effect="Deny"), statements(is_resource=True, effect="Deny"))
def test_a_denial_more_never_grants(situation, identity_deny, resource_deny):
    principal, access, identity, resource = situation
    before = weigh(*situation).is_allowed
    for more in (([*identity, identity_deny], resource), (identity, [*resource, resource_deny])):
        assert weigh(principal, access, *more).is_allowed <= before


@settings(max_examples=60, deadline=None)
@given(situations(), statements(is_resource=False, effect="Allow"), statements(is_resource=True, effect="Allow"))
def test_a_grant_more_never_refuses(situation, identity_allow, resource_allow):
    principal, access, identity, resource = situation
    before = weigh(*situation).is_allowed
    for more in (([*identity, identity_allow], resource), (identity, [*resource, resource_allow])):
        assert weigh(principal, access, *more).is_allowed >= before


@settings(max_examples=60, deadline=None)
@given(situations(), st.randoms())
def test_the_order_of_statements_does_not_matter(situation, random):
    principal, access, identity, resource = situation
    before = weigh(*situation)
    random.shuffle(identity)
    random.shuffle(resource)
    assert weigh(principal, access, identity, resource) == before


@settings(max_examples=60, deadline=None)
@given(situations())
def test_without_a_grant_nobody_but_the_account_s_root_gets_in(situation):
    principal, access, identity, resource = situation
    denials = [[one for one in listed if one["Effect"] == "Deny"] for listed in (identity, resource)]
    assert not weigh(principal, access, *denials).is_allowed or principal is ROOT


@settings(max_examples=60, deadline=None)
@given(situations())
def test_a_refusal_has_one_of_aws_s_forms(situation):
    told = weigh(*situation)
    form = (
        r"User: arn:aws:(iam|sts)::\d{12}:[\w/-]+ is not authorized to perform: sqs:\w+ on resource: \S+ "
        r"(because no (identity|resource)-based policy allows the sqs:\w+ action"
        r"|with an explicit deny in (an identity|a resource)-based policy)"
    )
    assert told.is_allowed or re.fullmatch(form, told.reason)


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=200) | st.recursive(st.none() | st.text() | st.integers(), st.lists).map(json.dumps))
def test_no_text_is_a_policy_by_accident(text):
    with pytest.raises(PolicyError):
        parse(text, kind="resource")
