"""Amply's transport and stock kombu's on the same queues: each understands what the other sends, nothing is lost."""

import pytest
from ledger_checks import not_ended, of_numbers
from running import PATIENCE_S, until
from transported import LEASE_S, STOCK, Transported

JOBS = range(2000)
FORMATS = ("brief", "readable", "stock")


@pytest.fixture(scope="module")
def mixed(tmp_path_factory):
    """A system with one worker of each kind."""
    system = Transported(tmp_path_factory.mktemp("mixed"), lease_seconds=LEASE_S)
    try:
        system.start_broker()
        system.start_worker("ours", concurrency=2)
        system.start_worker("stock", concurrency=2, transport=STOCK)
        yield system
    finally:
        system.stop()


@pytest.fixture
def senders(mixed):
    """A sender of each of our formats, and one on stock kombu."""
    made = [Transported(mixed.folder, message_format=written) for written in FORMATS]
    made.append(Transported(mixed.folder, transport=STOCK))
    for sender in made:
        sender.app.conf.broker_url = mixed.app.conf.broker_url
    yield made
    for sender in made:
        sender.app.close()


def test_of_2000_jobs_of_four_kinds_of_senders_each_is_done_once_by_either_kind_of_worker(mixed, senders):
    sent = 0
    for position, sender in enumerate(senders):
        with sender.app.connection_for_write() as connection, sender.app.amqp.Producer(connection) as producer:
            for number in JOBS[position :: len(senders)]:
                sender.send("work", number, queue="high" if number % 3 else "celery", producer=producer)
                sent += 1
    until(lambda: not not_ended(mixed.found(), JOBS), lambda: f"{PATIENCE_S} s; {mixed.said()}")
    mixed.wait_until_idle()
    found = of_numbers(mixed.found(), JOBS)
    assert sent == len(JOBS)
    assert all(len(runs) == 1 for runs in found.values())
    done = [
        {number % len(senders) for number, (run,) in found.items() if run.parent == worker.process.pid}
        for worker in mixed.workers.values()
    ]
    # Each worker did jobs of every sender.
    assert done == [set(range(len(senders)))] * 2


def test_arguments_that_are_not_ascii_arrive_as_they_were_sent(mixed, senders):
    text = "\u00fc\u4e16\U0001f600"
    jobs = [sender.app.send_task("ledger.echo", [text], queue="celery") for sender in senders for _ in range(5)]
    assert [job.get(timeout=PATIENCE_S) for job in jobs] == [text] * len(jobs)
