"""boto3: every limit holds, and every limit can be another one for tests."""

import json

import pytest
from botocore.exceptions import ClientError

from amply.broker.sqs.limits import AWS, CHANGEABLE, Limits
from amply.broker.store.memory import MemoryStore

ARN = "arn:aws:sqs:eu-central-1:000000000000:"
ACCOUNTS = [f"{number:012}" for number in range(60)]


def setting(name, value):
    return lambda sqs: sqs.set_queue_attributes(QueueUrl="work", Attributes={name: value})


def sending(**members):
    return lambda sqs: sqs.send_message(QueueUrl="work", **{"MessageBody": "x"} | members)


def attribute(name="a", data_type="String", value="x"):
    return sending(MessageAttributes={name: {"DataType": data_type, "StringValue": value}})


def receiving(**members):
    return lambda sqs: sqs.receive_message(QueueUrl="work", **members)


def tagging(tags):
    return lambda sqs: sqs.tag_queue(QueueUrl="work", Tags=tags)


def permitting(label="x", accounts=ACCOUNTS[:1], actions=("*",)):
    return lambda sqs: sqs.add_permission(QueueUrl="work", Label=label, AWSAccountIds=accounts, Actions=list(actions))


def batch(*ids, body="x"):
    def send(sqs):
        sqs.send_message_batch(QueueUrl="work", Entries=[{"Id": one, "MessageBody": body} for one in ids])

    return send


def twice(first, second=None):
    def call(sqs):
        first(sqs)
        (second or first)(sqs)

    return call


def to_fifo(**members):
    def send(sqs):
        attributes = {"FifoQueue": "true", "ContentBasedDeduplication": "true"}
        sqs.create_queue(QueueName="work.fifo", Attributes=attributes)
        sqs.send_message(QueueUrl="work.fifo", **{"MessageBody": "x", "MessageGroupId": "g"} | members)

    return send


def many_permissions(count):
    def permit(sqs):
        for number in range(count):
            permitting(label=f"label-{number}")(sqs)

    return permit


def policy_with(**members):
    statement = {"Effect": "Allow", "Principal": "*", "Action": "sqs:SendMessage", "Resource": "*"}
    return setting("Policy", json.dumps({"Version": "2012-10-17", "Statement": statement | members}))


def redrive(count):
    policy = {"deadLetterTargetArn": f"{ARN}amply-celery-dlq", "maxReceiveCount": count}
    return setting("RedrivePolicy", json.dumps(policy))


def list_all(sqs):
    sqs.list_queues(MaxResults=1001)


def attempt(sqs):
    to_fifo()(sqs)
    sqs.receive_message(QueueUrl="work.fifo", ReceiveRequestAttemptId="x" * 129)


ELEVEN = {f"a{number}": {"DataType": "String", "StringValue": "x"} for number in range(11)}
SOURCES = {"redrivePermission": "byQueue", "sourceQueueArns": [f"{ARN}q{number}" for number in range(11)]}
OPERATORS = [f"String{word}{end}" for word in ("Equals", "NotEquals", "Like", "NotLike") for end in ("", "IfExists")]
CONDITIONS = {operator: {"aws:PrincipalArn": "x"} for operator in OPERATORS}
CONDITIONS["StringEquals"] |= dict.fromkeys(("aws:username", "aws:PrincipalAccount", "aws:userid"), "x")

# Another limit, and what only that allows.
BEYOND_AWS = {
    "message_size_bytes_min": (1, setting("MaximumMessageSize", "1")),
    "message_size_bytes_max": (2**21, setting("MaximumMessageSize", str(2**21))),
    "batch_size_bytes_max": (2**21, batch("a", "b", body="x" * 600_000)),
    "batch_entries_max": (11, batch(*(str(number) for number in range(11)))),
    "batch_id_length_max": (81, batch("x" * 81)),
    "delay_s_max": (901, sending(DelaySeconds=901)),
    "visibility_timeout_s_max": (43_201, receiving(VisibilityTimeout=43_201)),
    "wait_time_s_max": (21, setting("ReceiveMessageWaitTimeSeconds", "21")),
    "retention_s_min": (1, setting("MessageRetentionPeriod", "1")),
    "retention_s_max": (1_209_601, setting("MessageRetentionPeriod", "1209601")),
    "receive_messages_max": (11, receiving(MaxNumberOfMessages=11)),
    "message_attributes_max": (11, sending(MessageAttributes=ELEVEN)),
    "message_attribute_name_length_max": (257, attribute(name="a" * 257)),
    "message_attribute_type_length_max": (257, attribute(data_type="String." + "a" * 250)),
    "number_digits_max": (39, attribute(data_type="Number", value="1" * 39)),
    "number_exponent_min": (-129, attribute(data_type="Number", value="1e-129")),
    "number_exponent_max": (127, attribute(data_type="Number", value="1e127")),
    "group_id_length_max": (129, sending(MessageGroupId="x" * 129)),
    "deduplication_id_length_max": (129, to_fifo(MessageDeduplicationId="x" * 129)),
    "attempt_id_length_max": (129, attempt),
    "tags_max": (51, tagging({str(number): "" for number in range(51)})),
    "tag_key_length_max": (129, tagging({"k" * 129: ""})),
    "tag_value_length_max": (257, tagging({"k": "v" * 257})),
    "list_queues_max": (1001, list_all),
    "purge_interval_s": (0, twice(lambda sqs: sqs.purge_queue(QueueUrl="work"))),
    "recreate_interval_s": (
        0,
        twice(lambda sqs: sqs.delete_queue(QueueUrl="work"), lambda sqs: sqs.create_queue(QueueName="work")),
    ),
    "kms_data_key_reuse_s_min": (1, setting("KmsDataKeyReusePeriodSeconds", "1")),
    "kms_data_key_reuse_s_max": (86_401, setting("KmsDataKeyReusePeriodSeconds", "86401")),
    "receive_count_max": (1001, redrive(1001)),
    "redrive_source_queues_max": (11, setting("RedriveAllowPolicy", json.dumps(SOURCES))),
    "policy_size_bytes_max": (9000, policy_with(Sid="x" * 8500)),
    "policy_statements_max": (21, many_permissions(21)),
    "policy_principals_max": (51, permitting(accounts=ACCOUNTS[:51])),
    "policy_conditions_max": (11, policy_with(Condition=CONDITIONS)),
    "permission_label_length_max": (81, permitting(label="x" * 81)),
    "permission_actions_max": (8, permitting(actions=["*"] * 8)),
}
# What shows only with time, or by a smaller limit; and what message move tasks have.
ELSEWHERE = {
    "in_flight_max",
    "deduplication_window_s",
    "attempt_window_s",
    "move_messages_per_s_max",
    "move_tasks_active_max",
    "move_tasks_listed_max",
}


def test_there_is_a_test_of_every_limit():
    assert BEYOND_AWS.keys() | ELSEWHERE == set(CHANGEABLE)


@pytest.fixture
def start_with(start_broker, make_client):
    """boto3 at a broker with these limits, which has a queue `work`."""

    def start(limits):
        client = make_client(start_broker(MemoryStore(), limits=limits).endpoint_url)
        client.create_queue(QueueName="work")
        return client

    return start


@pytest.mark.parametrize("name", BEYOND_AWS)
def test_what_aws_refuses_is_taken_with_another_limit(start_with, name):
    value, call = BEYOND_AWS[name]
    with pytest.raises(ClientError):
        call(start_with(AWS))
    call(start_with(Limits(**{name: value})))


def test_fewer_messages_in_flight_are_enough_for_a_test(start_with, refused):
    sqs = start_with(Limits(in_flight_max=2))
    batch("a", "b", "c")(sqs)
    assert len(sqs.receive_message(QueueUrl="work", MaxNumberOfMessages=10)["Messages"]) == 2
    assert refused(sqs.receive_message, QueueUrl="work")[:2] == (403, "OverLimit")


def test_a_short_window_of_deduplication_ends_within_a_test(start_broker, make_client):
    broker = start_broker(MemoryStore(), limits=Limits(deduplication_window_s=1))
    sqs = make_client(broker.endpoint_url)
    for _ in range(2):
        to_fifo()(sqs)
    broker.advance(2)
    to_fifo()(sqs)
    received = sqs.receive_message(QueueUrl="work.fifo", MaxNumberOfMessages=10)["Messages"]
    assert [message["Body"] for message in received] == ["x", "x"]


def test_a_short_window_of_attempts_ends_within_a_test(start_broker, make_client):
    broker = start_broker(MemoryStore(), limits=Limits(attempt_window_s=1))
    sqs = make_client(broker.endpoint_url)
    to_fifo()(sqs)

    def receive():
        return sqs.receive_message(QueueUrl="work.fifo", ReceiveRequestAttemptId="once").get("Messages")

    first = receive()
    assert receive() == first
    broker.advance(2)
    assert receive() is None
