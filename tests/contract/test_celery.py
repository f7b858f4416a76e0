"""What the transport takes for granted in Celery's worker, beyond its documented interface, one test for each.

Runs under Celery 5.6 and 5.7. A test that fails after an upgrade names what the transport must be changed for.
"""

import inspect
import warnings

import pytest
from billiard.einfo import ExceptionInfo
from celery import signals
from celery.app.task import Task
from celery.events.event import get_exchange
from celery.exceptions import Ignore, NotRegistered, Reject, TimeLimitExceeded, WorkerLostError
from celery.platforms import SecurityWarning
from celery.worker import strategy
from celery.worker.components import Hub as HubStep
from celery.worker.consumer import Consumer
from celery.worker.consumer.control import Control
from celery.worker.consumer.gossip import Gossip
from celery.worker.consumer.mingle import Mingle
from celery.worker.request import Request, create_request_cls
from celery.worker.worker import WorkController
from kombu.exceptions import ContentDisallowed
from recording import Transport, connection

HANDLED_ELSEWHERE = {"execute_using_pool", "on_success"}


class Noticing(Request):
    """A request that keeps which of its methods the worker called."""

    made = []  # noqa: RUF012 - of the class on purpose: nobody else has the requests

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.told = []
        self.made.append(self)

    def on_accepted(self, pid, time_accepted):
        self.told.append("on_accepted")
        super().on_accepted(pid, time_accepted)

    def on_failure(self, exc_info, send_failed_event=True, return_ok=False):
        exception = exc_info.exception
        self.told.append(f"on_failure {type(getattr(exception, 'exc', exception)).__name__}")
        super().on_failure(exc_info, send_failed_event=send_failed_event, return_ok=return_ok)

    def on_retry(self, exc_info):
        self.told.append("on_retry")
        super().on_retry(exc_info)

    def on_timeout(self, soft, timeout):
        self.told.append("on_timeout")
        super().on_timeout(soft, timeout)

    def acknowledge(self):
        self.told.append("acknowledge")
        super().acknowledge()

    def reject(self, requeue=False):
        self.told.append(f"reject {requeue}")
        super().reject(requeue=requeue)


@pytest.fixture
def worker(consuming):
    """A consumer with some tasks, whose requests keep what they are told."""
    consuming.seen = []

    @consuming.task("double")
    def double(number):
        return 2 * number

    @consuming.task("fail")
    def fail():
        raise ValueError("no")

    @consuming.task("leave")
    def leave(how):
        raise {"reject": Reject("no", requeue=False), "requeue": Reject("no", requeue=True), "ignore": Ignore()}[how]

    @consuming.task("again", bind=True)
    def again(task):
        raise task.retry(countdown=0)

    @consuming.task("look", bind=True)
    def look(task):
        consuming.seen.append((task.request.receive_count, task.request.attempt, task.request.eta))

    Noticing.made.clear()
    consuming.app.Task.Request = Noticing
    consuming.start()
    return consuming


def told():
    """What the one request was told."""
    (request,) = Noticing.made
    return request.told


def failed(request, exception):
    """The worker's main process hears how the run in a child ended."""
    try:
        raise exception
    except type(exception):
        request.on_failure(ExceptionInfo())


@pytest.fixture
def pending(worker):
    """A request whose run has not ended: its callbacks are the test's to call."""
    worker.consumer.on_task_request = lambda request: None
    worker.consumer.update_strategies()
    worker.receive(worker.publish("double", (1,)))
    (request,) = Noticing.made
    return request


# The request: how the worker tells it about its job


def test_a_task_class_names_its_request_and_its_strategy():
    assert "symbol_by_name(task.Request)" in inspect.getsource(strategy.default)
    assert "instantiate(self.Strategy, self, app, consumer, **kwargs)" in inspect.getsource(Task.start_strategy)
    assert list(inspect.signature(strategy.default).parameters)[:3] == ["task", "app", "consumer"]


def test_the_worker_replaces_two_methods_of_a_request_and_calls_the_others(worker):
    made = create_request_cls(Noticing, worker.app.tasks["double"], worker.worker.pool, "here", None, app=worker.app)
    assert issubclass(made, Noticing)
    own = {name for name, value in vars(made).items() if inspect.isfunction(value)}
    assert own == HANDLED_ELSEWHERE


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("on_accepted", ["self", "pid", "time_accepted"]),
        ("on_timeout", ["self", "soft", "timeout"]),
        ("on_failure", ["self", "exc_info", "send_failed_event", "return_ok"]),
        ("on_retry", ["self", "exc_info"]),
        ("acknowledge", ["self"]),
        ("reject", ["self", "requeue"]),
    ],
)
def test_a_requests_methods_take_what_ours_take(name, parameters):
    assert list(inspect.signature(getattr(Request, name)).parameters) == parameters


def test_a_request_has_its_message_and_its_name_and_whether_it_is_settled(pending):
    assert pending.message.delivery_tag
    assert (pending.name, pending.acknowledged) == ("double", False)
    assert pending.delivery_info["routing_key"] == "celery"


def test_a_success_is_accepted_and_acknowledged(worker):
    worker.receive(worker.publish("double", (4,)))
    assert told() == ["on_accepted", "acknowledge"]
    assert worker.settled() == [("basic_ack", None)]


def test_a_failure_is_told_before_it_is_rejected(worker):
    worker.receive(worker.publish("fail"))
    assert told() == ["on_accepted", "on_failure ValueError", "reject False"]
    assert worker.settled() == [("basic_reject", False)]


def test_a_retry_is_sent_before_the_old_message_is_acknowledged(worker):
    sent = []
    signals.after_task_publish.connect(lambda **_: sent.append(worker.settled()), weak=False, dispatch_uid="sent")
    try:
        worker.receive(worker.publish("again"))
    finally:
        signals.after_task_publish.disconnect(dispatch_uid="sent")
    assert told() == ["on_accepted", "on_failure Retry", "on_retry", "acknowledge"]
    assert sent == [[], []]
    assert worker.settled() == [("basic_ack", None)]


@pytest.mark.parametrize(
    ("how", "last", "settled"),
    [
        ("reject", "reject False", ("basic_reject", False)),
        ("requeue", "reject True", ("basic_reject", True)),
        ("ignore", "acknowledge", ("basic_ack", None)),
    ],
)
def test_a_task_may_settle_its_message_itself(worker, how, last, settled):
    worker.receive(worker.publish("leave", (how,)))
    assert told()[-1] == last
    assert worker.settled() == [settled]


def test_a_revoked_job_is_acknowledged_without_a_run(worker):
    payload = worker.publish("double", (1,))
    worker.worker.state.revoked.add(payload["headers"]["id"])
    worker.receive(payload)
    assert told() == ["acknowledge"]


def test_a_lost_child_is_told_as_a_failure_and_the_message_put_back(worker, pending):
    failed(pending, WorkerLostError("gone"))
    worker.consumer.perform_pending_operations()
    assert told() == ["on_failure WorkerLostError", "reject True"]
    assert worker.settled() == [("basic_reject", True)]


def test_a_hard_time_limit_is_told_first_and_puts_the_message_back_once(worker, pending):
    pending.on_timeout(False, 3)
    failed(pending, TimeLimitExceeded(3))
    worker.consumer.perform_pending_operations()
    assert told()[0] == "on_timeout"
    assert "on_failure TimeLimitExceeded" in told()
    assert worker.settled() == [("basic_reject", True)]


def test_a_soft_time_limit_settles_nothing(worker, pending):
    pending.on_timeout(True, 3)
    worker.consumer.perform_pending_operations()
    assert worker.settled() == []


def test_a_lack_of_memory_is_raised_again_and_settles_nothing(worker, pending):
    with pytest.raises(MemoryError):
        failed(pending, MemoryError("full"))
    worker.consumer.perform_pending_operations()
    assert worker.settled() == []


def test_a_settled_request_settles_no_second_time(worker, pending):
    pending.acknowledge()
    pending.reject(requeue=True)
    worker.consumer.perform_pending_operations()
    assert worker.settled() == [("basic_ack", None)]


def test_headers_of_our_own_are_in_the_tasks_request(worker):
    payload = worker.publish("look")
    payload["headers"].update(receive_count=3, attempt=4)
    worker.receive(payload)
    assert worker.seen == [(3, 4, None)]


def test_a_retry_takes_the_headers_of_its_message_along(worker):
    payload = worker.publish("again")
    payload["headers"].update(receive_count=3, attempt=4)
    sent = []
    signals.after_task_publish.connect(lambda headers, **_: sent.append(headers), weak=False, dispatch_uid="sent")
    try:
        worker.receive(payload)
    finally:
        signals.after_task_publish.disconnect(dispatch_uid="sent")
    (headers,) = sent
    assert (headers["receive_count"], headers["attempt"], headers["retries"]) == (3, 4, 1)


def test_a_message_whose_eta_was_taken_out_runs_at_once(worker):
    payload = worker.publish("look", countdown=3600)
    assert payload["headers"]["eta"]
    payload["headers"].update(eta=None, receive_count=1, attempt=1)
    worker.receive(payload)
    assert worker.seen == [(1, 1, None)]


# The consumer: messages that are not a job


def test_an_unknown_task_is_rejected_while_the_reason_is_handled(worker):
    payload = worker.publish("double")
    payload["headers"]["task"] = "nowhere"
    worker.receive(payload)
    assert worker.settled() == [("basic_reject", False)]
    assert [type(reason) for reason in worker.during("reject")] == [KeyError]
    assert not Noticing.made
    stored = worker.app.AsyncResult(payload["headers"]["id"]).result
    assert isinstance(stored, NotRegistered)


def test_a_serializer_that_is_not_accepted_is_rejected_while_the_reason_is_handled(worker):
    payload = worker.publish("double")
    payload["content-type"] = "application/x-python-serialize"
    worker.receive(payload)
    assert worker.settled() == [("basic_reject", False)]
    assert [type(reason) for reason in worker.during("reject")] == [ContentDisallowed]


def test_a_message_without_a_task_is_rejected(worker):
    payload = worker.publish("double")
    del payload["headers"]["task"]
    worker.receive(payload)
    assert worker.settled() == [("basic_reject", False)]


def test_a_body_of_the_old_protocol_that_cannot_be_read_is_acknowledged_plainly(worker):
    """It would be deleted like a success, so the transport must know this call from a success."""
    payload = worker.publish("double")
    del payload["headers"]["task"]
    payload["body"], payload["properties"]["body_encoding"] = "{", "utf-8"
    worker.receive(payload)
    assert worker.settled() == [("basic_ack", None)]
    assert worker.during("ack") == []
    assert [type(reason).__name__ for reason in worker.during("plain ack")] == ["DecodeError"]


def test_what_is_put_off_is_done_by_the_consumer_where_there_is_no_event_loop(worker):
    done = []
    assert worker.consumer.hub is None
    worker.consumer.call_soon(done.append, 1)
    assert done == []
    worker.consumer.perform_pending_operations()
    assert done == [1]


# The worker: what is there when, and who takes part


def test_the_signal_after_setup_comes_when_consumer_and_pool_are_there_and_no_strategy_is(consuming):
    heard = []

    @consuming.task("double")
    def double(number):
        return 2 * number

    @signals.celeryd_after_setup.connect
    def hear(sender, instance, **_):
        heard.append((sender, instance.consumer.app, instance.pool, dict(instance.consumer.strategies)))

    consuming.start()
    with warnings.catch_warnings(category=SecurityWarning, action="ignore"):  # for the superuser
        worker = consuming.app.Worker(pool="solo", hostname="worker@here", quiet=True, redirect_stdouts=False)
        worker.on_start()
    assert heard == [("worker@here", worker.app, worker.pool, {})]


def test_an_asynchronous_transport_gets_the_event_loop_and_is_registered_with_it(worker):
    assert WorkController.should_use_eventloop(worker.worker)
    hub = object()
    worker.consumer.hub = hub
    made = worker.consumer.connect()
    worker.consumer.hub = None
    calls = made.transport.calls
    assert calls == [("register_with_event_loop", {"connection": made.connection, "loop": hub})]
    made.close()


def test_a_worker_stops_its_consumer_before_its_pool_and_its_connection_after_its_loop(worker):
    order = [type(step).__name__ for step in worker.worker.steps]
    assert order.index("Pool") < order.index("Consumer")
    source = inspect.getsource(WorkController.on_stopped)
    assert "self.consumer.shutdown()" in source
    assert "hub.close()" in inspect.getsource(HubStep.stop)


def test_remote_control_is_there_for_transports_with_fanout(worker):
    assert Control.include_if(object.__new__(Control), worker.consumer)
    assert worker.app.connection_for_read().supports_exchange_type("fanout")


def test_workers_do_not_look_for_neighbours_or_gossip_over_a_transport_that_they_do_not_know():
    assert Transport.driver_type not in Mingle.compatible_transports | Gossip.compatible_transports
    assert "sqs" not in {name.lower() for name in Mingle.compatible_transports | Gossip.compatible_transports}


def test_the_mailboxes_of_remote_control_are_named_after_the_worker(worker):
    mailbox = worker.app.control.mailbox
    assert mailbox.get_queue("worker@here").name == "worker@here.celery.pidbox"
    assert mailbox.get_queue("worker@here").exchange.name == "celery.pidbox"
    assert mailbox.get_queue("worker@here").exchange.type == "fanout"
    assert mailbox.reply_queue.name == f"{mailbox.oid}.reply.celery.pidbox"
    assert mailbox.reply_queue.exchange.name == "reply.celery.pidbox"
    assert mailbox.reply_queue.exchange.type == "direct"


def test_events_go_to_an_exchange_of_their_own():
    with connection() as made:
        exchange = get_exchange(made)
    assert (exchange.name, exchange.type) == ("celeryev", "topic")


def test_failed_jobs_stay_by_settings_that_both_versions_bear(worker):
    task = worker.app.tasks["double"]
    kept = [getattr(task, name, False) for name in ("acks_on_failure_or_timeout", "acks_on_failure", "acks_on_timeout")]
    assert kept == [False, False, False]
    assert (task.acks_late, task.reject_on_worker_lost) == (True, True)
    assert not worker.app.conf.maybe_warn_deprecated_settings()


def test_queues_are_consumed_in_the_order_in_which_they_were_chosen(worker):
    queues = worker.app.amqp.queues
    queues.select(["low", "high", "celery"])
    assert list(queues.consume_from) == ["low", "high", "celery"]


def test_the_consumer_knows_its_pool_and_its_prefetch(worker):
    assert worker.consumer.pool is worker.worker.pool
    assert worker.consumer.pool.num_processes == worker.worker.pool.limit == 1
    assert worker.consumer.initial_prefetch_count == worker.consumer.prefetch_multiplier * 1
    assert isinstance(worker.consumer, Consumer)
