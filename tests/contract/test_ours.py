"""What our transport replaces in Celery's and kombu's classes is still there, and is called as ours can be called.

Runs under Celery 5.6 and 5.7.
"""

import inspect
import select
import threading

import pytest
from celery.app.task import Task
from celery.concurrency import get_implementation
from celery.worker import request, strategy
from kombu import Connection, Consumer, Queue
from kombu.asynchronous import Hub
from kombu.message import Message as AnyMessage
from kombu.transport import virtual
from recording import Consuming

from amply.transport import Transport, queues, worker
from amply.transport.channel import Channel
from amply.transport.delivery import received
from amply.transport.message import Message

REPLACED = [
    (ours, theirs, name)
    for ours, theirs in (
        (Transport, virtual.Transport),
        (Channel, virtual.Channel),
        (Message, virtual.Message),
        (worker.Request, request.Request),
    )
    for name, value in vars(ours).items()
    if inspect.isfunction(value) and hasattr(theirs, name)
]
ANY = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


@pytest.fixture
def connection():
    """A connection of ours. Nobody listens there, and nothing of this may ask."""
    with Connection("amply://key:secret@127.0.0.1:1", transport_options={"region": "eu-central-1"}) as connection:
        yield connection


@pytest.mark.parametrize(
    ("ours", "theirs", "name"), REPLACED, ids=[f"{ours.__name__}.{name}" for ours, _, name in REPLACED]
)
def test_a_method_takes_what_the_one_it_replaces_takes(ours, theirs, name):
    if name == "__init__":
        assert any(parameter.kind in ANY for parameter in inspect.signature(ours.__init__).parameters.values())
        return
    replaced = inspect.signature(getattr(theirs, name)).parameters.values()
    own = inspect.signature(getattr(ours, name)).parameters
    names = {parameter.name for parameter in own.values() if parameter.kind not in ANY}
    takes_others = any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in own.values())
    wanted = {parameter.name for parameter in replaced if parameter.kind not in ANY}
    assert takes_others or wanted <= names
    assert takes_others or not any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in replaced)


def test_celery_asks_our_request_and_our_strategy_once_a_connection_is_made(connection):
    assert connection.transport.driver_type == "sqs"
    assert (Task.Request, Task.Strategy) == ("amply.transport.worker:Request", "amply.transport.worker:start")
    assert callable(strategy.default)
    assert not {"execute_using_pool", "on_success"} & set(vars(worker.Request))


def test_verdicts_stay_kombus_so_that_celerys_pool_knows_them():
    assert issubclass(Message, AnyMessage)
    for name in ("ack_log_error", "reject_log_error"):
        assert getattr(Message, name) is getattr(AnyMessage, name)


def test_consumed_queues_are_kept_where_kombus_channel_looks_for_them(connection):
    channel = connection.default_channel
    consumer = Consumer(channel, [Queue("high"), Queue("low")], auto_declare=False)
    consumer.consume()
    assert sorted(channel._tag_to_queue.values()) == sorted(channel._active_queues) == ["high", "low"]
    assert channel._consumers == set(channel._tag_to_queue)
    consumer.cancel()
    assert not channel._tag_to_queue
    assert not channel._active_queues
    assert not channel._consumers


def test_a_closed_connection_has_no_consumers(connection):
    channel = connection.default_channel
    Consumer(channel, [Queue("high")], auto_declare=False).consume()
    connection.close()
    assert channel.closed
    assert not channel._consumers


@pytest.fixture
def consuming():
    """A worker's consumer on our transport. Nobody listens where its broker should be."""
    consuming = Consuming(
        broker_url="amply://key:secret@127.0.0.1:1",
        broker_transport="amply.transport:Transport",
        broker_transport_options={"region": "eu-central-1"},
    )

    @consuming.task("double")
    def double(number):
        return 2 * number

    consuming.start()
    yield consuming
    consuming.stop()


@pytest.mark.parametrize(("name", "slots"), [("solo", 1), ("threads", 3)])
def test_the_transport_knows_how_many_jobs_a_pool_runs_at_once(consuming, name, slots):
    consuming.consumer.pool = get_implementation(name)(3)
    consuming.consumer.update_strategies()
    assert consuming.consumer.connection.transport.intake.concurrency() == slots


# In Celery 5.6 a verdict that is given off the loop's thread waits until the loop turns for another reason: kombu 5.6's
# hub is not woken by `call_soon`, and without a hub Celery puts verdicts off until `drain_events` has returned.


@pytest.fixture
def pending(consuming):
    """A request of a job that has come and has not ended."""
    requests = []
    consuming.consumer.on_task_request = requests.append
    consuming.consumer.update_strategies()
    queue = queues.Queue("celery", "celery", "http://127.0.0.1:1/000000000000/celery")
    delivery = received(queue, {"MessageId": "1", "ReceiptHandle": "1"}, now_ms=0, lease_s=120)
    delivery.payload = {
        "body": "[[1], {}, {}]",
        "content-type": "application/json",
        "content-encoding": "utf-8",
        "headers": {"id": "1", "task": "double", "lang": "py"},
        "properties": {"body_encoding": "utf-8", "delivery_info": {"exchange": "", "routing_key": "celery"}},
    }
    consuming.consumer.create_task_handler()(consuming.channel._message(delivery))
    return requests[0]


@pytest.mark.parametrize("verdict", ["acknowledge", "reject"])
def test_a_verdict_of_another_thread_wakes_the_loop(consuming, pending, verdict):
    intake = consuming.consumer.connection.transport.intake
    intake.silence()
    hub = consuming.consumer.hub = Hub()
    thread = threading.Thread(target=getattr(pending, verdict))
    thread.start()
    thread.join()
    try:
        assert select.select([intake], [], [], 0)[0] == [intake]
    finally:
        hub._ready.clear()
        hub.close()
        consuming.consumer.hub = None


def test_draining_ends_for_a_verdict_that_celery_puts_off_until_then(connection):
    intake = connection.transport.intake

    def drain():
        connection.transport.drain_events(connection.connection, timeout=60)

    thread = threading.Thread(target=drain, daemon=True)
    thread.start()
    intake.nudge()
    thread.join(10)
    assert not thread.is_alive()
