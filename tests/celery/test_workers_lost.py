"""A job that kills the worker's child each time it runs. Sent long before: Celery takes up to 10 s to notice."""


def test_a_task_that_kills_its_child_is_a_dead_letter_after_its_receives(impatient, dead_letters):
    letter = dead_letters("ledger.die", 3)
    assert 2 <= impatient.runs("ledger.die")[3, "celery"] <= 3
    assert letter["Attributes"]["DeadLetterQueueSourceArn"].endswith(":amply-celery")


def test_the_worker_goes_on_with_a_new_child(impatient, dead_letters):
    dead_letters("ledger.die", 3)
    jobs = [impatient.app.send_task("ledger.count", [number], queue="celery") for number in range(4)]
    assert [job.get(timeout=60) for job in jobs] == [0, 2, 4, 6]
