"""The self-check of real workers: once in the log, whatever is found, and never in the way of a worker."""

from collections.abc import Iterator

import pytest
from running import until
from transported import Transported

CHECKED = "Self-check: "


@pytest.fixture
def transported(tmp_path) -> Iterator[Transported]:
    """A system that is not running yet."""
    system = Transported(tmp_path / "system")
    try:
        yield system
    finally:
        system.stop()


def test_a_worker_s_log_shows_the_check_once_on_one_screen(transported):
    transported.start_broker()
    worker = transported.start_worker("one", queues="high,low", concurrency=2)
    worker.wait_until_says("payload_store")
    transported.send("count", 1, queue="low")
    until(lambda: transported.runs("ledger.count"), "the job runs")
    assert transported.stop_worker("one") == 0
    said = worker.said()
    assert said.count(CHECKED) == 1
    assert "Self-check: no problems\n" in said
    screen = said.partition(CHECKED)[2].partition("\n[")[0].splitlines()
    assert len(screen) < 40
    queues = [line.split()[:2] for line in screen if line.startswith(("high ", "low ", "celery "))]
    # Once each among the queues, and among the permissions.
    assert queues == [["high", "amply-celery-high"], ["low", "amply-celery-low"], ["high", "not"], ["low", "not"]]
    assert transported.endpoint_url in said
    assert "up to 2 jobs are held" in said


def test_each_problem_is_a_warning_with_its_mend_and_the_command_line_counts(transported):
    transported.start_broker()
    transported.options = {"lease_seconds": 5}
    worker = transported.start_worker("one", "--time-limit=50000", queues="high")
    # Errors come first, so this is the last.
    said = worker.wait_until_says("Set it to 10 or more.")
    assert "Self-check: 2 problems\n" in said
    warnings = [line for line in said.splitlines() if "WARNING" in line and CHECKED in line]
    assert ["time limit: over 12 h" in line for line in warnings] == [True, False]


def test_a_broker_that_is_down_keeps_no_worker_from_its_start(transported):
    worker = transported.start_worker("one", queues="high")
    worker.wait_until_says("SQS: does not answer")
    transported.start_broker()
    transported.send("count", 1, queue="high")
    until(lambda: transported.runs("ledger.count"), "the job runs")
    assert worker.said().count("does not answer") == 2, "in the screen and as a warning"
