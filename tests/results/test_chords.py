"""The counting of a chord's parts, when SQS delivers some of them twice or a worker dies on the way."""

import pytest
from celery.app.task import Context
from celery.result import GroupResult

from amply.results.sqlite import SqliteBackend

SIZE = 5


class Parts:
    """A chord of an app whose broker is this process's memory; a test finishes its parts one by one."""

    def __init__(self, backend):
        self.backend = backend
        self.app = backend.app
        self.body = self.app.signature("add")
        self.body.freeze("body")

    def apply(self):
        """What the sender of the chord does before it sends the parts."""
        parts = [self.app.AsyncResult(f"part-{number}") for number in range(SIZE)]
        self.backend.apply_chord(("group", parts), self.body)

    def request(self, number):
        return Context({"id": f"part-{number}", "group": "group", "chord": {**self.body, "chord_size": SIZE}})

    def finish(self, number, *, state="SUCCESS", result=None):
        """What a worker does at the end of a part."""
        request, value = self.request(number), number if result is None else result
        self.backend.store_result(request.id, value, state)
        self.backend.on_chord_part_return(request, state, value)

    def sent(self):
        """The arguments of the bodies that were sent since the last time."""
        sent = []
        with self.app.connection_for_read() as connection, connection.channel() as channel:
            while message := channel.basic_get(self.app.conf.task_default_queue, no_ack=True):
                args, _, _ = channel.message_to_python(message).payload
                sent += args
        return sent


@pytest.fixture
def parts(make_backend, tmp_path):
    backend = make_backend(broker_url="memory://", task_default_queue=str(tmp_path), result_cache_max=100)

    @backend.app.task(name="add", shared=False)
    def add(numbers):
        return sum(numbers)

    backend.app.finalize()
    one = Parts(backend)
    one.apply()
    yield one
    backend.app.close()


def state_of_body(parts):
    return parts.backend.get_task_meta("body", cache=False)["status"]


def test_the_body_is_sent_with_all_results_when_the_last_part_is_there(parts):
    for number in [3, 1, 4, 0]:
        parts.finish(number)
    assert parts.sent() == []
    parts.finish(2)
    assert parts.sent() == [[0, 1, 2, 3, 4]]


def test_a_part_that_runs_twice_counts_once(parts):
    for number in [0, 1, 1, 1, 1, 2, 3]:
        parts.finish(number)
    assert parts.sent() == []
    parts.finish(4)
    assert parts.sent() == [[0, 1, 2, 3, 4]]


def test_a_part_that_comes_again_after_the_end_changes_nothing(parts):
    for number in range(SIZE):
        parts.finish(number)
    parts.backend._cache.clear()  # as in another process
    parts.finish(2)
    assert parts.sent() == [[0, 1, 2, 3, 4]]
    assert state_of_body(parts) == "PENDING"


def test_a_part_that_comes_again_where_the_group_is_still_remembered_changes_nothing(parts, clock):
    for number in range(SIZE - 1):
        parts.finish(number)
    first = parts.backend
    parts.backend = parts.app._backend = SqliteBackend(parts.app, url=first.url, clock=clock)
    parts.finish(SIZE - 1)
    parts.backend = parts.app._backend = first
    assert first.restore_group("group") is not None
    parts.finish(0)
    assert parts.sent() == [[0, 1, 2, 3, 4]]
    assert state_of_body(parts) == "PENDING"


def test_a_worker_that_died_before_it_sent_the_body_is_made_up_for(parts, monkeypatch):
    for number in range(SIZE - 1):
        parts.finish(number)

    def die(*_):
        raise SystemExit

    with monkeypatch.context() as dying:
        dying.setattr(GroupResult, "join_native", die)
        dying.setattr(GroupResult, "delete", die)
        with pytest.raises(SystemExit):
            parts.finish(4)
    assert parts.sent() == []
    parts.finish(4)
    assert parts.sent() == [[0, 1, 2, 3, 4]]


def test_a_chord_that_is_applied_again_runs_to_its_end_again(parts):
    for number in range(3):
        parts.finish(number)
    for _ in range(2):
        parts.apply()
        for number in range(SIZE):
            assert parts.sent() == []
            parts.finish(number)
        assert parts.sent() == [[0, 1, 2, 3, 4]]


def test_a_part_that_fails_fails_the_chord_once_all_are_done(parts):
    for number in range(SIZE - 1):
        parts.finish(number)
    assert state_of_body(parts) == "PENDING"
    parts.finish(4, state="FAILURE", result=ValueError("no"))
    assert state_of_body(parts) == "FAILURE"
    assert "ValueError('no')" in str(parts.backend.get_result("body"))
    assert parts.sent() == []


def test_what_a_chord_needed_is_gone_with_its_time(parts, clock):
    for number in range(SIZE - 1):
        parts.finish(number)
    clock.advance(2 * 24 * 3600)
    parts.backend.cleanup()
    assert parts.backend._file.remove_expired(clock.now_ms() + 10**12, 100) == 0


def test_a_part_of_no_chord_is_no_part(backend):
    backend.on_chord_part_return(Context({"id": "1", "group": None}), "SUCCESS", 1)
    assert backend._file.remove_expired(10**15, 100) == 0
