"""What every store does, whatever it is made of."""

import pytest

from amply.broker.engine.records import Added, Moved, QueuePut, QueueRemoved, Removed, Rescheduled
from amply.broker.sqs.shapes import MessageAttributeValue

FAR = 10**15
ALL = (FAR, 1000, 10**9)
START = (0, 0)


def seqs_of(page):
    return [entry.seq for entry, _ in page.messages]


def messages_of(store, facts):
    return {state.queue.queue_id: state.messages for state in store.load(facts.T0).queues}


def test_a_new_store_knows_its_queues_and_a_secret(store, facts):
    snapshot = store.load(facts.T0)
    assert [state.queue for state in snapshot.queues] == [facts.queue(1, 2), facts.queue(3, 4)]
    assert [(s.messages, s.in_flight, s.delayed, s.oldest_sent_ms) for s in snapshot.queues] == [(0, [], {}, None)] * 2
    assert (snapshot.last_seq, snapshot.last_id, len(snapshot.secret)) == (0, 4, 32)
    assert store.load(facts.T0).secret == snapshot.secret


def test_what_was_sent_comes_back_unchanged(store, facts):
    attributes = {
        "text": MessageAttributeValue(data_type="String.x", string_value='quote " and \\ and \u2028'),
        "bytes": MessageAttributeValue(data_type="Binary", binary_value=bytes(range(256))),
        "empty": MessageAttributeValue(data_type="String", string_value=""),
    }
    sent = [
        Added(facts.entry(1), facts.content(1, attributes=attributes, trace_header="Root=1", group_id="g")),
        Added(facts.entry(2), facts.content(2, body="\t\n\r \U0010ffff", trace_header="", group_id="")),
        Added(facts.entry(3, dead_letter_source_arn="arn:aws:sqs:x:1:q", receive_count=3), facts.content(3, body="")),
    ]
    store.commit(sent, facts.T0)
    page = store.ready(2, START, *ALL)
    assert page.messages == [(change.entry, change.content) for change in sent]
    assert page.is_last
    assert page.damaged == []


def test_messages_come_in_the_order_of_visibility_and_then_of_sending(store, facts):
    visible = {1: 30, 2: 10, 3: 20, 4: 10, 5: 40}
    store.commit([facts.added(seq, visible_ms=ms, receive_count=seq % 2) for seq, ms in visible.items()], facts.T0)
    assert seqs_of(store.ready(2, START, 30, 10, 10**6)) == [2, 4, 3, 1]
    assert seqs_of(store.ready(2, (10, 2), 30, 10, 10**6)) == [4, 3, 1]
    assert seqs_of(store.ready(2, (10, 4), 29, 10, 10**6)) == [3]
    assert seqs_of(store.ready(4, START, *ALL)) == []


@pytest.mark.parametrize(("count", "is_last"), [(1, False), (4, False), (5, True), (6, True)])
def test_a_page_says_whether_anything_else_is_ready(store, facts, count, is_last):
    store.commit([*map(facts.added, range(1, 6)), facts.added(6, visible_ms=FAR)], facts.T0)
    page = store.ready(2, START, FAR - 1, count, 10**6)
    assert (len(page.messages), page.is_last) == (min(count, 5), is_last)


def test_a_page_stops_before_its_size_is_passed_but_gives_at_least_one(store, facts):
    store.commit([Added(facts.entry(seq), facts.content(seq, body="é" * 50)) for seq in (1, 2, 3)], facts.T0)
    assert seqs_of(store.ready(2, START, FAR, 10, 300)) == [1, 2, 3]
    assert seqs_of(store.ready(2, START, FAR, 10, 299)) == [1, 2]
    page = store.ready(2, START, FAR, 10, 1)
    assert (seqs_of(page), page.is_last) == ([1], False)


def test_attributes_count_for_the_size_of_a_page(store, facts):
    attributes = {"a": MessageAttributeValue(data_type="String", string_value="x" * 100)}
    store.commit([Added(facts.entry(s), facts.content(s, body="", attributes=attributes)) for s in (1, 2)], facts.T0)
    assert seqs_of(store.ready(2, START, FAR, 10, 150)) == [1]


def test_in_flight_and_delayed_messages_are_told_apart_at_start(store, facts):
    now = facts.T0
    in_flight = [facts.entry(seq, visible_ms=now + seq, receive_count=1, first_received_ms=now - 1) for seq in (3, 2)]
    store.commit(
        [
            facts.added(1, visible_ms=now),
            *(Added(entry, facts.content(entry.seq)) for entry in in_flight),
            facts.added(4, visible_ms=now + 50),
            facts.added(5, visible_ms=now + 50),
            facts.added(6, visible_ms=now + 60),
            facts.added(7, visible_ms=now, receive_count=2),
        ],
        now,
    )
    state = store.load(now).queues[0]
    assert (state.messages, state.oldest_sent_ms) == (7, now + 1)
    assert state.in_flight == sorted(in_flight, key=lambda entry: entry.seq)
    assert state.delayed == {now + 50: 2, now + 60: 1}
    later = store.load(now + 50).queues[0]
    assert (later.messages, later.in_flight, later.delayed) == (7, [], {now + 60: 1})


def test_a_message_is_received_given_to_the_dead_letter_queue_and_deleted(store, facts):
    store.commit([facts.added(1)], facts.T0)
    received = facts.entry(1, visible_ms=FAR, receive_count=1, first_received_ms=facts.T0)
    store.commit([Rescheduled(received)], facts.T0)
    assert store.find([1]) == [received]
    assert seqs_of(store.ready(2, START, FAR - 1, 10, 10**6)) == []
    moved = facts.entry(1, 4, visible_ms=5, receive_count=2, first_received_ms=7, dead_letter_source_arn="arn:x")
    store.commit([Moved(moved, from_shelf=2)], facts.T0)
    assert store.ready(4, START, *ALL).messages == [(moved, facts.content(1))]
    assert messages_of(store, facts) == {1: 0, 3: 1}
    store.commit([Removed(1, 4)], facts.T0)
    assert store.find([1]) == []
    assert messages_of(store, facts) == {1: 0, 3: 0}


def test_one_commit_may_hold_the_whole_life_of_a_message(store, facts):
    life = [
        facts.added(9),
        Rescheduled(facts.entry(9, visible_ms=FAR, receive_count=1)),
        Moved(facts.entry(9, 4, receive_count=1), from_shelf=2),
        Rescheduled(facts.entry(9, 4, visible_ms=3, receive_count=2)),
    ]
    store.commit(life, facts.T0)
    assert store.ready(4, START, *ALL).messages == [(life[-1].entry, facts.content(9))]
    store.commit([facts.added(10), Removed(10, 2), Removed(9, 4)], facts.T0)
    assert messages_of(store, facts) == {1: 0, 3: 0}
    assert store.load(facts.T0).last_seq == 10


def test_a_message_moved_and_then_received_in_one_commit_stands_as_received(store, facts):
    store.commit([facts.added(1)], facts.T0)
    received = facts.entry(1, 4, visible_ms=FAR, receive_count=3)
    moved = Moved(facts.entry(1, 4, visible_ms=5, receive_count=2), from_shelf=2)
    store.commit([Rescheduled(facts.entry(1, visible_ms=9, receive_count=1)), moved, Rescheduled(received)], facts.T0)
    assert store.find([1]) == [received]
    assert messages_of(store, facts) == {1: 0, 3: 1}


def test_the_last_seq_is_never_forgotten(store, facts):
    store.commit([facts.added(9)], facts.T0)
    store.commit([Removed(9, 2)], facts.T0)
    assert store.load(facts.T0).last_seq == 9


def test_a_purge_gives_an_empty_shelf_and_what_lay_on_the_old_one_is_gone(store, facts):
    store.commit([facts.added(1), facts.added(2)], facts.T0)
    store.commit([QueuePut(facts.queue(1, 5, purged_ms=facts.T0)), facts.added(3, 5)], facts.T0)
    state = store.load(facts.T0).queues[0]
    assert (state.queue.purged_ms, state.messages, state.oldest_sent_ms) == (facts.T0, 1, facts.T0 + 3)
    assert [entry.seq for entry in store.find([1, 2, 3])] == [3]
    assert seqs_of(store.ready(2, START, *ALL)) == []
    assert store.sent_before(2, FAR, 10).entries == []
    store.tend()
    store.tend()
    assert seqs_of(store.ready(5, START, *ALL)) == [3]


def test_changes_before_and_after_a_purge_in_one_commit_keep_their_order(store, facts):
    store.commit(
        [facts.added(1), QueuePut(facts.queue(1, 5)), facts.added(2, 5), QueuePut(facts.queue(1, 6))], facts.T0
    )
    assert messages_of(store, facts) == {1: 0, 3: 0}
    assert store.find([1, 2]) == []
    assert store.load(facts.T0).last_id == 6


def test_a_removed_queue_is_gone_with_its_messages_and_remembered_for_sixty_seconds(store, facts):
    store.commit([facts.added(1)], facts.T0)
    store.commit([QueueRemoved(1, facts.ACCOUNT, "queue-1", facts.T0)], facts.T0)
    assert [state.queue.queue_id for state in store.load(facts.T0).queues] == [3]
    assert store.find([1]) == []
    assert store.load(facts.T0 + 59_999).removed_queues == {(facts.ACCOUNT, "queue-1"): facts.T0}
    assert store.load(facts.T0 + 60_000).removed_queues == {}


def test_a_removed_queue_can_be_made_again_under_its_name(store, facts):
    store.commit([QueueRemoved(1, facts.ACCOUNT, "queue-1", facts.T0)], facts.T0)
    again = facts.queue(7, 8, name="queue-1", tags={"team": "blue"})
    store.commit([QueuePut(again)], facts.T0 + 60_000)
    assert [state.queue for state in store.load(facts.T0 + 60_000).queues] == [facts.queue(3, 4), again]


def test_a_queue_put_again_has_its_new_attributes_and_all_its_messages(store, facts):
    store.commit([facts.added(1)], facts.T0)
    changed = facts.queue(1, 2, attributes={"VisibilityTimeout": "9"}, tags={"a": "ä"})
    store.commit([QueuePut(changed)], facts.T0)
    state = store.load(facts.T0).queues[0]
    assert (state.queue, state.messages) == (changed, 1)


def test_old_messages_come_oldest_first_with_the_age_of_the_next(store, facts):
    sent = {1: 50, 2: 10, 3: 30, 4: 10, 5: 90}
    store.commit([facts.added(seq, sent_ms=ms) for seq, ms in sent.items()], facts.T0)
    aged = store.sent_before(2, 50, 10)
    assert ([entry.seq for entry in aged.entries], aged.next_oldest_ms) == ([2, 4, 3], 50)
    aged = store.sent_before(2, 50, 2)
    assert ([entry.seq for entry in aged.entries], aged.next_oldest_ms) == ([2, 4], 30)
    aged = store.sent_before(2, 1000, 10)
    assert (len(aged.entries), aged.next_oldest_ms) == (5, None)
    assert store.sent_before(2, 10, 10).next_oldest_ms == 10
    assert store.sent_before(4, 10, 10).next_oldest_ms is None


def test_many_messages_are_found_by_rising_seq(store, facts):
    store.commit([facts.added(seq) for seq in range(1, 301)], facts.T0)
    assert [entry.seq for entry in store.find([*range(400, 100, -1), 150])] == list(range(101, 301))


def test_the_time_of_the_last_commit_never_goes_back(store, facts):
    assert store.last_ms == facts.T0
    store.commit([facts.added(1)], facts.T0 + 5)
    store.commit([facts.added(2)], facts.T0 + 4)
    store.commit([], facts.T0 + 9)
    assert store.last_ms == facts.T0 + 5


def test_there_is_room(store):
    room = store.tend()
    assert not room.is_full
    assert room.free_bytes > 0
