"""AddPermission and RemovePermission on the policy's text; their refusals are tested with boto3."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amply.broker.auth.permissions import GRANTABLE, add_permission, remove_permission
from amply.broker.auth.policies import parse
from amply.broker.sqs.faults import OVER_LIMIT, Fault
from amply.broker.sqs.limits import AWS, Limits

ARN = "arn:aws:sqs:eu-central-1:000000000000:work"

labels = st.text("aZ09-_", min_size=1, max_size=80)
account_ids = st.lists(st.text("0123456789", min_size=12, max_size=12), min_size=1, max_size=50)
action_lists = st.lists(st.sampled_from(sorted(GRANTABLE)), min_size=1, max_size=7)


def added(policy: str | None, label: str, limits: Limits = AWS, **others: Any) -> str:
    members = {"account_ids": ["111111111111"], "actions": ["SendMessage"]} | others
    return add_permission(policy, arn=ARN, label=label, limits=limits, **members)


@given(label=labels, account_ids=account_ids, actions=action_lists)
def test_every_permission_makes_a_policy_that_can_be_enforced(
    label: str, account_ids: list[str], actions: list[str]
) -> None:
    text = added(None, label, account_ids=account_ids, actions=actions)
    (statement,) = parse(text, kind="resource").statements
    meant = {f"sqs:{action}" for action in actions}
    assert statement.sid == label
    assert statement.is_allow
    assert "sqs:*" in meant or statement.permissions == meant


@given(names=st.lists(labels, min_size=2, max_size=10, unique=True))
def test_what_was_added_can_be_removed_in_any_order_and_nothing_else_goes(names: list[str]) -> None:
    policy: str | None = None
    for name in names:
        policy = added(policy, name)
    for number, name in enumerate(sorted(names), 1):
        policy = remove_permission(policy, name)
        left = [statement["Sid"] for statement in json.loads(policy)["Statement"]] if policy else []
        assert sorted(left) == sorted(names)[number:]
    assert policy == ""


def test_a_policy_keeps_what_else_is_in_it() -> None:
    own = {"Effect": "Deny", "Principal": "*", "Action": "sqs:*", "Resource": ARN}
    document = {"Version": "2012-10-17", "Id": "mine", "Statement": [own]}
    policy = added(json.dumps(document), "x")
    assert json.loads(remove_permission(policy, "x")) == document


def test_a_quota_of_policies_is_an_over_limit() -> None:
    policy = added(None, "one")
    with pytest.raises(Fault) as caught:
        added(policy, "two", Limits(policy_statements_max=1))
    assert caught.value.row is OVER_LIMIT
