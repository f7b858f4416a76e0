"""A wrong topology file is refused with file, line, field and reason, and with all of its errors at once."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amply.topology.document import DEPTH_MAX, SIZE_BYTES_MAX, TopologyError
from amply.topology.load import PACKAGED, check, load

SMALL = """\
region: eu-central-1
account: '123456789012'
queues:
  - QueueName: main
    CeleryName: celery
    Attributes:
      VisibilityTimeout: 60
      RedrivePolicy:
        deadLetterTargetArn: arn:aws:sqs:...:dead
        maxReceiveCount: 3
  - QueueName: dead
    Attributes:
      MessageRetentionPeriod: 1209600
routes:
  - task: jobs.*
    queue: celery
workers:
  - service: worker
    app: jobs.app
    queues: [celery]
    concurrency: 1
"""


@pytest.fixture
def errors(tmp_path):
    """Write a file, have it refused, and get the lines about it without the path."""

    def refused(text):
        path = tmp_path / "amply.yaml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        with pytest.raises(TopologyError) as caught:
            load(path)
        lines = caught.value.message.splitlines()
        assert all(line.startswith(str(path)) for line in lines)
        return [line.removeprefix(str(path)).lstrip(":") for line in lines]

    return refused


@pytest.fixture
def warnings(tmp_path):
    """Write a file and get the fields that surprise."""

    def fields(text):
        path = tmp_path / "amply.yaml"
        path.write_text(text)
        return [f"{warning.line}: {warning.field}" for warning in check(path)[1]]

    return fields


def changed(old, new):
    assert SMALL.count(old) == 1, old
    return SMALL.replace(old, new)


def test_a_small_file_without_errors_loads_without_warnings(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(SMALL)
    topology, warnings = check(path)
    assert warnings == []
    assert topology.queue("main").redrive.dead_letter_queue == "dead"
    assert topology.queue_name_prefix == ""
    with pytest.raises(KeyError):
        topology.queue("other")


def test_an_error_names_file_line_field_and_reason(tmp_path):
    path = tmp_path / "amply.yaml"
    path.write_text(changed("VisibilityTimeout: 60", "VisibilityTimeout: 50000"))
    with pytest.raises(TopologyError) as caught:
        load(path)
    assert caught.value.message == f"{path}:7: queues[0].Attributes.VisibilityTimeout: 50000 is outside 0..43200"
    assert str(path) in caught.value.hint
    assert caught.value.exit_code == 1


@pytest.mark.parametrize(
    ("old", "new", "error"),
    [
        (
            "region: eu-central-1",
            "region: europe",
            "1: region: must be an AWS region like eu-central-1; it is 'europe'",
        ),
        ("'123456789012'", "123456789012", "2: account: must be an AWS account id of 12 digits; it is 123456789012; "),
        ("'123456789012'", "'1234'", "2: account: must be an AWS account id of 12 digits; it is '1234'"),
        ("region: eu-central-1\n", "", "1: region is missing"),
        ("routes:", "rotes:", "14: rotes: unknown key; did you mean routes?"),
        (
            "VisibilityTimeout",
            "visibilityTimeout",
            "7: queues[0].Attributes.visibilityTimeout: unknown key; did you mean",
        ),
        ("MessageRetentionPeriod: 1209600", "Zzz: 1", "13: queues[1].Attributes.Zzz: unknown key; known are Delay"),
        ("VisibilityTimeout: 60", "Policy: '{}'", "7: queues[0].Attributes.Policy: unknown key"),
        ("account:", "region: us-east-1\naccount:", "2: region: is given twice, first on line 1"),
        ("VisibilityTimeout: 60", "VisibilityTimeout: soon", "must be a whole number in 0..43200; it is 'soon'"),
        ("VisibilityTimeout: 60", "VisibilityTimeout: 1:00", "must be a whole number in 0..43200; it is 1:00"),
        ("VisibilityTimeout: 60", "VisibilityTimeout: 0x10", "must be a whole number in 0..43200; it is 0x10"),
        ("VisibilityTimeout: 60", "VisibilityTimeout: 1e3", "must be a whole number"),
        ("VisibilityTimeout: 60", "VisibilityTimeout: 1.5", "must be a whole number"),
        ("VisibilityTimeout: 60", "VisibilityTimeout: ٣٠", "must be a whole number"),
        ("VisibilityTimeout: 60", "VisibilityTimeout:", "must be a whole number in 0..43200; it is empty"),
        ("VisibilityTimeout: 60", "VisibilityTimeout: [60]", "must be a whole number in 0..43200; it is a list"),
        ("VisibilityTimeout: 60", "VisibilityTimeout: -1", "-1 is outside 0..43200"),
        ("VisibilityTimeout: 60", f"VisibilityTimeout: {'9' * 5000}", "must be a whole number"),
        ("VisibilityTimeout: 60", "MaximumMessageSize: 1023", "1023 is outside 1024..1048576"),
        ("VisibilityTimeout: 60", "ReceiveMessageWaitTimeSeconds: 21", "21 is outside 0..20"),
        ("VisibilityTimeout: 60", "DelaySeconds: 901", "901 is outside 0..900"),
        ("VisibilityTimeout: 60", "SqsManagedSseEnabled: maybe", "must be true or false; it is 'maybe'"),
        ("VisibilityTimeout: 60", "FifoQueue: true", "FifoQueue: is only for FIFO queues, whose QueueName ends with"),
        ("VisibilityTimeout: 60", "KmsMasterKeyId: k\n      SqsManagedSseEnabled: true", "one type of server-side"),
        (
            "maxReceiveCount: 3",
            "maxReceiveCount: 0",
            "10: queues[0].Attributes.RedrivePolicy.maxReceiveCount: 0 is out",
        ),
        ("maxReceiveCount: 3", "maxReceiveCount: 1001", "1001 is outside 1..1000"),
        ("        maxReceiveCount: 3\n", "", "8: queues[0].Attributes.RedrivePolicy: maxReceiveCount is missing"),
        (
            "...:dead",
            "...:gone",
            "9: queues[0].Attributes.RedrivePolicy.deadLetterTargetArn: there is no queue gone in",
        ),
        ("...:dead", "...:main", "a queue cannot be its own dead letter queue"),
        ("...:dead", "...:a b", "is no queue's ARN; write arn:aws:sqs:...:<QueueName>"),
        ("arn:aws:sqs:...:dead", "dead", "'dead' is no queue's ARN"),
        (
            "...:dead",
            "us-east-1:123456789012:dead",
            "is in us-east-1 of account 123456789012; it must be in the queue's",
        ),
        ("QueueName: dead", "QueueName: main", "11: queues[1].QueueName: main is already the name of queues[0]"),
        ("QueueName: dead", "QueueName: de/ad", "queues[1].QueueName: must be 1 to 80 letters"),
        ("QueueName: dead", f"QueueName: {'d' * 81}", "queues[1].QueueName: must be 1 to 80 letters"),
        ("QueueName: dead", "QueueName: dead.fifo", "dead.fifo ends with .fifo, so it must have FifoQueue: true"),
        ("QueueName: dead", "Name: dead", "11: queues[1]: QueueName is missing"),
        ("CeleryName: celery", "CeleryName: other", "3: queues: one needs CeleryName: celery, where tasks that fit no"),
        ("CeleryName: celery", "CeleryName: celery.fifo", "kombu wants .fifo at the end of both names or of neither"),
        ("    queue: celery", "    queue: high", "16: routes[0].queue: high: there is no queue with that CeleryName; "),
        ("task: jobs.*", "task: 'jobs .*'", "15: routes[0].task: must be a task's name, where * stands for anything"),
        ("[celery]", "[celery, low]", "20: workers[0].queues[1]: low: there is no queue with that CeleryName"),
        ("[celery]", "[celery, celery]", "20: workers[0].queues[1]: celery is already"),
        ("[celery]", "[]", "20: workers[0].queues: must name at least one queue"),
        ("[celery]", "celery", "20: workers[0].queues: must be a list; it is 'celery'"),
        ("concurrency: 1", "concurrency: 0", "21: workers[0].concurrency: 0 is outside 1..1000"),
        ("app: jobs.app", "app: -A x", "19: workers[0].app: must be a Python module with a Celery app"),
        ("service: worker", "service: ''", "18: workers[0].service: must be 1 to 80 letters"),
    ],
)
def test_what_cannot_be_is_refused(errors, old, new, error):
    assert any(error in line for line in errors(changed(old, new))), errors(changed(old, new))


def test_one_error_is_one_line(errors):
    assert len(errors(changed("VisibilityTimeout: 60", "VisibilityTimeout: soon"))) == 1
    assert len(errors(changed("QueueName: dead", "QueueName: de/ad").replace("...:dead", "...:de/ad"))) == 2


def test_all_errors_are_told_at_once_in_the_order_of_the_lines(errors):
    text = (
        changed("VisibilityTimeout: 60", "VisibilityTimeout: x")
        .replace("region: eu", "region: 5")
        .replace("concurrency: 1", "concurrency: many")
    )
    lines = errors(text)
    assert [line.split(":")[0] for line in lines] == ["1", "7", "21"]


def test_a_prefix_must_not_turn_one_queue_s_celery_name_into_another_s(errors):
    text = "queue_name_prefix: x-\n" + changed("QueueName: dead", "QueueName: dead\n    CeleryName: x-celery")
    assert "queues[0].CeleryName: with queue_name_prefix it reads x-celery, which is another queue's" in errors(text)[0]


def test_dead_letters_must_not_go_round_in_a_circle(errors):
    back = "RedrivePolicy: {deadLetterTargetArn: 'arn:aws:sqs:...:main', maxReceiveCount: 1}"
    lines = errors(changed("MessageRetentionPeriod: 1209600", back))
    assert [line.split(":")[0] for line in lines] == ["9", "13"]
    assert "come back to main" in lines[0]


def test_a_fifo_queue_needs_a_fifo_dead_letter_queue(errors):
    text = SMALL.replace("dead\n", "dead.fifo\n").replace("MessageRetentionPeriod: 1209600", "FifoQueue: true")
    assert "main must both be FIFO queues or both be standard queues" in errors(text)[0]


def test_a_full_arn_and_quoted_numbers_are_taken_as_sqs_takes_them(tmp_path):
    path = tmp_path / "amply.yaml"
    text = changed("...:dead", "eu-central-1:123456789012:dead").replace("Timeout: 60", "Timeout: '60'")
    path.write_text(text.replace("maxReceiveCount: 3", "maxReceiveCount: '3'"))
    assert load(path).queue("main").redrive.max_receive_count == 3


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("", "is empty"),
        ("# nothing\n", "is empty"),
        ("- 1\n", "1: must be a mapping of region, account"),
        ("hello\n", "1: must be a mapping of region, account"),
        ("region: [\n", "2: is not YAML: "),
        ("a: b\n c: d\n", "2: is not YAML: mapping values are not allowed here"),
        ("region: x\n---\nregion: y\n", "2: is not YAML: but found another document"),
        ("region: \x07\n", "1: is not YAML: the character 0x0007 is not allowed"),
        (b"region: x\naccount: \xff\n", "2: byte 0xff is not UTF-8; save the file as UTF-8"),
        ("region: x".encode("utf-16"), "1: byte 0xff is not UTF-8"),
        (
            "region: !!python/object/apply:os.system ['x']\n",
            "1: region: must be an AWS region like eu-central-1; it is a",
        ),
        ("? [a, b]\n: c\n", "1: ?: unknown key"),
        ("a: &a [x]\nb: *a\n", "2: the alias *a is not supported; write the value out"),
        ("a: &a [*a]\n", "1: the alias *a is not supported"),
        ("a: " + "[" * 50_000, f"1: is nested more than {DEPTH_MAX} deep"),
        ("#" * (SIZE_BYTES_MAX + 1), f"is larger than {SIZE_BYTES_MAX} bytes; this is not a topology"),
    ],
)
def test_what_is_no_topology_at_all_is_refused(errors, text, error):
    assert any(error in line for line in errors(text)), errors(text)


def test_a_file_that_cannot_be_read_is_an_error_with_the_next_step(tmp_path):
    with pytest.raises(TopologyError, match="cannot be read: No such file") as caught:
        load(tmp_path / "none.yaml")
    assert "AMPLY_TOPOLOGY" in caught.value.hint
    with pytest.raises(TopologyError, match="cannot be read: Is a directory"):
        load(tmp_path)


@pytest.mark.parametrize(
    ("old", "new", "warning"),
    [
        ("Period: 1209600", "Period: 345600", "6: queues[0].Attributes.MessageRetentionPeriod"),
        (
            "maxReceiveCount: 3",
            "maxReceiveCount: 1000\n      MessageRetentionPeriod: 60",
            "10: queues[0].Attributes.Redr",
        ),
        ("VisibilityTimeout: 60", "DelaySeconds: 0", "4: queues[0]"),
        ("QueueName: dead", "QueueName: dead\n    CeleryName: sick", "12: queues[1].CeleryName"),
        ("QueueName: dead", "QueueName: dead\n    CeleryName: sick", "11: queues[1]"),
    ],
)
def test_what_is_allowed_but_surprising_is_a_warning(warnings, old, new, warning):
    assert any(line.startswith(warning) for line in warnings(changed(old, new))), warnings(changed(old, new))


@given(start=st.integers(0, 2500), length=st.integers(0, 60), put=st.text(max_size=12))
def test_no_damage_to_the_file_makes_anything_but_a_topology_or_errors(tmp_path_factory, start, length, put):
    text = PACKAGED.read_text()
    path = tmp_path_factory.mktemp("damaged") / "amply.yaml"
    path.write_bytes((text[:start] + put + text[start + length :]).encode(errors="surrogatepass"))
    with suppress(TopologyError):
        assert load(path).work_queues
