"""`amply dlq ls` and `groups` against a running broker: what they count, choose, warn of and refuse."""

import sys
from pathlib import Path

import pytest

from amply.cli import dlq_opening
from amply.errors import AmplyError

sys.path.insert(0, str(Path(__file__).parent))
from graveyards import DLQ, REPORT, WEBHOOK, celery_body

DAY_S = 86_400
TWO_QUEUES = """
region: eu-central-1
account: '000000000000'
queues:
  - {QueueName: a-dlq}
  - {QueueName: b-dlq}
  - QueueName: a
    CeleryName: celery
    Attributes: {RedrivePolicy: {deadLetterTargetArn: 'arn:aws:sqs:...:a-dlq', maxReceiveCount: 2}}
  - QueueName: b
    CeleryName: b
    Attributes: {RedrivePolicy: {deadLetterTargetArn: 'arn:aws:sqs:...:b-dlq', maxReceiveCount: 2}}
"""


@pytest.fixture
def letters(graveyard):
    """Three reports that failed alike, and a webhook whose worker was killed; their ids."""
    reports = [graveyard.die(celery_body(args=[f"org-{number}"], job_id=f"job-{number}")) for number in range(3)]
    for number, message_id in enumerate(reports):
        graveyard.fail(message_id, message=f"no donations in org {number}", task=REPORT, id=f"job-{number}")
    webhook = graveyard.die(celery_body(WEBHOOK, kwargs={"endpoint_id": "e-1"}), "amply-celery-high")
    return [*reports, webhook]


def ids(told):
    return {letter["id"] for letter in told["letters"]}


def test_letters_are_listed_with_task_job_error_receives_and_source(letters, amply):
    code, out, err = amply("ls")
    head, *rows = [line.split("\t") for line in out.splitlines()]
    assert (code, err) == (0, "")
    assert head == ["Id", "Task", "Job", "Error", "Receives", "Age", "Left", "Source"]
    first = next(row for row in rows if row[0] == letters[0])
    assert first[1:4] == [REPORT, "job-0", "ValueError: no donations in org 0"]
    assert first[6:] == ["13d", "amply-celery-low"]
    webhook = next(row for row in rows if row[0] == letters[3])
    assert webhook[3].startswith("no failure was reported: its worker was killed")
    assert len(rows) == 4


def test_letters_are_listed_for_programs_with_times_in_milliseconds(letters, amply_json, broker):
    told = amply_json("ls", "--task", "*report*")
    assert (told["queue"], told["endpoint"], told["more"]) == (DLQ, broker.endpoint_url, 0)
    assert ids(told) == set(letters[:3])
    letter = next(letter for letter in told["letters"] if letter["id"] == letters[0])
    assert letter["expires_ms"] - letter["sent_ms"] == 14 * DAY_S * 1000
    expected = {
        "task": REPORT,
        "job_id": "job-0",
        "error": "ValueError: no donations in org 0",
        "reason": "raised",
        "exception": "ValueError",
        "message": "no donations in org 0",
        "attempt": 5,
        "source": "amply-celery-low",
    }
    assert expected.items() <= letter.items()
    assert letter["worker"].endswith("77")
    assert letter["receives"] >= 5


@pytest.mark.parametrize(
    ("options", "numbers"),
    [
        (["--task", WEBHOOK], {3}),
        (["--error", "NO DONATIONS"], {0, 1, 2}),
        (["--error", "worker was killed"], {3}),
        (["--arg", "org-1"], {1}),
        (["--arg", "endpoint_id=e-1"], {3}),
        (["--source", "amply-celery-high"], {3}),
        (["--newer", "1h"], {0, 1, 2, 3}),
        (["--older", "1h"], set()),
        (["--id", "job-0", "--id", "job-2"], {0, 2}),
        (["--task", "*report*", "--arg", "org-2"], {2}),
    ],
    ids=lambda value: " ".join(map(str, value)),
)
def test_letters_are_chosen_by_each_filter_and_by_several(options, numbers, letters, amply_json):
    assert ids(amply_json("ls", *options)) == {letters[number] for number in numbers}


def test_a_group_is_chosen_by_its_whole_id(letters, amply_json):
    group = next(group["id"] for group in amply_json("groups")["groups"] if group["count"] == 3)
    assert ids(amply_json("ls", "--group", group)) == set(letters[:3])
    assert ids(amply_json("ls", "--group", group[:7])) == set()


def test_how_many_more_there_are_is_told(letters, amply, amply_json):
    code, out, err = amply("ls", "--limit", "1")
    assert (code, len(out.splitlines())) == (0, 2)
    assert err == "3 more; show them with --limit, or choose some (see --help).\n"
    assert amply_json("ls", "--limit", "2", "--task", REPORT)["more"] == 1
    assert amply_json("ls", "--limit", "4")["more"] == 0


def test_an_empty_queue_says_so(graveyard, amply):
    assert amply("ls") == (0, "Id\tTask\tJob\tError\tReceives\tAge\tLeft\tSource\n", "No dead letters.\n")
    assert amply("ls", "--task", "x")[2] == "No such dead letters.\n"
    assert amply("groups")[2] == "No dead letters.\n"


def test_what_has_less_than_a_day_left_is_marked_and_warned_of(graveyard, amply, amply_json):
    url = graveyard.url(DLQ)
    graveyard.send("x")
    graveyard.sqs.set_queue_attributes(QueueUrl=url, Attributes={"MessageRetentionPeriod": str(6 * 3600)})
    assert amply("ls")[1].splitlines()[1].split("\t")[6] == "!5h"
    code, out, err = amply("groups")
    assert (code, out.splitlines()[1].split("\t")[7:]) == (0, ["!5h", "1"])
    assert "Warning: 1 letter expires within a day, the first in 5h. Redrive or export them before that." in err
    told = amply_json("groups")
    assert (told["expiring"], told["groups"][0]["expiring"]) == (1, 1)
    assert told["soonest_expiry_ms"] == told["groups"][0]["soonest_expiry_ms"]


def test_groups_count_letters_of_the_same_task_and_failure(letters, amply):
    code, out, err = amply("groups")
    head, first, second = [line.split("\t") for line in out.splitlines()]
    assert code == 0
    assert head == ["Group", "Count", "Task", "Error", "First", "Last", "Sources", "Left", "Within a day"]
    assert first[1:3] == ["3", REPORT]
    assert first[6] == "amply-celery-low 3"
    assert second[1:3] == ["1", WEBHOOK]
    assert err == "4 dead letters in 2 groups.\n"


def test_groups_for_programs_add_up_and_show_tracebacks_only_when_asked(letters, amply_json):
    told = amply_json("groups")
    assert (told["letters"], told["others"], told["more_groups"]) == (4, 0, 0)
    assert sum(group["count"] for group in told["groups"]) == 4
    assert told["groups"][0]["sources"] == [{"queue": "amply-celery-low", "count": 3}]
    assert told["groups"][0]["example_id"] in letters[:3]
    assert "traceback" not in told["groups"][0]
    told = amply_json("groups", "--tracebacks", "--limit", "1")
    assert (told["letters"], told["more_groups"]) == (4, 1)
    assert 'File "/app/jobs.py", line 3, in run' in told["groups"][0]["traceback"]


def test_tracebacks_stand_below_the_groups(letters, amply):
    _, out, err = amply("groups", "--tracebacks", "--limit", "1")
    assert '    File "/app/jobs.py", line 3, in run\n' in out
    assert err == "4 dead letters in 2 groups, the first 1 are shown.\n"


def test_causes_are_kept_when_their_queue_has_none_any_more(letters, graveyard, amply_json):
    first = amply_json("groups")
    assert graveyard.count("amply-telemetry") == 0
    assert amply_json("groups") == first


def test_causes_that_cannot_be_had_are_a_warning(letters, graveyard, amply):
    graveyard.sqs.delete_queue(QueueUrl=graveyard.url("amply-telemetry"))
    code, out, err = amply("ls")
    assert (code, len(out.splitlines())) == (0, 5)
    assert err.startswith("Warning: the latest causes are missing: ")
    assert len(err.splitlines()) == 1


def test_looking_touches_no_letter_where_it_can_be_helped_and_tells_where_not(letters, graveyard, amply, amply_json):
    before = {letter["id"]: letter["receives"] for letter in amply_json("ls")["letters"]}
    _, _, err = amply("groups")
    after = {letter["id"]: letter["receives"] for letter in amply_json("ls")["letters"]}
    if before == after:
        assert "shows letters only to who receives them" not in err
    else:
        assert "each look counts as one more receive of every letter" in err
    assert len(graveyard.messages(DLQ)) == 4


@pytest.mark.parametrize("command", [["ls"], ["groups"], ["show", "x" * 36]])
def test_a_queue_that_is_not_there_is_refused_with_those_that_are(command, graveyard, amply):
    code, out, err = amply(*command, "--queue", "amply-dlq")
    assert (code, out) == (3, "")
    assert f"There are: {DLQ}" in err


def test_a_work_queue_is_no_dead_letter_queue(graveyard, amply):
    message_id = graveyard.send("x", "amply-celery")
    code, _, err = amply("ls", "--queue", "amply-celery")
    assert code == 2
    assert f"amply-celery is no dead letter queue. There are: {DLQ}" in err
    (message,) = graveyard.messages("amply-celery")
    assert message["MessageId"] == message_id


def test_of_several_dead_letter_queues_one_has_to_be_named(graveyard, amply, tmp_path, monkeypatch):
    path = tmp_path / "topology.yaml"
    path.write_text(TWO_QUEUES)
    monkeypatch.setenv("AMPLY_TOPOLOGY", str(path))
    code, _, err = amply("ls")
    assert code == 2
    assert "There are: a-dlq, b-dlq" in err
    graveyard.sqs.create_queue(QueueName="b-dlq")
    assert amply("ls", "--queue", "b-dlq")[0] == 0


def test_a_topology_without_a_dead_letter_queue_ends_with_3(graveyard, amply, tmp_path, monkeypatch):
    path = tmp_path / "topology.yaml"
    path.write_text("region: eu-central-1\naccount: '000000000000'\nqueues: [{QueueName: q, CeleryName: celery}]\n")
    monkeypatch.setenv("AMPLY_TOPOLOGY", str(path))
    code, _, err = amply("ls")
    assert code == 3
    assert "declares no dead letter queue" in err


def test_an_endpoint_that_does_not_answer_ends_with_5(amply, monkeypatch):
    monkeypatch.delenv("AWS_ENDPOINT_URL_SQS", raising=False)
    monkeypatch.setattr("amply.deadletters.gateway._TRIES_MAX", 1)
    code, _, err = amply("ls", "--endpoint", "http://127.0.0.1:1")
    assert code == 5
    assert "SQS does not answer" in err


@pytest.mark.parametrize("time", ["5", "1w", "x"])
def test_a_time_that_is_none_is_wrong_usage(time, amply):
    assert amply("ls", "--older", time)[0] == 2


def test_the_endpoint_and_the_data_folder_may_be_named(letters, broker, amply, tmp_path, monkeypatch):
    monkeypatch.delenv("AWS_ENDPOINT_URL_SQS")
    code, out, _ = amply("ls", "--endpoint", broker.endpoint_url, "--data", str(tmp_path / "other"))
    assert (code, len(out.splitlines())) == (0, 5)
    assert (tmp_path / "other" / "failures.sqlite").exists()


def test_a_table_is_drawn_on_a_terminal_and_ids_are_whole(letters, on_terminal):
    code, screen = on_terminal("ls")
    assert code == 0
    assert "Dead letters in amply-celery-dlq" in screen
    assert all(message_id in screen for message_id in letters)
    assert "│" in screen


def test_a_narrow_terminal_gets_short_ids_and_fewer_columns_and_is_told(letters, on_terminal):
    code, screen = on_terminal("ls", columns=100)
    assert code == 0
    assert all(message_id[:8] in screen and message_id not in screen for message_id in letters)
    assert "Error" in screen
    assert "Source" not in screen
    assert "Cut to the terminal's width: show and edit take these ids, --id wants whole ones." in screen
    code, screen = on_terminal("groups", columns=100)
    assert code == 0
    assert "Sources" not in screen


def test_more_causes_than_time_is_told(monkeypatch, capsys):
    class Hurried:
        def collect(self):
            return Trouble

    class Trouble:
        is_complete = False

    dlq_opening.collect(Hurried())
    assert "there were more causes than could be collected in time" in capsys.readouterr().err


def test_trouble_with_causes_is_one_line(capsys):
    class Broken:
        def collect(self):
            raise AmplyError("the disk is full", hint="Make room.")

    dlq_opening.collect(Broken())
    assert capsys.readouterr().err == "Warning: the latest causes are missing: the disk is full\n"
