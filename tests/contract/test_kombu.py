"""What the transport takes for granted in kombu, beyond its documented interface, one test for each.

Runs under kombu 5.6 and 5.7. A test that fails after an upgrade names what the transport must be changed for.
"""

import inspect
import logging
import socket
import subprocess
import sys

import pytest
from amqp.protocol import queue_declare_ok_t
from celery import Celery
from kombu import Consumer, Exchange, Producer, Queue, serialization
from kombu.asynchronous import Hub
from kombu.common import ignore_errors
from kombu.exceptions import OperationalError
from kombu.message import Message as AnyMessage
from kombu.transport import virtual
from kombu.utils.compat import entrypoints
from recording import Message, Transport, connection

LOGGER = logging.getLogger(__name__)


@pytest.fixture
def made():
    """A connection that keeps what kombu calls."""
    with connection(an_option=7) as made:
        yield made


@pytest.fixture
def channel(made):
    """Its channel."""
    return made.default_channel


def named(channel, name):
    """What each call of this name was given."""
    return [given for called, given in channel.calls if called == name]


@pytest.fixture
def hub():
    """kombu's event loop."""
    hub = Hub()
    yield hub
    hub.close()


@pytest.fixture
def wire():
    """Two ends of a socket."""
    ends = socket.socketpair()
    yield ends
    for end in ends:
        end.close()


# How a broker URL finds the transport


def test_kombu_loads_the_serializers_entry_points_as_it_is_imported():
    assert "entrypoints('kombu.serializers')" in inspect.getsource(serialization)
    assert "amply" in {point.name for point, _ in entrypoints("kombu.serializers")}
    assert serialization.registry.name_to_type["amply"] == "application/x-amply"


def test_a_serializer_without_encoder_and_decoder_leaves_the_others_alone():
    assert "amply" not in serialization.registry._encoders
    assert serialization.registry.type_to_name["application/json"] == "json"


def test_the_alias_is_in_kombus_table_after_its_import_and_has_brought_nothing_else_along():
    look = """if True:
        import sys, kombu.serialization
        print(sys.modules["kombu.transport"].TRANSPORT_ALIASES["amply"], "celery" in sys.modules)
    """
    said = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, check=True).stdout
    assert said.split() == ["amply.transport:Transport", "False"]


def test_the_setting_broker_transport_goes_before_the_urls_scheme():
    app = Celery(broker="sqs://", set_as_current=False)
    app.conf.broker_transport = "recording:Transport"
    for made in (app.connection_for_write(), app.connection_for_read()):
        assert isinstance(made.transport, Transport)
        made.close()


def test_a_transport_finds_the_urls_parts_and_the_options_on_its_client(made):
    assert made.transport.client is made
    assert made.transport.client.transport_options == {"an_option": 7}
    for name in ("hostname", "port", "userid", "password", "ssl", "virtual_host"):
        assert hasattr(made, name)
    assert made.default_channel.an_option == 7


def test_a_url_without_a_host_leaves_the_host_to_the_transport():
    with connection() as made:
        made.hostname = None
        assert made.transport.default_connection_params["port"] is None


# Publishing


def test_a_published_message_arrives_as_a_payload_with_these_members(channel):
    Producer(channel).publish({"a": 1}, routing_key="celery", headers={"task": "double"}, priority=3)
    (put,) = named(channel, "_put")
    payload = put["message"]
    assert put["queue"] == "celery"
    assert set(payload) == {"body", "content-encoding", "content-type", "headers", "properties"}
    assert (payload["content-type"], payload["content-encoding"]) == ("application/json", "utf-8")
    assert payload["headers"] == {"task": "double"}
    properties = payload["properties"]
    assert properties["body_encoding"] == "base64"
    assert properties["delivery_info"] == {"exchange": "", "routing_key": "celery"}
    assert (properties["priority"], bool(properties["delivery_tag"])) == (3, True)


def test_options_that_are_not_kombus_are_properties(channel):
    Producer(channel).publish({}, routing_key="celery", MessageGroupId="donor", DelaySeconds=5)
    properties = named(channel, "_put")[0]["message"]["properties"]
    assert (properties["MessageGroupId"], properties["DelaySeconds"]) == ("donor", 5)


def test_a_connection_error_is_tried_again_and_ends_as_an_operational_error(made, monkeypatch):
    tries = []

    def refuse(_self, queue, _message, **_kwargs):
        tries.append(queue)
        raise ConnectionResetError("gone")

    monkeypatch.setattr(Transport.Channel, "_put", refuse)
    policy = {"max_retries": 2, "interval_start": 0, "interval_step": 0, "interval_max": 0}
    with pytest.raises(OperationalError):
        Producer(made).publish({}, routing_key="celery", retry=True, retry_policy=policy)
    assert len(tries) > 1


def test_a_declared_queue_is_made_by_its_channel_and_counted(channel):
    answer = channel.queue_declare("celery", durable=True, exclusive=False)
    assert isinstance(answer, queue_declare_ok_t)
    assert (answer.queue, answer.message_count, answer.consumer_count) == ("celery", 0, 0)
    assert named(channel, "_new_queue") == [{"queue": "celery", "durable": True, "exclusive": False}]


def test_a_fanout_exchange_is_delivered_by_the_channel_itself(channel):
    exchange = Exchange("celery.pidbox", type="fanout")
    Queue("worker@here.celery.pidbox", exchange)(channel).declare()
    Producer(channel, exchange=exchange).publish({})
    assert named(channel, "_queue_bind") == [{"exchange": "celery.pidbox", "queue": "worker@here.celery.pidbox"}]
    assert [put["exchange"] for put in named(channel, "_put_fanout")] == ["celery.pidbox"]
    assert named(channel, "_put") == []


# Consuming


def test_queues_are_consumed_in_the_consumers_order(channel):
    with Consumer(channel, [Queue("high"), Queue("celery"), Queue("low")], no_ack=False):
        pass
    assert [given["queue"] for given in named(channel, "basic_consume")] == ["high", "celery", "low"]
    assert {given["no_ack"] for given in named(channel, "basic_consume")} == {False}
    assert {given["queue"] for given in named(channel, "basic_cancel")} == {"high", "celery", "low"}


def test_a_prefetch_count_reaches_the_channel(channel):
    Consumer(channel, [Queue("high")]).qos(prefetch_count=4, apply_global=True)
    assert named(channel, "basic_qos") == [{"prefetch_count": 4}]


def test_a_message_that_is_called_back_is_settled_by_its_tag(channel):
    got = []
    with Consumer(channel, [Queue("high")], on_message=got.append) as consumer:
        Producer(channel).publish({"a": 1}, routing_key="high")
        channel.drain_events()
        assert consumer.channel is channel
    (message,) = got
    assert isinstance(message, Message)
    assert message.payload == {"a": 1}
    message.reject_log_error(LOGGER, (), requeue=True)
    assert named(channel, "basic_reject") == [{"tag": message.delivery_tag, "requeue": True}]


def test_logging_verdicts_go_by_way_of_the_plain_ones_and_swallow_connection_errors_only(channel, monkeypatch):
    def refuse(*_args, **_kwargs):
        raise ConnectionResetError("gone")

    monkeypatch.setattr(Transport.Channel, "basic_ack", refuse)
    payload = channel.prepare_message("{}", headers={}, properties={"delivery_tag": "1"})
    message = Message(payload, channel=channel)
    message.ack_log_error(LOGGER, (ConnectionError,))
    with pytest.raises(ConnectionResetError):
        message.ack_log_error(LOGGER, ())
    assert [name for name, _ in channel.calls] == ["ack", "plain ack", "ack", "plain ack"]


def test_kombus_worker_knows_a_verdict_by_the_methods_name_and_the_messages_class():
    """Celery 5.7's prefork pool runs verdicts from a thread of its own while it waits for its children."""
    assert issubclass(virtual.Message, AnyMessage)
    for name in ("ack_log_error", "reject_log_error"):
        assert callable(getattr(AnyMessage, name))


def test_a_message_settles_once(channel):
    message = Message(channel.prepare_message("{}", properties={"delivery_tag": "1"}), channel=channel)
    message.ack()
    assert message.acknowledged
    with pytest.raises(AnyMessage.MessageStateError):
        message.reject()


def test_a_closed_connection_closes_its_channels_which_cancel_their_consumers():
    made = connection()
    channel = made.default_channel
    calls = channel.calls
    Consumer(channel, [Queue("high")]).consume()
    made.close()
    assert [given["queue"] for name, given in calls if name == "basic_cancel"] == ["high"]
    assert channel.closed
    assert channel.connection is None


def test_draining_passes_the_timeout_on_and_ends_in_the_sockets_timeout(made):
    with Consumer(made.default_channel, [Queue("high")]), pytest.raises(TimeoutError):
        made.drain_events(timeout=0.001)
    assert socket.timeout is TimeoutError
    assert list(inspect.signature(virtual.Transport.drain_events).parameters) == ["self", "connection", "timeout"]


def test_errors_of_the_transport_are_those_of_its_connections(made):
    assert ConnectionError in made.connection_errors
    assert isinstance(made.channel_errors, tuple)
    with ignore_errors(made):
        raise ConnectionResetError("gone")


# The event loop


def test_the_loop_calls_a_reader_with_its_arguments(hub, wire):
    called = []
    hub.add_reader(wire[0].fileno(), called.append, 1)
    wire[1].send(b"x")
    next(hub.create_loop())
    assert called == [1]


def test_a_loop_that_is_reset_has_forgotten_its_readers(hub, wire):
    hub.add_reader(wire[0].fileno(), print)
    hub.reset()
    assert not hub.readers
    hub.add_reader(wire[0].fileno(), print)
    hub.remove_reader(wire[0].fileno())
    assert not hub.readers


def test_a_loop_that_closes_does_what_was_put_off(wire):
    hub, called = Hub(), []
    hub.add_reader(wire[0].fileno(), print)
    hub.call_soon(called.append, 1)
    hub.close()
    assert called == [1]


def test_errors_of_a_reader_leave_the_loop(hub, wire):
    def fail():
        raise ConnectionResetError("gone")

    hub.add_reader(wire[0].fileno(), fail)
    wire[1].send(b"x")
    with pytest.raises(ConnectionResetError):
        next(hub.create_loop())
