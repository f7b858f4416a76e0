"""boto3: AddPermission and RemovePermission edit the queue's policy."""

import json

import pytest

ARN = "arn:aws:sqs:eu-central-1:000000000000:work"


@pytest.fixture
def policy_of(sqs):
    """The policy of a queue, None if it has none."""

    def read(url):
        attributes = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["Policy"]).get("Attributes", {})
        return json.loads(attributes["Policy"]) if attributes else None

    return read


def statement(label, principal, action):
    return {"Sid": label, "Effect": "Allow", "Principal": {"AWS": principal}, "Action": action, "Resource": ARN}


def permit(sqs, queue, label="x", accounts=("111111111111",), actions=("SendMessage",)):
    sqs.add_permission(QueueUrl=queue, Label=label, AWSAccountIds=list(accounts), Actions=list(actions))


def test_a_permission_is_a_statement_and_the_last_one_takes_the_policy_with_it(sqs, queue, policy_of):
    permit(sqs, queue, "one")
    one = statement("one", "arn:aws:iam::111111111111:root", "SQS:SendMessage")
    assert policy_of(queue) == {"Version": "2008-10-17", "Id": f"{ARN}/SQSDefaultPolicy", "Statement": [one]}
    permit(sqs, queue, "many", ["111111111111", "222222222222"], ["ReceiveMessage", "DeleteMessage"])
    accounts = ["arn:aws:iam::111111111111:root", "arn:aws:iam::222222222222:root"]
    many = statement("many", accounts, ["SQS:ReceiveMessage", "SQS:DeleteMessage"])
    assert policy_of(queue)["Statement"] == [one, many]
    sqs.remove_permission(QueueUrl=queue, Label="one")
    assert policy_of(queue)["Statement"] == [many]
    sqs.remove_permission(QueueUrl=queue, Label="many")
    assert policy_of(queue) is None


def test_a_permission_joins_a_policy_that_was_set(sqs, queue, policy_of):
    mine = {"Sid": "mine", "Effect": "Deny", "Principal": "*", "Action": "sqs:*", "Resource": ARN}
    document = {"Version": "2012-10-17", "Statement": mine}
    sqs.set_queue_attributes(QueueUrl=queue, Attributes={"Policy": json.dumps(document)})
    permit(sqs, queue, "x")
    assert policy_of(queue) == {
        "Version": "2012-10-17",
        "Statement": [mine, statement("x", "arn:aws:iam::111111111111:root", "SQS:SendMessage")],
    }
    sqs.remove_permission(QueueUrl=queue, Label="mine")
    assert [one["Sid"] for one in policy_of(queue)["Statement"]] == ["x"]


def test_a_label_is_given_once_and_must_be_there_to_be_removed(sqs, queue, refused, policy_of):
    permit(sqs, queue, "x")
    members = {"QueueUrl": queue, "Label": "x", "AWSAccountIds": ["222222222222"], "Actions": ["*"]}
    text = "Value x for parameter Label is invalid. Reason: Already exists."
    assert refused(sqs.add_permission, **members) == (400, "InvalidParameterValue", text)
    text = "Value y for parameter Label is invalid. Reason: can't find label."
    assert refused(sqs.remove_permission, QueueUrl=queue, Label="y") == (400, "InvalidParameterValue", text)
    assert len(policy_of(queue)["Statement"]) == 1


OWNERS = "Reason: Only the queue owner is allowed to invoke this action."
UNKNOWN = "Reason: Please refer to the appropriate WSDL for a list of valid actions."


@pytest.mark.parametrize(
    ("changed", "error"),
    [
        ({"Label": ""}, (400, "MissingParameter", "The request must contain the parameter Label.")),
        ({"Label": "a b"}, (400, "InvalidParameterValue", "Value a b for parameter Label is invalid.")),
        ({"Label": "a" * 81}, (400, "InvalidParameterValue", f"Value {'a' * 81} for parameter Label is invalid.")),
        ({"Actions": []}, (400, "MissingParameter", "The request must contain the parameter Actions.")),
        ({"Actions": ["*"] * 8}, (403, "OverLimit", "8 Actions were found, maximum allowed is 7.")),
        (
            {"Actions": ["SendMessage", "CreateQueue"]},
            (400, "InvalidParameterValue", f"Value SQS:CreateQueue for parameter ActionName is invalid. {OWNERS}"),
        ),
        (
            {"Actions": ["SendMessageBatch"]},
            (400, "InvalidParameterValue", "Value SQS:SendMessageBatch for parameter ActionName is invalid."),
        ),
        (
            {"Actions": ["Nonsense"]},
            (
                400,
                "InvalidParameterValue",
                f"Value SQS:Nonsense for parameter ActionName is invalid. {UNKNOWN}",
            ),
        ),
        (
            {"AWSAccountIds": []},
            (400, "InvalidParameterValue", "Value [] for parameter PrincipalId is invalid. Reason: Unable to verify."),
        ),
        ({"AWSAccountIds": ["1"]}, (400, "InvalidParameterValue", "Value [1] for parameter PrincipalId is invalid.")),
    ],
)
def test_a_permission_that_cannot_be_given_is_refused(sqs, queue, refused, policy_of, changed, error):
    members = {"QueueUrl": queue, "Label": "x", "AWSAccountIds": ["111111111111"], "Actions": ["SendMessage"]}
    status, code, message = refused(sqs.add_permission, **members | changed)
    assert (status, code) == error[:2]
    assert message.startswith(error[2])
    assert policy_of(queue) is None


def test_a_policy_takes_permissions_within_its_quotas(sqs, queue, refused, policy_of):
    for number in range(20):
        permit(sqs, queue, f"label-{number}")
    one = {"QueueUrl": queue, "Label": "more", "AWSAccountIds": ["111111111111"], "Actions": ["*"]}
    status, code, message = refused(sqs.add_permission, **one)
    assert (status, code) == (403, "OverLimit")
    assert "at most 20" in message
    assert len(policy_of(queue)["Statement"]) == 20
    long = {"Id": "x" * 7900, "Statement": policy_of(queue)["Statement"][:1]}
    sqs.set_queue_attributes(QueueUrl=queue, Attributes={"Policy": json.dumps(long, separators=(",", ":"))})
    status, code, message = refused(sqs.add_permission, **one)
    assert (status, code) == (403, "OverLimit")
    assert "at most 8192" in message


def test_permissions_by_form(query, queue, policy_of):
    form = {
        "QueueUrl": queue,
        "Label": "x",
        "AWSAccountId.1": "111111111111",
        "AWSAccountId.2": "222222222222",
        "ActionName.1": "*",
    }
    answer = query("AddPermission", form)
    assert (answer.status, answer.xml.tag) == (200, "AddPermissionResponse")
    assert policy_of(queue)["Statement"][0]["Action"] == "SQS:*"
    missing = {key: value for key, value in form.items() if key != "ActionName.1"}
    text = "The request must contain the parameter Actions."
    assert query("AddPermission", missing).error == (400, "MissingParameter", text)
    assert query("RemovePermission", {"QueueUrl": queue, "Label": "x"}).status == 200
    assert policy_of(queue) is None
