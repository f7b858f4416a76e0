"""The settler: what is decided reaches SQS in batches, and is tried again for as long as it makes sense."""

import threading
import time as real_time

import pytest

from amply.clock import ManualClock
from amply.transport import settling
from amply.transport.delivery import received
from amply.transport.faults import SqsFault, TimedOut, Transient, Unreachable
from amply.transport.leases import Leases
from amply.transport.queues import Queue
from amply.transport.settling import Order, Settler

QUEUE = Queue("jobs", "jobs", "http://here/jobs")
FORBIDDEN = SqsFault("DeleteMessageBatch", 403, "AccessDenied", "not yours")


class Settling:
    """A settler at work on a clock that the test moves."""

    def __init__(self, client):
        self.client = client
        self.time = ManualClock(0)
        self.leases = Leases(self.time, lease_s=120)
        self.distrusted = []
        self.deleted = []
        self.settler = Settler(
            client,
            self.leases,
            self.time,
            distrust=lambda: self.distrusted.append(1),
            after_delete=self.deleted.append,
        )

    def delivery(self, number=1, *, queue=QUEUE, body="x", **message):
        told = {"MessageId": str(number), "ReceiptHandle": f"handle-{number}", "Body": body, **message}
        delivery = received(queue, told, now_ms=self.time.now_ms(), lease_s=120)
        self.leases.add([delivery])
        return delivery

    def order(self, kind, number=1, **more):
        self.settler.put(Order(kind, QUEUE, self.delivery(number), **more))

    def until(self, is_so, step_s=0.02):
        deadline = real_time.monotonic() + 10
        while not is_so():
            assert real_time.monotonic() < deadline, self.client.asked
            self.time.advance(step_s)
            # It waits for the real seconds of a pause, whatever this clock says.
            with self.settler._condition:
                self.settler._condition.notify_all()
            real_time.sleep(0.002)

    def actions(self):
        return [action for action, _ in self.client.asked]


@pytest.fixture
def at_work(recorded):
    at_work = Settling(recorded)
    at_work.settler.start()
    yield at_work
    recorded.answers = []
    at_work.settler.stop()
    at_work.until(lambda: not at_work.settler.is_alive() or not at_work.leases.held() or at_work.settler._is_idle())
    for delivery in at_work.leases.held():
        at_work.leases.drop(delivery)
    at_work.until(lambda: not at_work.settler.is_alive(), step_s=5)


def failed(*entries):
    return {"Successful": [], "Failed": [{"Id": str(at), "Code": "X", "SenderFault": fault} for at, fault in entries]}


def test_ten_deletes_are_one_request(at_work, recorded):
    for number in range(20):
        at_work.order("delete", number)
    recorded.wait_for(2)
    assert at_work.actions() == ["DeleteMessageBatch"] * 2
    assert [len(members["Entries"]) for _, members in recorded.asked] == [10, 10]
    handles = [entry["ReceiptHandle"] for _, members in recorded.asked for entry in members["Entries"]]
    assert handles == [f"handle-{number}" for number in range(20)]


def test_a_few_wait_20_milliseconds_for_company(at_work, recorded):
    at_work.order("delete", 1)
    at_work.time.advance(0.019)
    at_work.order("delete", 2)
    assert recorded.asked == []
    at_work.time.advance(0.001)
    assert len(recorded.wait_for(1)[0][1]["Entries"]) == 2


def test_what_was_taken_is_held_no_longer(at_work):
    at_work.order("delete", 1)
    at_work.order("show", 2, seconds=7)
    at_work.until(lambda: len(at_work.leases) == 0)
    assert [delivery.message_id for delivery in at_work.deleted] == ["1"]


def test_a_delay_is_told_as_a_visibility_timeout(at_work, recorded):
    at_work.order("show", 1, seconds=7)
    at_work.until(lambda: recorded.asked)
    assert recorded.asked[0][0] == "ChangeMessageVisibilityBatch"
    assert recorded.asked[0][1]["Entries"][0]["VisibilityTimeout"] == 7


def test_one_that_sqs_could_not_take_is_tried_again_alone(at_work, recorded):
    recorded.answers = [failed((1, False))]
    for number in range(3):
        at_work.order("delete", number)
    at_work.until(lambda: len(recorded.asked) == 2)
    assert [entry["ReceiptHandle"] for entry in recorded.asked[1][1]["Entries"]] == ["handle-1"]
    at_work.until(lambda: len(at_work.leases) == 0)


def test_one_that_sqs_refuses_is_let_go_and_said(at_work, recorded, caplog):
    recorded.answers = [failed((0, True))]
    at_work.order("delete", 1)
    at_work.until(lambda: len(at_work.leases) == 0)
    assert len(recorded.asked) == 1
    assert at_work.deleted == []
    assert "(1 of jobs) was refused" in caplog.text


@pytest.mark.parametrize("error", [Unreachable("gone"), Transient("DeleteMessageBatch", 503, "Unavailable", "busy")])
def test_a_delete_is_tried_for_as_long_as_it_takes(at_work, recorded, error):
    recorded.answers = [error] * 20
    at_work.order("delete", 1)
    at_work.until(lambda: at_work.deleted, step_s=1)
    assert len(recorded.asked) == 21
    assert at_work.time.now_ms() > 120_000, "the lease is long over"


def test_only_who_does_not_answer_in_time_is_distrusted(at_work, recorded):
    busy = Transient("DeleteMessageBatch", 503, "Unavailable", "busy")
    recorded.answers = [TimedOut("nothing came"), Unreachable("gone"), busy]
    at_work.order("delete", 1)
    at_work.until(lambda: at_work.deleted, step_s=1)
    assert at_work.distrusted == [1]


def test_a_visibility_change_is_not_tried_when_the_lease_is_over(at_work, recorded):
    recorded.answers = [Unreachable("gone")] * 100
    at_work.order("show", 1)
    at_work.until(lambda: len(at_work.leases) == 0, step_s=1)
    assert len(recorded.asked) < 100


def test_a_refused_role_is_told_what_it_lacks_and_tried_again(at_work, recorded, caplog):
    recorded.answers = [FORBIDDEN, FORBIDDEN]
    at_work.order("delete", 1)
    at_work.until(lambda: at_work.deleted, step_s=0.5)
    assert "the role may lack sqs:DeleteMessage" in caplog.text
    assert "sqs:DeleteMessageBatch" not in caplog.text


def test_a_queue_that_is_gone_ends_its_orders(at_work, recorded):
    recorded.answers = [SqsFault("DeleteMessageBatch", 400, "QueueDoesNotExist", "gone")]
    at_work.order("delete", 1)
    at_work.until(lambda: len(at_work.leases) == 0)
    assert len(recorded.asked) == 1


def test_a_fresh_copy_is_sent_before_the_old_one_is_deleted(at_work, recorded):
    attributes = {
        "Customer": {"DataType": "String", "StringValue": "42"},
        "AmplyAttempts": {"DataType": "Number", "StringValue": "1"},
    }
    delivery = at_work.delivery(1, body="the job", MessageAttributes=attributes)
    at_work.settler.put(Order("renew", QUEUE, delivery, seconds=5, attempts=3))
    at_work.until(lambda: at_work.deleted)
    assert at_work.actions() == ["SendMessageBatch", "DeleteMessageBatch"]
    assert recorded.asked[0][1]["Entries"] == [
        {
            "Id": "0",
            "MessageBody": "the job",
            "DelaySeconds": 5,
            "MessageAttributes": {
                "Customer": {"DataType": "String", "StringValue": "42"},
                "AmplyAttempts": {"DataType": "Number", "StringValue": "3"},
            },
        }
    ]


def test_a_copy_carries_no_attempts_where_there_were_none(at_work, recorded):
    attributes = {"AmplyAttempts": {"DataType": "Number", "StringValue": "1"}}
    at_work.settler.put(Order("renew", QUEUE, at_work.delivery(1, MessageAttributes=attributes)))
    at_work.until(lambda: at_work.deleted)
    assert recorded.asked[0][1]["Entries"][0]["MessageAttributes"] == {}


def test_a_copy_stays_in_the_group_of_its_message(at_work, recorded):
    at_work.settler.put(Order("renew", QUEUE, at_work.delivery(1, Attributes={"MessageGroupId": "tenant-7"})))
    at_work.until(lambda: at_work.deleted)
    assert recorded.asked[0][1]["Entries"][0]["MessageGroupId"] == "tenant-7"


def test_nothing_is_deleted_while_its_copy_was_not_sent(at_work, recorded):
    recorded.answers = [Unreachable("gone")] * 3
    at_work.order("renew", 1)
    at_work.until(lambda: at_work.deleted, step_s=0.5)
    assert at_work.actions() == ["SendMessageBatch"] * 4 + ["DeleteMessageBatch"]


def test_nothing_is_sent_again_when_somebody_else_has_it(at_work, recorded):
    recorded.answers = [Unreachable("gone")] * 100
    at_work.order("renew", 1)
    at_work.until(lambda: len(at_work.leases) == 0, step_s=1)
    assert set(at_work.actions()) == {"SendMessageBatch"}


@pytest.mark.parametrize("refusal", [failed((0, True)), SqsFault("SendMessageBatch", 403, "AccessDenied", "no")])
def test_a_message_whose_copy_is_refused_is_hidden_itself(at_work, recorded, refusal):
    recorded.answers = [refusal]
    at_work.order("renew", 1, seconds=3000)
    at_work.until(lambda: len(at_work.leases) == 0)
    assert at_work.actions() == ["SendMessageBatch", "ChangeMessageVisibilityBatch"]
    assert recorded.asked[1][1]["Entries"][0]["VisibilityTimeout"] == 3000


def test_copies_leave_in_requests_that_sqs_takes(at_work, recorded):
    for number in range(4):
        at_work.settler.put(Order("renew", QUEUE, at_work.delivery(number, body="ü" * 60_000)))
    at_work.until(lambda: len(at_work.deleted) == 4)
    sends = [members["Entries"] for action, members in recorded.asked if action == "SendMessageBatch"]
    assert [len(entries) for entries in sends] == [2, 2]


def test_a_record_is_sent_and_nobody_waits_for_it(at_work, recorded):
    at_work.settler.put(Order("send", QUEUE, body="record"))
    at_work.until(lambda: recorded.asked)
    assert recorded.asked == [
        ("SendMessageBatch", {"QueueUrl": QUEUE.url, "Entries": [{"Id": "0", "MessageBody": "record"}]})
    ]


def test_an_extension_on_its_way_never_hides_a_message_that_was_shown(at_work, recorded):
    delivery = at_work.delivery(1)
    delivery.is_extending = True
    at_work.settler.put(Order("show", QUEUE, delivery))
    at_work.order("delete", 2)
    at_work.until(lambda: at_work.deleted)
    at_work.time.advance(5)
    assert at_work.actions() == ["DeleteMessageBatch"]
    delivery.is_extending = False
    at_work.until(lambda: len(at_work.leases) == 0)
    assert at_work.actions() == ["DeleteMessageBatch", "ChangeMessageVisibilityBatch"]


def test_no_extension_begins_once_it_is_decided(at_work):
    delivery = at_work.delivery(1)
    at_work.settler.put(Order("show", QUEUE, delivery))
    at_work.time.advance(0.01)
    assert delivery.is_settling
    assert at_work.leases.take_due() == []


def test_a_busy_lane_keeps_no_other_waiting(recorded):
    """Deletes without end must not keep a failed job's backoff from SQS until its lease is over."""
    at_work = Settling(recorded)
    for number in range(100):
        at_work.order("delete", number)
    at_work.order("show", 100)
    at_work.time.advance(1)
    at_work.settler.start()
    recorded.wait_for(11)
    assert at_work.actions().index("ChangeMessageVisibilityBatch") <= 1
    at_work.settler.stop()
    at_work.until(lambda: not at_work.settler.is_alive())


def test_a_flush_sends_at_once_and_says_whether_all_was_taken(at_work, recorded):
    at_work.order("delete", 1)
    assert at_work.settler.flush(10)
    assert at_work.actions() == ["DeleteMessageBatch"]
    recorded.answers = [Unreachable("gone")]
    at_work.order("delete", 2)
    assert not at_work.settler.flush(0.05)


def test_it_stops_when_nothing_is_held_any_more(recorded):
    at_work = Settling(recorded)
    running = at_work.delivery(1)
    at_work.settler.start()
    at_work.settler.stop()
    # The job that still runs may be acknowledged.
    at_work.settler.put(Order("delete", QUEUE, running))
    at_work.settler.join(10)
    assert not at_work.settler.is_alive()
    assert at_work.actions() == ["DeleteMessageBatch"]


def test_beyond_its_bound_the_oldest_orders_are_given_up(recorded, monkeypatch):
    monkeypatch.setattr(settling, "_MOST_ORDERS", 15)
    at_work = Settling(recorded)
    for number in range(20):
        at_work.order("delete", number)
    at_work.settler.start()
    assert at_work.settler.flush(10)
    assert [delivery.message_id for delivery in at_work.deleted] == [str(number) for number in range(5, 20)]
    at_work.settler.stop()
    at_work.until(lambda: not at_work.settler.is_alive())


def test_an_order_that_breaks_the_code_is_let_go_alone(at_work, recorded, caplog):
    recorded.answers = [{"Failed": [{"Id": "not a number"}]}]
    at_work.order("delete", 1)
    at_work.until(lambda: len(at_work.leases) == 0)
    assert "could not be carried out" in caplog.text
    at_work.order("delete", 2)
    at_work.until(lambda: at_work.deleted)


def test_orders_of_many_threads_are_all_carried_out(at_work, recorded):
    def put(first):
        for number in range(first, first + 50):
            at_work.order("delete", number)

    threads = [threading.Thread(target=put, args=(first,)) for first in range(0, 400, 50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    at_work.until(lambda: len(at_work.deleted) == 400)
    assert sum(len(members["Entries"]) for _, members in recorded.asked) == 400
