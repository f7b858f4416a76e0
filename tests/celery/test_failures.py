"""A job that fails is run again after growing gaps, and its fifth failure makes it a dead letter, with its causes."""

import base64
import json

import pytest
from hostile_bodies import HOSTILE
from ledger_checks import gaps_s, of_numbers
from running import until
from system import DEAD_LETTERS, QUEUES
from transported import TELEMETRY, Transported

RUNS = 5


@pytest.fixture(scope="module")
def failing(tmp_path_factory):
    """A system in which jobs fail: `low` has the default backoff, the other queues a short one."""
    quick = {"first_s": 0.2, "factor": 2.0}
    options = {"queue_backoff": {"celery": quick, "high": quick}, "telemetry_queue": TELEMETRY, "lease_seconds": 10}
    system = Transported(tmp_path_factory.mktemp("failing"), **options)
    try:
        system.start_broker()
        system.start_worker("all", queues="high,celery,low", concurrency=2)
        yield system
    finally:
        system.stop()


class Remains:
    """What failed jobs leave behind: dead letters and records of causes, each taken out of its queue once."""

    def __init__(self, system):
        self._system = system
        self.letters = []
        self.records = []

    def collect(self):
        """Take what is there now."""
        self.letters += self._system.take_all(DEAD_LETTERS)
        for message in self._system.take_all(TELEMETRY):
            content = json.loads(message["Body"])
            # Workers' events come in lists.
            self.records += content if isinstance(content, list) else [content]

    def letter(self, job):
        """The dead letter of a job, by the job's id, once it is there."""

        def there():
            self.collect()
            return any(job in letter["Body"] for letter in self.letters)

        until(there, f"the job {job} is a dead letter")
        (letter,) = (letter for letter in self.letters if job in letter["Body"])
        return letter

    def causes(self, count, **wanted):
        """The records with these members, by attempt, once there are so many."""

        def chosen():
            failures = [record for record in self.records if record["type"] == "delivery-failed"]
            return [record for record in failures if wanted.items() <= record.items()]

        def there():
            self.collect()
            return len(chosen()) >= count

        until(there, lambda: f"{count} causes of {wanted}; there are {chosen()}")
        return sorted(chosen(), key=lambda record: record["attempt"])


@pytest.fixture(scope="module")
def left(failing):
    return Remains(failing)


@pytest.fixture
def send_body(failing):
    """Send a body to the queue `celery` as it is; gives its MessageId."""
    return lambda body: failing.ask("SendMessage", QUEUES["celery"], MessageBody=body)["MessageId"]


def runs_of(failing, number):
    return of_numbers(failing.found(), [number])[number]


def test_with_the_default_backoff_a_job_that_raises_is_a_dead_letter_after_five_runs(failing, left):
    job = failing.send("break_down", 1, queue="low")
    until(lambda: len(runs_of(failing, 1)) == RUNS, failing.said)
    letter = left.letter(job)
    runs = runs_of(failing, 1)
    gaps = gaps_s(runs)
    assert len(runs) == RUNS
    assert gaps == sorted(gaps)
    assert [run.attempt for run in runs] == [1, 2, 3, 4, 5]
    assert [run.receive_count for run in runs] == [1, 2, 3, 4, 5]
    assert letter["Attributes"]["DeadLetterQueueSourceArn"].endswith(f":{QUEUES['low']}")
    causes = left.causes(RUNS, id=job)
    assert [cause["attempt"] for cause in causes] == [1, 2, 3, 4, 5]
    assert {cause["task"] for cause in causes} == {"ledger.break_down"}
    assert all("number 1 always breaks" in cause["message"] for cause in causes)
    assert [cause["again_in_s"] is None for cause in causes] == [False, False, False, False, True]
    failing.wait_until_idle()


def test_a_job_that_kills_its_child_each_time_is_a_dead_letter_after_five_runs(failing, left):
    job = failing.send("be_killed", 2)
    left.letter(job)
    runs = runs_of(failing, 2)
    assert [run.attempt for run in runs] == [1, 2, 3, 4, 5]
    # The worker itself lived on: every child was one of its own.
    assert {run.parent for run in runs} == {failing.workers["all"].process.pid}
    assert [cause["attempt"] for cause in left.causes(RUNS, id=job)] == [1, 2, 3, 4, 5]
    failing.wait_until_idle()


def test_a_job_of_a_task_that_nobody_knows_is_a_dead_letter_with_its_reason(failing, left):
    job = str(failing.app.send_task("ledger.unheard_of", [1], queue="high").id)
    left.letter(job)
    assert "ledger.unheard_of" in json.dumps(left.causes(1, id=job)[-1])


def test_a_pickle_is_never_loaded_and_is_a_dead_letter_with_its_reason(left, send_body, tmp_path):
    trap = tmp_path / "loaded"
    # What a pickle of os.system("touch ...") looks like.
    pickled = b"cposix\nsystem\n(S'touch %b'\ntR." % str(trap).encode()
    properties = {"correlation_id": "pickled", "body_encoding": "base64", "delivery_tag": "pickled"}
    envelope = {
        "body": base64.b64encode(pickled).decode(),
        "content-type": "application/x-python-serialize",
        "content-encoding": "binary",
        "headers": {"task": "ledger.count", "id": "pickled", "lang": "py"},
        "properties": {**properties, "delivery_info": {"exchange": "", "routing_key": "celery"}},
    }
    message_id = send_body(json.dumps(envelope))
    assert left.letter("pickled")["MessageId"] == message_id
    assert left.causes(1, message_id=message_id)[-1]["reason"]
    assert not trap.exists()


def test_hostile_bodies_are_dead_letters_with_their_reasons_and_the_worker_lives(failing, left, send_body):
    sent = {send_body(body): body for body in HOSTILE}
    assert len(sent) >= 30

    def dead():
        left.collect()
        return {letter["MessageId"]: letter["Body"] for letter in left.letters}

    def alive():
        return [sent[message_id][:200] for message_id in sent.keys() - dead().keys()]

    until(lambda: not alive(), lambda: f"not dead: {alive()}; {failing.said()}")
    assert {message_id: body for message_id, body in dead().items() if message_id in sent} == sent
    for message_id in sent:
        assert left.causes(1, message_id=message_id)[-1]["reason"]
    assert failing.workers["all"].process.poll() is None
    assert failing.app.send_task("ledger.count", [21], queue="celery").get(timeout=60) == 42


def test_arguments_above_the_queues_limit_are_refused_when_sent_with_their_size(failing):
    with pytest.raises(ValueError, match=r"262[,_ ]?144"):
        failing.send("echo", "x" * 300_000)


def test_arguments_just_below_the_queues_limit_arrive(failing):
    text = "x" * 190_000
    assert failing.app.send_task("ledger.echo", [text], queue="celery").get(timeout=60) == text
