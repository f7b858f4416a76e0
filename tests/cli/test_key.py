"""`amply key`: what it prints, what it keeps, and what it refuses."""

import json
import stat

import pytest

from amply.broker.auth.keys import KeyRing
from amply.cli.main import run
from amply.clock import wall_ms


@pytest.fixture(autouse=True)
def data(tmp_path, monkeypatch):
    folder = tmp_path / "data"
    folder.mkdir(mode=0o700)
    monkeypatch.setenv("AMPLY_DATA", str(folder))
    monkeypatch.delenv("AMPLY_TOPOLOGY", raising=False)
    return folder


@pytest.fixture
def ring(data):
    return KeyRing(data / "keys.json")


@pytest.fixture
def amply(capsys):
    """Run the command: exit code, stdout, stderr."""

    def ran(*arguments):
        code = run(list(arguments))
        said = capsys.readouterr()
        return code, said.out, said.err

    return ran


def environment(text):
    return dict(line.split("=", 1) for line in text.splitlines())


def test_a_new_key_is_two_lines_for_an_environment_file(amply, ring):
    code, out, err = amply("key", "create", "producer", "--name", "web-shop")
    assert code == 0
    told = environment(out)
    (key,) = ring.list()
    assert told == {"AWS_ACCESS_KEY_ID": key.access_key, "AWS_SECRET_ACCESS_KEY": key.secret.reveal()}
    assert (key.role, key.name, key.expires_ms, key.session_token) == ("producer", "web-shop", None, None)
    assert key.access_key.startswith("AKIA")
    assert len(key.access_key) == 20
    assert len(key.secret.reveal()) == 40
    assert "The secret is not shown again" in err
    assert f"amply key revoke {key.access_key}" in err
    assert key.secret.reveal() not in err


def test_a_key_has_the_name_of_its_role_unless_it_gets_another_and_no_two_are_the_same(amply, ring):
    for _ in range(2):
        assert amply("key", "create", "worker")[0] == 0
    first, second = ring.list()
    assert (first.name, second.name) == ("worker", "worker")
    assert first.access_key != second.access_key
    assert first.secret != second.secret


def test_a_key_for_a_time_has_a_session_token_and_is_what_credential_process_takes(amply, ring):
    before_ms = wall_ms()
    code, out, err = amply("key", "create", "dlq-operator", "--name", "ana", "--for", "8h", "--json")
    told = json.loads(out)
    (key,) = ring.list()
    assert (code, err) == (0, "")
    assert told.pop("Expiration").endswith("Z")
    assert told == {
        "Version": 1,
        "AccessKeyId": key.access_key,
        "SecretAccessKey": key.secret.reveal(),
        "SessionToken": key.session_token.reveal(),
        "Role": "dlq-operator",
        "Name": "ana",
    }
    assert key.access_key.startswith("ASIA")
    assert 0 <= key.expires_ms - before_ms - 8 * 3_600_000 < 60_000


@pytest.mark.parametrize("period", ["8", "h", "0h", "-1h", "1w", "366d", "1.5h", "99999999h", ""])
def test_a_time_that_is_none_is_wrong_usage(amply, ring, period):
    assert amply("key", "create", "worker", f"--for={period}")[0] == 2
    assert ring.list() == []


@pytest.mark.parametrize("name", ["", "x", "two words", "a/b", "x" * 65, "a\nb", "ä-ö"])
def test_a_name_that_could_be_no_session_is_wrong_usage(amply, ring, name):
    assert amply("key", "create", "worker", "--name", name)[0] == 2
    assert ring.list() == []


def test_a_role_that_is_not_declared_has_no_keys(amply, ring):
    code, out, err = amply("key", "create", "prodcer")
    assert (code, out) == (3, "")
    assert "there is no role prodcer in" in err
    assert "There are producer, worker, dlq-operator, monitoring, admin." in err
    assert ring.list() == []


def test_a_topology_without_roles_says_how_to_declare_one(amply, tmp_path):
    path = tmp_path / "amply.yaml"
    path.write_text("region: eu-central-1\naccount: '000000000000'\nqueues: [{QueueName: q, CeleryName: celery}]\n")
    code, _, err = amply("key", "create", "producer", "--topology", str(path))
    assert code == 3
    assert "Declare it there under roles" in err


def test_a_role_whose_condition_cannot_be_enforced_gets_no_key(amply, tmp_path):
    path = tmp_path / "amply.yaml"
    path.write_text(
        "region: eu-central-1\naccount: '000000000000'\nqueues: [{QueueName: q, CeleryName: celery}]\n"
        "roles: [{role: r, Statement: [{Effect: Allow, Action: '*', Resource: '*', "
        "Condition: {Bool: {'aws:MultiFactorAuthPresent': 'true'}}}]}]\n"
    )
    code, _, err = amply("key", "create", "r", "--topology", str(path))
    assert code == 1
    assert "roles, r: " in err
    assert "aws:MultiFactorAuthPresent" in err


def test_the_list_shows_every_key_and_no_secret(amply, ring):
    amply("key", "create", "producer", "--name", "web-shop")
    amply("key", "create", "worker", "--for", "1h")
    amply("key", "create", "admin")
    producer, worker, admin = ring.list()
    amply("key", "revoke", admin.access_key)
    code, out, _ = amply("key", "list")
    assert code == 0
    head, *rows = [line.split("\t") for line in out.splitlines()]
    assert head == ["Key", "Role", "Name", "State", "Created", "Expires"]
    assert [row[:4] for row in rows] == [
        [producer.access_key, "producer", "web-shop", "active"],
        [worker.access_key, "worker", "worker", "active"],
        [admin.access_key, "admin", "admin", "revoked"],
    ]
    _, as_json, _ = amply("key", "list", "--json")
    told = json.loads(as_json)
    assert told["version"] == 1
    assert [key["state"] for key in told["keys"]] == ["active", "active", "revoked"]
    for key in (producer, worker, admin):
        assert key.secret.reveal() not in out + as_json
    assert worker.session_token.reveal() not in out + as_json


def test_a_key_is_revoked_once_and_keeps_the_moment(amply, ring):
    amply("key", "create", "worker")
    (key,) = ring.list()
    code, _, err = amply("key", "revoke", key.access_key)
    assert (code, err) == (0, f"{key.access_key} of worker (worker) is revoked.\n")
    moment_ms = ring.find(key.access_key).revoked_ms
    code, out, _ = amply("key", "revoke", key.access_key, "--json")
    assert (code, json.loads(out)["key"]["state"]) == (0, "revoked")
    assert ring.find(key.access_key).revoked_ms == moment_ms


def test_a_key_that_is_not_there_cannot_be_revoked(amply):
    code, _, err = amply("key", "revoke", "AKIANOBODY")
    assert code == 3
    assert "there is no access key AKIANOBODY" in err


def test_making_and_revoking_a_key_is_in_the_audit(amply, ring, data):
    amply("key", "create", "worker", "--name", "worker-1")
    (key,) = ring.list()
    amply("key", "revoke", key.access_key)
    path = data / "audit.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    for line in lines:
        assert line.pop("time")
    told = {"access_key": key.access_key, "role": "worker", "name": "worker-1"}
    assert lines == [{"event": "key-created", **told}, {"event": "key-revoked", **told}]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert key.secret.reveal() not in path.read_text()


def test_an_audit_that_cannot_be_written_is_a_warning_and_the_key_is_told(amply, ring, data):
    (data / "audit.jsonl").mkdir()
    code, out, err = amply("key", "create", "worker")
    assert code == 0
    assert environment(out)["AWS_ACCESS_KEY_ID"] == ring.list()[0].access_key
    assert "Warning: the audit" in err


def test_a_folder_that_others_may_read_takes_no_keys(amply, data):
    data.chmod(0o755)
    code, out, err = amply("key", "create", "worker")
    assert (code, out) == (1, "")
    assert "chmod 700" in err
