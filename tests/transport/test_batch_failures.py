"""How batches are filled, tried again and told of, with a sender that fails as the test says; and one real request."""

import itertools
import pickle

import pytest
from celery import Celery
from hypothesis import example, given
from hypothesis import strategies as st

from amply.broker.sqs.limits import AWS
from amply.transport import batch
from amply.transport.batch import FailedPublish, Failure, PublishBatch, PublishBatchError, publish_batch, send_batch
from amply.transport.client import SqsClient
from amply.transport.endpoint import Endpoint, GivenCredentials
from amply.transport.faults import SqsFault, Transient, Unreachable
from amply.transport.publishing import Label, Outgoing

NO_WAIT = {"max_retries": 3, "interval_start": 0, "interval_step": 0, "interval_max": 0}
LOST = Unreachable("no answer came")


class Sender:
    """Takes batches as SQS does. `script` holds what to do with one request after another: an error, or failures."""

    def __init__(self, *script):
        self.script = list(script)
        self.requests = []

    def send(self, queue, outgoings):
        self.requests.append((queue, [outgoing.body for outgoing in outgoings]))
        step = self.script.pop(0) if self.script else {}
        if isinstance(step, BaseException):
            raise step
        return [step.get(outgoing.body) for outgoing in outgoings]


@pytest.fixture
def collect():
    """Opens a block for `add`, which publishes to a `Sender` as a channel would."""
    app = Celery("collected", set_as_current=False)
    app.conf.task_publish_retry_policy = NO_WAIT
    yield lambda: publish_batch(app)
    app.close()


def add(sender, text, queue="q"):
    batch.current().add(sender.send, queue, Outgoing(text), Label("tasks.note", f"id-{text}"))


def publish_all(collect, sender, **queues):
    """A block that publishes a job of each name to its queue."""
    with collect():
        for text, queue in queues.items():
            add(sender, text, queue)


def error_of(kind, block):
    """The error that a block ends with."""
    with pytest.raises(kind) as raised:
        block()
    return raised.value


def refused(code="InternalError", *, is_transient=True):
    return Failure(code, "try again", is_transient=is_transient)


def test_a_lost_answer_is_tried_again_as_celery_s_policy_says(collect):
    sender = Sender(LOST, Transient("SendMessageBatch", 503, "ServiceUnavailable", "later"), LOST)
    with collect() as collected:
        add(sender, "a")
    assert sender.requests == [("q", ["a"])] * 4
    assert collected.sent == 1


def test_only_what_failed_is_tried_again(collect):
    sender = Sender({"b": refused()}, {"b": refused()})
    with collect() as collected:
        for text in "abc":
            add(sender, text)
    assert sender.requests == [("q", ["a", "b", "c"]), ("q", ["b"]), ("q", ["b"])]
    assert collected.sent == 3


def test_what_cannot_pass_is_not_tried_again(collect):
    sender = Sender({"b": refused("InvalidMessageContents", is_transient=False)})
    error = error_of(PublishBatchError, lambda: publish_all(collect, sender, a="q", b="q"))
    assert len(sender.requests) == 1
    assert error.failed == [FailedPublish("tasks.note", "id-b", "q", "InvalidMessageContents", "try again")]


def test_a_whole_refusal_is_not_tried_again_and_tells_sqs_s_reason(collect):
    sender = Sender(SqsFault("SendMessageBatch", 403, "AccessDenied", "not yours"))
    with pytest.raises(PublishBatchError, match=r"tasks.note\[id-a\] to q: AccessDenied: not yours"), collect():
        add(sender, "a")
    assert len(sender.requests) == 1


def test_what_fails_to_the_last_is_told_with_its_reason(collect):
    sender = Sender(*[{"b": refused()}] * 4)
    error = error_of(PublishBatchError, lambda: publish_all(collect, sender, a="q", b="q"))
    assert len(sender.requests) == 4
    assert [(failed.id, failed.code) for failed in error.failed] == [("id-b", "InternalError")]


def test_without_celery_s_publish_retry_each_request_is_made_once():
    app = Celery("once", set_as_current=False)
    app.conf.task_publish_retry = False
    sender = Sender(LOST)
    with pytest.raises(PublishBatchError), publish_batch(app):
        add(sender, "a")
    assert len(sender.requests) == 1
    app.close()


def test_the_publish_that_found_the_broker_gone_is_named_as_well(collect):
    sender = Sender(*[LOST] * 4)

    def block():
        with collect():
            add(sender, "a" * 600_000)
            add(sender, "b" * 600_000)

    error = error_of(PublishBatchError, block)
    assert [(failed.id[:4], failed.code) for failed in error.failed] == [("id-a", "Unreachable"), ("id-b", "NotSent")]


def test_a_broker_that_is_gone_is_waited_for_once_at_the_end(collect):
    sender = Sender(*[LOST] * 4)
    error = error_of(PublishBatchError, lambda: publish_all(collect, sender, a="one", b="two"))
    assert [queue for queue, _ in sender.requests] == ["one"] * 4
    assert [failed[1:] for failed in error.failed] == [
        ("id-a", "one", "Unreachable", "no answer came"),
        ("id-b", "two", "NotSent", "given up after Unreachable"),
    ]


def test_a_block_that_goes_on_after_its_error_tells_everything_at_the_end(collect):
    sender = Sender(*[LOST] * 4)
    errors = []

    def block():
        with collect():
            add(sender, "other", "two")
            for number in range(9):
                add(sender, str(number))
            errors.append(error_of(PublishBatchError, lambda: add(sender, "9")))
            add(sender, "later")

    error = error_of(PublishBatchError, block)
    assert [failed.id for failed in error.failed] == [*(f"id-{number}" for number in range(10)), "id-other"]
    assert error.failed == errors[0].failed
    assert error.sent == 1


def test_an_earlier_error_of_the_block_that_ends_it_later_tells_everything(collect):
    sender = Sender(*[LOST] * 4)

    def block():
        with collect():
            for number in range(9):
                add(sender, str(number))
            error = error_of(PublishBatchError, lambda: add(sender, "9"))
            add(sender, "later")
            raise error

    error = error_of(PublishBatchError, block)
    assert [failed.id for failed in error.failed] == [*(f"id-{number}" for number in range(10)), "id-later"]
    assert not hasattr(error, "__notes__")


def test_an_interrupt_while_sending_names_what_was_on_its_way(collect):
    sender = Sender(KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt) as raised, collect():
        add(sender, "a")
    assert (
        "1 were not:\n  tasks.note[id-a] to q: NotSent: given up after KeyboardInterrupt" in raised.value.__notes__[0]
    )
    assert batch.current() is None


def test_the_error_survives_the_way_out_of_a_pool_process():
    failed = [FailedPublish("t", "i", "q", "InternalError", "m")]
    error = PublishBatchError("1 of 2", hint="do", failed=failed, sent=1)
    copy = pickle.loads(pickle.dumps(error))
    assert str(copy) == str(error)
    assert (copy.failed, copy.sent) == (failed, 1)


@pytest.mark.parametrize(
    ("policy", "waits_s"),
    [
        ({"max_retries": 4, "interval_start": 0, "interval_step": 0.5, "interval_max": 1}, [0, 0.5, 1, 1]),
        ({"max_retries": 2, "interval_start": 3, "interval_step": 1, "interval_max": 1}, [3, 3]),
        ({"max_retries": 0}, []),
        ({"max_retries": 1}, [1]),
    ],
)
def test_the_pauses_are_those_of_celery_s_policy(policy, waits_s):
    app = Celery("pauses", set_as_current=False)
    app.conf.task_publish_retry_policy = policy
    assert list(batch._waits_s(app)) == waits_s
    app.close()


def test_a_policy_without_an_end_has_none():
    app = Celery("endless", set_as_current=False)
    app.conf.task_publish_retry_policy = NO_WAIT | {"max_retries": None}
    waits_s = batch._waits_s(app)
    assert [next(waits_s) for _ in range(100)] == [0] * 100
    app.close()


sizes = st.one_of(st.integers(1, 2_000), st.integers(100_000, 300_000), st.just(1_048_576))


@given(st.lists(sizes, max_size=40))
@example([524_288, 524_288, 1])
def test_every_batch_is_as_full_as_sqs_allows_and_no_fuller(lengths):
    requests = []

    def send(queue, outgoings):
        requests.append([outgoing.size_bytes for outgoing in outgoings])
        return [None] * len(outgoings)

    collecting = PublishBatch(lambda: iter(()))
    for length in lengths:
        collecting.add(send, "q", Outgoing("x" * length), Label("", ""))
    collecting.finish()

    assert [size for request in requests for size in request] == lengths
    assert all(
        len(request) <= AWS.batch_entries_max and sum(request) <= AWS.batch_size_bytes_max for request in requests
    )
    for request, following in itertools.pairwise(requests):
        assert len(request) == AWS.batch_entries_max or sum(request) + following[0] > AWS.batch_size_bytes_max


@pytest.fixture
def client(broker):
    client = SqsClient(Endpoint(broker.endpoint_url, "eu-central-1", GivenCredentials("test", "test")))
    yield client
    client.close()


def test_sqs_takes_a_batch_of_exactly_the_largest_size(client, sqs):
    url = sqs.create_queue(QueueName="large")["QueueUrl"]
    attributes = {
        "Note": {"DataType": "String", "StringValue": "é" * 100},
        "Raw": {"DataType": "Binary", "BinaryValue": b"\xff"},
    }
    first = Outgoing("ü" * 250_000, attributes)
    second = Outgoing("x" * (batch.BYTES_MAX - first.size_bytes))
    assert send_batch(client, url, [first, second]) == [None, None]
    with pytest.raises(SqsFault, match="BatchRequestTooLong"):
        send_batch(client, url, [first, Outgoing(second.body + "x")])


def test_each_failure_of_a_batch_is_told_at_its_message_s_place(client, sqs):
    url = sqs.create_queue(QueueName="small", Attributes={"MaximumMessageSize": "1024"})["QueueUrl"]
    results = send_batch(client, url, [Outgoing("a"), Outgoing("b" * 1025), Outgoing("c"), Outgoing("\x00")])
    assert [result and result.code for result in results] == [
        None,
        "InvalidParameterValue",
        None,
        "InvalidMessageContents",
    ]
    assert not results[1].is_transient


class Answering:
    """Stands for SQS's odd answers, which no broker gives on demand."""

    def __init__(self, answer):
        self.answer = answer

    def call(self, action, members):
        return self.answer


def test_a_failure_that_is_sqs_s_own_may_pass():
    told = {"Id": "0", "Code": "InternalError", "SenderFault": False}
    (failure,) = send_batch(Answering({"Failed": [told]}), "url", [Outgoing("a")])
    assert failure == Failure("InternalError", "no reason given", is_transient=True)


def test_a_message_that_the_answer_does_not_mention_is_not_taken_as_sent():
    sent, missing = send_batch(Answering({"Successful": [{"Id": "0"}]}), "url", [Outgoing("a"), Outgoing("b")])
    assert sent is None
    assert (missing.code, missing.is_transient) == ("Unanswered", True)
