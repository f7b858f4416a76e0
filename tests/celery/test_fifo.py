"""A Celery worker on a FIFO queue of the embedded broker: every group in its order, one job of it at a time."""

import itertools

import pytest
import yaml
from ledger_checks import not_ended, of_numbers
from running import until
from transported import Transported, topology

GROUPS = 4
EACH = 6
DEAD_LETTERS = "amply-orders-dlq.fifo"


def with_orders(folder):
    """The packaged topology with a FIFO queue and its dead letter queue."""
    path = topology(folder)
    declared = yaml.safe_load(path.read_text())
    fifo = {"FifoQueue": "true"}
    redrive = {"deadLetterTargetArn": f"arn:aws:sqs:...:{DEAD_LETTERS}", "maxReceiveCount": 2}
    attributes = {**fifo, "RedrivePolicy": redrive}
    declared["queues"] += [
        {"QueueName": "amply-orders.fifo", "CeleryName": "orders.fifo", "Attributes": attributes},
        {"QueueName": DEAD_LETTERS, "Attributes": fifo},
    ]
    path.write_text(yaml.safe_dump(declared))
    return path


@pytest.fixture(scope="module")
def orders(tmp_path_factory):
    folder = tmp_path_factory.mktemp("orders")
    backoff = {"orders.fifo": {"first_s": 0.2, "factor": 1.0}}
    system = Transported(folder, topology=with_orders(folder / "declared"), queue_backoff=backoff, lease_seconds=10)
    try:
        system.start_broker()
        system.start_worker("all", queues="orders.fifo", concurrency=GROUPS)
        yield system
    finally:
        system.stop()


def test_jobs_of_a_group_run_one_after_the_other_and_groups_side_by_side(orders):
    numbers = range(GROUPS * EACH)
    for number in numbers:
        orders.send("work", number, 0.05, queue="orders.fifo", MessageGroupId=f"group-{number % GROUPS}")
    until(lambda: not not_ended(orders.found(), numbers), "all jobs ended")
    runs = of_numbers(orders.found(), numbers)
    assert all(len(found) == 1 for found in runs.values())
    for group in range(GROUPS):
        line = [runs[number][0] for number in numbers if number % GROUPS == group]
        for one, next_one in itertools.pairwise(line):
            assert one.ended_ns < next_one.started_ns, f"{one.number} before {next_one.number}"
    starts = {number % GROUPS: found[0].started_ns for number, found in list(runs.items())[:GROUPS]}
    assert max(starts.values()) < max(runs[number][0].ended_ns for number in numbers), "no group waits for another"


def test_a_job_that_always_fails_holds_its_group_up_until_it_is_a_dead_letter(orders):
    orders.send("break_down", 100, queue="orders.fifo", MessageGroupId="broken")
    orders.send("work", 101, queue="orders.fifo", MessageGroupId="broken")
    until(lambda: not not_ended(orders.found(), [101]), "the job behind it ended")
    runs = of_numbers(orders.found(), [100, 101])
    assert [run.attempt for run in runs[100]] == [1, 2]
    assert runs[100][-1].started_ns < runs[101][0].started_ns
    (letter,) = orders.take_all(DEAD_LETTERS)
    assert letter["Attributes"]["MessageGroupId"] == "broken"
