import multiprocessing
import sqlite3

import pytest
from sqlalchemy import create_mock_engine, event, func, insert, select
from sqlalchemy.dialects import postgresql
from sqlalchemy.exc import DBAPIError

from amply.jobs import cleanup, endpoints, records, runtime
from amply.jobs.checkpoints import generate_checkpoint, prove_sealed, verify_chain
from amply.jobs.donations import record_donation
from amply.jobs.records import (
    NoStoreError,
    StoreVersionError,
    find_store,
    insert_new,
    insert_or_replace,
    journal_mode,
    open_store,
    reading,
    writing,
)
from amply.jobs.reports import generate_monthly_report
from amply.jobs.schema import metadata, organisations, reports
from amply.jobs.webhooks import dispatch_due_webhooks, dispatch_webhook

ROW = {"id": "o1", "name": "One", "created_ms": 1}


def test_a_row_is_inserted_once_and_replaced_by_its_key(work):
    with writing(work.engine) as connection:
        assert insert_new(connection, organisations, ROW)
        assert not insert_new(connection, organisations, {**ROW, "name": "Two"})
        assert connection.execute(select(organisations.c.name)).scalar_one() == "One"
        insert_or_replace(connection, organisations, {**ROW, "name": "Two"})
        assert connection.execute(select(organisations.c.name)).scalar_one() == "Two"


def test_a_transaction_that_fails_leaves_nothing(work):
    with pytest.raises(ZeroDivisionError), writing(work.engine) as connection:
        assert 1 / (0 if insert_new(connection, organisations, ROW) else 1)
    with reading(work.engine) as connection:
        assert connection.execute(select(func.count()).select_from(organisations)).scalar_one() == 0


def test_a_row_that_points_nowhere_is_refused(work):
    with pytest.raises(DBAPIError), writing(work.engine) as connection:
        connection.execute(
            insert(reports).values(
                organisation_id="nobody",
                period="2026-10",
                donation_count=0,
                csv_sha256="",
                html_sha256="",
                created_ms=0,
            )
        )


def test_only_the_owner_can_read_the_store(tmp_path):
    open_store(f"sqlite:///{tmp_path / 'new' / 'amply.db'}").dispose()
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "new" / "amply.db").stat().st_mode & 0o777 == 0o600


def test_a_store_of_a_newer_version_is_refused(work, tmp_path):
    with work.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE jobs_store SET version = 99")
    with pytest.raises(StoreVersionError, match="version 99"):
        open_store(f"sqlite:///{tmp_path / 'amply.db'}")


def test_a_store_that_must_be_there_is_not_made(tmp_path):
    with pytest.raises(NoStoreError, match=r"amply\.db"):
        find_store(f"sqlite:///{tmp_path / 'amply.db'}")
    assert list(tmp_path.iterdir()) == []


def test_wal_is_used_where_sqlite_writes_it_soundly():
    assert journal_mode((3, 51, 3)) == "WAL"
    assert journal_mode((3, 40, 1)) == "DELETE"


def open_and_insert(url, wal, start, first):
    if wal:
        records.journal_mode = lambda _: "WAL"
    start.wait(30)
    engine = open_store(url)
    for number in range(first, first + 25):
        with writing(engine) as connection:
            insert_new(connection, organisations, {**ROW, "id": f"o{number}"})
    engine.dispose()


@pytest.mark.parametrize("wal", [False, True])
def test_several_processes_make_one_store_and_write_to_it_together(tmp_path, wal):
    url = f"sqlite:///{tmp_path / 'amply.db'}"
    spawn = multiprocessing.get_context("fork")
    start = spawn.Barrier(4)
    processes = [spawn.Process(target=open_and_insert, args=(url, wal, start, 25 * n)) for n in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0] * 4
    with sqlite3.connect(tmp_path / "amply.db") as connection:
        assert connection.execute("SELECT count(*) FROM organisations").fetchone() == (100,)
        assert connection.execute("SELECT version FROM jobs_store").fetchall() == [(1,)]
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal" if wal else "delete",)
    connection.close()


def test_every_statement_is_one_that_postgresql_reads(work, endpoint, clock):
    statements = []
    event.listen(work.engine, "before_execute", lambda _, statement, *__: statements.append(statement))
    record_donation({"id": "d1", "organisation_id": "org1", "amount_minor": 1, "currency": "EUR"})
    record_donation({"id": "d1", "organisation_id": "org1", "amount_minor": 1, "currency": "EUR"})
    generate_checkpoint()
    verify_chain(work.engine)
    prove_sealed(work.engine, "d1")
    generate_monthly_report("org1")
    dispatch_webhook("ep1", {"id": "e", "type": "t", "timestamp": "2026-11-05T12:00:00Z", "data": {}})
    endpoints.exchange_secret(work.engine, "ep1")
    dispatch_due_webhooks()
    clock.advance(cleanup.DELIVERIES_KEPT_MS)
    cleanup.remove_expired_records()
    assert len(statements) > 30
    for statement in statements:
        if not hasattr(statement, "_post_values_clause"):
            statement.compile(dialect=postgresql.dialect())


def test_the_tables_are_ones_that_postgresql_makes():
    made = []
    engine = create_mock_engine("postgresql+psycopg://", lambda statement, *_: made.append(statement))
    metadata.create_all(engine, checkfirst=False)
    assert len([statement for statement in made if "CreateTable" in type(statement).__name__]) == len(metadata.tables)
    for statement in made:
        statement.compile(dialect=postgresql.dialect())


class PostgresqlConnection:
    """Writes down what it is asked to execute."""

    dialect = postgresql.dialect()
    rowcount = 1

    def __init__(self):
        self.text = ""

    def execute(self, statement):
        self.text = str(statement.compile(dialect=self.dialect))
        return self


def test_upserts_are_written_in_postgresqls_words():
    connection = PostgresqlConnection()
    assert insert_new(connection, organisations, ROW)
    assert "ON CONFLICT DO NOTHING" in connection.text
    insert_or_replace(connection, organisations, ROW)
    assert "ON CONFLICT (id) DO UPDATE SET" in connection.text


def test_a_runtime_is_made_anew_after_a_fork(work, tmp_path, monkeypatch):
    monkeypatch.setenv("AMPLY_DATA", str(tmp_path / "child"))
    work.engine.dispose()
    monkeypatch.setattr("os.getpid", lambda: -1)
    child = runtime.current()
    assert child is not work
    assert child.data == tmp_path / "child"
    assert runtime.current() is child
    child.engine.dispose()
