"""What the environment says."""

import os
from pathlib import Path

import pytest

from amply.settings import VARIABLES, SettingsError, child_environment, read


def test_with_nothing_set_everything_is_embedded_and_in_one_folder():
    settings = read({})
    data = Path.cwd() / "amply-data"
    assert settings.data == data
    assert settings.topology is None
    assert settings.sqs_endpoint_url is None
    assert settings.result_backend == f"amply+sqlite:///{data}/results.sqlite"
    assert settings.database_url == f"sqlite:///{data}/amply.db"


def test_the_data_folder_moves_both_databases(tmp_path):
    settings = read({"AMPLY_DATA": str(tmp_path)})
    assert settings.result_backend == f"amply+sqlite:///{tmp_path}/results.sqlite"
    assert settings.database_url == f"sqlite:///{tmp_path}/amply.db"


def test_redis_keeps_the_results_and_a_database_url_the_records():
    settings = read({"REDIS_URL": "redis://localhost:6379/1", "DATABASE_URL": "postgresql+psycopg://db/amply"})
    assert settings.result_backend == "redis://localhost:6379/1"
    assert settings.database_url == "postgresql+psycopg://db/amply"


def test_the_endpoint_of_sqs_goes_before_that_of_all_services():
    both = {"AWS_ENDPOINT_URL": "http://all:1", "AWS_ENDPOINT_URL_SQS": "http://sqs:2"}
    assert read(both).sqs_endpoint_url == "http://sqs:2"
    assert read({"AWS_ENDPOINT_URL": "http://all:1"}).sqs_endpoint_url == "http://all:1"


def test_a_variable_that_is_empty_counts_as_not_set():
    assert read(dict.fromkeys(VARIABLES, "")) == read({})


def test_a_topology_is_found_from_wherever_a_process_is_started():
    assert read({"AMPLY_TOPOLOGY": "mine.yaml"}).topology == Path.cwd() / "mine.yaml"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("AWS_ENDPOINT_URL_SQS", "127.0.0.1:9324"),
        ("AWS_ENDPOINT_URL_SQS", "http://"),
        ("AWS_ENDPOINT_URL_SQS", "http://[::1"),
        ("AWS_ENDPOINT_URL", "ftp://host"),
        ("REDIS_URL", "http://user:geheim@host"),
        ("REDIS_URL", "user:geheim@host"),
    ],
)
def test_a_url_that_cannot_be_one_is_refused_by_name_without_telling_its_secrets(name, value):
    with pytest.raises(SettingsError) as caught:
        read({name: value})
    assert caught.value.message.startswith(f"{name} is not a URL that begins with ")
    assert name in caught.value.hint
    assert "geheim" not in str(caught.value)
    assert caught.value.exit_code == 2


def test_a_child_process_gets_this_process_s_environment_and_the_changes(monkeypatch):
    monkeypatch.setenv("AMPLY_DATA", "/before")
    environment = child_environment({"AMPLY_DATA": "/after"})
    assert environment == {**os.environ, "AMPLY_DATA": "/after"}
    assert os.environ["AMPLY_DATA"] == "/before"
