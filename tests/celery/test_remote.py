"""Workers are seen and steered over SQS with Celery's own commands, and Flower shows them."""

import json
import subprocess
import threading
import urllib.error
import urllib.request

import pytest
from ledger_checks import not_ended
from running import PATIENCE_S, Running, until
from system import BIN, free_port
from transported import LEASE_S, TELEMETRY, Transported

PONG = {"ok": "pong"}
# What the topology's settings say of a worker's remote control and events is left aside.
STEERED = {"worker_enable_remote_control": True, "worker_send_task_events": True}


@pytest.fixture(scope="module")
def steered(tmp_path_factory):
    """A system with two workers that take commands."""
    system = Steered(tmp_path_factory.mktemp("steered"), lease_seconds=LEASE_S)
    try:
        system.start_broker()
        for name in ("one", "two"):
            system.start_worker(name, concurrency=2)
        yield system
    finally:
        (system.folder / "gate").touch()
        system.stop()


class Steered(Transported):
    """A system whose workers take commands and send events."""

    def start_worker(self, name, *arguments, **changes):
        """Start a worker named after the test's word for it alone."""
        ours = {**STEERED, "broker_transport": "amply.transport:Transport", "broker_transport_options": self.options}
        changes = {"CELERY_CHANGES": json.dumps(ours), **changes}
        return super().start_worker(name, "-n", f"{name}@here", *arguments, **changes)

    def celery(self, *arguments):
        """Run a command of Celery's to its end; gives what it printed, as JSON."""
        command = [str(BIN / "celery"), "-A", "amply.jobs.celery_app", *arguments, "--json", "--timeout=20"]
        surroundings = {**self.environment, "CELERY_CHANGES": json.dumps({"broker_transport_options": self.options})}
        done = subprocess.run(command, env=surroundings, capture_output=True, text=True, check=True)
        # `status` counts the workers below.
        return json.loads(done.stdout.splitlines()[0])

    def boxes(self):
        """The queues that live as long as their readers, by name."""
        with urllib.request.urlopen(f"{self.endpoint_url}/ready") as answer:
            names = [view["name"] for view in json.load(answer)["queues"]]
        return sorted(name for name in names if "pidbox_" in name or "events_" in name)

    def inspect(self, method, *arguments, destination=("one@here", "two@here"), **options):
        """Ask these workers; waits until all of them have answered."""
        inspect = self.app.control.inspect(destination=list(destination), timeout=PATIENCE_S)
        return getattr(inspect, method)(*arguments, **options)


def node_queues(names):
    return [name.partition("_node_")[2].partition("-")[0] for name in names]


def test_commands_of_the_shell_find_all_workers_and_leave_nothing_behind(steered):
    assert node_queues(steered.boxes()) == ["one", "two"]
    both = "one@here,two@here"
    assert steered.celery("inspect", "ping", "-d", both) == {"one@here": PONG, "two@here": PONG}
    assert steered.celery("inspect", "reserved", "-d", "two@here") == {"two@here": []}
    assert set(steered.celery("status", "-d", both)) == {"one@here", "two@here"}
    assert node_queues(steered.boxes()) == ["one", "two"]


def test_workers_tell_what_they_know_run_and_wait_for(steered):
    gate = steered.folder / "told"
    jobs = {steered.send("wait", number, str(gate)) for number in range(4)}
    until(lambda: sum(map(len, steered.inspect("active").values())) == 4, steered.said)
    assert {job["id"] for told in steered.inspect("active").values() for job in told} == jobs
    assert steered.inspect("reserved") == steered.inspect("scheduled") == {"one@here": [], "two@here": []}
    assert "ledger.wait" in steered.inspect("registered")["one@here"]
    stats = steered.inspect("stats")["two@here"]
    assert (stats["pool"]["max-concurrency"], stats["prefetch_count"]) == (2, 2)
    assert [queue["name"] for queue in steered.inspect("active_queues")["one@here"]] == ["high", "celery"]
    gate.touch()
    until(lambda: not any(steered.inspect("active").values()), steered.said)


def test_a_revoked_job_that_waits_never_runs(steered):
    gate = steered.folder / "revoking"
    running = [steered.send("wait", number, str(gate)) for number in range(10, 14)]
    until(lambda: sum(map(len, steered.inspect("active").values())) == len(running), steered.said)
    revoked, other = steered.send("work", 20), steered.send("work", 21)
    # Both workers are full: the command comes although no job can.
    assert len(steered.app.control.revoke(revoked, reply=True, timeout=PATIENCE_S, limit=2)) == 2
    gate.touch()
    steered.wait_until_idle()
    ran = {run.job for run in steered.found()}
    assert (other in ran, revoked in ran) == (True, False)


def test_a_running_job_can_be_terminated_and_does_not_come_back(steered):
    job = steered.send("wait", 30, "/no/such/gate")
    until(lambda: any(run.job == job for run in steered.found()), steered.said)
    steered.app.control.revoke(job, terminate=True, signal="SIGKILL")
    steered.wait_until_idle()
    assert len([run for run in steered.found() if run.job == job]) == 1
    assert not any(steered.inspect("active").values())


def test_a_rate_limit_and_the_size_of_a_pool_are_changed(steered):
    answers = steered.app.control.rate_limit("ledger.count", "7/m", reply=True, timeout=PATIENCE_S, limit=2)
    assert sorted(name for answer in answers for name in answer) == ["one@here", "two@here"]
    options = {"destination": ["one@here"], "reply": True, "timeout": PATIENCE_S}
    assert "ok" in steered.app.control.pool_grow(1, **options)[0]["one@here"]
    until(lambda: steered.inspect("stats")["one@here"]["prefetch_count"] == 3, steered.said)
    assert steered.inspect("stats")["two@here"]["prefetch_count"] == 2
    assert "ok" in steered.app.control.pool_shrink(1, **options)[0]["one@here"]


def test_a_worker_ends_on_command_and_its_queue_is_gone(steered):
    third = steered.start_worker("third", queues="low")
    assert node_queues(steered.boxes()) == ["one", "third", "two"]
    steered.app.control.shutdown(destination=["third@here"])
    assert third.process.wait(PATIENCE_S) == 0
    assert node_queues(steered.boxes()) == ["one", "two"]
    del steered.workers["third"]


def test_a_worker_without_remote_control_has_no_queue_for_it(steered):
    changes = json.dumps({**STEERED, "worker_enable_remote_control": False, "broker_transport_options": {}})
    steered.start_worker("deaf", queues="low", CELERY_CHANGES=changes)
    assert node_queues(steered.boxes()) == ["one", "two"]
    steered.stop_worker("deaf")


@pytest.fixture
def events(steered):
    """The events that a receiver has got until now; it is gone in the end."""
    found = []
    with steered.app.connection() as connection:
        receiver = steered.app.events.Receiver(connection, handlers={"*": found.append})

        def receive():
            for _ in receiver.itercapture(limit=None, timeout=None, wakeup=True):
                if receiver.should_stop:
                    return

        thread = threading.Thread(target=receive)
        thread.start()
        until(lambda: any("events_" in name for name in steered.boxes()), "there is a reader")
        yield found
        receiver.should_stop = True
        thread.join(PATIENCE_S)
    assert not any("events_" in name for name in steered.boxes())


def test_a_reader_gets_the_events_of_jobs_and_workers(steered, events):
    until(lambda: {event["hostname"] for event in events} >= {"one@here", "two@here"}, "both workers are heard")
    jobs = [steered.send("work", number) for number in range(40, 45)]
    seen = {(job, f"task-{what}") for job in jobs for what in ("received", "started", "succeeded")}
    until(lambda: seen <= {(event.get("uuid"), event["type"]) for event in events}, lambda: str(events[-10:]))


def test_the_telemetry_queue_gets_events_with_no_reader_about(steered, make_client):
    sqs = make_client(steered.endpoint_url)
    url = sqs.get_queue_url(QueueName=TELEMETRY)["QueueUrl"]
    job = steered.send("work", 50)
    types = set()

    def look():
        for message in sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages", []):
            record = json.loads(message["Body"])
            if isinstance(record, list):
                types.update(event["type"] for event in record if event.get("uuid") == job)
        return types >= {"task-received", "task-started", "task-succeeded"}

    until(look, lambda: str(types))


@pytest.fixture
def flower(steered):
    """Flower's address."""
    port = free_port()
    command = [str(BIN / "celery"), "-A", "amply.jobs.celery_app", "flower", "--address=127.0.0.1", f"--port={port}"]
    changes = {"CELERY_CHANGES": json.dumps({"broker_transport_options": steered.options})}
    surroundings = {**steered.environment, **changes, "FLOWER_UNAUTHENTICATED_API": "true"}
    process = Running(command, surroundings, steered.folder / "flower.log")
    try:
        process.wait_until_says("Connected to")
        yield f"http://127.0.0.1:{port}"
        process.stop()
    finally:
        process.kill()
    assert node_queues(steered.boxes()) == ["one", "two"]


def read(url):
    try:
        with urllib.request.urlopen(url, timeout=PATIENCE_S) as answer:
            return json.load(answer)
    except urllib.error.URLError:
        return {}


def test_flower_shows_workers_and_jobs(steered, flower):
    until(lambda: {"one@here", "two@here"} <= set(read(f"{flower}/api/workers?refresh=1")), "Flower knows the workers")
    assert "ledger.work" in read(f"{flower}/api/workers")["one@here"]["registered"]
    job = steered.send("work", 60)
    until(lambda: not not_ended(steered.found(), [60]), steered.said)
    until(lambda: read(f"{flower}/api/tasks").get(job, {}).get("state") == "SUCCESS", "Flower knows the job's end")
    assert read(f"{flower}/api/tasks")[job]["worker"] in {"one@here", "two@here"}
