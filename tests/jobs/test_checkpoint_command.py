import json

import pytest
from click.testing import CliRunner

from amply.cli.checkpoint import checkpoint
from amply.jobs.checkpoints import generate_checkpoint
from amply.jobs.donations import record_donation
from amply.jobs.records import NoStoreError


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.setenv("AMPLY_DATA", str(tmp_path))
    monkeypatch.delenv("DATABASE_URL", raising=False)
    return lambda *arguments: CliRunner().invoke(checkpoint, arguments)


@pytest.fixture
def sealed(work):
    record_donation({"id": "d1", "organisation_id": "org1", "amount_minor": 1, "currency": "EUR"})
    generate_checkpoint()


def test_a_whole_chain_ends_with_0_and_its_newest_hash(run, sealed):
    done = run("verify", "--json")
    found = json.loads(done.stdout)
    assert (done.exit_code, found["whole"], found["sealed_count"]) == (0, True, 1)
    assert found["newest_hash"] in run("verify").stderr


def test_a_broken_chain_ends_with_1_and_its_problems(run, sealed, work):
    with work.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE donations SET amount_minor = 2")
    done = run("verify")
    assert done.exit_code == 1
    assert "Problem: Checkpoint 1: a sealed donation was changed" in done.stderr
    assert run("verify", "--expect", "0" * 64).exit_code == 1


def test_a_proof_is_written_as_json(run, sealed):
    assert json.loads(run("prove", "d1").stdout)["holds"] is True


def test_without_a_store_the_command_says_so(run):
    assert isinstance(run("verify").exception, NoStoreError)
