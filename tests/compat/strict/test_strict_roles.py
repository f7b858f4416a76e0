"""What each packaged role may do: every role, every action, every kind of queue, against a real strict broker.

The table is written by hand. A role or an action without its place in it fails.
"""

import base64
import json

import pytest
from botocore.exceptions import ClientError

from amply.broker.sqs.actions import ACTIONS, ANSWERED, EXTENSIONS
from amply.topology.load import load

ARN = "arn:aws:sqs:eu-central-1:000000000000:"

# Kinds of queues: work (three of them), dead letters, telemetry, a worker's mailbox, a reader of events, any other.
QUEUES = {
    "w": ("amply-celery", "amply-celery-high", "amply-celery-low"),
    "d": ("amply-celery-dlq",),
    "t": ("amply-telemetry",),
    "m": ("amply-pidbox_celery_node_worker_00000000abcdef",),
    "e": ("amply-events_celeryev_00000000abcdef",),
    "o": ("orders", "amply-celery-dlq2", "amply-pidbox", "orders.fifo"),
}

# On which kinds an action is allowed; "-" is none.
TABLE = """\
action                        producer  worker  dlq-operator  monitoring  admin
AddPermission                 -         -       -             -           wdtmeo
CancelMessageMoveTask         -         -       d             -           wdtmeo
ChangeMessageVisibility       -         w       d             -           wdtmeo
ChangeMessageVisibilityBatch  -         w       d             -           wdtmeo
CreateQueue                   -         m       -             -           wdtmeo
DeleteMessage                 -         w       dt            -           wdtmeo
DeleteMessageBatch            -         w       dt            -           wdtmeo
DeleteQueue                   -         me      -             -           wdtmeo
GetQueueAttributes            w         wdt     wdt           wdtmeo      wdtmeo
GetQueueUrl                   -         -       wdt           wdtmeo      wdtmeo
ListDeadLetterSourceQueues    -         -       d             -           wdtmeo
ListMessageMoveTasks          -         -       d             -           wdtmeo
ListQueueTags                 -         -       -             -           wdtmeo
ListQueues                    -         wdtmeo  -             wdtmeo      wdtmeo
PeekMessages                  -         wme     dt            -           wdtmeo
PurgeQueue                    -         -       -             -           wdtmeo
ReceiveMessage                -         wme     dt            -           wdtmeo
RemovePermission              -         -       -             -           wdtmeo
SendMessage                   w         wtme    w             -           wdtmeo
SendMessageBatch              w         wtme    w             -           wdtmeo
SetQueueAttributes            -         -       -             -           wdtmeo
StartMessageMoveTask          -         -       d             -           wdtmeo
TagQueue                      -         -       -             -           wdtmeo
UntagQueue                    -         -       -             -           wdtmeo
"""


def table():
    """{role: {action: kinds}}"""
    head, *rows = (line.split() for line in TABLE.splitlines())
    return {
        role: {row[0]: set(row[column].replace("-", "")) for row in rows} for column, role in enumerate(head) if column
    }


def members(action, url):
    """The least that a request of the action needs, for this queue."""
    arn = ARN + url.rpartition("/")[2]
    entry = {"Id": "1", "ReceiptHandle": "none"}
    handle = base64.b64encode(json.dumps({"taskId": "t", "sourceArn": arn}).encode()).decode()
    on_queue = {
        "AddPermission": {"Label": "l", "AWSAccountIds": ["111122223333"], "Actions": ["SendMessage"]},
        "ChangeMessageVisibility": {"ReceiptHandle": "none", "VisibilityTimeout": 0},
        "ChangeMessageVisibilityBatch": {"Entries": [{**entry, "VisibilityTimeout": 0}]},
        "DeleteMessage": {"ReceiptHandle": "none"},
        "DeleteMessageBatch": {"Entries": [entry]},
        "DeleteQueue": {},
        "GetQueueAttributes": {},
        "ListDeadLetterSourceQueues": {},
        "ListQueueTags": {},
        "PeekMessages": {},
        "PurgeQueue": {},
        "ReceiveMessage": {"WaitTimeSeconds": 0},
        "RemovePermission": {"Label": "l"},
        "SendMessage": {"MessageBody": "x"},
        "SendMessageBatch": {"Entries": [{"Id": "1", "MessageBody": "x"}]},
        "SetQueueAttributes": {"Attributes": {"DelaySeconds": "0"}},
        "TagQueue": {"Tags": {"a": "b"}},
        "UntagQueue": {"TagKeys": ["a"]},
    }
    elsewhere = {
        "CancelMessageMoveTask": {"TaskHandle": handle},
        "CreateQueue": {"QueueName": url.rpartition("/")[2]},
        "GetQueueUrl": {"QueueName": url.rpartition("/")[2]},
        "ListMessageMoveTasks": {"SourceArn": arn},
        "ListQueues": {},
        "StartMessageMoveTask": {"SourceArn": arn},
    }
    return elsewhere[action] if action in elsewhere else {"QueueUrl": url, **on_queue[action]}


def is_allowed(client, action, url):
    operations = client.meta.method_to_api_mapping
    method = next(method for method, operation in operations.items() if operation == action)
    try:
        getattr(client, method)(**members(action, url))
    except ClientError as error:
        # Whoever is allowed may hear of a queue or a receipt that is not there.
        return error.response["Error"]["Code"] not in {"AccessDenied", "AccessDeniedException"}
    return True


def test_every_role_and_every_action_has_its_place_in_the_table():
    assert list(table()) == [role.name for role in load().roles]
    assert all(list(row) == sorted(ANSWERED) for row in table().values())


@pytest.mark.parametrize("role", list(table()))
def test_a_role_may_do_what_the_table_says_and_nothing_else(strict, role, json_request, sign):
    key = strict.key(role)
    client = strict.client(key)

    def may(action, url):
        if action not in EXTENSIONS:
            return is_allowed(client, action, url)
        # boto3 knows no such action.
        answer = strict.send(sign(json_request(strict, action, **members(action, url)), key))
        return answer.code != "AccessDeniedException"

    differs = {}
    # What takes queues away comes last.
    for action in sorted(ANSWERED, key=lambda action: (action == "DeleteQueue", action)):
        found = {kind: {name: may(action, strict.url(name)) for name in names} for kind, names in QUEUES.items()}
        meant = {kind: dict.fromkeys(names, kind in table()[role][action]) for kind, names in QUEUES.items()}
        if found != meant:
            differs[action] = found
    assert differs == {}


def test_what_a_role_is_denied_is_in_the_audit_with_who_and_what(strict):
    client = strict.client(strict.key("producer", "web-shop"))
    with pytest.raises(ClientError) as caught:
        client.receive_message(QueueUrl=strict.url("amply-celery"))
    answer = caught.value.response
    who = "arn:aws:sts::000000000000:assumed-role/producer/web-shop"
    reason = (
        f"User: {who} is not authorized to perform: sqs:ReceiveMessage on resource: {ARN}amply-celery "
        "because no identity-based policy allows the sqs:ReceiveMessage action"
    )
    assert answer["Error"]["Message"] == reason
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == 403
    (line,) = strict.audit()
    assert line.pop("time")
    assert line == {
        "event": "denied",
        "peer": "127.0.0.1",
        "access_key": "AKIA0000000000000000",
        "principal": who,
        "action": "ReceiveMessage",
        "resource": f"{ARN}amply-celery",
        "reason": reason,
        "request_id": answer["ResponseMetadata"]["RequestId"],
    }


def test_a_role_that_is_not_declared_any_more_may_do_nothing(strict):
    client = strict.client(strict.key("former"))
    assert not any(is_allowed(client, action, strict.url("amply-celery")) for action in ACTIONS)


def test_a_dlq_operator_moves_dead_letters_back_sees_the_task_and_may_cancel_it(strict):
    dead, work = strict.url("amply-celery-dlq"), strict.url("amply-celery")
    admin, operator = strict.client(strict.key("admin")), strict.client(strict.key("dlq-operator"))
    admin.send_message(QueueUrl=dead, MessageBody="x")
    started = operator.start_message_move_task(SourceArn=f"{ARN}amply-celery-dlq", DestinationArn=f"{ARN}amply-celery")
    assert operator.list_message_move_tasks(SourceArn=f"{ARN}amply-celery-dlq")["Results"]
    with pytest.raises(ClientError) as caught:
        operator.cancel_message_move_task(TaskHandle=started["TaskHandle"])
    assert caught.value.response["Error"]["Code"] not in {"AccessDenied", "AccessDeniedException"}
    assert admin.receive_message(QueueUrl=work)["Messages"][0]["Body"] == "x"
    assert strict.audit() == []
