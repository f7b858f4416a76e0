"""Every fault of a service or a network meets a worker while jobs flow: it recovers, stays, loses and repeats nothing.

The worker reaches the broker through a proxy that fails on demand. The same worker meets one fault after the other, as
in a long life. How long each recovery took is shown, not judged.
"""

import contextlib
import sys

import pytest
from faults import DELETE, EVERY_FAULT, EXTEND, RECEIVE, SEND, Flow, striking
from running import until
from transported import Transported

from bench import proxy as proxies
from bench.proxy import Proxy


@pytest.fixture(scope="module")
def fault_s(request):
    """As long as each fault lasts: `--fault-seconds`."""
    return request.config.getoption("--fault-seconds")


@pytest.fixture(scope="module")
def struck(tmp_path_factory, fault_s):
    """A system whose worker reaches the broker through a proxy."""
    # Much longer than a fault and than the deadline of a request, so that no fault by itself makes a worker lose one.
    options = {"lease_seconds": round(5 * fault_s), "backoff": {"first_s": 0.5}}
    system = Transported(tmp_path_factory.mktemp("faults"), **options)
    try:
        system.start_broker()
        with Proxy(system.endpoint_url) as proxy:
            system.start_worker("struck", AWS_ENDPOINT_URL_SQS=proxy.endpoint_url)
            yield system, proxy
            system.stop()
    finally:
        system.stop()


@pytest.fixture
def worker(struck):
    """The worker, which is the same process after the test as before it."""
    system, _ = struck
    running = system.workers["struck"]
    yield running
    assert running.process.poll() is None, running.said()[-4000:]
    assert running.said().count(" ready.") == 1


@pytest.fixture
def flow(struck):
    """Jobs that flow before the fault, so that it meets a worker at work."""
    system, _ = struck
    flow = Flow(system, system.app)
    flow.send()
    flow.wait_until_done()
    return flow


@pytest.fixture
def show(request, capsys):
    """Show how long the recovery took."""

    def write(seconds):
        with capsys.disabled():
            sys.stdout.write(f"\n{request.node.callspec.id}: jobs flow {seconds:.1f} s after the fault\n")

    return write


def judge(system, flow, show):
    """The fault is over: jobs flow again, all are done, and nothing is left in the queues."""
    show(flow.seconds_to_recovery())
    flow.wait_until_done()
    system.wait_until_idle()


def name(fault):
    return "refused" if fault is None else fault.name.rpartition("#")[2]


@pytest.mark.parametrize("fault", [None, *EVERY_FAULT], ids=name)
def test_a_worker_whose_receives_fail_polls_again(struck, worker, flow, show, fault, fault_s):
    system, proxy = struck
    with striking(proxy, fault, RECEIVE):
        flow.run(fault_s)
    judge(system, flow, show)
    assert flow.repeated() == {}


@pytest.mark.parametrize(
    "fault",
    [proxies.INTERNAL_ERROR, proxies.ACCESS_DENIED, proxies.RESET_AFTER, proxies.HANG, proxies.TORN_JSON],
    ids=name,
)
def test_jobs_whose_deletes_fail_are_deleted_later(struck, worker, flow, show, fault, fault_s):
    system, proxy = struck
    flow.run(0.5)
    with striking(proxy, fault, DELETE):
        flow.run(fault_s)
    judge(system, flow, show)
    # Shorter than a lease, so that even a job done at the beginning is still this worker's when deletes work again.
    assert flow.repeated() == {}


@pytest.mark.parametrize("fault", [proxies.UNAVAILABLE, proxies.HANG_AFTER], ids=name)
def test_a_lease_whose_extensions_fail_for_a_time_is_kept(struck, worker, flow, show, fault, fault_s):
    system, proxy = struck
    flow.seconds = 1.2 * system.options["lease_seconds"]
    flow.send()
    system.wait_until_running(1)
    flow.seconds = 0.02
    before = proxy.met.total()
    with striking(proxy, fault, EXTEND):
        until(lambda: proxy.met.total() > before, "an extension fails")
        flow.run(fault_s)
    judge(system, flow, show)
    assert flow.repeated() == {}


def test_a_failed_job_runs_again_though_its_backoff_could_not_be_told(struck, worker, flow, fault_s):
    system, proxy = struck
    number = -flow.send()
    with striking(proxy, proxies.INTERNAL_ERROR, EXTEND):
        system.send("break_down", number)
        flow.run(fault_s)
    until(lambda: sum(run.number == number for run in system.found()) == 5, lambda: f"5 runs; {system.said()}")
    flow.wait_until_done()
    system.wait_until_idle()


@pytest.mark.parametrize("fault", [None, proxies.INTERNAL_ERROR, proxies.HALF, proxies.HANG], ids=name)
def test_jobs_are_sent_again_after_sends_failed(struck, worker, show, fault, fault_s):
    system, proxy = struck
    sender = Transported(system.folder)
    try:
        sender.app.conf.broker_url = f"sqs://any:any@127.0.0.1:{proxy.port}"
        flow = Flow(system, sender.app)
        flow.send()
        with striking(proxy, fault, SEND):
            flow.run(fault_s)
        judge(system, flow, show)
        # A send that was carried out but not confirmed is a job that ran all the same: once, as nobody sent it again.
        assert flow.repeated() == {}
    finally:
        sender.stop()


def test_a_broker_that_is_killed_and_started_again_is_found(struck, worker, flow, capsys, fault_s):
    system, _ = struck
    flow.run(0.5)
    system.broker.kill()
    with contextlib.suppress(OSError):
        flow.run(fault_s)
    system.start_broker()
    seconds = flow.seconds_to_recovery()
    with capsys.disabled():
        sys.stdout.write(f"\nkilled broker: jobs flow {seconds:.1f} s after its start\n")
    flow.wait_until_done()
    system.wait_until_idle()
    assert flow.repeated() == {}
