"""A worker's self-check, of good and of broken systems: each finding says what is wrong and how to mend it."""

import json
import re

import pytest
from celery import Celery

from amply.transport import checkup
from amply.transport.endpoint import Endpoint, GivenCredentials
from amply.transport.faults import Unreachable
from amply.transport.options import Options
from amply.transport.probing import Prober, look

QUEUE = "shop"
DENIED = (403, {"__type": "com.amazonaws.sqs#AccessDeniedException", "message": "not authorized"})
NO_HANDLE = (400, {"__type": "com.amazonaws.sqs#ReceiptHandleIsInvalid", "message": "not a valid receipt handle"})
NO_BODY = (400, {"__type": "com.amazonaws.sqs#MissingRequiredParameterException", "message": "no MessageBody"})
ATTRIBUTES = {
    "ApproximateNumberOfMessages": "7",
    "ApproximateNumberOfMessagesNotVisible": "2",
    "ApproximateNumberOfMessagesDelayed": "1",
    "VisibilityTimeout": "30",
    "MessageRetentionPeriod": "345600",
    "MaximumMessageSize": "262144",
    "RedrivePolicy": json.dumps({"deadLetterTargetArn": "arn:aws:sqs:eu-west-1:1:dead", "maxReceiveCount": 5}),
}


def ship():
    """A task."""


@pytest.fixture(autouse=True)
def nothing_configured(monkeypatch):
    names = ("AWS_ENDPOINT_URL_SQS", "AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE")
    for name in (*names, "AWS_DEFAULT_REGION", "AWS_REGION"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nonexistent")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")


@pytest.fixture
def make_app(monkeypatch):
    """Make an app with settings as they should be, but for the changes; its one task is `shop.ship`."""
    # The tasks that other tests' apps share with all apps of the process.
    monkeypatch.setattr("celery._state._on_app_finalizers", set())
    apps = []

    def make(endpoint_url, *, task=None, options=None, **changes):
        app = Celery("shop", set_as_current=False)
        apps.append(app)
        good = {
            "broker_url": f"amply://any:any@{endpoint_url.removeprefix('http://')}",
            "broker_transport_options": {"region": "eu-central-1", **(options or {})},
            "task_default_queue": QUEUE,
            "task_queues": {QUEUE: {"exchange": QUEUE, "routing_key": QUEUE}},
            "task_acks_late": True,
            "task_reject_on_worker_lost": True,
            "task_acks_on_failure_or_timeout": False,
            "worker_prefetch_multiplier": 1,
            "worker_concurrency": 2,
            "worker_enable_remote_control": False,
        }
        app.conf.update({**good, **changes})
        app.task(name="shop.ship", shared=False, **(task or {}))(ship)
        return app

    yield make
    for app in apps:
        app.close()


def make_queue(sqs, name=QUEUE, **attributes):
    return sqs.create_queue(QueueName=name, Attributes=attributes)["QueueUrl"]


@pytest.fixture
def good_queue(sqs):
    """A queue with a dead letter queue that keeps letters longer."""
    make_queue(sqs, "dead", MessageRetentionPeriod="1209600")
    policy = {"deadLetterTargetArn": "arn:aws:sqs:eu-central-1:000000000000:dead", "maxReceiveCount": 4}
    return make_queue(sqs, RedrivePolicy=json.dumps(policy))


@pytest.fixture
def start_sqs(start_peer):
    """Start a server that answers each action in its way; the others as to somebody who may do everything."""

    def start(**answers):
        everything = {
            "GetQueueAttributes": (200, {"Attributes": ATTRIBUTES}),
            "GetQueueUrl": (200, {"QueueUrl": f"http://sqs/1/{QUEUE}"}),
            "DeleteMessage": NO_HANDLE,
            "ChangeMessageVisibility": NO_HANDLE,
            "SendMessage": NO_BODY,
            "ListQueues": (200, {}),
        }

        def play(peer, connection):
            while request := peer.read(connection):
                action = re.search(rb"AmazonSQS\.(\w+)", request)[1].decode()
                status, members = {**everything, **answers}[action]
                body = json.dumps(members).encode()
                date = answers.get("date", "")
                head = f"HTTP/1.1 {status} X\r\ncontent-length: {len(body)}\r\n" + (date and f"date: {date}\r\n")
                connection.sendall(f"{head}\r\n".encode() + body)

        return start_peer(play)

    return start


def the_problem(report):
    """The only one."""
    (problem,) = report.problems
    return problem


def test_a_good_system_has_no_problems_and_its_queue_is_shown(broker, sqs, good_queue, make_app):
    sqs.send_message(QueueUrl=good_queue, MessageBody="x")
    report = checkup.check(make_app(broker.endpoint_url))
    assert report.problems == []
    assert report.is_reachable
    (queue,) = report.queues
    assert (queue.name, queue.state, queue.url) == (QUEUE, "there", good_queue)
    assert (queue.visible, queue.in_flight, queue.delayed) == (1, 0, 0)
    assert (queue.retention_s, queue.max_receive_count) == (345_600, 4)
    assert (queue.dead_letter_queue.name, queue.dead_letter_queue.retention_s) == ("dead", 1_209_600)
    assert queue.permissions == {
        "ReceiveMessage": "not tried",
        "DeleteMessage": "allowed",
        "ChangeMessageVisibility": "allowed",
        "SendMessage": "probably",
        "GetQueueAttributes": "allowed",
    }


def test_the_check_changes_nothing(broker, sqs, good_queue, make_app):
    sqs.send_message(QueueUrl=good_queue, MessageBody="x")
    queues = sqs.list_queues()["QueueUrls"]
    checkup.check(make_app(broker.endpoint_url, options={"telemetry_queue": "not-there"}))
    (message,) = sqs.receive_message(QueueUrl=good_queue, MessageSystemAttributeNames=["All"])["Messages"]
    assert (message["Body"], message["Attributes"]["ApproximateReceiveCount"]) == ("x", "1")
    assert "Messages" not in sqs.receive_message(QueueUrl=good_queue)
    assert sqs.list_queues()["QueueUrls"] == queues


def test_a_queue_that_would_be_created_is_told_of_and_not_created(broker, sqs, make_app):
    problem = the_problem(checkup.check(make_app(broker.endpoint_url)))
    assert (problem.level, problem.subject, problem.what) == ("warning", "queue shop", "does not exist.")
    assert "RedrivePolicy" in problem.mend


def test_a_predefined_queue_that_is_not_at_sqs_is_an_error(broker, make_app):
    url = f"{broker.endpoint_url}/000000000000/nowhere"
    options = {"predefined_queues": {QUEUE: {"url": url}}}
    problem = the_problem(checkup.check(make_app(broker.endpoint_url, options=options)))
    assert (problem.level, problem.what) == ("error", "does not exist.")
    assert url in problem.mend


def test_a_queue_without_a_redrive_policy_is_told_of(broker, sqs, make_app):
    make_queue(sqs)
    assert the_problem(checkup.check(make_app(broker.endpoint_url))).what == "has no RedrivePolicy."


def test_a_dead_letter_queue_that_was_deleted_is_an_error(broker, sqs, good_queue, make_app):
    sqs.delete_queue(QueueUrl=good_queue.replace(QUEUE, "dead"))
    problem = the_problem(checkup.check(make_app(broker.endpoint_url)))
    assert (problem.level, problem.what) == ("error", "its dead letter queue dead does not exist.")


@pytest.mark.parametrize("source_s", ["1209600", "1209599"])
def test_a_dead_letter_queue_that_keeps_letters_as_long_or_longer_is_well(broker, sqs, good_queue, make_app, source_s):
    sqs.set_queue_attributes(QueueUrl=good_queue, Attributes={"MessageRetentionPeriod": source_s})
    assert checkup.check(make_app(broker.endpoint_url)).problems == []


def test_a_dead_letter_queue_that_keeps_letters_shorter_is_told_of(broker, sqs, good_queue, make_app):
    dead = good_queue.replace(QUEUE, "dead")
    sqs.set_queue_attributes(QueueUrl=dead, Attributes={"MessageRetentionPeriod": "86400"})
    problem = the_problem(checkup.check(make_app(broker.endpoint_url)))
    assert (problem.level, problem.what) == ("warning", "keeps jobs 4 days, its dead letter queue dead 1 days.")


def test_a_first_failure_that_is_the_last_is_told_of(start_sqs, make_app):
    policy = json.dumps({"deadLetterTargetArn": "arn:aws:sqs:eu-west-1:1:dead", "maxReceiveCount": "1"})
    server = start_sqs(GetQueueAttributes=(200, {"Attributes": {**ATTRIBUTES, "RedrivePolicy": policy}}))
    assert the_problem(checkup.check(make_app(server.url))).what == "has a maxReceiveCount of 1."


def test_predefined_queues_that_fit_a_queue_neither_with_nor_without_the_prefix_are_told_of(broker, make_app):
    options = {"queue_name_prefix": "amply-", "predefined_queues": {"celery-shop": {"url": "http://127.0.0.1/1/x"}}}
    problem = the_problem(checkup.check(make_app(broker.endpoint_url, options=options)))
    assert problem.what == "is not among predefined_queues."
    assert "celery-shop" in problem.why
    assert "'shop' or 'amply-shop'" in problem.mend


@pytest.mark.parametrize("key", ["shop", "amply-shop"])
def test_predefined_queues_that_fit_either_way_are_well(broker, good_queue, make_app, key):
    options = {"queue_name_prefix": "amply-", "predefined_queues": {key: {"url": good_queue}}}
    assert checkup.check(make_app(broker.endpoint_url, options=options)).problems == []


@pytest.mark.parametrize(
    ("action", "why"),
    [
        ("DeleteMessage", "Jobs that are done run again"),
        ("ChangeMessageVisibility", "No lease can be extended"),
        ("SendMessage", "retry()"),
        ("GetQueueAttributes", "is not known"),
        ("GetQueueUrl", "cannot be found"),
    ],
)
def test_an_action_that_the_role_may_not_do_is_an_error_with_its_consequence(start_sqs, make_app, action, why):
    report = checkup.check(make_app(start_sqs(**{action: DENIED}).url))
    problem = the_problem(report)
    assert (problem.level, problem.what) == ("error", f"{action} is denied.")
    assert why in problem.why
    assert f"sqs:{action}" in problem.mend
    assert report.queues[0].permissions[action] == "denied"


def test_a_code_that_nobody_knows_says_nothing_about_a_permission(start_sqs, make_app):
    odd = (400, {"__type": "com.amazonaws.sqs#SomethingElse", "message": "?"})
    report = checkup.check(make_app(start_sqs(DeleteMessage=odd, SendMessage=odd).url))
    assert report.problems == []
    permissions = report.queues[0].permissions
    assert (permissions["DeleteMessage"], permissions["SendMessage"]) == ("unknown", "unknown")


def test_listing_is_tried_only_for_remote_control(start_sqs, make_app):
    server = start_sqs(ListQueues=DENIED)
    app = make_app(server.url)
    assert checkup.check(app).problems == []
    app.conf.worker_enable_remote_control = True
    assert the_problem(checkup.check(app)).what == "ListQueues is denied."


def test_credentials_that_are_refused_are_no_denied_permission(start_sqs, make_app):
    refused = (403, {"__type": "com.amazonaws.sqs#InvalidClientTokenId", "message": "the token is invalid"})
    problem = the_problem(checkup.check(make_app(start_sqs(GetQueueUrl=refused).url)))
    assert (problem.subject, problem.level) == ("SQS", "error")
    assert "InvalidClientTokenId" in problem.what
    assert "broker URL" in problem.why


def test_a_clock_that_is_far_from_the_server_s_is_told_of(start_sqs, make_app):
    problem = the_problem(checkup.check(make_app(start_sqs(date="Sat, 01 Jan 2000 00:00:00 GMT").url)))
    assert (problem.level, problem.subject) == ("error", "clock")
    assert "ahead of the server's" in problem.what


def test_a_broker_that_is_not_there_is_told_of_and_the_settings_are_checked_all_the_same(make_app):
    report = checkup.check(make_app("http://127.0.0.1:1", task_acks_late=False))
    assert not report.is_reachable
    assert report.queues == []
    assert [problem.subject for problem in report.problems] == ["SQS", "task_acks_late"]
    assert "http://127.0.0.1:1" in report.problems[0].what


def test_a_broker_that_never_answers_is_waited_for_so_long_and_no_longer(start_peer, parts):
    prober = Prober(
        Endpoint(start_peer(parts.hangs()).url, "eu-central-1", GivenCredentials("any", "any")), timeout_s=0.05
    )
    with pytest.raises(Unreachable):
        look(prober, Options(), QUEUE, is_consumed=True)
    prober.close()


def test_without_credentials_the_check_says_where_it_looked(broker, make_app):
    app = make_app(broker.endpoint_url)
    app.conf.broker_url = broker.endpoint_url.replace("http", "amply")
    report = checkup.check(app)
    assert report.place.credentials == "none"
    assert "There are no AWS credentials" in the_problem(report).what


def test_where_sqs_and_who_asks_are_told_with_where_that_was_said(broker, good_queue, make_app, monkeypatch):
    app = make_app(broker.endpoint_url)
    place = checkup.check(app).place
    assert (place.url, place.url_from) == (broker.endpoint_url, "broker URL")
    assert (place.region, place.region_from) == ("eu-central-1", "transport option region")
    assert place.credentials == "broker URL"
    app.conf.update(broker_url="amply://", broker_transport_options={})
    monkeypatch.setenv("AWS_ENDPOINT_URL_SQS", broker.endpoint_url)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "a-key-of-somebody")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "a-secret-of-somebody")
    report = checkup.check(app)
    place = report.place
    assert (place.url, place.url_from) == (broker.endpoint_url, "AWS_ENDPOINT_URL_SQS")
    assert (place.region_from, place.credentials) == ("AWS_DEFAULT_REGION", "environment")
    assert "somebody" not in checkup.text(report)
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    app.conf.broker_transport_options = {"endpoint_url": broker.endpoint_url}
    place = checkup.check(app).place
    assert (place.url_from, place.region_from) == ("transport option endpoint_url", "default for a named endpoint")


@pytest.mark.parametrize(
    ("changes", "subject", "words"),
    [
        ({"task_acks_late": False}, "task_acks_late", "lost when it fails"),
        ({"task_reject_on_worker_lost": False}, "task_reject_on_worker_lost", "process is killed"),
        ({"task_acks_on_failure_or_timeout": True}, "task_acks_on_failure_or_timeout", "in the dead letter queue"),
        ({"task": {"acks_late": False}}, "task_acks_late", "all tasks"),
        ({"worker_prefetch_multiplier": 0}, "worker_prefetch_multiplier", "100"),
        ({"task_time_limit": 50_000}, "time limit", "12 h"),
        ({"task": {"soft_time_limit": 50_000}}, "time limit", "12 h"),
        ({"task_time_limit": 60, "task_soft_time_limit": 60}, "time limit", "before it is told"),
        ({"options": {"lease_seconds": 5}}, "lease_seconds", "run twice"),
        ({"options": {"lease_second": 60}}, "lease_second", "Write lease_seconds."),
        ({"options": {"sts_role_arn": "arn"}}, "sts_role_arn", "AWS_PROFILE"),
        ({"options": {"payload_store": "ftp://x"}}, "payload_store", "file:///"),
        ({"task_routes": {"shop.shipp": {"queue": QUEUE}}}, "task_routes", "no task shop.shipp is registered"),
        ({"task_routes": [("store.*", QUEUE)]}, "task_routes", "no task store.* is registered"),
        ({"task_routes": {"shop.*": {"queue": "shopp"}}}, "task_routes", "goes to shopp"),
        ({"result_backend": "nothing://here"}, "result_backend", "nothing fails"),
    ],
)
def test_a_setting_that_loses_jobs_or_does_nothing_is_told_of(broker, good_queue, make_app, changes, subject, words):
    problems = checkup.check(make_app(broker.endpoint_url, **changes)).problems
    assert any(words in str(problem) for problem in problems if problem.subject == subject), problems


def test_celery_5_7_s_own_names_for_acknowledging_failures_go_before_the_old_one(broker, good_queue, make_app):
    report = checkup.check(make_app(broker.endpoint_url, task={"acks_on_failure": True, "acks_on_timeout": False}))
    assert the_problem(report).subject == "task_acks_on_failure_or_timeout"


def test_an_app_without_tasks_is_told_of(broker, good_queue, make_app):
    app = make_app(broker.endpoint_url)
    app.tasks.pop("shop.ship")
    assert the_problem(checkup.check(app)).subject == "tasks"


def test_options_of_the_stock_transport_are_told_to_be_unused_and_are_no_problem(broker, good_queue, make_app):
    options = {"polling_interval": 1, "visibility_timeout": 1800}
    report = checkup.check(make_app(broker.endpoint_url, options=options))
    assert report.problems == []
    told = {finding.subject: finding.what for finding in report.findings}
    assert "not used" in told["polling_interval"]
    assert "lease of 120 s" in told["visibility_timeout"]


def test_a_folder_that_cannot_be_written_is_an_error_for_a_payload_store(broker, good_queue, make_app, tmp_path):
    file = tmp_path / "file"
    file.write_text("")
    app = make_app(broker.endpoint_url, options={"payload_store": f"file://{file}/payloads"})
    assert "cannot be written" in the_problem(checkup.check(app)).what
    app.conf.broker_transport_options["payload_store"] = f"file://{tmp_path}/new/payloads"
    assert checkup.check(app).problems == []
    assert not (tmp_path / "new").exists()


def test_a_telemetry_queue_is_looked_for(broker, sqs, good_queue, make_app):
    app = make_app(broker.endpoint_url, options={"telemetry_queue": "told"})
    assert "does not exist yet" in the_problem(checkup.check(app)).what
    make_queue(sqs, "told")
    assert checkup.check(app).problems == []


def test_a_result_backend_that_never_answers_is_told_of(broker, good_queue, make_app, start_peer, parts, monkeypatch):
    monkeypatch.setattr(checkup, "_BACKEND_S", 0.05)
    hung = start_peer(parts.hangs())
    app = make_app(broker.endpoint_url, result_backend=hung.url.replace("http", "redis"))
    assert "has not answered" in the_problem(checkup.check(app)).what


def test_another_transport_is_refused(make_app):
    app = make_app("http://127.0.0.1:1")
    app.conf.broker_url = "memory://"
    with pytest.raises(checkup.NotOurTransport, match="memory"):
        checkup.check(app)


def test_the_screen_shows_queues_permissions_and_findings_in_columns(broker, good_queue, make_app):
    lines = checkup.text(checkup.check(make_app(broker.endpoint_url))).split("\n")
    assert lines[0] == f"SQS          {broker.endpoint_url} (broker URL)"
    assert re.fullmatch(r"shop +shop +standard +0 +0 +0 +4 days +30 s +\d+ KiB +4 +dead", lines[5])
    assert re.fullmatch(r"shop +not tried +allowed +allowed +allowed +probably", lines[8])
    assert any(re.fullmatch(r"ok +queue shop +is there; after 4 receives jobs go to dead\.", line) for line in lines)
    assert len(lines) < 40


def test_what_a_server_says_begins_no_line_in_a_log(start_sqs, make_app, caplog):
    forged = (400, {"__type": "com.amazonaws.sqs#Odd", "message": "no\n[2026: INFO/MainProcess] all is well\x1b[2J"})
    app = make_app(start_sqs(GetQueueUrl=forged).url)
    assert not any(line.startswith("[2026") for line in checkup.text(checkup.check(app)).split("\n"))
    with caplog.at_level("INFO"):
        checkup._log(app, checkup.Shape.of_settings(app.conf))
    screen, problem = (record for record in caplog.records if record.name == checkup.__name__)
    assert (screen.levelname, problem.levelname) == ("INFO", "WARNING")
    assert screen.message.startswith("Self-check: 1 problem\nSQS ")
    assert "\n" not in problem.message
    assert "\x1b" not in screen.message + problem.message
