"""Message move tasks as boto3, AWS Query and the AWS command line see them."""

import base64
import json

import pytest

ACCOUNT = "000000000000"


def arn(name):
    return f"arn:aws:sqs:eu-central-1:{ACCOUNT}:{name}"


DEAD, WORK, OTHER, NOWHERE = arn("dead"), arn("work"), arn("other"), arn("nowhere")


@pytest.fixture
def url(sqs):
    """The URLs of queues by name: a dead letter queue, its source, and another one."""
    sqs.create_queue(QueueName="dead")
    policy = json.dumps({"deadLetterTargetArn": DEAD, "maxReceiveCount": 1})
    sqs.create_queue(QueueName="work", Attributes={"RedrivePolicy": policy})
    sqs.create_queue(QueueName="other")
    return {name: sqs.get_queue_url(QueueName=name)["QueueUrl"] for name in ("dead", "work", "other")}


@pytest.fixture
def bury(sqs, url):
    """Send messages and let each fail once; their MessageIds."""

    def run(*bodies):
        ids = [sqs.send_message(QueueUrl=url["work"], MessageBody=body)["MessageId"] for body in bodies]
        for _ in range(2):
            while "Messages" in sqs.receive_message(QueueUrl=url["work"], MaxNumberOfMessages=10, VisibilityTimeout=0):
                pass
        return ids

    return run


@pytest.fixture
def moved(sqs, broker):
    """Wait for the newest task of `dead` to end, and return it."""

    def wait(seconds=0):
        while True:
            (task,) = sqs.list_message_move_tasks(SourceArn=DEAD)["Results"]
            if task["Status"] != "RUNNING":
                return task
            if seconds:
                broker.advance(seconds)

    return wait


def received(sqs, url):
    answer = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10, MessageSystemAttributeNames=["All"])
    return answer.get("Messages", [])


def test_dead_letters_go_back_as_new_messages(sqs, url, bury, moved, clock):
    ids = bury("a", "b")
    handle = sqs.start_message_move_task(SourceArn=DEAD)["TaskHandle"]
    named = json.loads(base64.b64decode(handle))
    assert set(named) == {"taskId", "sourceArn"}
    assert named["sourceArn"] == DEAD
    assert moved() == {
        "Status": "COMPLETED",
        "SourceArn": DEAD,
        "ApproximateNumberOfMessagesMoved": 2,
        "ApproximateNumberOfMessagesToMove": 2,
        "StartedTimestamp": clock.now_ms(),
    }
    messages = received(sqs, url["work"])
    assert [message["Body"] for message in messages] == ["a", "b"]
    assert not {message["MessageId"] for message in messages} & set(ids)
    for message in messages:
        assert message["Attributes"]["ApproximateReceiveCount"] == "1"
        assert "DeadLetterQueueSourceArn" not in message["Attributes"]


def test_a_running_task_shows_its_handle_its_destination_and_its_rate(sqs, url, bury, moved, broker):
    bury("a", "b", "c")
    started = sqs.start_message_move_task(SourceArn=DEAD, DestinationArn=OTHER, MaxNumberOfMessagesPerSecond=1)
    (task,) = sqs.list_message_move_tasks(SourceArn=DEAD)["Results"]
    assert task["Status"] == "RUNNING"
    assert task["TaskHandle"] == started["TaskHandle"]
    assert (task["DestinationArn"], task["MaxNumberOfMessagesPerSecond"]) == (OTHER, 1)
    assert task["ApproximateNumberOfMessagesToMove"] == 3
    ended = moved(seconds=0.5)
    assert (ended["Status"], ended["ApproximateNumberOfMessagesMoved"]) == ("COMPLETED", 3)
    assert "TaskHandle" not in ended
    assert [message["Body"] for message in received(sqs, url["other"])] == ["a", "b", "c"]


def test_a_cancelled_task_tells_how_many_were_moved(sqs, url, bury, moved):
    bury("a", "b", "c")
    handle = sqs.start_message_move_task(SourceArn=DEAD, MaxNumberOfMessagesPerSecond=1)["TaskHandle"]
    count = sqs.cancel_message_move_task(TaskHandle=handle)["ApproximateNumberOfMessagesMoved"]
    task = moved()
    assert (task["Status"], task["ApproximateNumberOfMessagesMoved"]) == ("CANCELLED", count)
    assert len(received(sqs, url["work"])) == count


def test_a_task_whose_destination_is_deleted_fails(sqs, url, bury, moved):
    bury("a", "b")
    sqs.start_message_move_task(SourceArn=DEAD, DestinationArn=OTHER, MaxNumberOfMessagesPerSecond=1)
    sqs.delete_queue(QueueUrl=url["other"])
    task = moved(seconds=1)
    assert (task["Status"], task["FailureReason"]) == ("FAILED", "AWS.SimpleQueueService.NonExistentQueue")
    sqs.send_message(QueueUrl=url["dead"], MessageBody="from nowhere")
    assert received(sqs, url["dead"])


def test_a_message_whose_source_cannot_be_told_fails_the_task(sqs, url, moved):
    sqs.send_message(QueueUrl=url["dead"], MessageBody="sent here")
    sqs.start_message_move_task(SourceArn=DEAD)
    task = moved()
    assert (task["Status"], task["FailureReason"]) == ("FAILED", "CouldNotDetermineMessageSource")
    assert [message["Body"] for message in received(sqs, url["dead"])] == ["sent here"]


def test_tasks_are_listed_newest_first_one_unless_asked_for_more(sqs, url, bury, moved, broker):
    for name in ("a", "b", "c"):
        bury(name)
        sqs.start_message_move_task(SourceArn=DEAD)
        moved()
        broker.advance(1)
    tasks = sqs.list_message_move_tasks(SourceArn=DEAD, MaxResults=10)["Results"]
    assert [task["StartedTimestamp"] for task in tasks] == sorted(
        (task["StartedTimestamp"] for task in tasks), reverse=True
    )
    assert len(tasks) == 3
    assert sqs.list_message_move_tasks(SourceArn=DEAD)["Results"] == tasks[:1]
    assert sqs.list_message_move_tasks(SourceArn=OTHER)["Results"] == []


INVALID = "Value {} for parameter {} is invalid. Reason: {}"
NOT_FOUND = "The resource that you specified for the {} parameter doesn't exist."
ARN_FORM = "You must use this format to specify the {}: arn:<partition>:<service>:<region>:<account-id>:<resource-id>"


@pytest.mark.parametrize(
    ("members", "status", "code", "message"),
    [
        ({"SourceArn": NOWHERE}, 404, "ResourceNotFoundException", NOT_FOUND.format("SourceArn")),
        ({"SourceArn": arn("work-9")}, 404, "ResourceNotFoundException", NOT_FOUND.format("SourceArn")),
        (
            {"SourceArn": OTHER, "DestinationArn": NOWHERE},
            *(400, "InvalidParameterValue", "Source queue must be configured as a Dead Letter Queue."),
        ),
        (
            {"SourceArn": DEAD, "DestinationArn": NOWHERE},
            *(404, "ResourceNotFoundException", NOT_FOUND.format("DestinationArn")),
        ),
        ({"SourceArn": "dead"}, 400, "InvalidParameterValue", ARN_FORM.format("SourceArn")),
        (
            {"SourceArn": DEAD, "DestinationArn": "work"},
            *(400, "InvalidParameterValue", ARN_FORM.format("DestinationArn")),
        ),
        (
            {"SourceArn": DEAD, "MaxNumberOfMessagesPerSecond": 501},
            *(400, "InvalidParameterValue"),
            INVALID.format(501, "MaxNumberOfMessagesPerSecond", "Must be between 1 and 500, if provided."),
        ),
    ],
)
def test_what_cannot_be_moved_is_refused(sqs, url, refused, members, status, code, message):
    assert refused(sqs.start_message_move_task, **members) == (status, code, message)


def test_a_second_task_is_refused_while_one_runs(sqs, url, bury, refused):
    bury("a", "b")
    sqs.start_message_move_task(SourceArn=DEAD, MaxNumberOfMessagesPerSecond=1)
    assert refused(sqs.start_message_move_task, SourceArn=DEAD) == (
        400,
        "InvalidParameterValue",
        "There is already a task running. Only one active task is allowed for a source queue arn at a given time.",
    )


def test_handles_that_name_nothing_are_refused(sqs, url, refused):
    def handle(task_id, source_arn):
        return base64.b64encode(json.dumps({"taskId": task_id, "sourceArn": source_arn}).encode()).decode()

    cancel = sqs.cancel_message_move_task
    garbage = 400, "InvalidParameterValue", "Value for parameter TaskHandle is invalid."
    assert refused(cancel, TaskHandle="garbage") == garbage
    assert refused(cancel, TaskHandle=base64.b64encode(b"[]").decode()) == garbage
    unknown = 404, "ResourceNotFoundException", "Task does not exist."
    assert refused(cancel, TaskHandle=handle("1", DEAD)) == unknown
    gone = 404, "ResourceNotFoundException", NOT_FOUND.format("SourceArn")
    assert refused(cancel, TaskHandle=handle("1", NOWHERE)) == gone


@pytest.mark.parametrize("count", [0, 11])
def test_at_most_ten_tasks_are_listed(sqs, url, refused, count):
    assert refused(sqs.list_message_move_tasks, SourceArn=DEAD, MaxResults=count) == (
        *(400, "InvalidParameterValue"),
        INVALID.format(count, "MaxResults", "Must be between 1 and 10, if provided."),
    )
    assert refused(sqs.list_message_move_tasks, SourceArn=NOWHERE)[:2] == (404, "ResourceNotFoundException")


def test_fifo_dead_letters_keep_their_order_and_group(sqs, broker):
    sqs.create_queue(QueueName="dead.fifo", Attributes={"FifoQueue": "true"})
    policy = json.dumps({"deadLetterTargetArn": arn("dead.fifo"), "maxReceiveCount": 1})
    attributes = {"FifoQueue": "true", "RedrivePolicy": policy, "ContentBasedDeduplication": "true"}
    work = sqs.create_queue(QueueName="work.fifo", Attributes=attributes)["QueueUrl"]
    numbers = []
    for body in ("1", "2", "3"):
        sent = sqs.send_message(QueueUrl=work, MessageBody=body, MessageGroupId="group")
        numbers.append(sent["SequenceNumber"])
    while "Messages" in sqs.receive_message(QueueUrl=work, VisibilityTimeout=0):
        pass
    sqs.start_message_move_task(SourceArn=arn("dead.fifo"))
    messages = []
    while len(messages) < 3:
        messages += sqs.receive_message(
            QueueUrl=work, MaxNumberOfMessages=10, WaitTimeSeconds=20, MessageSystemAttributeNames=["All"]
        )["Messages"]
        for message in messages:
            sqs.delete_message(QueueUrl=work, ReceiptHandle=message["ReceiptHandle"])
    assert [message["Body"] for message in messages] == ["1", "2", "3"]
    assert {message["Attributes"]["MessageGroupId"] for message in messages} == {"group"}
    assert min(message["Attributes"]["SequenceNumber"] for message in messages) > max(numbers)
    assert sqs.start_message_move_task(SourceArn=arn("dead.fifo"))["TaskHandle"]


def test_queues_of_two_types_are_refused(sqs, url, refused):
    sqs.create_queue(QueueName="other.fifo", Attributes={"FifoQueue": "true"})
    refusal = refused(sqs.start_message_move_task, SourceArn=DEAD, DestinationArn=arn("other.fifo"))
    assert refusal[:2] == (400, "InvalidParameterValue")
    assert "must be of one type" in refusal[2]


def test_the_query_protocol_moves_too(query, url, bury):
    bury("a", "b")
    fields = {"SourceArn": DEAD, "DestinationArn": OTHER, "MaxNumberOfMessagesPerSecond": 1}
    handle = query("StartMessageMoveTask", fields).text("StartMessageMoveTaskResult/TaskHandle")
    listed = query("ListMessageMoveTasks", {"SourceArn": DEAD, "MaxResults": 10})
    task = "ListMessageMoveTasksResult/ListMessageMoveTasksResultEntry/"
    assert listed.text(task + "TaskHandle") == handle
    assert listed.text(task + "Status") == "RUNNING"
    assert listed.text(task + "ApproximateNumberOfMessagesToMove") == "2"
    cancelled = query("CancelMessageMoveTask", {"TaskHandle": handle})
    path = "CancelMessageMoveTaskResult/ApproximateNumberOfMessagesMoved"
    assert cancelled.text(path) in ("0", "1")
    assert query("StartMessageMoveTask", {"SourceArn": NOWHERE}).error == (
        404,
        "ResourceNotFoundException",
        NOT_FOUND.format("SourceArn"),
    )


def test_the_side_door_shows_what_runs(ask, sqs, url, bury, moved):
    bury("a", "b")
    sqs.start_message_move_task(SourceArn=DEAD, MaxNumberOfMessagesPerSecond=1)
    (shown,) = ask("GET", "/ready").json["moves"]
    assert (shown["source_arn"], shown["destination_arn"], shown["to_move"]) == (DEAD, None, 2)
    moved(seconds=1)
    ready = ask("GET", "/ready").json
    assert ready["moves"] == []
    assert next(view["moved"] for view in ready["queues"] if view["name"] == "dead") == 2
