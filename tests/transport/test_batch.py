"""Jobs published inside `with publish_batch(app):` leave ten at a time, and each one that did not is named."""

import asyncio
import contextvars
import threading

import pytest
from celery import Celery
from celery.exceptions import Ignore, Retry
from celery.signals import after_task_publish

from amply import envelope
from amply.transport.batch import PublishBatchError, publish_batch
from amply.transport.faults import SqsFault

NO_WAIT = {"max_retries": 3, "interval_start": 0, "interval_step": 0, "interval_max": 0}


def note_down(*args):
    """What the app's only task does; it is never run here."""


@pytest.fixture
def app(broker):
    """A Celery app on Amply's transport, for the broker."""
    app = Celery("batches", set_as_current=False)
    app.conf.update(
        broker_url="sqs://test:test@",
        broker_transport="amply.transport:Transport",
        broker_transport_options={"endpoint_url": broker.endpoint_url, "region": "eu-central-1"},
        task_default_queue="amply-celery",
        task_publish_retry_policy=NO_WAIT,
    )
    app.task(note_down, name="tasks.note")
    # Clients are kept by address, and an earlier broker may have had this one.
    requests_of(app).clear()
    yield app
    app.close()


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


def error_of(kind, block):
    """The error that a block ends with."""
    with pytest.raises(kind) as raised:
        block()
    return raised.value


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
