"""What jobs return, read by whoever sent them: with the embedded store, and with Redis when there is one."""

import apsw
import pytest
from celery import chain, chord, group
from celery.exceptions import ChordError
from system import System

PATIENCE_S = 60


@pytest.fixture(scope="module")
def embedded(impatient, tmp_path_factory):
    """Results in the embedded store, and failed jobs that come back soon; one worker."""
    system = System(tmp_path_factory.mktemp("embedded"), topology=impatient.folder / "topology.yaml")
    try:
        system.start("high")
        yield system
    finally:
        system.stop()


@pytest.fixture(params=["embedded", "redis"])
def any_system(request):
    return request.getfixturevalue({"embedded": "embedded", "redis": "impatient"}[request.param])


def job(any_system, name, *args, queue="celery"):
    return any_system.app.signature(f"ledger.{name}", args, queue=queue)


def counting(any_system, numbers):
    return group(job(any_system, "count", number) for number in numbers)


def test_the_result_of_a_job_is_read_by_its_id(any_system):
    sent = any_system.app.send_task("ledger.count", [21], queue="celery")
    assert any_system.app.AsyncResult(sent.id).get(timeout=PATIENCE_S) == 42


def test_a_group_gives_the_results_of_its_jobs_in_order(any_system):
    done = counting(any_system, range(20)).apply_async()
    assert done.get(timeout=PATIENCE_S) == [2 * number for number in range(20)]


def test_a_chain_hands_each_result_to_the_next_job(any_system):
    done = chain(job(any_system, "count", 5), job(any_system, "count"), job(any_system, "count")).apply_async()
    assert done.get(timeout=PATIENCE_S) == 40
    assert [done.parent.get(timeout=PATIENCE_S), done.parent.parent.get(timeout=PATIENCE_S)] == [20, 10]


def test_a_chord_runs_its_last_job_once_with_all_results(any_system):
    before = sum(any_system.runs("ledger.add").values())
    done = chord(counting(any_system, range(20)), job(any_system, "add")).apply_async()
    assert done.get(timeout=PATIENCE_S) == 2 * sum(range(20))
    assert sum(any_system.runs("ledger.add").values()) == before + 1


def test_chords_of_chords_end(any_system):
    inner = [chord(counting(any_system, range(size)), job(any_system, "add")) for size in (2, 3, 4)]
    done = chord(inner, job(any_system, "add")).apply_async()
    assert done.get(timeout=PATIENCE_S) == 2 * sum(sum(range(size)) for size in (2, 3, 4))


def test_what_a_task_raises_is_its_result_with_the_traceback(any_system):
    sent = job(any_system, "fail", 7, queue="high").apply_async()
    error = sent.get(timeout=PATIENCE_S, propagate=False)
    assert sent.state == "FAILURE"
    assert repr(error) == "ValueError(7)"
    assert "raise ValueError(number)" in sent.traceback
    with pytest.raises(ValueError, match="7"):
        sent.get(timeout=PATIENCE_S)


def test_a_job_that_fails_fails_what_comes_after_it_in_its_chain(any_system):
    done = chain(job(any_system, "fail", 8, queue="high"), job(any_system, "count")).apply_async()
    with pytest.raises(ValueError, match="8"):
        done.get(timeout=PATIENCE_S)


def test_a_part_that_fails_fails_its_chord(any_system):
    header = [*counting(any_system, range(4)).tasks, job(any_system, "fail", 9, queue="high")]
    done = chord(header, job(any_system, "add")).apply_async()
    error = done.get(timeout=PATIENCE_S, propagate=False)
    assert isinstance(error, ChordError)
    assert "ValueError(9)" in str(error)


def test_the_error_of_one_of_amply_s_jobs_is_told_in_its_own_words(impatient):
    # Not on a queue with the declared visibility timeout: there a failed job waits half an hour for its next run.
    sent = impatient.app.send_task("amply.jobs.reports.generate_monthly_report", ["nobody"])
    assert "No organisation has the id 'nobody'" in str(sent.get(timeout=PATIENCE_S, propagate=False))


def test_the_embedded_store_is_one_private_file_that_is_whole(embedded):
    path = embedded.folder / "data" / "results.sqlite"
    assert path.stat().st_mode & 0o777 == 0o600
    connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE)
    try:
        assert connection.pragma("integrity_check") == "ok"
        assert connection.pragma("journal_mode") == "wal"
    finally:
        connection.close()
