"""Jobs published inside `with publish_batch(app):` leave ten at a time, and each one that did not is named."""

import asyncio
import contextvars
import itertools
import pickle
import threading

import pytest
from celery import Celery
from celery.exceptions import Ignore, Retry
from celery.signals import after_task_publish
from hypothesis import given
from hypothesis import strategies as st

from amply import envelope
from amply.broker.sqs.limits import AWS
from amply.transport import batch
from amply.transport.batch import FailedPublish, Failure, PublishBatch, PublishBatchError, publish_batch, send_batch
from amply.transport.client import SqsClient
from amply.transport.endpoint import Endpoint, GivenCredentials
from amply.transport.faults import SqsFault, Transient, Unreachable
from amply.transport.publishing import Label, Outgoing

NO_WAIT = {"max_retries": 3, "interval_start": 0, "interval_step": 0, "interval_max": 0}
LOST = Unreachable("no answer came")


def note_down(*args):
    """What the app's only task does; it is never run here."""


@pytest.fixture
def make_app():
    """Celery apps on Amply's transport; their connections are closed in the end."""
    apps = []

    def make(endpoint_url, **settings):
        app = Celery("batches", set_as_current=False)
        app.conf.update(
            broker_url="sqs://test:test@",
            broker_transport="amply.transport:Transport",
            broker_transport_options={"endpoint_url": endpoint_url, "region": "eu-central-1"},
            task_default_queue="amply-celery",
            task_publish_retry_policy=NO_WAIT,
            **settings,
        )
        app.task(note_down, name="tasks.note")
        apps.append(app)
        return app

    yield make
    for app in apps:
        app.close()


@pytest.fixture
def app(broker, make_app):
    app = make_app(broker.endpoint_url)
    # Clients are kept by address, and an earlier broker may have had this one.
    requests_of(app).clear()
    return app


@pytest.fixture
def note(app):
    return app.tasks["tasks.note"]


@pytest.fixture
def messages(sqs):
    """The jobs that wait in a queue."""

    def read(queue="amply-celery"):
        url = sqs.get_queue_url(QueueName=queue)["QueueUrl"]
        found = []
        # The broker's clock stands still, so a poll that waited for more would wait for ever.
        asked = {"QueueUrl": url, "MaxNumberOfMessages": 10, "WaitTimeSeconds": 0}
        while received := sqs.receive_message(**asked).get("Messages"):
            found += [envelope.job(envelope.read(message["Body"])) for message in received]
        return found

    return read


def requests_of(app):
    """How often each SQS action was asked for."""
    with app.connection_for_write() as connection:
        return connection.transport.sqs.requests


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


def test_twenty_five_jobs_leave_in_three_requests(app, note, messages):
    with publish_batch(app) as collected:
        ids = [note.delay(number).id for number in range(25)]
        assert requests_of(app)["SendMessageBatch"] == 2
    assert requests_of(app)["SendMessageBatch"] == 3
    assert requests_of(app)["SendMessage"] == 0
    assert (collected.sent, collected.failed) == (25, [])
    assert sorted(job.id for job in messages()) == sorted(ids)


def test_after_the_block_each_job_leaves_by_itself_again(app, note, messages):
    with publish_batch(app):
        pass
    note.delay(1)
    assert requests_of(app)["SendMessage"] == 1
    assert len(messages()) == 1


def test_each_queue_has_batches_of_its_own(app, note, messages):
    with publish_batch(app):
        for number in range(12):
            note.apply_async((number,), queue="amply-celery-high" if number % 2 else "amply-celery-low")
        assert requests_of(app)["SendMessageBatch"] == 0
    assert requests_of(app)["SendMessageBatch"] == 2
    assert sorted(job.args[0] for job in messages("amply-celery-high")) == [1, 3, 5, 7, 9, 11]
    assert sorted(job.args[0] for job in messages("amply-celery-low")) == [0, 2, 4, 6, 8, 10]


def test_delays_of_jobs_hold_in_a_batch(app, note, messages, broker):
    with publish_batch(app):
        note.apply_async((1,), delay_seconds=60)
        note.delay(2)
    assert [job.args for job in messages()] == [[2]]
    broker.advance(60)
    assert next(job.args for job in messages()) == [1]


def test_celery_s_signals_come_at_each_delay(app, note):
    published = []

    def on_publish(sender, headers, **_kwargs):
        published.append(headers["id"])

    after_task_publish.connect(on_publish)
    try:
        with publish_batch(app):
            result = note.delay(1)
            assert published == [result.id]
    finally:
        after_task_publish.disconnect(on_publish)


def test_a_block_inside_a_block_is_part_of_the_outer_one(app, note, messages):
    with publish_batch(app) as outer:
        note.delay(1)
        with publish_batch(app) as inner:
            note.delay(2)
        assert inner is outer
        assert requests_of(app)["SendMessageBatch"] == 0
    assert requests_of(app)["SendMessageBatch"] == 1
    assert len(messages()) == 2


def test_another_thread_s_publishes_are_not_collected(app, note, messages):
    with publish_batch(app):
        # A thread that works in a copy of this context, as asyncio.to_thread makes it.
        thread = threading.Thread(target=contextvars.copy_context().run, args=(note.delay, 1))
        thread.start()
        thread.join()
        assert len(messages()) == 1


def test_a_coroutine_that_outlives_the_block_publishes_by_itself(app, note):
    async def late(block_ended):
        await block_ended.wait()
        note.delay(1)

    async def scene():
        block_ended = asyncio.Event()
        with publish_batch(app):
            task = asyncio.create_task(late(block_ended))
            await asyncio.sleep(0)
        block_ended.set()
        await task

    asyncio.run(scene())
    assert requests_of(app)["SendMessage"] == 1


def test_another_transport_publishes_as_without_the_block():
    app = Celery("elsewhere", broker="memory://", set_as_current=False)
    with publish_batch(app) as collected:
        app.send_task("tasks.note")
        with app.connection_for_write() as connection:
            assert connection.default_channel.queue_declare("celery", passive=True).message_count == 1
    assert collected.sent == 0
    app.close()


def test_an_error_in_the_block_sends_no_more_and_names_what_was_not_sent(app, note, messages):
    ids = []

    def block():
        with publish_batch(app):
            ids.extend(note.delay(number).id for number in range(18))
            raise ZeroDivisionError

    error = error_of(ZeroDivisionError, block)
    assert len(messages()) == 10
    (told,) = error.__notes__
    first, *jobs, more = told.splitlines()
    assert first == "publish_batch: 10 jobs were published, 8 were not:"
    assert jobs[0] == f"  tasks.note[{ids[10]}] to amply-celery: NotSent: given up after ZeroDivisionError"
    assert (len(jobs), more) == (5, "  and 3 more")


def test_an_error_after_the_last_batch_has_nothing_to_tell(app, note):
    def block():
        with publish_batch(app):
            for number in range(10):
                note.delay(number)
            raise ZeroDivisionError

    assert not hasattr(error_of(ZeroDivisionError, block), "__notes__")


@pytest.mark.parametrize("ending", [Retry(), Ignore()])
def test_a_task_s_retry_is_no_error_and_everything_is_sent(app, note, messages, ending):
    def block():
        with publish_batch(app):
            note.delay(1)
            raise ending

    assert error_of(type(ending), block) is ending
    assert len(messages()) == 1


def test_a_job_that_sqs_refuses_alone_is_named_at_the_end(app, note, sqs, messages):
    url = sqs.get_queue_url(QueueName="amply-celery-low")["QueueUrl"]
    sqs.set_queue_attributes(QueueUrl=url, Attributes={"MaximumMessageSize": "4096"})
    ids = []

    def block():
        with publish_batch(app):
            texts = ["x" * length for length in [1, 1, 1, 5000, *[1] * 8]]
            ids.extend(note.apply_async((text,), queue="amply-celery-low").id for text in texts)

    error = error_of(PublishBatchError, block)
    bad_id = ids[3]
    (failed,) = error.failed
    assert (failed.task, failed.id, failed.queue) == ("tasks.note", bad_id, "amply-celery-low")
    assert failed.code == "InvalidParameterValue"
    assert "4096" in failed.message
    assert error.sent == len(messages("amply-celery-low")) == 11
    assert str(error).startswith(f"1 of 12 jobs were not published:\n  tasks.note[{bad_id}] to amply-celery-low: Inv")


def test_a_queue_that_is_not_there_does_not_keep_the_other_queues_jobs(app, note, sqs, messages):
    note.apply_async(("find it",), queue="amply-celery-low")
    sqs.delete_queue(QueueUrl=sqs.get_queue_url(QueueName="amply-celery-low")["QueueUrl"])

    def block():
        with publish_batch(app):
            note.apply_async((1,), queue="amply-celery-low")
            note.apply_async((2,), queue="amply-celery-high")

    error = error_of(PublishBatchError, block)
    assert [failed.queue for failed in error.failed] == ["amply-celery-low"]
    assert isinstance(error.__cause__, SqsFault)
    assert len(messages("amply-celery-high")) == 1


def test_a_broker_that_is_gone_ends_the_loop_at_its_first_full_batch(broker, app, note):
    with publish_batch(app):
        note.delay("find the queues")
    broker.stop()
    published = []

    def block():
        with publish_batch(app):
            for number in range(1000):
                published.append(number)
                note.delay(number)

    error = error_of(PublishBatchError, block)
    assert len(published) == len(error.failed) == 10
    assert error.sent == 0
    assert {failed.code for failed in error.failed} == {"Unreachable"}


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
