"""boto3: queues are created, found, listed, changed, tagged, purged and deleted."""

import json

import pytest

NO_SUCH_QUEUE = (400, "AWS.SimpleQueueService.NonExistentQueue", "The specified queue does not exist.")
DEFAULTS = {
    "DelaySeconds": "0",
    "MaximumMessageSize": "1048576",
    "MessageRetentionPeriod": "345600",
    "ReceiveMessageWaitTimeSeconds": "0",
    "VisibilityTimeout": "30",
    "SqsManagedSseEnabled": "true",
    "ApproximateNumberOfMessages": "0",
    "ApproximateNumberOfMessagesNotVisible": "0",
    "ApproximateNumberOfMessagesDelayed": "0",
    "CreatedTimestamp": "1700000000",
    "LastModifiedTimestamp": "1700000000",
    "QueueArn": "arn:aws:sqs:eu-central-1:000000000000:work",
}
STATEMENT = '{"Effect": "Allow", "Principal": "*",  "Action": "sqs:SendMessage", "Resource": "*"}'


def test_a_new_queue_has_the_url_of_the_endpoint_that_made_it_and_all_defaults(broker, sqs, queue):
    assert queue == f"{broker.endpoint_url}/000000000000/work"
    assert sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["All"])["Attributes"] == DEFAULTS


def test_attributes_are_answered_only_as_far_as_they_were_asked_for(sqs, queue):
    assert "Attributes" not in sqs.get_queue_attributes(QueueUrl=queue)
    some = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["DelaySeconds", "Policy", "QueueArn"])
    assert some["Attributes"] == {"DelaySeconds": "0", "QueueArn": DEFAULTS["QueueArn"]}


def test_creating_a_queue_again_gives_its_url_unless_an_attribute_differs(sqs, refused):
    url = sqs.create_queue(QueueName="work", Attributes={"DelaySeconds": "5"})["QueueUrl"]
    assert sqs.create_queue(QueueName="work")["QueueUrl"] == url
    same = {"DelaySeconds": "5", "VisibilityTimeout": "30"}
    assert sqs.create_queue(QueueName="work", Attributes=same)["QueueUrl"] == url
    message = "A queue already exists with the same name and a different value for attribute DelaySeconds"
    expected = 400, "QueueAlreadyExists", message
    assert refused(sqs.create_queue, QueueName="work", Attributes={"DelaySeconds": "6"}) == expected
    sqs.set_queue_attributes(QueueUrl=url, Attributes={"DelaySeconds": "6"})
    assert sqs.create_queue(QueueName="work", Attributes={"DelaySeconds": "6"})["QueueUrl"] == url


@pytest.mark.parametrize("name", ["a" * 81, "with space", "a/b", "../../etc/passwd", "dot.dot", "ümlaut", "end\n", ""])
def test_a_name_that_no_queue_may_have_is_refused(sqs, refused, name):
    status, code, _ = refused(sqs.create_queue, QueueName=name)
    assert (status, code) == (400, "InvalidParameterValue")
    assert not any("work" in url for url in sqs.list_queues()["QueueUrls"])


def test_a_name_ends_in_fifo_just_when_the_queue_is_one(sqs, refused):
    text = "Can only include alphanumeric characters, hyphens, or underscores. 1 to 80 in length"
    assert refused(sqs.create_queue, QueueName="work.fifo") == (400, "InvalidParameterValue", text)
    text = (
        "The name of a FIFO queue can only include alphanumeric characters, hyphens, or underscores, "
        "must end with .fifo suffix and be 1 to 80 in length"
    )
    for name in ("work", ".fifo", "a" * 76 + ".fifo", "a.b.fifo"):
        refusal = refused(sqs.create_queue, QueueName=name, Attributes={"FifoQueue": "True"})
        assert refusal == (400, "InvalidParameterValue", text)
    standard = {"QueueName": "work", "Attributes": {"FifoQueue": "false"}}
    assert refused(sqs.create_queue, **standard) == (400, "InvalidAttributeName", "Unknown Attribute FifoQueue.")


def test_a_name_of_80_characters_is_taken(sqs):
    name = "aZ09_-" + "x" * 74
    assert sqs.create_queue(QueueName=name)["QueueUrl"].endswith(f"/{name}")


@pytest.mark.parametrize(
    ("attributes", "code", "message"),
    [
        ({"Foobar": "1"}, "InvalidAttributeName", "Unknown Attribute Foobar."),
        ({"QueueArn": "x"}, "InvalidAttributeName", "Unknown Attribute QueueArn."),
        ({"ContentBasedDeduplication": "true"}, "InvalidAttributeName", "Unknown Attribute ContentBasedDeduplication."),
        (
            {"DeduplicationScope": "queue"},
            "InvalidAttributeName",
            "You can specify the DeduplicationScope only when FifoQueue is set to true.",
        ),
        ({"VisibilityTimeout": "43201"}, "InvalidAttributeValue", "Invalid value for the parameter VisibilityTimeout."),
        ({"VisibilityTimeout": "-1"}, "InvalidAttributeValue", "Invalid value for the parameter VisibilityTimeout."),
        ({"VisibilityTimeout": "ten"}, "InvalidAttributeValue", "Invalid value for the parameter VisibilityTimeout."),
        ({"DelaySeconds": "901"}, "InvalidAttributeValue", "Invalid value for the parameter DelaySeconds."),
        (
            {"MaximumMessageSize": "1023"},
            "InvalidAttributeValue",
            "Invalid value for the parameter MaximumMessageSize.",
        ),
        (
            {"MessageRetentionPeriod": "59"},
            "InvalidAttributeValue",
            "Invalid value for the parameter MessageRetentionPeriod.",
        ),
        (
            {"ReceiveMessageWaitTimeSeconds": "21"},
            "InvalidAttributeValue",
            "Invalid value for the parameter ReceiveMessageWaitTimeSeconds.",
        ),
    ],
)
def test_an_attribute_that_cannot_be_set_is_refused_and_changes_nothing(
    sqs, queue, refused, *, attributes, code, message
):
    together = {"DelaySeconds": "7", **attributes}
    assert refused(sqs.set_queue_attributes, QueueUrl=queue, Attributes=together) == (400, code, message)
    assert sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["All"])["Attributes"] == DEFAULTS
    assert refused(sqs.create_queue, QueueName="other", Attributes=together)[:2] == (400, code)
    assert refused(sqs.get_queue_url, QueueName="other") == NO_SUCH_QUEUE


def test_an_unknown_attribute_cannot_be_asked_for(sqs, queue, refused):
    answer = refused(sqs.get_queue_attributes, QueueUrl=queue, AttributeNames=["Foobar"])
    assert answer == (400, "InvalidAttributeName", "Unknown Attribute Foobar.")


def test_attributes_are_changed_at_once_and_the_change_is_dated(broker, sqs, queue):
    broker.advance(100)
    sqs.set_queue_attributes(QueueUrl=queue, Attributes={"VisibilityTimeout": "1800", "SqsManagedSseEnabled": "False"})
    changed = {
        "VisibilityTimeout": "1800",
        "SqsManagedSseEnabled": "false",
        "LastModifiedTimestamp": "1700000100",
    }
    assert sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["All"])["Attributes"] == DEFAULTS | changed


def test_a_key_takes_the_place_of_sqs_s_own_encryption_while_it_is_set(sqs, queue, refused):
    def shown():
        names = ["KmsMasterKeyId", "KmsDataKeyReusePeriodSeconds", "SqsManagedSseEnabled"]
        return sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=names)["Attributes"]

    def put(**attributes):
        sqs.set_queue_attributes(QueueUrl=queue, Attributes=attributes)

    put(KmsMasterKeyId="alias/aws/sqs", KmsDataKeyReusePeriodSeconds="600")
    key = {"KmsMasterKeyId": "alias/aws/sqs", "KmsDataKeyReusePeriodSeconds": "600", "SqsManagedSseEnabled": "false"}
    assert shown() == key
    status, code, message = refused(
        sqs.set_queue_attributes, QueueUrl=queue, Attributes={"SqsManagedSseEnabled": "true"}
    )
    assert (status, code) == (400, "InvalidAttributeName")
    assert message.startswith("You can use one type of server-side encryption (SSE) at one time.")
    assert shown() == key
    put(KmsMasterKeyId="", KmsDataKeyReusePeriodSeconds="300")
    assert shown() == {"SqsManagedSseEnabled": "true"}


@pytest.mark.parametrize("name", ["Policy", "RedrivePolicy", "RedriveAllowPolicy"])
def test_a_policy_is_kept_as_given_and_an_empty_one_takes_it_away(sqs, queue, name):
    dead = sqs.create_queue(QueueName="dead")["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=dead, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    policy = {
        "Policy": '{"Version":  "2012-10-17", "Statement": ' + STATEMENT + "}",
        "RedrivePolicy": json.dumps({"deadLetterTargetArn": arn, "maxReceiveCount": "5"}),
        "RedriveAllowPolicy": '{"redrivePermission": "denyAll"}',
    }[name]
    sqs.set_queue_attributes(QueueUrl=queue, Attributes={name: policy})
    assert sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=[name])["Attributes"] == {name: policy}
    sqs.set_queue_attributes(QueueUrl=queue, Attributes={name: ""})
    assert "Attributes" not in sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=[name])


@pytest.mark.parametrize(
    ("policy", "reason"),
    [
        ("x", "Policy must be a JSON object."),
        ('{"Statement": []}', "a policy has a Statement"),
        (
            '{"Statement": {"Effect": "Allow", "Principal": "*", "Action": "sqs:Fly", "Resource": "*"}}',
            "no such action",
        ),
        (f'{{"Statement": [{", ".join([STATEMENT] * 21)}]}}', "the policy of a queue has at most 20"),
        (f'{{"Id": "{"x" * 8192}", "Statement": {STATEMENT}}}', "it has at most 8192"),
    ],
    ids=["no JSON", "no statement", "no action", "21 statements", "too long"],
)
def test_a_policy_that_cannot_be_enforced_is_refused(sqs, queue, refused, policy, reason):
    for refusal in (
        refused(sqs.set_queue_attributes, QueueUrl=queue, Attributes={"Policy": policy}),
        refused(sqs.create_queue, QueueName="other", Attributes={"Policy": policy}),
    ):
        assert refusal[:2] == (400, "InvalidAttributeValue")
        assert refusal[2].startswith("Invalid value for the parameter Policy. Reason: ")
        assert reason in refusal[2]
    assert "Attributes" not in sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["Policy"])


@pytest.mark.parametrize(
    ("policy", "reason"),
    [
        ("not json", ""),
        ("[]", ""),
        ('{"maxReceiveCount": 3}', "Redrive policy does not contain mandatory attribute: deadLetterTargetArn."),
        (
            '{"deadLetterTargetArn": "arn:aws:sqs:eu-central-1:000000000000:amply-celery-dlq"}',
            "Redrive policy does not contain mandatory attribute: maxReceiveCount.",
        ),
        (
            '{"deadLetterTargetArn": "arn:aws:sqs:eu-central-1:000000000000:nowhere", "maxReceiveCount": 3}',
            "Dead letter target does not exist.",
        ),
        ('{"deadLetterTargetArn": "arn:aws:sqs:eu-central-1:000000000000:work", "maxReceiveCount": 3}', ""),
        ('{"deadLetterTargetArn": "arn:aws:sqs:eu-central-1:000000000000:amply-celery-dlq", "maxReceiveCount": 0}', ""),
        (
            '{"deadLetterTargetArn": "arn:aws:sqs:eu-central-1:000000000000:amply-celery-dlq","maxReceiveCount":1001}',
            "",
        ),
        (
            '{"deadLetterTargetArn": "arn:aws:sqs:eu-central-1:000000000000:amply-celery-dlq", "maxReceiveCount": "x"}',
            "",
        ),
    ],
)
def test_a_redrive_policy_that_cannot_work_is_refused(sqs, queue, refused, policy, reason):
    status, code, message = refused(sqs.set_queue_attributes, QueueUrl=queue, Attributes={"RedrivePolicy": policy})
    assert (status, code) == (400, "InvalidParameterValue")
    assert message.startswith(f"Value {policy} for parameter RedrivePolicy is invalid. Reason: {reason}")
    assert "Attributes" not in sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["RedrivePolicy"])


def test_a_queue_is_found_by_its_name(sqs, queue, refused):
    assert sqs.get_queue_url(QueueName="work")["QueueUrl"] == queue
    assert sqs.get_queue_url(QueueName="work", QueueOwnerAWSAccountId="000000000000")["QueueUrl"] == queue
    assert refused(sqs.get_queue_url, QueueName="Work") == NO_SUCH_QUEUE
    other_account = {"QueueName": "work", "QueueOwnerAWSAccountId": "111111111111"}
    assert refused(sqs.get_queue_url, **other_account) == NO_SUCH_QUEUE


def test_queues_are_listed_in_pages_that_together_are_all(sqs):
    urls = sorted(sqs.create_queue(QueueName=f"page-{number}")["QueueUrl"] for number in range(7))
    assert sqs.list_queues(QueueNamePrefix="page-")["QueueUrls"] == urls
    assert "NextToken" not in sqs.list_queues(QueueNamePrefix="page-")
    pages = list(sqs.get_paginator("list_queues").paginate(QueueNamePrefix="page-", PaginationConfig={"PageSize": 3}))
    assert [page["QueueUrls"] for page in pages] == [urls[:3], urls[3:6], urls[6:]]
    assert "NextToken" not in sqs.list_queues(QueueNamePrefix="page-", MaxResults=7)


def test_a_list_of_no_queues_has_no_member_for_them(sqs):
    assert "QueueUrls" not in sqs.list_queues(QueueNamePrefix="there-is-none")


@pytest.mark.parametrize("members", [{"MaxResults": 0}, {"MaxResults": 1001}, {"MaxResults": 2, "NextToken": "!"}])
def test_a_list_is_refused_for_a_page_that_cannot_be(sqs, refused, members):
    assert refused(sqs.list_queues, **members)[:2] == (400, "InvalidParameterValue")


def test_tags_are_set_replaced_and_taken_away(sqs):
    url = sqs.create_queue(QueueName="tagged", tags={"team": "giving", "Team": "other"})["QueueUrl"]
    sqs.tag_queue(QueueUrl=url, Tags={"team": "asking", "empty": ""})
    assert sqs.list_queue_tags(QueueUrl=url)["Tags"] == {"team": "asking", "Team": "other", "empty": ""}
    sqs.untag_queue(QueueUrl=url, TagKeys=["team", "Team", "empty", "never-there"])
    assert "Tags" not in sqs.list_queue_tags(QueueUrl=url)


@pytest.mark.parametrize(
    "tags",
    [{f"tag-{number}": "" for number in range(51)}, {"k" * 129: ""}, {"k": "v" * 257}, {"aws:mine": ""}, {"": "v"}],
    ids=["51 tags", "long key", "long value", "reserved", "empty key"],
)
def test_tags_beyond_the_limits_are_refused(sqs, queue, refused, tags):
    assert refused(sqs.tag_queue, QueueUrl=queue, Tags=tags)[:2] == (400, "InvalidParameterValue")
    assert "Tags" not in sqs.list_queue_tags(QueueUrl=queue)


def test_a_queue_takes_50_tags_and_not_one_more(sqs, queue, refused):
    sqs.tag_queue(QueueUrl=queue, Tags={f"tag-{number}": "x" * 256 for number in range(50)})
    assert refused(sqs.tag_queue, QueueUrl=queue, Tags={"one": "more"})[:2] == (400, "InvalidParameterValue")
    assert len(sqs.list_queue_tags(QueueUrl=queue)["Tags"]) == 50


def test_a_purge_takes_visible_delayed_and_in_flight_messages_once_a_minute(broker, sqs, queue, refused):
    for delay_s in (0, 0, 60):
        sqs.send_message(QueueUrl=queue, MessageBody="x", DelaySeconds=delay_s)
    (message,) = sqs.receive_message(QueueUrl=queue)["Messages"]
    sqs.purge_queue(QueueUrl=queue)
    assert sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["All"])["Attributes"] == DEFAULTS
    text = "Only one PurgeQueue operation on work is allowed every 60 seconds."
    expected = 403, "AWS.SimpleQueueService.PurgeQueueInProgress", text
    assert refused(sqs.purge_queue, QueueUrl=queue) == expected
    sqs.delete_message(QueueUrl=queue, ReceiptHandle=message["ReceiptHandle"])
    broker.advance(60)
    assert "Messages" not in sqs.receive_message(QueueUrl=queue)
    sqs.purge_queue(QueueUrl=queue)


def test_a_deleted_queue_is_gone_at_once_and_its_name_is_free_after_a_minute(broker, sqs, queue, refused):
    sqs.send_message(QueueUrl=queue, MessageBody="x")
    sqs.delete_queue(QueueUrl=queue)
    assert refused(sqs.receive_message, QueueUrl=queue) == NO_SUCH_QUEUE
    assert refused(sqs.delete_queue, QueueUrl=queue) == NO_SUCH_QUEUE
    text = "You must wait 60 seconds after deleting a queue before you can create another with the same name."
    expected = 400, "AWS.SimpleQueueService.QueueDeletedRecently", text
    assert refused(sqs.create_queue, QueueName="work") == expected
    broker.advance(60)
    assert sqs.create_queue(QueueName="work")["QueueUrl"] == queue
    assert "Messages" not in sqs.receive_message(QueueUrl=queue)


def test_accounts_do_not_see_each_others_queues(broker, sqs, queue, make_client, refused):
    other = make_client(broker.endpoint_url, access_key="111111111111")
    assert "QueueUrls" not in other.list_queues()
    assert refused(other.get_queue_url, QueueName="work") == NO_SUCH_QUEUE
    theirs = other.create_queue(QueueName="work")["QueueUrl"]
    assert theirs == f"{broker.endpoint_url}/111111111111/work"
    other.send_message(QueueUrl=theirs, MessageBody="theirs")
    assert "Messages" not in sqs.receive_message(QueueUrl=queue)
    assert sqs.receive_message(QueueUrl=theirs)["Messages"][0]["Body"] == "theirs"


ON_A_QUEUE = {
    "change_message_visibility": {"ReceiptHandle": "x", "VisibilityTimeout": 0},
    "change_message_visibility_batch": {"Entries": [{"Id": "1", "ReceiptHandle": "x", "VisibilityTimeout": 0}]},
    "delete_message": {"ReceiptHandle": "x"},
    "delete_message_batch": {"Entries": [{"Id": "1", "ReceiptHandle": "x"}]},
    "delete_queue": {},
    "get_queue_attributes": {"AttributeNames": ["All"]},
    "add_permission": {"Label": "x", "AWSAccountIds": ["111111111111"], "Actions": ["SendMessage"]},
    "list_dead_letter_source_queues": {},
    "list_queue_tags": {},
    "purge_queue": {},
    "receive_message": {},
    "remove_permission": {"Label": "x"},
    "send_message": {"MessageBody": "x"},
    "send_message_batch": {"Entries": [{"Id": "1", "MessageBody": "x"}]},
    "set_queue_attributes": {"Attributes": {"DelaySeconds": "1"}},
    "tag_queue": {"Tags": {"a": "b"}},
    "untag_queue": {"TagKeys": ["a"]},
}


@pytest.mark.parametrize("action", ON_A_QUEUE)
def test_every_action_on_a_queue_that_does_not_exist_says_so(broker, sqs, refused, action):
    url = f"{broker.endpoint_url}/000000000000/nowhere"
    assert refused(getattr(sqs, action), QueueUrl=url, **ON_A_QUEUE[action]) == NO_SUCH_QUEUE
