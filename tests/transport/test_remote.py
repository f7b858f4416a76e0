"""Mailboxes, answers and events without AMQP's exchanges: queues found by their names, and gone with their readers."""

import json
import re
import threading

import pytest
from kombu import Connection, Exchange, Producer
from kombu.pidbox import Mailbox

from amply.clock import ManualClock
from amply.ids import CountingIds
from amply.transport.boxes import EVENTS, NODE, NOTE, REPLY, Box, name_of, write
from amply.transport.client import SqsClient
from amply.transport.endpoint import resolve
from amply.transport.events import HEARTBEAT, EventPost
from amply.transport.faults import Unreachable
from amply.transport.options import Options
from amply.transport.queues import Queue, Queues
from amply.transport.remote import NotBroadcast, Remote, speech
from amply.transport.sweeping import PROBE, probe, sweep

PREFIX = "test-"
PATIENCE_S = 30.0
HEADERS = {"hostname": "w@here"}


def client_of(url):
    return SqsClient(
        resolve(
            hostname=None,
            port=None,
            userid="test",
            password="test",
            ssl=False,
            region="eu-central-1",
            endpoint_url=url,
        )
    )


@pytest.fixture
def client(broker):
    client = client_of(broker.endpoint_url)
    yield client
    client.close()


@pytest.fixture
def remote(client, clock):
    """A process's part in remote control."""
    return remote_of(client, clock)


def remote_of(client, clock):
    options = Options.read({"queue_name_prefix": PREFIX})
    return Remote(client, Queues(client, options), options, clock=clock, ids=CountingIds())


@pytest.fixture
def queues(sqs):
    """The names of all queues that remote control and events have made."""

    def names(kind=""):
        urls = sqs.list_queues(QueueNamePrefix=f"{PREFIX}{kind}").get("QueueUrls", [])
        return sorted(name_of(url) for url in urls)

    return names


@pytest.fixture
def connect(broker):
    """Open connections of Amply's transport."""
    opened = []

    def open_one():
        options = {"endpoint_url": broker.endpoint_url, "region": "eu-central-1", "queue_name_prefix": PREFIX}
        opened.append(Connection("sqs://test:test@", transport="amply.transport:Transport", transport_options=options))
        return opened[-1]

    yield open_one
    for connection in opened:
        connection.close()


class Worker(threading.Thread):
    """A node of kombu's mailbox, in a thread."""

    def __init__(self, connection, name):
        super().__init__()
        self.connection = connection
        self.heard = []
        self.listening = threading.Event()
        self.ending = threading.Event()
        mailbox = Mailbox("celery", type="fanout", accept=["json"])(connection)
        self.node = mailbox.Node(name, handlers={"echo": self.echo}, channel=connection.channel())
        self.start()
        self.listening.wait(PATIENCE_S)

    def echo(self, state, word):
        self.heard.append(word)
        return word

    def run(self):
        with self.node.listen():
            self.listening.set()
            while not self.ending.is_set():
                try:
                    self.connection.drain_events(timeout=0.05)
                except TimeoutError:
                    continue


@pytest.fixture
def start_worker(connect):
    workers = []

    def start(name):
        workers.append(Worker(connect(), name))
        return workers[-1]

    yield start
    for worker in workers:
        worker.ending.set()
        worker.join(PATIENCE_S)


def ask(connection, destination, word):
    mailbox = Mailbox("celery", type="fanout", accept=["json"], producer_pool=None)(connection)
    return mailbox._broadcast("echo", {"word": word}, destination, reply=True, timeout=PATIENCE_S, limit=2)


def test_every_worker_answers_and_the_queue_for_answers_is_gone(start_worker, connect, queues):
    one, two = start_worker("one@here"), start_worker("two@here")
    asker = connect()
    for word in ("first", "second"):
        answers = ask(asker, None, word)
        assert sorted(answers, key=str) == [{"one@here": word}, {"two@here": word}]
    assert one.heard == two.heard == ["first", "second"]
    assert len(queues()) == len(queues("pidbox_celery_node_")) == 2


def test_a_command_for_one_worker_goes_to_its_queue_alone(start_worker, connect, sqs, queues):
    start_worker("one@here")
    mailbox = Mailbox("celery", type="fanout", accept=["json"])(connect())
    other = Mailbox("celery", type="fanout")(connect()).Node("two@here", channel=None)
    # Declared and never read: what comes there stays there.
    queue = mailbox.get_queue(other.hostname)(other.mailbox.connection.channel())
    queue.declare()
    consumer = other.Consumer(queue.channel)
    consumer.consume()
    assert mailbox.call(["one@here"], "echo", {"word": "x"}, timeout=PATIENCE_S) == [{"one@here": "x"}]
    (other_queue,) = [name for name in queues() if "_node_two-here-" in name]
    url = sqs.get_queue_url(QueueName=other_queue)["QueueUrl"]
    unread = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10, WaitTimeSeconds=0).get("Messages", [])
    # A worker that starts sends probes to the others.
    assert {message["Body"] for message in unread} <= {PROBE}


def test_a_worker_that_stops_takes_its_queue_with_it(start_worker, queues):
    worker = start_worker("one@here")
    assert len(queues()) == 1
    worker.ending.set()
    worker.join(PATIENCE_S)
    assert queues() == []


def test_a_queue_for_answers_that_nobody_consumed_goes_with_its_channel(connect, queues):
    connection = connect()
    Mailbox("celery", type="fanout")(connection).reply_queue(connection.default_channel).declare()
    assert len(queues("pidbox_celery_reply_")) == 1
    connection.close()
    assert queues() == []


def test_a_worker_starts_while_sqs_is_not_to_be_reached(clock):
    remote = remote_of(client_of("http://127.0.0.1:1"), clock)
    box = remote.open("w@here.celery.pidbox", "celery.pidbox", "fanout")
    assert box.made is None
    with pytest.raises(Unreachable):
        box.queue()
    with pytest.raises(Unreachable):
        remote.open_reply("0f7471b8-8ed4-4ffa-818e-942da768a0e3.reply.celery.pidbox")


def test_a_lost_queue_is_made_anew_but_not_while_it_is_still_new(client, clock, queues):
    box = Box(client, "w", "test-pidbox_celery_node_w_", clock=clock, ids=CountingIds())
    first = box.queue()
    box.lose()
    assert box.queue() is first
    clock.advance(4)
    box.lose()
    assert box.queue() != first
    assert len(queues()) == 2


def test_what_is_not_a_letter_is_dropped():
    box = Box(None, "w", "stem_", clock=ManualClock(), ids=CountingIds())
    for body in ("-", "", "{}", "[]", '{"body": "%%", "content-type": "", "content-encoding": "", "headers": {}}'):
        assert box.open(body) is None
    payload = {"body": "e30=", "content-type": "a/b", "content-encoding": "utf-8", "headers": {"x": 1}}
    payload["properties"] = {"body_encoding": "base64"}
    assert box.open(write(payload, {"y": 2}))["headers"] == {"x": 1, NOTE: {"y": 2}}
    assert box.open(write(payload))["body"] == b"{}"


@pytest.mark.parametrize("prefix", ["", "amply-", "with_underscore_", "x" * 40])
@pytest.mark.parametrize("owner", ["w@h", "celery@a-very-long-name-of-a-host.in.a.domain.example.com", "æ@ø", "w"])
@pytest.mark.parametrize("scope", ["celery", "a_b", "namespace.of.a.company"])
def test_names_are_names_for_sqs_and_are_found_by_their_beginnings(prefix, owner, scope):
    stem = NODE.stem(prefix, scope, owner)
    name = f"{stem}{'0' * 14}"
    assert re.fullmatch(r"[\w-]{1,80}", name, re.ASCII)
    assert name.startswith(NODE.stem(prefix, scope))
    assert NODE.is_name(prefix, name)
    assert not REPLY.is_name(prefix, name)
    assert not EVENTS.is_name(prefix, name)


def test_names_tell_hosts_and_scopes_apart():
    owners = ["a.b@h", "a-b@h", "a_b@h", "a-b-h", "x" * 60, "x" * 61]
    assert len({NODE.stem("p-", "celery", owner) for owner in owners}) == len(owners)
    scopes = ["a", "a-b", "a_b", "a.b", "y" * 30, "y" * 31]
    stems = [NODE.stem("p-", scope) for scope in scopes]
    assert not [(one, two) for one in stems for two in stems if one is not two and one.startswith(two)]


@pytest.mark.parametrize(
    ("exchange", "kind", "headers", "expected"),
    [
        ("celery.pidbox", "fanout", {}, "command"),
        ("reply.celery.pidbox", "direct", {}, "answer"),
        ("celeryev", "topic", {"hostname": "w@h"}, "event"),
        ("celeryev", None, {"hostname": "w@h"}, "event"),
        ("celery.pidbox", None, {}, "command"),
        ("jobs", "direct", {"hostname": "w@h"}, None),
        ("jobs", "topic", {"task": "t", "hostname": "w@h"}, None),
        ("jobs", "direct", {"task": "t"}, None),
    ],
)
def test_what_is_said_is_told_by_where_it_goes(exchange, kind, headers, expected):
    assert speech(exchange, kind, headers) == expected


def test_a_job_cannot_be_broadcast(connect):
    producer = Producer(connect())
    with pytest.raises(NotBroadcast, match="'news'"):
        producer.publish({}, exchange="news", declare=[Exchange("news", "fanout")])


def test_an_address_of_another_kind_of_queue_is_not_believed(remote, client, sqs):
    sqs.create_queue(QueueName="test-jobs")
    url = sqs.get_queue_url(QueueName="test-jobs")["QueueUrl"]
    remote.heard({"headers": {NOTE: {"reply": ["oid", url], "readers": [url, 7]}}})
    for note in (None, 7, {"reply": 7}, {"reply": [1, 2]}, {"readers": "x"}):
        remote.heard({"headers": {NOTE: note}})
    remote.answer("oid", {})
    assert client.requests["SendMessage"] == 0


def test_the_queue_of_a_dead_worker_is_swept_and_that_of_a_living_one_is_not(client, clock, sqs, queues):
    ours, dead, alive = (
        Box(client, "w", NODE.stem(PREFIX, "celery", w), clock=clock, ids=CountingIds()) for w in "oda"
    )
    inquirer = Box(client, "r", REPLY.stem(PREFIX, "celery"), clock=clock, ids=CountingIds())
    urls = [box.queue().url for box in (ours, dead, alive, inquirer)]
    clock.advance(3_601)
    late = Box(client, "r", REPLY.stem(PREFIX, "celery"), clock=clock, ids=CountingIds()).queue()
    probed = probe(client, PREFIX, "celery", ours=[urls[0]], now_ms=clock.now_ms())
    assert sorted(probed) == sorted(urls[1:3])
    sqs.receive_message(QueueUrl=urls[2])
    clock.advance(30)
    sweep(client, probed, clock.now_ms())
    assert queues() == sorted(name_of(url) for url in (urls[0], urls[2], late.url))


@pytest.fixture
def start_post(client, clock):
    """Start a post for events; `records` is the telemetry queue's URL."""
    posts = []

    def start(records=None, *, is_told=True):
        telemetry = (lambda: Queue("telemetry", "telemetry", records)) if records else None
        stem = EVENTS.stem(PREFIX, "celeryev")
        posts.append(EventPost(client, stem, clock, telemetry=telemetry, is_told=lambda: is_told))
        return posts[-1]

    yield start
    for post in posts:
        post.finish()


@pytest.fixture
def bodies(sqs):
    """What was sent to a queue: the events of each message."""

    def read(url, *, is_letter=True):
        box = Box(None, "", "", clock=ManualClock(), ids=CountingIds())
        found = []
        while messages := sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages"):
            found += [json.loads(box.open(m["Body"])["body"] if is_letter else m["Body"]) for m in messages]
        return found

    return read


def put(post, *numbers, key="task.multi"):
    post.put(json.dumps([{"type": "task-sent", "n": number} for number in numbers]), key, "w@here")


def test_events_that_nobody_reads_are_not_sent_and_readers_are_looked_for_now_and_then(start_post, client, clock):
    post = start_post()
    for _ in range(100):
        put(post, 1)
    post.finish()
    assert client.requests == {"ListQueues": 1}
    clock.advance(299)
    put(post, 1)
    post.finish()
    assert client.requests == {"ListQueues": 1}
    clock.advance(1)
    put(post, 1)
    post.finish()
    assert client.requests == {"ListQueues": 2}


def test_events_leave_together_and_in_order(start_post, client, clock, bodies):
    url = Box(client, "r", EVENTS.stem(PREFIX, "celeryev"), clock=clock, ids=CountingIds()).queue().url
    post = start_post()
    for number in range(50):
        put(post, 2 * number, 2 * number + 1)
    post.finish()
    (events,) = bodies(url)
    assert [event["n"] for event in events] == list(range(100))
    assert client.requests["SendMessage"] == 1


def test_a_heartbeat_is_a_record_once_a_minute_and_goes_to_readers_each_time(start_post, client, clock, sqs, bodies):
    records = sqs.create_queue(QueueName="telemetry")["QueueUrl"]
    reader = Box(client, "r", EVENTS.stem(PREFIX, "celeryev"), clock=clock, ids=CountingIds()).queue().url
    post = start_post(records)
    for second in range(0, 120, 10):
        put(post, second, key=HEARTBEAT)
        clock.advance(10)
    post.finish()
    seconds = [event["n"] for events in bodies(records, is_letter=False) for event in events]
    assert seconds == [0, 60]
    assert sum(len(events) for events in bodies(reader)) == 12


def test_the_queue_of_a_reader_that_died_is_deleted(start_post, client, clock, queues):
    Box(client, "r", EVENTS.stem(PREFIX, "celeryev"), clock=clock, ids=CountingIds()).queue()
    post = start_post()
    put(post, 1)
    post.finish()
    clock.advance(59)
    assert len(queues("events_")) == 1
    clock.advance(2)
    client.call("SendMessage", {"QueueUrl": next(iter(post._readers)), "MessageBody": "-"})
    clock.advance(31)
    put(post, 2)
    post.finish()
    assert queues("events_") == []


def test_events_past_the_bound_are_dropped_and_counted(clock):
    post = EventPost(client_of("http://127.0.0.1:1"), "s", clock, telemetry=None, is_told=lambda: True)
    post.announce("http://127.0.0.1:1/0/s1")
    for number in range(60):
        post.put(json.dumps([{"n": number, "text": "x" * 100_000}]), "task.multi", "w@here")
    post.finish()
    assert 18 <= post.dropped <= 22
