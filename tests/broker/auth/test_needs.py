"""What each action asks for."""

import base64
import json
from collections.abc import Mapping, Sequence

import pytest

from amply.broker.auth.access import OWNER_ONLY
from amply.broker.auth.grantable import PERMISSIONS
from amply.broker.auth.needs import accesses, account_of
from amply.broker.sqs import shapes
from amply.broker.sqs.actions import ACTIONS, ANSWERED
from amply.broker.sqs.calls import Call, Context
from amply.broker.sqs.faults import Fault
from amply.broker.sqs.shapes import RequestShape

ACCOUNT, OTHER, REGION = "123456789012", "999999999999", "eu-central-1"
CONTEXT = Context(account=ACCOUNT, base_url="http://127.0.0.1:9324", sender_id="ada", request_id="1")
URL = f"http://127.0.0.1:9324/{ACCOUNT}/jobs"


def arn(name: str, account: str = ACCOUNT) -> str:
    return f"arn:aws:sqs:{REGION}:{account}:{name}"


class Queues:
    """Two queues whose dead-letter queue is `dlq`; `jobs` has tags."""

    def tags(self, queue_arn: str) -> Mapping[str, str]:
        return {"Team": "data"} if queue_arn == arn("jobs") else {}

    def dead_letter_sources(self, queue_arn: str) -> Sequence[str]:
        return [arn("jobs"), arn("reports")] if queue_arn == arn("dlq") else []


def asked(action: str, request: RequestShape, **keys: tuple[str, ...]):
    return accesses(Call(action, request, CONTEXT), region=REGION, keys=keys, queues=Queues())


def pairs(action: str, request: RequestShape) -> list[tuple[str, str]]:
    return [(access.action.removeprefix("sqs:"), access.resource) for access in asked(action, request)]


def handle(source_arn: str) -> str:
    return base64.b64encode(json.dumps({"taskId": "1", "sourceArn": source_arn}).encode()).decode()


SEND = [("SendMessage", arn("jobs"))]
ON_THE_QUEUE = {
    name: [(name.removesuffix("Batch"), arn("jobs"))]
    for name, action in ACTIONS.items()
    if "queue_url" in action.required
}
NEEDS = {
    **ON_THE_QUEUE,
    "ListQueues": [("ListQueues", "*")],
    "CreateQueue": [("CreateQueue", arn("new"))],
    "GetQueueUrl": [("GetQueueUrl", arn("jobs"))],
    "StartMessageMoveTask": [
        ("StartMessageMoveTask", arn("dlq")),
        ("ReceiveMessage", arn("dlq")),
        ("DeleteMessage", arn("dlq")),
        ("GetQueueAttributes", arn("dlq")),
        ("SendMessage", arn("jobs")),
        ("SendMessage", arn("reports")),
    ],
    "CancelMessageMoveTask": [("CancelMessageMoveTask", arn("dlq"))],
    "ListMessageMoveTasks": [("ListMessageMoveTasks", arn("dlq"))],
    "PeekMessages": [("ReceiveMessage", arn("jobs"))],
}
MEMBERS = {
    "ListQueues": {},
    "CreateQueue": {"queue_name": "new"},
    "GetQueueUrl": {"queue_name": "jobs"},
    "StartMessageMoveTask": {"source_arn": arn("dlq")},
    "CancelMessageMoveTask": {"task_handle": handle(arn("dlq"))},
    "ListMessageMoveTasks": {"source_arn": arn("dlq")},
    "TagQueue": {"queue_url": URL, "tags": {}},
    "UntagQueue": {"queue_url": URL, "tag_keys": []},
}


@pytest.mark.parametrize("action", ANSWERED)
def test_every_action_says_what_it_needs(action):
    request = ANSWERED[action].request(**MEMBERS.get(action, {"queue_url": URL}))
    assert pairs(action, request) == NEEDS[action]


def test_every_need_can_be_granted_and_every_grant_is_needed():
    needed = {f"sqs:{name}" for needs in NEEDS.values() for name, _ in needs}
    assert needed == PERMISSIONS
    assert needed >= OWNER_ONLY


@pytest.mark.parametrize(
    ("url", "resource"),
    [
        (f"https://sqs.{REGION}.amazonaws.com/{OTHER}/jobs", arn("jobs", OTHER)),
        ("jobs", arn("jobs")),
        ("/jobs", arn("jobs")),
        ("http://127.0.0.1:9324/jobs.fifo", arn("jobs.fifo")),
    ],
)
def test_a_queue_url_names_the_queue_however_it_is_written(url, resource):
    assert pairs("SendMessage", shapes.SendMessageRequest(queue_url=url)) == [("SendMessage", resource)]


def test_a_queue_url_that_is_none_is_told_before_anything_is_asked_for():
    with pytest.raises(Fault, match="InvalidAddress"):
        asked("SendMessage", shapes.SendMessageRequest(queue_url="http://127.0.0.1:9324/a b"))


def test_another_account_s_queue_is_asked_for_there():
    request = shapes.GetQueueUrlRequest(queue_name="jobs", queue_owner_aws_account_id=OTHER)
    assert pairs("GetQueueUrl", request) == [("GetQueueUrl", arn("jobs", OTHER))]


def test_a_queue_with_tags_needs_the_right_to_tag():
    request = shapes.CreateQueueRequest(queue_name="new", tags={"team": "data"})
    assert pairs("CreateQueue", request) == [("CreateQueue", arn("new")), ("TagQueue", arn("new"))]


def test_messages_that_move_to_one_queue_need_that_one():
    request = shapes.StartMessageMoveTaskRequest(source_arn=arn("dlq"), destination_arn=arn("other"))
    assert pairs("StartMessageMoveTask", request)[4:] == [("SendMessage", arn("other"))]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "not base64!",
        f"!{handle(arn('dlq'))}",
        base64.b64encode(b"[]").decode(),
        base64.b64encode(b"\xff").decode(),
        base64.b64encode(b'{"more":' + b"[" * 100_000).decode(),
        base64.b64encode(b'{"taskId":"1"}').decode(),
        base64.b64encode(b'{"taskId":"1","sourceArn":5}').decode(),
        "é",
    ],
)
def test_a_task_handle_that_is_none_is_told_before_anything_is_asked_for(text):
    with pytest.raises(Fault, match="Value for parameter TaskHandle is invalid"):
        asked("CancelMessageMoveTask", shapes.CancelMessageMoveTaskRequest(task_handle=text))


def test_conditions_know_the_request_its_tags_and_the_queue_s_tags():
    keys = {"aws:sourceip": ("::1",)}
    (tag,) = asked(
        "TagQueue", shapes.TagQueueRequest(queue_url=URL, tags={"Env": "a", "env": "b", "Team": "x"}), **keys
    )
    assert tag.context == {
        **keys,
        "aws:tagkeys": ("Env", "env", "Team"),
        "aws:requesttag/env": ("a", "b"),
        "aws:requesttag/team": ("x",),
        "aws:resourcetag/team": ("data",),
    }
    (untag,) = asked("UntagQueue", shapes.UntagQueueRequest(queue_url=URL, tag_keys=["Env"]))
    assert untag.context == {"aws:tagkeys": ("Env",), "aws:resourcetag/team": ("data",)}
    for access in asked("CreateQueue", shapes.CreateQueueRequest(queue_name="new", tags={"Team": "x"})):
        assert access.context == {"aws:tagkeys": ("Team",), "aws:requesttag/team": ("x",)}
    (listing,) = asked("ListQueues", shapes.ListQueuesRequest(), **keys)
    assert listing.context == keys


def test_each_queue_of_a_request_is_asked_for_with_its_own_tags():
    request = shapes.StartMessageMoveTaskRequest(source_arn=arn("dlq"))
    tags = {access.resource: access.context for access in asked("StartMessageMoveTask", request)}
    assert tags == {arn("dlq"): {}, arn("jobs"): {"aws:resourcetag/team": ("data",)}, arn("reports"): {}}


def test_a_resource_s_account_is_in_its_arn():
    (access,) = asked("ListMessageMoveTasks", shapes.ListMessageMoveTasksRequest(source_arn=arn("dlq", OTHER)))
    assert account_of(access, ACCOUNT) == OTHER
    (access,) = asked("ListMessageMoveTasks", shapes.ListMessageMoveTasksRequest(source_arn="arn:aws:sqs"))
    assert account_of(access, ACCOUNT) == ACCOUNT
    (access,) = asked("ListQueues", shapes.ListQueuesRequest())
    assert account_of(access, ACCOUNT) == ACCOUNT
