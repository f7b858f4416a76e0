"""Leases: extended at a third, never beyond twelve hours, and lost when they are lost."""

import pytest

from amply.clock import ManualClock
from amply.transport.delivery import received
from amply.transport.faults import TimedOut
from amply.transport.leases import LeaseKeeper, Leases
from amply.transport.queues import Queue

QUEUE = Queue("jobs", "jobs", "http://here/jobs")
HOURS_MS = 3_600_000


@pytest.fixture
def time():
    return ManualClock(0)


def held(leases, time, number=1, queue=QUEUE):
    message = {"MessageId": str(number), "ReceiptHandle": f"handle-{number}", "Body": "x"}
    delivery = received(queue, message, now_ms=time.now_ms(), lease_s=leases.lease_s)
    leases.add([delivery])
    return delivery


def test_a_message_was_given_when_its_answer_came(time):
    leases = Leases(time, lease_s=10)
    asked_ms = time.now_ms()
    for _ in range(20):
        time.advance(1)
        leases.beat()
    assert leases.given_ms(asked_ms) == time.now_ms()


@pytest.mark.parametrize("first", ["the keeper", "the poller"])
def test_a_message_may_have_been_given_all_the_while_that_the_process_stood_still(time, first):
    leases = Leases(time, lease_s=10)
    asked_ms = time.now_ms()
    time.advance(1)
    leases.beat()
    stopped_ms = time.now_ms()
    time.advance(30)
    if first == "the keeper":
        leases.beat()
    assert leases.given_ms(asked_ms) == stopped_ms
    assert leases.given_ms(stopped_ms + 500) == stopped_ms + 500
    assert leases.given_ms(time.now_ms()) == time.now_ms()


@pytest.fixture
def keeping(recorded, time):
    """A keeper at work; its clock is the test's."""
    leases = Leases(time, lease_s=3)
    distrusted = []
    keeper = LeaseKeeper(recorded, leases, distrust=lambda: distrusted.append(1))
    leases.distrusted = distrusted
    keeper.start()
    yield leases
    keeper.stop()
    for delivery in leases.held():
        leases.drop(delivery)
    keeper.join()


def test_a_lease_is_extended_when_a_third_of_it_has_passed(time):
    leases = Leases(time, lease_s=120)
    delivery = held(leases, time)
    time.advance(39.9)
    assert leases.take_due() == []
    time.advance(0.1)
    assert leases.take_due() == [delivery]
    assert delivery.is_extending


def test_an_extended_lease_counts_from_the_moment_of_asking(time):
    leases = Leases(time, lease_s=120)
    delivery = held(leases, time)
    time.advance(40)
    asked_ms = leases.now_ms()
    time.advance(3)
    leases.extended(delivery, asked_ms=asked_ms, by_s=120)
    time.advance(116.9)
    assert not leases.is_lost(delivery)
    time.advance(0.2)
    assert leases.is_lost(delivery)


def test_a_lease_is_lost_at_its_end_though_the_keeper_slept(time):
    leases = Leases(time, lease_s=120)
    delivery = held(leases, time)
    time.advance(119.9)
    assert not leases.is_lost(delivery)
    time.advance(0.1)
    assert leases.is_lost(delivery)


def test_what_was_lost_stays_lost_and_is_let_go(time, caplog):
    leases = Leases(time, lease_s=120)
    delivery = held(leases, time)
    time.advance(120)
    assert leases.take_due() == []
    assert len(leases) == 0
    assert "(1 of jobs)" in caplog.text
    leases.extended(delivery, asked_ms=time.now_ms(), by_s=120)
    assert leases.is_lost(delivery)


def test_what_is_settled_is_extended_no_more(time):
    leases = Leases(time, lease_s=120)
    delivery = held(leases, time)
    leases.settle(delivery)
    time.advance(100)
    assert leases.take_due() == []


def test_no_extension_goes_beyond_twelve_hours_after_the_receive(time):
    leases = Leases(time, lease_s=7200)
    delivery = held(leases, time)
    assert leases.longest_extension_s(delivery) == 7200
    time.advance(11 * 3600)
    assert leases.longest_extension_s(delivery) == 3595
    time.advance(3600)
    assert leases.longest_extension_s(delivery) == 0


def test_the_keeper_extends_ten_at_once_by_queue(keeping, recorded, time):
    other = Queue("other", "other", "http://here/other")
    for number in range(12):
        held(keeping, time, number)
    held(keeping, time, 99, other)
    time.advance(1)
    asked = recorded.wait_for(3)
    assert {action for action, _ in asked} == {"ChangeMessageVisibilityBatch"}
    sizes = sorted((members["QueueUrl"], len(members["Entries"])) for _, members in asked)
    assert sizes == [(QUEUE.url, 2), (QUEUE.url, 10), (other.url, 1)]
    assert {entry["VisibilityTimeout"] for _, members in asked for entry in members["Entries"]} == {3}


def test_an_extension_that_fails_is_tried_again_and_polls_are_distrusted(keeping, recorded, time):
    recorded.answers = [TimedOut("nothing came")]
    delivery = held(keeping, time)
    time.advance(1)
    recorded.wait_for(2)
    assert keeping.distrusted == [1]
    time.advance(2.5)
    assert not keeping.is_lost(delivery)


def test_one_refused_entry_is_told_and_the_others_are_extended(keeping, recorded, time, caplog):
    refused = {"Successful": [{"Id": "1"}], "Failed": [{"Id": "0", "Code": "X", "Message": "no such receipt"}]}
    recorded.answers = [refused]
    deliveries = [held(keeping, time, number) for number in (1, 2)]
    time.advance(1)
    recorded.wait_for(2)
    assert "no such receipt" in caplog.text
    assert len(recorded.asked[1][1]["Entries"]) == 1
    assert all(not keeping.is_lost(delivery) for delivery in deliveries)


def test_an_answer_that_breaks_the_keeper_does_not_end_it(keeping, recorded, time, caplog):
    recorded.answers = [{"Successful": [{"Id": "not a number"}]}]
    held(keeping, time)
    time.advance(1)
    recorded.wait_for(2)
    assert "could not be extended" in caplog.text
