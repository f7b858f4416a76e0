"""A worker asked to stop finishes what it has, leaves the rest on the queue, and nothing is lost or done twice."""

import signal

from running import until

JOBS = 12


def test_a_stopped_worker_finishes_its_jobs_and_the_queue_keeps_the_rest(system):
    system.wait_until_idle()
    gate = system.folder / "gate"
    for number in range(JOBS):
        system.app.send_task("ledger.hold", [number, str(gate)], queue="low")
    until(lambda: len(system.runs("ledger.hold")) == 2, "both children of the worker run a job")
    worker = system.workers["low"]
    worker.process.send_signal(signal.SIGTERM)
    worker.wait_until_says("Warm shutdown")
    gate.touch()
    assert system.stop_worker("low") == 0
    done = system.runs("ledger.hold")
    assert 2 <= len(done) < JOBS
    assert system.waiting("amply-celery-low") == JOBS - len(done)
    # Sent while nobody listens: a poll that the stopped worker left behind must not take it.
    system.app.send_task("ledger.hold", [JOBS, str(gate)], queue="low")
    system.start_workers("low")
    system.wait_until_idle()
    assert system.runs("ledger.hold") == {(number, "low"): 1 for number in range(JOBS + 1)}
