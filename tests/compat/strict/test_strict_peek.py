"""Looks and claims at a strict broker: whoever may receive may look, and nobody else."""

import json

QUEUE = "amply-celery-dlq"
ARN = f"arn:aws:sqs:eu-central-1:000000000000:{QUEUE}"


def test_nothing_is_shown_to_strangers(strict, json_request):
    answer = strict.send(json_request(strict, "PeekMessages", QueueUrl=strict.url(QUEUE)))
    assert (answer.status, answer.code) == (403, "MissingAuthenticationToken")
    (line,) = strict.audit()
    assert (line["event"], line["action"]) == ("refused", "PeekMessages")


def test_who_may_not_receive_may_not_look_and_is_in_the_audit(strict, json_request, sign):
    key = strict.key("worker")
    asked = {"QueueUrl": strict.url(QUEUE), "MaxNumberOfMessages": 0}
    answer = strict.send(sign(json_request(strict, "PeekMessages", **asked), key))
    assert (answer.status, answer.code) == (403, "AccessDeniedException")
    assert f"is not authorized to perform: sqs:ReceiveMessage on resource: {ARN}" in answer.message
    (line,) = strict.audit()
    assert (line["event"], line["action"], line["resource"]) == ("denied", "PeekMessages", ARN)


def test_a_queue_s_policy_that_denies_receiving_denies_looking(strict, json_request, sign):
    key = strict.key("admin")
    statement = {"Effect": "Deny", "Principal": "*", "Action": "sqs:ReceiveMessage", "Resource": ARN}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    strict.client(key).set_queue_attributes(QueueUrl=strict.url(QUEUE), Attributes={"Policy": policy})
    answer = strict.send(sign(json_request(strict, "PeekMessages", QueueUrl=strict.url(QUEUE)), key))
    assert (answer.status, answer.code) == (403, "AccessDeniedException")


def test_a_dlq_operator_looks_claims_and_deletes(strict, json_request, sign):
    key, queue = strict.key("dlq-operator"), strict.url(QUEUE)
    strict.client(strict.key("admin")).send_message(QueueUrl=queue, MessageBody="x")
    asked = {"QueueUrl": queue, "WithReceiptHandles": True}
    answer = strict.send(sign(json_request(strict, "PeekMessages", **asked), key))
    (seen,) = json.loads(answer.body)["Messages"]
    sqs, receipt = strict.client(key), {"QueueUrl": queue, "ReceiptHandle": seen["ReceiptHandle"]}
    sqs.change_message_visibility(**receipt, VisibilityTimeout=60)
    assert "Messages" not in sqs.receive_message(QueueUrl=queue)
    sqs.delete_message(**receipt)
    assert json.loads(strict.send(sign(json_request(strict, "PeekMessages", **asked), key)).body)["Messages"] == []


def test_a_presigned_url_of_the_query_protocol_shows_a_queue(strict, query_request, sign):
    key, queue = strict.key("dlq-operator"), strict.url(QUEUE)
    strict.client(strict.key("admin")).send_message(QueueUrl=queue, MessageBody="x")
    request = query_request(strict, "PeekMessages", method="GET", QueueUrl=queue)
    assert b"<Body>x</Body>" in strict.send(sign(request, key, expires_s=60)).body
