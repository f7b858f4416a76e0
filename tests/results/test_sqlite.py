"""What Celery asks of a result backend, without a worker."""

import pytest
from celery import Celery
from celery.exceptions import ImproperlyConfigured
from celery.exceptions import TimeoutError as CeleryTimeoutError
from celery.result import AsyncResult, GroupResult
from kombu.exceptions import ContentDisallowed

from amply.results.sqlite import SqliteBackend

DAY_S = 24 * 3600


@pytest.mark.parametrize("name", ["results.sqlite", "a b%20?x=1#é.sqlite"])
def test_celery_finds_the_backend_by_its_url_whatever_the_path(tmp_path, name):
    app = Celery("shop", set_as_current=False)
    app.conf.result_backend = f"amply+sqlite:///{tmp_path / name}"
    assert isinstance(app.backend, SqliteBackend)
    assert app.backend.as_uri() == app.conf.result_backend
    assert list(tmp_path.iterdir()) == []
    app.backend.store_result("1", "done", "SUCCESS")
    assert app.AsyncResult("1").get(timeout=1) == "done"
    assert (tmp_path / name).exists()


def test_a_path_after_three_slashes_is_relative_to_where_the_app_was_made(tmp_path, monkeypatch):
    app = Celery("shop", set_as_current=False)
    app.conf.result_backend = "amply+sqlite:///results.sqlite"
    monkeypatch.chdir(tmp_path)
    backend = app.backend
    monkeypatch.chdir("/")
    backend.store_result("1", "done", "SUCCESS")
    assert (tmp_path / "results.sqlite").exists()


@pytest.mark.parametrize(
    "url",
    [
        "amply+sqlite://",
        "amply+sqlite://results",
        "amply+sqlite:///",
        "amply+file:///results",
        "amply://results",
        "amply",
    ],
)
def test_a_url_that_names_no_file_is_refused(url):
    app = Celery("shop", set_as_current=False)
    app.conf.result_backend = url
    with pytest.raises(ImproperlyConfigured, match="names no file"):
        app.backend.get_state("1")


def test_what_a_task_returned_or_raised_comes_back(backend):
    backend.store_result("1", {"text": "æ", "list": [1, None]}, "SUCCESS")
    backend.store_result("2", ValueError("no", 2), "FAILURE", traceback="where it was")
    assert backend.get_result("1") == {"text": "æ", "list": [1, None]}
    assert repr(backend.get_result("2")) == "ValueError('no', 2)"
    assert backend.get_traceback("2") == "where it was"
    assert backend.get_state("3") == "PENDING"


def test_a_success_stays_one_whatever_is_stored_after_it(backend):
    backend.store_result("1", 1, "SUCCESS")
    backend.store_result("1", ValueError("a lost child"), "FAILURE")
    assert backend.get_task_meta("1", cache=False)["result"] == 1


def test_a_failure_gives_way_to_the_next_run_s_success(backend):
    backend.store_result("1", ValueError("not yet"), "FAILURE")
    backend.store_result("1", 1, "SUCCESS")
    assert backend.get_task_meta("1")["result"] == 1


def test_a_result_that_is_forgotten_is_gone(backend):
    backend.store_result("1", 1, "SUCCESS")
    AsyncResult("1", backend=backend, app=backend.app).forget()
    assert backend.get_state("1") == "PENDING"


def test_values_are_written_by_the_app_s_serializer_and_read_only_if_accepted(make_backend):
    class Private:
        pass

    backend = make_backend(result_serializer="json")
    with pytest.raises(Exception, match="Private"):  # kombu's own; json does not know the class
        backend.store_result("1", Private(), "SUCCESS")
    backend.store_result("2", [1], "SUCCESS")
    assert backend.get(backend.get_key_for_task("2")).startswith(b"{")
    make_backend(result_serializer="pickle", result_accept_content=["pickle"]).store_result("3", {1}, "SUCCESS")
    picky = make_backend(result_serializer="pickle", result_accept_content=["json"])
    with pytest.raises(ContentDisallowed):
        picky.get_result("3")


def test_a_compressed_result_comes_back(make_backend):
    backend = make_backend(result_compression="gzip")
    backend.store_result("1", "x" * 10_000, "SUCCESS")
    assert backend.get_result("1") == "x" * 10_000


def test_a_result_is_gone_when_its_time_is_over(make_backend, clock):
    backend = make_backend(result_expires=DAY_S, result_failure_expires=2 * DAY_S)
    backend.store_result("1", 1, "SUCCESS")
    backend.store_result("2", ValueError(), "FAILURE")
    clock.advance(DAY_S - 0.001)
    assert backend.get_task_meta("1", cache=False)["status"] == "SUCCESS"
    clock.advance(0.001)
    assert backend.get_task_meta("1", cache=False)["status"] == "PENDING"
    assert backend.get_task_meta("2", cache=False)["status"] == "FAILURE"
    clock.advance(DAY_S)
    assert backend.get_task_meta("2", cache=False)["status"] == "PENDING"


@pytest.mark.parametrize("never", [None, 0])
def test_without_an_expiry_results_are_kept(make_backend, clock, never):
    backend = make_backend(result_expires=never)
    backend.store_result("1", 1, "SUCCESS")
    clock.advance(1000 * DAY_S)
    backend.cleanup()
    assert backend.get_result("1") == 1


def test_expire_moves_the_end_but_raises_no_dead(backend, clock):
    backend.set("short", "1")
    backend.set("kept", "2")
    backend.set("dead", "3")
    backend.expire("dead", 1)
    clock.advance(2)
    backend.expire("short", 10)
    backend.expire("kept", None)
    backend.expire("dead", DAY_S)
    clock.advance(10)
    assert backend.mget(["short", "kept", "dead"]) == [None, b"2", None]


def test_waiting_looks_ever_seldomer_and_ends_with_celery_s_timeout(backend, clock):
    pauses = []
    backend._sleep = lambda pause_s: (pauses.append(pause_s), clock.advance(pause_s))
    with pytest.raises(CeleryTimeoutError):
        AsyncResult("1", backend=backend, app=backend.app).get(timeout=5)
    assert pauses[0] == 0.01
    assert pauses == sorted(pauses[:-1]) + pauses[-1:]
    assert max(pauses) == 0.5
    assert sum(pauses) == pytest.approx(5, abs=0.01)
    with pytest.raises(CeleryTimeoutError):
        AsyncResult("1", backend=backend, app=backend.app).get(timeout=0)


def test_a_group_is_waited_for_and_given_in_order(backend, clock):
    results = [AsyncResult(str(number), backend=backend, app=backend.app) for number in range(20)]
    left = list(range(20))

    def finish_one(pause_s):
        clock.advance(pause_s)
        number = left.pop()
        backend.store_result(str(number), number * number, "SUCCESS")

    backend._sleep = finish_one
    asked = GroupResult("g", results, app=backend.app)
    assert asked.supports_native_join
    assert asked.get(timeout=60) == [number * number for number in range(20)]
    with pytest.raises(CeleryTimeoutError):
        GroupResult("h", [AsyncResult("no", backend=backend, app=backend.app)], app=backend.app).get(timeout=0)


def test_one_look_at_many_results_does_not_sleep(backend):
    backend._sleep = None
    backend.store_result("1", 1, "SUCCESS")
    found = dict(backend.get_many({"1", "2"}, max_iterations=1))
    assert {task_id: meta["result"] for task_id, meta in found.items()} == {"1": 1}


def test_a_saved_group_is_restored_and_deleted(backend):
    group = GroupResult("g", [AsyncResult("1", backend=backend, app=backend.app)], app=backend.app)
    group.save(backend=backend)
    assert GroupResult.restore("g", backend=backend, app=backend.app).results == group.results
    group.delete(backend=backend)
    assert GroupResult.restore("g", backend=backend, app=backend.app) is None


def test_a_count_begins_anew_when_its_time_is_over(backend, clock):
    assert [backend.incr("count") for _ in range(3)] == [1, 2, 3]
    backend.expire("count", 10)
    assert backend.incr("count") == 4
    assert backend.get("count") == b"4"
    clock.advance(10)
    assert backend.incr("count") == 1


def test_a_backend_that_travels_is_on_the_same_file(backend, path):
    assert backend.__reduce__()[1] == (SqliteBackend, (), {"url": f"sqlite:///{path}"})
