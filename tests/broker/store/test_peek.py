"""Looks at everything that lies on a shelf, and claims as the stores keep them."""

import pytest

from amply.broker.engine.records import Added, QueuePut, Removed, Rescheduled

FAR = 10**15
START = (0, 0)
MIB = 1 << 20


def seqs_of(peeked):
    return [entry.seq for entry, _ in peeked.messages]


def pages(store, count, size_bytes=MIB):
    found = [store.peek(2, START, count, size_bytes)]
    while found[-1].read_to is not None:
        found.append(store.peek(2, found[-1].read_to, count, size_bytes))
    return found


def test_everything_is_seen_in_the_order_of_sending_whatever_its_state(store, facts):
    sent = [
        Added(facts.entry(1, sent_ms=50), facts.content(1)),
        Added(facts.entry(2, sent_ms=40, visible_ms=FAR, receive_count=2, first_received_ms=41), facts.content(2)),
        Added(facts.entry(3, sent_ms=40, visible_ms=FAR), facts.content(3)),
        Added(facts.entry(4, sent_ms=40, visible_ms=FAR, is_claimed=True), facts.content(4)),
        Added(facts.entry(5, 4, sent_ms=40), facts.content(5)),
    ]
    store.commit(sent, facts.T0)
    peeked = store.peek(2, START, 10, MIB)
    assert peeked.messages == [(sent[number].entry, sent[number].content) for number in (1, 2, 3, 0)]
    assert (peeked.damaged, peeked.read_to) == (0, None)
    assert seqs_of(store.peek(2, (40, 3), 10, MIB)) == [4, 1]
    assert seqs_of(store.peek(2, (40, FAR), 10, MIB)) == [1]


@pytest.mark.parametrize(("count", "lengths"), [(1, [1] * 5), (2, [2, 2, 1]), (4, [4, 1]), (5, [5]), (6, [5])])
def test_pages_follow_one_another_and_the_last_says_so(store, facts, count, lengths):
    store.commit([facts.added(seq) for seq in range(1, 6)], facts.T0)
    found = pages(store, count)
    assert [len(page.messages) for page in found] == lengths
    assert [seq for page in found for seq in seqs_of(page)] == [1, 2, 3, 4, 5]


def test_a_page_of_a_look_ends_before_its_size_is_passed_but_has_at_least_one_message(store, facts):
    store.commit([Added(facts.entry(seq), facts.content(seq, body="é" * 50)) for seq in (1, 2, 3)], facts.T0)
    assert [seqs_of(page) for page in pages(store, 10, 300)] == [[1, 2, 3]]
    assert [seqs_of(page) for page in pages(store, 10, 299)] == [[1, 2], [3]]
    assert [seqs_of(page) for page in pages(store, 10, 1)] == [[1], [2], [3]]


def test_nothing_is_seen_where_there_is_no_queue(store, facts):
    store.commit([facts.added(1), QueuePut(facts.queue(1, 9))], facts.T0)
    assert seqs_of(store.peek(2, START, 10, MIB)) == []
    assert seqs_of(store.peek(77, START, 10, MIB)) == []


@pytest.mark.parametrize("count", [0, 3])
def test_what_is_claimed_is_in_flight_at_start_however_often_it_was_received(store, facts, count):
    claimed = facts.entry(1, visible_ms=facts.T0 + 50, receive_count=count, is_claimed=True)
    store.commit([facts.added(1), facts.added(2, visible_ms=facts.T0 + 60)], facts.T0)
    store.commit([Rescheduled(claimed)], facts.T0)
    state = store.load(facts.T0).queues[0]
    assert (state.in_flight, state.delayed) == ([claimed], {facts.T0 + 60: 1})
    assert store.find([1]) == [claimed]
    assert store.load(facts.T0 + 50).queues[0].in_flight == []
    shown = facts.entry(1, visible_ms=facts.T0, receive_count=count)
    store.commit([Rescheduled(shown)], facts.T0)
    assert store.find([1]) == [shown]
    store.commit([Removed(1, 2)], facts.T0)
    assert store.find([1]) == []


def test_damaged_messages_are_counted_and_left_where_they_are(opened, facts):
    store = opened()
    store.commit([QueuePut(facts.queue()), *[facts.added(seq) for seq in range(1, 7)]], facts.T0)
    store._database.execute("UPDATE message SET body = 'other' WHERE seq IN (2, 3, 4)")
    commits = store._database.state.commits
    found = pages(store, 2)
    assert [(seqs_of(page), page.damaged) for page in found] == [([1], 1), ([], 2), ([5, 6], 0)]
    assert store._database.state.commits == commits
    assert store._database.execute("SELECT count(*) FROM entry WHERE shelf = 2").get == 6
    assert store.ready(2, START, FAR, 10, MIB).damaged == [2, 3, 4], "who receives them finds out as before"
