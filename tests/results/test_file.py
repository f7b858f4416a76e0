"""The file of results: one process, its threads, and what goes wrong with files."""

import threading

import apsw
import pytest
from celery.exceptions import BackendError

from amply.errors import AmplyError
from amply.results import connections
from amply.results.faults import ResultsFault
from amply.results.file import ResultsFile

NOW_MS = 1_700_000_000_000


@pytest.fixture
def results(path):
    return ResultsFile(path)


def put(results, key, value=b"value", expires_ms=None, now_ms=NOW_MS):
    results.put(key, value, expires_ms=expires_ms, now_ms=now_ms)


def rows(results):
    with connections.connected(results.path) as connection:
        return connection.execute("SELECT count(*) FROM result").get


def let_go(results):
    with connections._turn:
        connections._open.pop(results.path).close()


def test_the_file_and_what_sqlite_puts_beside_it_are_their_owner_s_alone(results, path):
    put(results, "a")
    modes = {file.name: file.stat().st_mode & 0o777 for file in path.parent.iterdir()}
    assert modes == dict.fromkeys(["results.sqlite", "results.sqlite-shm", "results.sqlite-wal"], 0o600)
    assert path.parent.stat().st_mode & 0o777 == 0o700


def test_bytes_of_any_kind_come_back(results):
    values = {"text": "æ".encode(), "empty": b"", "bytes": bytes(range(256)), "large": b"x" * 3_000_000}
    for key, value in values.items():
        put(results, key, value)
    assert results.get_many([*values, "none"], NOW_MS) == values
    assert results.get("none", NOW_MS) is None


def test_each_write_clears_a_few_whose_time_is_over(results):
    for number in range(10):
        put(results, f"short {number}", expires_ms=NOW_MS + 1)
    put(results, "long", expires_ms=NOW_MS + 1000)
    put(results, "kept")
    assert rows(results) == 12
    counts = []
    for _ in range(4):
        put(results, "kept", now_ms=NOW_MS + 1)
        counts.append(rows(results))
    assert counts == [8, 4, 2, 2]


def test_a_file_gets_smaller_when_its_room_is_given_back(results):
    for number in range(200):
        put(results, f"{number}", b"x" * 20_000, expires_ms=NOW_MS + 1)
    with connections.connected(results.path) as connection:
        before = connection.pragma("page_count")
    while results.remove_expired(NOW_MS + 1, 30):
        pass
    results.give_back_room()
    with connections.connected(results.path) as connection:
        assert connection.pragma("page_count") < before / 20


def test_keys_under_a_prefix_go_together(results):
    for key in ["c", "c/", "c/1", "c/2", "c0", "d"]:
        put(results, key)
    results.remove_under("c/", NOW_MS)
    assert set(results.get_many(["c", "c/", "c/1", "c/2", "c0", "d"], NOW_MS)) == {"c", "c0", "d"}


def test_threads_share_the_file(results):
    def work():
        for _ in range(50):
            results.count_up("count", NOW_MS)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results.get("count", NOW_MS) == b"400"


def test_what_is_raised_into_the_middle_of_a_write_undoes_it(results):
    def interrupted():
        with connections.connected(results.path) as connection:
            connection.execute("BEGIN IMMEDIATE; DELETE FROM result")
            raise TimeoutError

    put(results, "a")
    with pytest.raises(TimeoutError):
        interrupted()
    assert results.get("a", NOW_MS) == b"value"
    put(results, "b")


def test_a_file_that_is_no_database_is_named_with_the_next_step(results, path):
    path.parent.mkdir()
    path.write_text("no database, but long enough to be looked at. " * 100)
    with pytest.raises(ResultsFault, match=r"results\.sqlite is not a file of results") as caught:
        put(results, "a")
    assert "delete the file" in caught.value.hint
    assert not caught.value.may_pass
    assert isinstance(caught.value, BackendError)
    assert isinstance(caught.value, AmplyError)
    path.unlink()
    put(results, "a")


def test_a_damaged_file_is_told_from_a_good_one(results, path):
    for number in range(200):
        put(results, f"{number}", b"x" * 1000)
    let_go(results)
    whole = path.read_bytes()
    path.write_bytes(whole[:8192] + b"\xff" * (len(whole) - 8192))
    with pytest.raises(ResultsFault, match="is damaged"):
        results.get_many([str(number) for number in range(200)], NOW_MS)


def test_a_file_of_a_newer_format_is_left_alone(results, path):
    put(results, "a")
    with connections.connected(path) as connection:
        connection.pragma("user_version", 2)
    let_go(results)
    with pytest.raises(ResultsFault, match="has format 2; this Amply knows formats up to 1"):
        put(results, "a")


def test_a_full_disk_refuses_the_write_and_keeps_the_rest(results):
    put(results, "a")
    with connections.connected(results.path) as connection:
        connection.pragma("max_page_count", connection.pragma("page_count"))
    with pytest.raises(ResultsFault, match="the disk is full") as caught:
        put(results, "b", b"x" * 100_000)
    assert caught.value.may_pass
    assert results.get("a", NOW_MS) == b"value"
    assert results.get("b", NOW_MS) is None
    put(results, "b", b"x" * 100_000)


def test_a_file_that_may_only_be_read_says_so(results):
    put(results, "a")
    with connections.connected(results.path) as connection:
        connection.pragma("query_only", 1)
    assert results.get("a", NOW_MS) == b"value"
    with pytest.raises(ResultsFault, match="cannot be written"):
        put(results, "b")


def test_a_folder_in_the_file_s_place_cannot_be_opened(results, path):
    path.mkdir(parents=True)
    with pytest.raises(ResultsFault, match="cannot be opened"):
        put(results, "a")


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "data").write_text("a file")
    with pytest.raises(ResultsFault, match=r"data/results\.sqlite could not be made"):
        put(ResultsFile(tmp_path / "data" / "results.sqlite"), "a")


@pytest.fixture
def holder(results, path, monkeypatch):
    """Somebody who holds the file's one lock for writing; nobody waits for it."""
    monkeypatch.setattr(connections, "BUSY_TIMEOUT_S", 0)
    put(results, "a")
    connection = apsw.Connection(str(path))
    connection.execute("BEGIN IMMEDIATE")
    yield connection
    connection.close()


def test_a_file_that_somebody_keeps_locked_can_be_read_but_not_written(results, holder):
    assert results.get("a", NOW_MS) == b"value"
    with pytest.raises(ResultsFault, match="is kept locked by another process") as caught:
        put(results, "b")
    assert caught.value.may_pass


def test_celery_tries_again_what_may_pass_when_it_is_told_to(make_backend, holder):
    backend = make_backend(result_backend_always_retry=True)
    backend._sleep = lambda _: holder.execute("ROLLBACK")
    backend.store_result("1", 1, "SUCCESS")
    assert backend.get_result("1") == 1
    assert not backend.exception_safe_to_retry(ResultsFault("damaged"))
    assert not backend.exception_safe_to_retry(ValueError())
