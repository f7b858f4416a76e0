"""boto3: what a receipt handle is good for: deleting a message, and changing when it is visible again."""


def receive(sqs, queue, **members):
    return sqs.receive_message(QueueUrl=queue, **members).get("Messages", [])


def test_a_deleted_message_is_gone_and_may_be_deleted_again(broker, sqs, queue):
    sqs.send_message(QueueUrl=queue, MessageBody="x")
    (message,) = receive(sqs, queue)
    for _ in range(2):
        sqs.delete_message(QueueUrl=queue, ReceiptHandle=message["ReceiptHandle"])
    broker.advance(31)
    assert receive(sqs, queue) == []


def test_each_receive_gives_a_new_handle_and_every_one_of_them_deletes(broker, sqs, queue):
    sqs.send_message(QueueUrl=queue, MessageBody="x")
    handles = []
    for _ in range(3):
        handles.append(receive(sqs, queue)[0]["ReceiptHandle"])
        broker.advance(30)
    assert len(set(handles)) == 3
    sqs.delete_message(QueueUrl=queue, ReceiptHandle=handles[0])
    assert receive(sqs, queue) == []


def test_a_handle_works_after_its_timeout_and_before_the_next_receive(broker, sqs, queue):
    sqs.send_message(QueueUrl=queue, MessageBody="x")
    (message,) = receive(sqs, queue)
    broker.advance(31)
    sqs.delete_message(QueueUrl=queue, ReceiptHandle=message["ReceiptHandle"])
    assert receive(sqs, queue) == []


def test_a_batch_deletes_each_message_by_itself(broker, sqs, queue):
    for body in "ab":
        sqs.send_message(QueueUrl=queue, MessageBody=body)
    first, second = receive(sqs, queue, MaxNumberOfMessages=10)
    answer = sqs.delete_message_batch(
        QueueUrl=queue,
        Entries=[
            {"Id": "0", "ReceiptHandle": first["ReceiptHandle"]},
            {"Id": "1", "ReceiptHandle": "garbage"},
            {"Id": "2", "ReceiptHandle": second["ReceiptHandle"]},
        ],
    )
    assert answer["Successful"] == [{"Id": "0"}, {"Id": "2"}]
    assert answer["Failed"] == [
        {
            "Id": "1",
            "SenderFault": True,
            "Code": "ReceiptHandleIsInvalid",
            "Message": 'The input receipt handle "garbage" is not a valid receipt handle.',
        }
    ]
    broker.advance(31)
    assert receive(sqs, queue) == []


def test_a_handle_that_nobody_gave_out_here_is_refused(sqs, queue, refused):
    other = sqs.create_queue(QueueName="other")["QueueUrl"]
    sqs.send_message(QueueUrl=other, MessageBody="x")
    real = receive(sqs, other)[0]["ReceiptHandle"]
    flipped = real[:-5] + ("A" if real[-5] != "A" else "B") + real[-4:]
    for handle in ("garbage", real, flipped, "x" * 10_000, "ü", real + "="):
        text = f'The input receipt handle "{handle}" is not a valid receipt handle.'
        expected = 400, "ReceiptHandleIsInvalid", text
        assert refused(sqs.delete_message, QueueUrl=queue, ReceiptHandle=handle) == expected
        change = {"QueueUrl": queue, "ReceiptHandle": handle, "VisibilityTimeout": 0}
        assert refused(sqs.change_message_visibility, **change) == expected


def test_visibility_is_changed_from_now_on_and_forgotten_at_the_next_receive(broker, sqs, queue):
    sqs.send_message(QueueUrl=queue, MessageBody="x")
    handle = receive(sqs, queue)[0]["ReceiptHandle"]
    broker.advance(29)
    sqs.change_message_visibility(QueueUrl=queue, ReceiptHandle=handle, VisibilityTimeout=100)
    broker.advance(99)
    assert receive(sqs, queue) == []
    broker.advance(1)
    (message,) = receive(sqs, queue)
    broker.advance(29)
    assert receive(sqs, queue) == []
    sqs.change_message_visibility(QueueUrl=queue, ReceiptHandle=message["ReceiptHandle"], VisibilityTimeout=0)
    assert len(receive(sqs, queue)) == 1


def test_visibility_of_a_deleted_message_cannot_be_changed(sqs, queue, refused):
    sqs.send_message(QueueUrl=queue, MessageBody="x")
    handle = receive(sqs, queue)[0]["ReceiptHandle"]
    sqs.delete_message(QueueUrl=queue, ReceiptHandle=handle)
    text = (
        f"Value {handle} for parameter ReceiptHandle is invalid. "
        "Reason: Message does not exist or is not available for visibility timeout change."
    )
    change = {"QueueUrl": queue, "ReceiptHandle": handle, "VisibilityTimeout": 1}
    assert refused(sqs.change_message_visibility, **change) == (400, "InvalidParameterValue", text)


def test_visibility_may_not_pass_twelve_hours_in_all(broker, sqs, queue, refused):
    sqs.send_message(QueueUrl=queue, MessageBody="x")
    handle = receive(sqs, queue)[0]["ReceiptHandle"]
    broker.advance(10)
    change = {"QueueUrl": queue, "ReceiptHandle": handle}
    text = (
        "Value 43191 for parameter VisibilityTimeout is invalid. "
        "Reason: Total VisibilityTimeout for the message is beyond the limit [43200 seconds]"
    )
    answer = refused(sqs.change_message_visibility, VisibilityTimeout=43191, **change)
    assert answer == (400, "InvalidParameterValue", text)
    sqs.change_message_visibility(VisibilityTimeout=43190, **change)
    status, code, _ = refused(sqs.change_message_visibility, VisibilityTimeout=43201, **change)
    assert (status, code) == (400, "InvalidParameterValue")


def test_a_batch_changes_each_visibility_by_itself(sqs, queue):
    for body in "ab":
        sqs.send_message(QueueUrl=queue, MessageBody=body)
    first, second = receive(sqs, queue, MaxNumberOfMessages=10)
    answer = sqs.change_message_visibility_batch(
        QueueUrl=queue,
        Entries=[
            {"Id": "now", "ReceiptHandle": first["ReceiptHandle"], "VisibilityTimeout": 0},
            {"Id": "bad", "ReceiptHandle": second["ReceiptHandle"], "VisibilityTimeout": 43201},
            {"Id": "none", "ReceiptHandle": "garbage", "VisibilityTimeout": 0},
        ],
    )
    assert answer["Successful"] == [{"Id": "now"}]
    assert [(entry["Id"], entry["SenderFault"], entry["Code"]) for entry in answer["Failed"]] == [
        ("bad", True, "InvalidParameterValue"),
        ("none", True, "ReceiptHandleIsInvalid"),
    ]
    assert [message["Body"] for message in receive(sqs, queue, MaxNumberOfMessages=10)] == ["a"]


def test_the_counters_tell_visible_in_flight_and_delayed_apart(sqs, queue):
    for delay_s in (0, 0, 0, 10, 10):
        sqs.send_message(QueueUrl=queue, MessageBody="x", DelaySeconds=delay_s)
    receive(sqs, queue)
    attributes = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["All"])["Attributes"]
    names = "", "NotVisible", "Delayed"
    assert [attributes[f"ApproximateNumberOfMessages{name}"] for name in names] == ["2", "1", "2"]


def test_a_batch_in_which_a_timeout_is_missing_changes_nothing(query, queue):
    fields = {"QueueUrl": queue}
    for number in (1, 2):
        entry = f"ChangeMessageVisibilityBatchRequestEntry.{number}"
        fields |= {f"{entry}.Id": number, f"{entry}.ReceiptHandle": "any"}
    fields["ChangeMessageVisibilityBatchRequestEntry.1.VisibilityTimeout"] = 0
    missing = "ChangeMessageVisibilityBatchRequestEntry.2.VisibilityTimeout"
    expected = (400, "MissingParameter", f"The request must contain the parameter {missing}.")
    assert query("ChangeMessageVisibilityBatch", fields).error == expected
