"""Reading policies, and refusing those that could not be enforced."""

import json

import pytest

from amply.broker.auth.policies import PolicyError, parse
from amply.broker.auth.principals import Principal
from amply.broker.sqs.actions import ACTIONS

ACCOUNT = "123456789012"
QUEUE = f"arn:aws:sqs:eu-central-1:{ACCOUNT}:amply-celery"
ALLOW = {"Effect": "Allow", "Action": "sqs:SendMessage", "Resource": QUEUE}
ALL_PERMISSIONS = {f"sqs:{name}" for name in ACTIONS if not name.endswith("Batch")}


def policy(*statements: dict, **elements) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": [*statements], **elements})


def identity(**elements):
    (statement,) = parse(policy({**ALLOW, **elements}), kind="identity").statements
    return statement


def permissions(action) -> set[str]:
    return set(identity(Action=action).permissions)


def test_text_and_what_it_stands_for_are_read_alike():
    document = {"Version": "2012-10-17", "Id": "one", "Statement": {**ALLOW, "Sid": "a"}}
    parsed = [parse(one, kind="identity") for one in (document, json.dumps(document), policy({**ALLOW, "Sid": "a"}))]
    assert [[one.sid for one in policy.statements] for policy in parsed] == [["a"]] * 3
    assert all(one.statements[0].applies("sqs:SendMessage", QUEUE, {}) for one in parsed)


@pytest.mark.parametrize(
    ("action", "named"),
    [
        ("*", ALL_PERMISSIONS),
        ("sqs:*", ALL_PERMISSIONS),
        ("SQS:*", ALL_PERMISSIONS),
        ("sqs:SendMessage", {"sqs:SendMessage"}),
        ("SQS:sendmessage", {"sqs:SendMessage"}),
        ("sqs:Send*", {"sqs:SendMessage"}),
        ("sqs:get*", {"sqs:GetQueueUrl", "sqs:GetQueueAttributes"}),
        ("sqs:?????Queue", {"sqs:PurgeQueue", "sqs:UntagQueue"}),
        ("sqs:*MoveTask*", {f"sqs:{name}" for name in ACTIONS if "MoveTask" in name}),
        (["sqs:SendMessage", "cloudwatch:GetMetricData"], {"sqs:SendMessage"}),
        ("cloudwatch:*", set()),
    ],
)
def test_actions_are_named_in_any_case_and_with_wildcards(action, named):
    assert permissions(action) == named


def test_there_are_twenty_permissions_and_none_is_a_batch_s():
    assert len(permissions("*")) == 20


def test_not_action_is_all_but_those():
    statement = {"Effect": "Allow", "NotAction": ["sqs:Delete*", "sqs:PurgeQueue"], "Resource": "*"}
    (parsed,) = parse(policy(statement), kind="identity").statements
    assert parsed.permissions == ALL_PERMISSIONS - {"sqs:DeleteQueue", "sqs:DeleteMessage", "sqs:PurgeQueue"}


@pytest.mark.parametrize("name", ["SendMessageBatch", "DeleteMessageBatch", "ChangeMessageVisibilityBatch"])
def test_a_batch_cannot_be_named_and_its_singular_is_told(name):
    with pytest.raises(PolicyError, match=f"sqs:{name.removesuffix('Batch')} is asked for it"):
        permissions(f"sqs:{name}")


def test_resources_are_those_or_all_but_those():
    dlq = f"{QUEUE}-dlq"
    one = identity(Resource=[QUEUE, "arn:aws:sqs:*:*:other"])
    assert one.applies("sqs:SendMessage", QUEUE, {})
    assert not one.applies("sqs:SendMessage", dlq, {})
    assert not one.applies("sqs:SendMessage", "*", {})
    assert identity(Resource="*").applies("sqs:SendMessage", "*", {})
    statement = {"Effect": "Allow", "Action": "*", "NotResource": [QUEUE, "arn:aws:sqs:*:*:other"]}
    (but,) = parse(policy(statement), kind="identity").statements
    assert not but.applies("sqs:SendMessage", QUEUE, {})
    assert but.applies("sqs:SendMessage", dlq, {})


@pytest.mark.parametrize("element", ["Resource", "NotResource"])
def test_a_statement_whose_variable_has_no_value_grants_nothing_and_denies(element):
    outcomes = {}
    for effect in ("Allow", "Deny"):
        statement = {"Effect": effect, "Action": "*", element: "arn:aws:sqs:*:*:${aws:RequestTag/team}-jobs"}
        (parsed,) = parse(policy(statement), kind="identity").statements
        outcomes[effect] = parsed.applies("sqs:SendMessage", QUEUE, {})
    assert outcomes == {"Allow": False, "Deny": True}


ADA = Principal(ACCOUNT, f"arn:aws:iam::{ACCOUNT}:user/ada", "ada")
WORKER = Principal(ACCOUNT, f"arn:aws:iam::{ACCOUNT}:role/team/worker", "laptop")
ROOT = Principal(ACCOUNT, f"arn:aws:iam::{ACCOUNT}:root", "", is_root=True)
SESSION = f"arn:aws:sts::{ACCOUNT}:assumed-role/worker/laptop"


def concerns(principal: Principal, element: dict, *, effect: str = "Allow", is_account_enough: bool = False) -> bool:
    statement = {**ALLOW, "Effect": effect, **element}
    (parsed,) = parse(policy(statement), kind="resource").statements
    return parsed.concerns(principal, is_account_enough=is_account_enough)


@pytest.mark.parametrize(
    ("principals", "principal", "named", "covered"),
    [
        ("*", ADA, True, True),
        ({"AWS": "*"}, ADA, True, True),
        ({"AWS": ADA.arn}, ADA, True, True),
        ({"AWS": ["999999999999", ADA.arn]}, ADA, True, True),
        ({"AWS": ADA.arn + "x"}, ADA, False, False),
        ({"AWS": WORKER.arn}, WORKER, True, True),
        ({"AWS": SESSION}, WORKER, True, True),
        ({"AWS": SESSION + "2"}, WORKER, False, False),
        ({"AWS": ACCOUNT}, ADA, False, True),
        ({"AWS": f"arn:aws:iam::{ACCOUNT}:root"}, ADA, False, True),
        ({"AWS": f"arn:aws:iam::{ACCOUNT}:root"}, ROOT, True, True),
        ({"AWS": ACCOUNT}, ROOT, True, True),
        ({"AWS": "999999999999"}, ADA, False, False),
        ({"Service": "sns.amazonaws.com"}, ADA, False, False),
        ({"Service": "sns.amazonaws.com", "AWS": ADA.arn}, ADA, True, True),
    ],
)
def test_an_account_stands_for_its_users_in_denials_and_across_accounts(principals, principal, named, covered):
    element = {"Principal": principals}
    assert concerns(principal, element) is named
    assert concerns(principal, element, is_account_enough=True) is covered
    assert concerns(principal, element, effect="Deny") is covered
    but = {"NotPrincipal": principals}
    assert concerns(principal, but) is not covered
    assert concerns(principal, but, effect="Deny") is not named


BROKEN = [
    ("5", "Policy", "no JSON object"),
    ("[]", "Policy", "no JSON object"),
    ("", "Policy", "not JSON"),
    ('{"Version": NaN}', "Policy", "not JSON"),
    ("[" * 5000, "Policy", "not JSON"),
    ('{"Id": "\\ud800"}', "Policy", "not JSON"),
    ('{"Version":"2012-10-17","Version":"2008-10-17"}', "Policy", "twice"),
    ('{"Statement":[{"Effect":"Allow","Condition":{"Null":{},"Null":{}}}]}', "Policy", "twice"),
    (policy(ALLOW, Version="2012-10-18"), "Version", "2012-10-17"),
    (policy(ALLOW, Version=["2012-10-17"]), "Version", "2012-10-17"),
    (policy(ALLOW, Id=5), "Id", "text"),
    (policy(ALLOW, Statements=[]), "Policy", "did you mean Statement"),
    (policy(), "Statement[0]", "has a Statement"),
    ('{"Version":"2012-10-17"}', "Statement[0]", "has a Statement"),
    (policy(ALLOW, "no"), "Statement[1]", "is an object"),
    (policy({**ALLOW, "Condtion": {}}), "Statement[0]", "did you mean Condition"),
    (policy({**ALLOW, "Effect": "allow"}), "Statement[0].Effect", "Allow or Deny"),
    (policy({**ALLOW, "Effect": {}}), "Statement[0].Effect", "Allow or Deny"),
    (policy({**ALLOW, "Sid": 5}), "Statement[0].Sid", "text"),
    (policy({**ALLOW, "Sid": "a"}, {**ALLOW, "Sid": "a"}), "Policy", "two statements"),
    (policy({**ALLOW, "NotAction": "sqs:*"}), "Statement[0]", "one of Action and NotAction"),
    (policy({"Effect": "Allow", "Resource": "*"}), "Statement[0]", "one of Action and NotAction"),
    (policy({"Effect": "Allow", "Action": "*"}), "Statement[0]", "one of Resource and NotResource"),
    (policy({**ALLOW, "Action": []}), "Statement[0].Action", "not empty"),
    (policy({**ALLOW, "Action": ["sqs:*", 5]}), "Statement[0].Action", "list of texts"),
    (policy({**ALLOW, "Action": "SendMessage"}), "Statement[0].Action", "is written"),
    (policy({**ALLOW, "Action": "sqs:"}), "Statement[0].Action", "is written"),
    (policy({**ALLOW, "Action": "s?s:*"}), "Statement[0].Action", "is written"),
    (policy({**ALLOW, "Action": "sqs:${aws:username}"}), "Statement[0].Action", "is written"),
    (policy({**ALLOW, "Action": "sqs:SendMesage"}), "Statement[0].Action", "did you mean sqs:SendMessage"),
    (policy({**ALLOW, "Action": "sqs:Send*Batch"}), "Statement[0].Action", "a batch"),
    (policy({**ALLOW, "Resource": ""}), "Statement[0].Resource", "not empty"),
    (policy({**ALLOW, "Resource": "amply-celery"}), "Statement[0].Resource", "an ARN"),
    (policy({**ALLOW, "Resource": "*:amply"}), "Statement[0].Resource", "an ARN"),
    (policy({**ALLOW, "Resource": "arn:aws:sqs:*"}), "Statement[0].Resource", "six parts"),
    (policy({**ALLOW, "Principal": "*"}), "Statement[0]", "only a queue's policy"),
    (policy({**ALLOW, "NotPrincipal": "*"}), "Statement[0]", "only a queue's policy"),
    (policy({**ALLOW, "Condition": {}}), "Statement[0].Condition", "not empty"),
    (
        policy({**ALLOW, "Resource": "arn:aws:sqs:*:*:${aws:username}"}, Version="2008-10-17"),
        "Policy",
        "variables need",
    ),
    (policy({**ALLOW, "Resource": "arn:aws:sqs:*:*:${aws:PrincipalTag/a}"}), "Statement[0].Resource", "open door"),
]


@pytest.mark.parametrize(("document", "where", "why"), BROKEN)
def test_what_could_not_be_enforced_is_refused_with_what_where_and_why(document, where, why):
    with pytest.raises(PolicyError, match=why) as told:
        parse(document, kind="identity")
    assert told.value.where == where
    assert told.value.what
    assert all(part in str(told.value) for part in (told.value.what, where, told.value.why))


@pytest.mark.parametrize(
    ("element", "why"),
    [
        ({}, "one of Principal and NotPrincipal"),
        ({"Principal": "*", "NotPrincipal": "*"}, "one of Principal and NotPrincipal"),
        ({"Principal": ACCOUNT}, "it is"),
        ({"Principal": {}}, "it is"),
        ({"Principal": {"AWS": []}}, "not empty"),
        ({"Principal": {"AWS": 5}}, "not empty"),
        ({"Principal": {"AWS": [5]}}, "12-digit"),
        ({"Principal": {"AWS": "ada"}}, "12-digit"),
        ({"Principal": {"AWS": "12345678901"}}, "12-digit"),
        ({"Principal": {"AWS": f"arn:aws:iam::{ACCOUNT}:user/*"}}, "wildcards"),
        ({"Principal": {"AWS": f"arn:aws:iam::{ACCOUNT}:user/${{aws:username}}"}}, "wildcards"),
        ({"Principal": {"Federated": "accounts.google.com"}}, "kinds AWS and Service"),
        ({"Principal": {"Service": "sns"}}, "sns.amazonaws.com"),
        ({"Principal": "*", "Action": "cloudwatch:*"}, "SQS alone"),
    ],
)
def test_a_queue_s_policy_says_whom_it_speaks_of(element, why):
    with pytest.raises(PolicyError, match=why):
        parse(policy({**ALLOW, **element}), kind="resource")


def quota(kind: str, *statements: dict) -> str | None:
    try:
        parse(policy(*statements), kind=kind)
    except PolicyError as error:
        return error.what
    return None


ANYBODY = {**ALLOW, "Principal": "*"}


def users(count: int) -> dict:
    return {**ALLOW, "Principal": {"AWS": [f"arn:aws:iam::{ACCOUNT}:user/u{number}" for number in range(count)]}}


def tagged(count: int, **more) -> dict:
    return {**ALLOW, "Condition": {"StringEquals": {f"aws:ResourceTag/{n}": "a" for n in range(count)}}, **more}


def test_a_queue_s_policy_is_held_to_sqs_s_quotas():
    assert quota("resource", *[ANYBODY] * 20) is None
    assert quota("resource", *[ANYBODY] * 21) == "21 statements"
    assert quota("resource", users(25), users(25)) is None
    assert quota("resource", users(25), users(26)) == "51 principals"
    assert quota("resource", tagged(5, Principal="*"), tagged(5, Principal="*")) is None
    assert quota("resource", tagged(5, Principal="*"), tagged(6, Principal="*")) == "11 conditions"
    full = policy({**ANYBODY, "Sid": ""})
    assert quota("resource", {**ANYBODY, "Sid": "s" * (8192 - len(full))}) is None
    assert quota("resource", {**ANYBODY, "Sid": "s" * (8193 - len(full))}) == "8193 bytes"


def test_a_role_s_policy_may_be_longer():
    assert quota("identity", *[tagged(11)] * 21) is None
    assert quota("identity", {**ALLOW, "Sid": "s" * 9000}) is None


def test_a_document_that_is_no_json_is_refused():
    with pytest.raises(PolicyError, match="JSON cannot"):
        parse({"Statement": [{"Effect": object()}]}, kind="identity")
