"""The dead letter tools under a strict broker: their role suffices, and holds nothing that they do not need."""

import json

import pytest

from amply.deadletters import DeadLetterQueue
from amply.deadletters.gateway import RefusedError
from amply.transport.endpoint import resolve

DEAD, WORK, TELEMETRY = "amply-celery-dlq", "amply-celery", "amply-telemetry"
RECORD = {"reason": "raised", "exception": "ValueError", "message": "no", "attempt": 5, "timestamp_ms": 1}


@pytest.fixture
def operate(strict, tmp_path):
    """The dead letter queue as the holder of a key for a role sees it."""
    opened = []

    def open_with(role):
        key = strict.key(role)
        endpoint = resolve(
            endpoint_url=strict.endpoint_url,
            region="eu-central-1",
            userid=key.access_key,
            password=key.secret.reveal(),
        )
        opened.append(
            DeadLetterQueue(DEAD, endpoint=endpoint, data=tmp_path / f"operator-{role}", telemetry_queue=TELEMETRY)
        )
        return opened[-1]

    yield open_with
    for one in opened:
        one.close()


@pytest.fixture
def admin(strict):
    return strict.client(strict.key("admin"))


@pytest.fixture
def dead_letter(strict, admin):
    """A job that died, and the record of why; gives the message's id."""
    admin.send_message(QueueUrl=strict.url(WORK), MessageBody="a job")
    message_id = None
    for _ in range(6):
        answer = admin.receive_message(QueueUrl=strict.url(WORK), VisibilityTimeout=0, WaitTimeSeconds=0)
        for message in answer.get("Messages", ()):
            message_id = message["MessageId"]
    record = json.dumps({"type": "delivery-failed", "message_id": message_id, **RECORD})
    admin.send_message(QueueUrl=strict.url(TELEMETRY), MessageBody=record)
    return message_id


def refusals(dlq):
    """What the tools say when they do all that they can."""
    try:
        dlq.collect()
        assert dlq.groups().letters == 1
        return list(dlq.redrive().stayed)
    except RefusedError as error:
        return [error.hint]


def test_a_dlq_operator_sees_why_a_job_died_and_brings_it_back(strict, operate, admin, dead_letter):
    dlq = operate("dlq-operator")
    dlq.collect()
    (found,) = dlq.letters()
    assert (found.letter.message_id, found.letter.source, found.death.text) == (dead_letter, WORK, "ValueError: no")
    assert dlq.redrive().moved == 1
    (back,) = admin.receive_message(QueueUrl=strict.url(WORK), WaitTimeSeconds=0)["Messages"]
    assert back["Body"] == "a job"
    assert strict.audit() == []


@pytest.mark.parametrize(
    ("queue", "action"),
    [
        *((DEAD, action) for action in ("GetQueueUrl", "GetQueueAttributes", "ReceiveMessage", "DeleteMessage")),
        (DEAD, "ChangeMessageVisibility"),
        *((WORK, action) for action in ("GetQueueUrl", "GetQueueAttributes", "SendMessage")),
        *((TELEMETRY, action) for action in ("GetQueueUrl", "GetQueueAttributes", "ReceiveMessage", "DeleteMessage")),
    ],
)
def test_without_one_of_its_permissions_the_tools_say_which(strict, operate, admin, dead_letter, queue, action):
    denied = {
        "Effect": "Deny",
        "Principal": "*",
        "Action": f"sqs:{action}",
        "Resource": "*",
        "Condition": {"ArnLike": {"aws:PrincipalArn": "arn:aws:iam::*:role/dlq-operator"}},
    }
    policy = {"Version": "2012-10-17", "Statement": [denied]}
    admin.set_queue_attributes(QueueUrl=strict.url(queue), Attributes={"Policy": json.dumps(policy)})
    told = refusals(operate("dlq-operator"))
    assert told
    assert all(f"sqs:{action} on" in (one or "") for one in told), told
    assert {line["action"].removesuffix("Batch") for line in strict.audit()} <= {action, "PeekMessages"}


@pytest.mark.parametrize("role", ["producer", "worker", "monitoring"])
def test_other_roles_cannot_look_at_dead_letters(strict, operate, dead_letter, role):
    with pytest.raises(RefusedError):
        list(operate(role).letters())
