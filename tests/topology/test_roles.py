"""Roles: what a file says in IAM's words, and what is wrong with what it says."""

import pytest
import yaml

from amply.broker.sqs.actions import ACTIONS
from amply.topology import derive
from amply.topology.document import TopologyError
from amply.topology.load import PACKAGED, check, load

BASE = {
    "region": "eu-central-1",
    "account": "123456789012",
    "queues": [{"QueueName": "main", "CeleryName": "celery", "Attributes": {"VisibilityTimeout": 60}}],
}
OWN = "arn:aws:sqs:eu-central-1:123456789012:"


def statement(**changes):
    told = {"Effect": "Allow", "Action": "sqs:SendMessage", "Resource": "arn:aws:sqs:...:main", **changes}
    return {key: value for key, value in told.items() if value is not None}


@pytest.fixture
def write(tmp_path):
    """A file with one role, `r`, of these statements."""

    def written(*statements, **members):
        path = tmp_path / "amply.yaml"
        roles = [{"role": "r", "Statement": list(statements), **members}]
        path.write_text(yaml.safe_dump({**BASE, "roles": roles}, sort_keys=False))
        return path

    return written


@pytest.fixture
def errors(write):
    """What is said of the one role's statement: fields and reasons."""

    def found(*statements, **members):
        with pytest.raises(TopologyError) as caught:
            load(write(*statements, **members))
        assert all(finding.line > 0 for finding in caught.value.findings)
        return [f"{finding.field}: {finding.reason}" for finding in caught.value.findings]

    return found


def test_a_file_without_roles_has_none(tmp_path):
    path = tmp_path / "amply.yaml"
    path.write_text(yaml.safe_dump(BASE))
    assert load(path).roles == ()


def test_the_short_form_of_an_arn_gets_the_region_and_the_account(write):
    topology = load(write(statement(Resource=["arn:aws:sqs:...:main", "arn:aws:sqs:...:pid*", f"{OWN}other", "*"])))
    policy = derive.role_policy(topology, topology.role("r"))
    assert policy == {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Allow",
                "Action": ["sqs:SendMessage"],
                "Resource": [f"{OWN}main", f"{OWN}pid*", f"{OWN}other", "*"],
            }
        ],
    }


def test_a_statement_keeps_its_sid_its_opposites_and_its_conditions_as_text(write):
    condition = {"IpAddress": {"aws:SourceIp": ["10.0.0.0/8"]}, "Bool": {"aws:SecureTransport": False}}
    told = statement(Sid="One", Action=None, NotAction="sqs:PurgeQueue", Condition=condition)
    topology = load(write(told))
    (read,) = derive.role_policy(topology, topology.role("r"))["Statement"]
    assert (read["Sid"], read["NotAction"]) == ("One", ["sqs:PurgeQueue"])
    assert read["Condition"] == {
        "IpAddress": {"aws:SourceIp": ["10.0.0.0/8"]},
        "Bool": {"aws:SecureTransport": ["false"]},
    }


@pytest.mark.parametrize("action", ["*", "sqs:*", "SQS:sendmessage", "sqs:Receive*", "sqs:Get?ueueUrl"])
def test_an_action_may_be_a_pattern_in_any_case(write, action):
    assert load(write(statement(Action=action))).roles[0].policy["Statement"][0]["Action"] == [action]


@pytest.mark.parametrize(
    ("action", "reason"),
    [
        ("sqs:SendMesage", "SQS has no action sqs:SendMesage"),
        ("sqs:Publish*", "SQS has no action sqs:Publish*"),
        ("sqs:SendMessageBatch", "is no permission of its own: sqs:SendMessage allows the batch too"),
        ("sqs:*Batch", "is no permission of its own"),
        ("s3:GetObject", "s3:GetObject is no action of SQS"),
        ("SendMessage", "must be an action like sqs:SendMessage; it is 'SendMessage'"),
        (7, "must be an action like sqs:SendMessage; it is 7"),
        ([], "must name at least one"),
    ],
)
def test_an_action_that_sqs_does_not_know_is_refused(errors, action, reason):
    (said,) = errors(statement(Action=action))
    assert said.startswith("roles[0].Statement[0].Action")
    assert reason in said


@pytest.mark.parametrize(
    "resource",
    [
        "main",
        "arn:aws:s3:::bucket",
        "arn:aws:sqs:...:",
        "arn:aws:sqs:...:a b",
        "arn:aws:sqs:eu-central-1:main",
        f"{OWN}a/b",
    ],
)
def test_a_resource_that_is_no_queue_is_refused(errors, resource):
    (said,) = errors(statement(Resource=resource))
    assert said.startswith("roles[0].Statement[0].Resource: ")
    assert "is no queue's ARN; write arn:aws:sqs:...:<QueueName>, or *" in said


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"Effect": "allow"}, "Effect: must be Allow or Deny; it is 'allow'"),
        ({"Effect": None}, "Effect is missing"),
        ({"Action": None}, "needs Action or NotAction"),
        ({"NotAction": "sqs:PurgeQueue"}, "needs Action or NotAction, not both"),
        ({"Resource": None}, "needs Resource or NotResource"),
        ({"Principal": "*"}, "Principal: unknown key"),
        ({"Sid": "no spaces"}, "Sid: must be 1 to 64 letters and digits"),
        ({"Condition": "x"}, "Condition: must be a mapping"),
        ({"Condition": {"Bool": "x"}}, "Condition: Bool must be a mapping of condition keys"),
        ({"Condition": {"Bool": {"aws:SecureTransport": []}}}, "Condition: Bool, aws:SecureTransport: must be a text"),
    ],
)
def test_a_statement_that_iam_would_not_take_is_refused(errors, changes, reason):
    assert any(reason in said for said in errors(statement(**changes)))


def test_a_role_needs_a_name_and_statements(errors):
    assert errors(role="no spaces") == [
        "roles[0].role: must be 1 to 64 letters, digits and characters of _+=,.@-; it is 'no spaces'",
        "roles[0].Statement: must hold at least one statement",
    ]


def test_two_roles_may_not_have_one_name(tmp_path):
    path = tmp_path / "amply.yaml"
    roles = [{"role": "r", "Statement": [statement()]}] * 2
    text = yaml.dump({**BASE, "roles": roles}, Dumper=_WithoutAliases)
    path.write_text(text)
    with pytest.raises(TopologyError, match=r"roles\[1\].role: r is already the name of roles\[0\]"):
        load(path)


class _WithoutAliases(yaml.SafeDumper):
    def ignore_aliases(self, data):
        return True


def test_a_queue_that_is_not_in_the_file_is_a_warning_and_a_pattern_is_not(write):
    told = statement(Resource=["arn:aws:sqs:...:mian", "arn:aws:sqs:...:main", "arn:aws:sqs:...:m*", f"{OWN}gone"])
    elsewhere = statement(Resource=f"{OWN.replace('123', '999')}theirs")
    findings = [finding for finding in check(write(told, elsewhere))[1] if finding.field.startswith("roles")]
    assert [(finding.field, finding.reason.split(";")[0]) for finding in findings] == [
        ("roles[0].Statement[0].Resource", "there is no queue gone in this file"),
        ("roles[0].Statement[0].Resource", "there is no queue mian in this file"),
    ]


def test_the_packaged_file_has_the_five_roles_and_names_no_queue_that_is_not_there():
    topology, findings = check(PACKAGED)
    assert [role.name for role in topology.roles] == ["producer", "worker", "dlq-operator", "monitoring", "admin"]
    assert not [finding for finding in findings if finding.field.startswith("roles")]


def test_every_action_may_be_named_by_its_singular(write):
    for action in ACTIONS:
        load(write(statement(Action=f"sqs:{action.removesuffix('Batch')}")))
