"""`amply up --demo`: jobs of all three priorities get done, Ctrl-C drains, and nothing is lost or left behind."""

import json
import re
import signal

import psutil
import pytest
from running import Running, until
from system import BIN, QUEUES, System


@pytest.fixture
def system_of_demo(tmp_path):
    """The environment, the port and the data folder for a run; its broker is not started."""
    system = System(tmp_path)
    system.environment |= {"CELERY_LOADER": "", "AWS_ENDPOINT_URL_SQS": ""}
    yield system
    system.stop()


def of_folder(folder):
    """The processes of this machine that work on the data folder."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("AMPLY_DATA") == str(folder):
                found.append(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return found


def test_the_demonstration_does_jobs_of_every_priority_and_ctrl_c_leaves_all_in_order(system_of_demo):
    system, data = system_of_demo, system_of_demo.folder / "data"
    command = [str(BIN / "amply"), "up", "--demo", "--port", str(system.port), "--data", str(data)]
    up = Running(command, system.environment, system.folder / "up.log")
    try:
        up.wait_until_says("Log files")
        until(lambda: all(system.queue(queue)["deleted"] >= 5 for queue in QUEUES.values()), up.said)
        family = up.family()
        assert len(family) >= len(["up", "broker", "high", "low", "beat", "receiver", "load"]) + 4 + 2
        assert up.stop(signal.SIGINT) == 0
        said = up.said()
        # Zombies would count as well: everything that was started was waited for.
        assert psutil.wait_procs(family, timeout=30)[1] == []
        assert of_folder(data) == []
    finally:
        up.kill()
    account = re.search(r"all: (\d+) sent = (\d+) done \+ (\d+) waiting \+ (\d+) dead \+ (\d+) lost", said)
    sent, done, waiting, dead, lost = map(int, account.groups())
    assert sent == done + waiting + dead
    assert (dead, lost) == (0, 0)
    assert done >= 15
    left = {name: int(count) for name, count in re.findall(r"(amply-celery[a-z-]*) (\d+) \(\d+ visible", said)}
    # What it said is kept is what the next start finds.
    system.environment["AWS_ENDPOINT_URL_SQS"] = system.endpoint_url
    system.start_broker()
    shown = json.loads(system.amply("status", "--json").stdout)
    found = {queue["name"]: queue["visible"] + queue["in_flight"] + queue["delayed"] for queue in shown["queues"]}
    del found["amply-telemetry"]  # records about jobs are no jobs
    assert {name: count for name, count in found.items() if count} == left
