"""The rules of queues: created, changed, tagged, purged, deleted."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from amply.broker.engine.commands import DeleteQueue, PurgeQueue, SetQueueAttributes, TagQueue, UntagQueue
from amply.broker.sqs.faults import Fault

sys.path.insert(0, str(Path(__file__).parent))

from settled import ACCOUNT, DEAD, OTHER, WORK, Broker, redrive


@pytest.fixture
def broker() -> Broker:
    return Broker()


def test_purging_drops_messages_in_every_state_and_not_twice_a_minute(broker: Broker) -> None:
    broker.queue(WORK)
    broker.send("in flight")
    (held,) = broker.receive()
    broker.send("ready")
    broker.send("delayed", delay_s=10)
    broker.run(PurgeQueue(WORK))
    assert broker.counts() == (0, 0, 0)
    broker.delete(held)
    with pytest.raises(Fault, match="Only one PurgeQueue operation on work is allowed every 60 seconds"):
        broker.run(PurgeQueue(WORK))
    broker.send("after")
    broker.restart()
    assert broker.bodies() == ["after"]
    broker.pass_time(60)
    broker.run(PurgeQueue(WORK))


def test_a_deleted_queue_answers_its_polls_and_its_name_rests_for_a_minute(broker: Broker) -> None:
    broker.queue(WORK)
    ticket = broker.poll()
    broker.run(DeleteQueue(WORK))
    assert broker.outcome(ticket) == []
    with pytest.raises(Fault, match="The specified queue does not exist"):
        broker.send("a")
    broker.restart()
    with pytest.raises(Fault, match="You must wait 60 seconds"):
        broker.queue(WORK)
    broker.pass_time(60)
    broker.queue(WORK)
    assert broker.counts() == (0, 0, 0)


def test_creating_a_queue_again_with_the_same_values_changes_nothing(broker: Broker) -> None:
    broker.queue(WORK, VisibilityTimeout=10)
    broker.queue(WORK)
    broker.queue(WORK, VisibilityTimeout=10, DelaySeconds=0)
    with pytest.raises(Fault, match="different value for attribute VisibilityTimeout"):
        broker.queue(WORK, VisibilityTimeout=11)
    broker.run(SetQueueAttributes(WORK, {"VisibilityTimeout": "11"}))
    broker.queue(WORK, VisibilityTimeout=11)


@pytest.mark.parametrize(
    ("target", "reason"),
    [(OTHER, "Dead letter target does not exist"), (WORK, "Dead letters would come back to this queue")],
)
def test_a_redrive_policy_needs_a_target_that_can_be_one(broker: Broker, target: tuple[str, str], reason: str) -> None:
    broker.queue(WORK)
    with pytest.raises(Fault, match=reason):
        broker.run(SetQueueAttributes(WORK, {"RedrivePolicy": json.dumps(redrive(target, 3))}))


def test_dead_letters_do_not_go_round_in_a_circle(broker: Broker) -> None:
    broker.queue(OTHER)
    broker.queue(DEAD, RedrivePolicy=redrive(OTHER, 1))
    broker.queue(WORK, RedrivePolicy=redrive(DEAD, 1))
    with pytest.raises(Fault, match="would come back"):
        broker.run(SetQueueAttributes(OTHER, {"RedrivePolicy": json.dumps(redrive(WORK, 1))}))
    broker.run(DeleteQueue(OTHER))
    broker.pass_time(61)
    with pytest.raises(Fault, match="would come back"):
        broker.queue(OTHER, RedrivePolicy=redrive(WORK, 1))


@pytest.mark.parametrize(
    ("allow", "is_allowed"),
    [
        ({"redrivePermission": "allowAll"}, True),
        ({"redrivePermission": "denyAll"}, False),
        ({"redrivePermission": "byQueue", "sourceQueueArns": [f"arn:aws:sqs:eu-central-1:{ACCOUNT}:work"]}, True),
        ({"redrivePermission": "byQueue", "sourceQueueArns": [f"arn:aws:sqs:eu-central-1:{ACCOUNT}:else"]}, False),
    ],
)
def test_a_dead_letter_queue_says_which_sources_it_takes(
    broker: Broker, allow: dict[str, Any], is_allowed: bool
) -> None:
    broker.queue(DEAD, RedriveAllowPolicy=allow)
    broker.queue(WORK)
    command = SetQueueAttributes(WORK, {"RedrivePolicy": json.dumps(redrive(DEAD, 3))})
    if is_allowed:
        broker.run(command)
    else:
        with pytest.raises(Fault, match="does not allow this queue as a source"):
            broker.run(command)


def test_an_attribute_set_to_nothing_is_gone(broker: Broker) -> None:
    broker.work_with_dead_letters()
    broker.run(SetQueueAttributes(WORK, {"RedrivePolicy": ""}))
    assert "RedrivePolicy" not in broker.engine.queues.existing(WORK).attributes


def test_tags_are_added_replaced_taken_away_and_limited(broker: Broker) -> None:
    broker.queue(WORK)
    broker.run(TagQueue(WORK, {"team": "a", "stage": "test"}))
    broker.run(TagQueue(WORK, {"team": "b"}))
    broker.run(UntagQueue(WORK, ["stage", "never there"]))
    broker.restart()
    assert broker.engine.queues.existing(WORK).record.tags == {"team": "b"}
    with pytest.raises(Fault, match="Too many tags"):
        broker.run(TagQueue(WORK, {str(number): "" for number in range(50)}))
