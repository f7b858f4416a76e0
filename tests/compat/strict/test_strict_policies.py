"""Queues' own policies on a strict broker: denials first, conditions, other accounts."""

import json

import pytest
from botocore.exceptions import ClientError

from amply.broker.store.sqlite import SqliteStore

ARN = "arn:aws:sqs:eu-central-1:000000000000:amply-celery"
PRODUCER = "arn:aws:iam::000000000000:role/producer"


@pytest.fixture
def url(strict):
    return strict.url("amply-celery")


@pytest.fixture
def set_policy(strict, url):
    """Give the queue a policy of one statement."""
    admin = strict.client(strict.key("admin"))

    def put(**statement):
        told = {"Effect": "Allow", "Principal": "*", "Action": "sqs:SendMessage", "Resource": ARN, **statement}
        policy = json.dumps({"Version": "2012-10-17", "Statement": [told]})
        admin.set_queue_attributes(QueueUrl=url, Attributes={"Policy": policy})

    return put


def message_of(method, **members):
    with pytest.raises(ClientError) as caught:
        method(**members)
    assert caught.value.response["Error"]["Code"] == "AccessDenied"
    return caught.value.response["Error"]["Message"]


def test_a_denial_in_the_queues_policy_goes_before_the_roles_permission(strict, url, set_policy):
    producer = strict.client(strict.key("producer"))
    producer.send_message(QueueUrl=url, MessageBody="x")
    set_policy(Effect="Deny")
    said = message_of(producer.send_message, QueueUrl=url, MessageBody="x")
    assert said.endswith("with an explicit deny in a resource-based policy")
    said = message_of(producer.send_message_batch, QueueUrl=url, Entries=[{"Id": "1", "MessageBody": "x"}])
    assert "sqs:SendMessage on resource" in said
    assert [line["action"] for line in strict.audit()] == ["SendMessage", "SendMessageBatch"]


def test_a_queues_policy_may_allow_what_the_role_does_not(strict, url, set_policy):
    producer = strict.client(strict.key("producer"))
    message_of(producer.purge_queue, QueueUrl=url)
    set_policy(Action="sqs:PurgeQueue", Principal={"AWS": PRODUCER})
    producer.purge_queue(QueueUrl=url)
    message_of(strict.client(strict.key("monitoring")).purge_queue, QueueUrl=url)


@pytest.mark.parametrize(
    ("condition", "fits"),
    [
        ({"IpAddress": {"aws:SourceIp": "127.0.0.0/8"}}, True),
        ({"IpAddress": {"aws:SourceIp": "10.0.0.0/8"}}, False),
        ({"Bool": {"aws:SecureTransport": "false"}}, True),
        ({"Bool": {"aws:SecureTransport": "true"}}, False),
        ({"StringLike": {"aws:UserAgent": "Boto3/*"}}, True),
        ({"StringLike": {"aws:UserAgent": "curl/*"}}, False),
        ({"DateGreaterThan": {"aws:CurrentTime": "2020-01-01T00:00:00Z"}}, True),
        ({"DateLessThan": {"aws:CurrentTime": "2020-01-01T00:00:00Z"}}, False),
        ({"NumericGreaterThan": {"aws:EpochTime": "1500000000"}}, True),
        ({"ArnEquals": {"aws:PrincipalArn": PRODUCER}}, True),
        ({"ArnEquals": {"aws:PrincipalArn": PRODUCER.replace("producer", "worker")}}, False),
        ({"StringEquals": {"aws:username": "web-shop"}}, True),
        ({"StringEquals": {"aws:username": "other"}}, False),
        ({"StringEquals": {"aws:PrincipalAccount": "000000000000"}}, True),
        ({"StringEquals": {"aws:ResourceTag/team": "shop"}}, True),
        ({"StringEquals": {"aws:ResourceTag/team": "other"}}, False),
        ({"Null": {"aws:SourceArn": "true"}}, True),
    ],
)
def test_a_condition_sees_the_request_as_it_came(strict, url, set_policy, condition, fits):
    admin = strict.client(strict.key("admin"))
    admin.tag_queue(QueueUrl=url, Tags={"team": "shop"})
    set_policy(Effect="Deny", Condition=condition)
    producer = strict.client(strict.key("producer", "web-shop"))
    if fits:
        message_of(producer.send_message, QueueUrl=url, MessageBody="x")
    else:
        producer.send_message(QueueUrl=url, MessageBody="x")


def test_the_tags_that_a_request_brings_can_be_a_condition(strict, url, set_policy):
    set_policy(Effect="Deny", Action="sqs:TagQueue", Condition={"StringEquals": {"aws:RequestTag/stage": "production"}})
    admin = strict.client(strict.key("admin", "another"))
    admin.tag_queue(QueueUrl=url, Tags={"stage": "test"})
    message_of(admin.tag_queue, QueueUrl=url, Tags={"stage": "production"})


def test_moving_dead_letters_back_takes_the_right_to_send_to_every_queue_that_they_came_from(strict, set_policy):
    operator = strict.client(strict.key("dlq-operator"))
    set_policy(Effect="Deny", Principal={"AWS": PRODUCER.replace("producer", "dlq-operator")})
    for spelling in (ARN, ARN.replace("arn:aws:", "arn:aws-cn:")):
        said = message_of(operator.start_message_move_task, SourceArn=f"{spelling}-dlq")
        assert f"sqs:SendMessage on resource: {ARN} with an explicit deny" in said


@pytest.mark.parametrize("partition", ["aws", "aws-cn", "aws-us-gov"])
def test_a_denial_holds_by_whatever_name_the_queue_is_called(strict, partition):
    admin = strict.client(strict.key("admin"))
    dead = f"{ARN}-dlq"
    told = {"Effect": "Deny", "Principal": "*", "Action": "sqs:ListMessageMoveTasks", "Resource": dead}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [told]})
    admin.set_queue_attributes(QueueUrl=strict.url("amply-celery-dlq"), Attributes={"Policy": policy})
    said = message_of(admin.list_message_move_tasks, SourceArn=dead.replace("arn:aws:", f"arn:{partition}:"))
    assert said.endswith("with an explicit deny in a resource-based policy")


def test_another_accounts_queue_takes_both_sides(start_broker, start_strict, make_client, tmp_path):
    folder = tmp_path / "store"
    open_broker = start_broker(SqliteStore(folder))
    theirs = make_client(open_broker.endpoint_url, "111122223333")
    named = theirs.create_queue(QueueName="theirs")["QueueUrl"]
    theirs.add_permission(QueueUrl=named, Label="us", AWSAccountIds=["000000000000"], Actions=["SendMessage"])
    theirs.create_queue(QueueName="private")
    open_broker.stop()

    broker = start_strict(SqliteStore(folder))
    admin, producer = broker.client(broker.key("admin")), broker.client(broker.key("producer"))
    shared, private = broker.url("theirs", "111122223333"), broker.url("private", "111122223333")
    admin.send_message(QueueUrl=shared, MessageBody="x")
    message_of(producer.send_message, QueueUrl=shared, MessageBody="x")
    message_of(admin.receive_message, QueueUrl=shared)
    message_of(admin.send_message, QueueUrl=private, MessageBody="x")
    message_of(admin.delete_queue, QueueUrl=shared)


def test_add_permission_is_in_force_at_once(strict, url):
    admin = strict.client(strict.key("admin"))
    admin.add_permission(QueueUrl=url, Label="ours", AWSAccountIds=["000000000000"], Actions=["PurgeQueue"])
    # Within one account a grant to the account leaves it to the roles' own policies.
    message_of(strict.client(strict.key("producer")).purge_queue, QueueUrl=url)
    admin.remove_permission(QueueUrl=url, Label="ours")


def test_a_policy_from_before_that_cannot_be_enforced_allows_nothing_but_its_own_mending(
    start_broker, start_strict, tmp_path, monkeypatch
):
    from amply.broker.service import guarding

    broker = start_strict()
    admin = broker.client(broker.key("admin"))
    url = broker.url("amply-celery")
    policy = json.dumps(
        {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": "*", "Action": "*", "Resource": "*"}]}
    )
    admin.set_queue_attributes(QueueUrl=url, Attributes={"Policy": policy})
    broken = guarding.PolicyError("aws:Odd", "Statement[0].Condition", "not known here")
    monkeypatch.setattr(guarding, "_parsed", lambda *_: broken)
    assert "cannot be enforced" in message_of(admin.send_message, QueueUrl=url, MessageBody="x")
    admin.set_queue_attributes(QueueUrl=url, Attributes={"Policy": ""})
    admin.send_message(QueueUrl=url, MessageBody="x")
