"""Groups, what FIFO queues remember, move tasks; and a store from before there were any."""

import apsw
import pytest

from amply.broker.engine.records import (
    Added,
    Attempt,
    Attempted,
    Deduplicated,
    MoveTask,
    MoveTaskPut,
    QueuePut,
    QueueRemoved,
    Removed,
    Rescheduled,
)
from amply.broker.store import opening, rows
from amply.broker.store.named_sql import schema_steps

FAR = 10**15
START = (-1, -1)
ALL = (FAR, FAR)


def seqs_of(page):
    return [entry.seq for entry, _ in page.messages]


def grouped(facts, seq, group, **other):
    content = facts.content(seq, group_id=group, deduplication_id=f"d{seq}")
    return Added(facts.entry(seq, group_id=group, **other), content)


def test_groups_and_deduplication_ids_come_back(store, facts):
    sent = [grouped(facts, 1, "a"), grouped(facts, 2, "")]
    store.commit(sent, facts.T0)
    assert store.in_order(2, START, ALL, 10, 10**6).messages == [(change.entry, change.content) for change in sent]
    assert store.find([1])[0].group_id == "a"
    received = facts.entry(1, visible_ms=FAR, receive_count=1, group_id="a")
    store.commit([Rescheduled(received)], facts.T0)
    assert store.load(facts.T0).queues[0].in_flight == [received]


def test_messages_come_in_the_order_of_sending_whatever_became_of_them(store, facts):
    store.commit([facts.added(1, sent_ms=10, visible_ms=99), facts.added(2, sent_ms=10), facts.added(3, sent_ms=5)], 0)
    assert seqs_of(store.in_order(2, START, ALL, 10, 10**6)) == [3, 1, 2]
    assert seqs_of(store.in_order(2, (10, 1), ALL, 10, 10**6)) == [2]
    assert seqs_of(store.in_order(2, START, (5, 0), 10, 10**6)) == [3]
    assert seqs_of(store.in_order(2, START, (5, 1), 10, 10**6)) == [3, 1]
    page = store.in_order(2, START, ALL, 2, 10**6)
    assert (seqs_of(page), page.is_last) == ([3, 1], False)
    assert len(store.in_order(2, START, ALL, 10, 1).messages) == 1


def test_messages_are_fetched_in_the_order_asked_for(store, facts):
    store.commit([*map(facts.added, range(1, 5)), facts.added(5, shelf=4)], facts.T0)
    page = store.fetch(2, [3, 9, 5, 1], 10**6)
    assert (seqs_of(page), page.is_last) == ([3, 1], True)
    page = store.fetch(2, [4, 2], 1)
    assert (seqs_of(page), page.is_last) == ([4], False)


def test_ready_messages_without_those_of_some_groups(store, facts):
    groups = [None, "a", "b", "a", "c"]
    store.commit([Added(facts.entry(n, group_id=g), facts.content(n, group_id=g)) for n, g in enumerate(groups, 1)], 0)
    until_ms = facts.T0 + 5
    page, read_to = store.ready_without(2, START, until_ms, (10, 10**6), ["a"])
    assert (seqs_of(page), page.is_last) == ([1, 3, 5], True)
    assert read_to >= (until_ms, 5)
    page, read_to = store.ready_without(2, START, until_ms, (2, 10**6), ["a"])
    assert (seqs_of(page), page.is_last, read_to) == ([1, 3], False, (facts.T0 + 3, 3))
    page, _ = store.ready_without(2, read_to, until_ms - 1, (2, 10**6), ["a"])
    assert (seqs_of(page), page.is_last) == ([], True)


@pytest.mark.parametrize("number", [49, 50, 4999, 5000, 5001])
def test_a_look_past_a_backlog_is_bounded_and_can_be_continued(store, facts, number):
    loud = [Added(facts.entry(n, group_id="loud"), facts.content(n, body="")) for n in range(1, number + 1)]
    store.commit([*loud, Added(facts.entry(number + 1, group_id="quiet"), facts.content(number + 1))], facts.T0)
    read_to, found, looks = START, [], 0
    while True:
        page, read_to = store.ready_without(2, read_to, FAR, (10, 10**6), ["loud"])
        found += seqs_of(page)
        looks += 1
        if page.is_last:
            break
    assert found == [number + 1]
    assert looks > 1 or number < 5000


def test_what_a_fifo_queue_took_in_is_remembered_for_five_minutes(store, facts):
    one = Deduplicated(1, 2, b"\x00\xff" * 8, "id-1", facts.T0)
    other = Deduplicated(2, 2, b"key", "id-2", facts.T0 + 1)
    store.commit([grouped(facts, 1, "a"), one, Removed(1, 2)], facts.T0)
    store.commit([other], facts.T0 + 1)
    assert store.load(facts.T0 + 299_999).deduplicated == [one, other]
    assert store.load(facts.T0 + 300_000).deduplicated == [other]


def test_what_is_forgotten_takes_no_room(opened, facts):
    store = opened()
    store.commit([QueuePut(facts.queue(1, 2))], facts.T0)
    store.commit([Deduplicated(n, 2, b"%d" % n, "id", facts.T0 + n) for n in range(1, 1001)], facts.T0)
    store.commit([Attempted(2, "a", Attempt(facts.T0, ()))], facts.T0)
    store.tend()
    assert len(store.load(facts.T0).deduplicated) == 1000
    store.commit([facts.added(2000)], facts.T0 + 400_000)
    store.tend()
    later = store.load(facts.T0)
    assert (later.deduplicated, later.attempts) == ([], [])


def test_the_last_answer_to_an_attempt_is_remembered_for_five_minutes(store, facts):
    first, again = Attempt(facts.T0, ((1, 1, 5), (2, 3, 5))), Attempt(facts.T0, ((1, 1, 9), (2, 3, 9)))
    store.commit([Attempted(2, "x", first), Attempted(4, "x", first)], facts.T0)
    store.commit([Attempted(2, "x", again)], facts.T0)
    attempts = {(one.shelf, one.attempt_id): one.attempt for one in store.load(facts.T0 + 299_999).attempts}
    assert attempts == {(2, "x"): again, (4, "x"): first}
    assert store.load(facts.T0 + 300_000).attempts == []


def test_move_tasks_are_kept_as_they_were_last_put(store, facts):
    task = MoveTask(
        task_id="t", source_arn="arn:s", destination_arn=None, messages_per_s=None, started_ms=facts.T0, to_move=9
    )
    done = MoveTask(
        task_id="u",
        source_arn="arn:s",
        destination_arn="arn:d",
        messages_per_s=5,
        started_ms=facts.T0 - 1,
        to_move=2,
        moved=1,
        status="FAILED",
        failure_reason="why",
    )
    store.commit([MoveTaskPut(done), MoveTaskPut(task), MoveTaskPut(task)], facts.T0)
    assert store.load(facts.T0).move_tasks == [done, task]


def test_a_fifo_queue_knows_at_start_what_was_sent_within_the_longest_delay(store, facts):
    store.commit([QueuePut(facts.queue(9, 10, name="q.fifo", attributes={"FifoQueue": "true"}))], facts.T0)
    now = facts.T0 + 900_000
    at = {1: now - 900_000, 2: now - 899_999, 3: now - 20, 4: now - 10}
    store.commit([facts.added(seq, 10, sent_ms=ms, visible_ms=ms) for seq, ms in at.items()], now)
    store.commit([facts.added(5, 10, sent_ms=now - 10, visible_ms=now + 5, receive_count=1)], now)
    state = store.load(now).queues[-1]
    assert (state.messages, len(state.in_flight)) == (5, 1)
    assert state.delayed == {now - 899_900: 1, now: 2}


def test_what_a_removed_queue_remembered_does_not_come_back(store, facts):
    store.commit([Deduplicated(1, 2, b"key", "id", facts.T0)], facts.T0)
    store.commit([QueueRemoved(1, facts.ACCOUNT, "queue-1", facts.T0)], facts.T0)
    shelves = {state.queue.shelf for state in store.load(facts.T0).queues}
    assert not shelves & {one.shelf for one in store.load(facts.T0).deduplicated}


def test_a_store_of_the_first_format_is_taken_over_with_all_its_messages(opened, facts, tmp_path):
    folder = tmp_path / "old"
    folder.mkdir(mode=0o700)
    database = apsw.Connection(str(folder / "store.sqlite3"))
    (folder / "store.sqlite3").chmod(0o600)
    opening._take_step(database, 1, schema_steps()[1])
    database.execute("INSERT INTO queue VALUES (1, 2, ?, 'q', '{}', '{}', 0, 0, NULL)", (facts.ACCOUNT,))
    database.execute("INSERT INTO shelf VALUES (2, 2)")
    for seq, group in ((1, "tenant"), (2, None)):
        *row, checksum, _ = rows.message_row(seq, facts.content(seq, group_id=group))
        database.execute("INSERT INTO message VALUES (?, ?, ?, ?, ?, ?, ?, ?)", (*row, checksum))
        database.execute("INSERT INTO entry VALUES (?, 2, ?, ?, 0, NULL, NULL)", (seq, facts.T0, facts.T0))
    database.close()
    page = opened(folder).ready(2, START, FAR, 10, 10**6)
    assert [(entry.group_id, content.group_id, content.body) for entry, content in page.messages] == [
        ("tenant", "tenant", facts.content(1).body),
        (None, None, facts.content(2).body),
    ]
    assert page.damaged == []
