"""A walk meets every letter once; on our own broker it leaves no trace, elsewhere as little as there can be."""

import pytest

from amply.deadletters.gateway import Gateway, Message, NotFoundError, RefusedError, UnreachableError
from amply.deadletters.letters import SOURCE, Letter
from amply.deadletters.walks import walk
from amply.transport.faults import SqsFault, Transient


def bodies(letters):
    return sorted(letter.body for letter in letters)


def walked(place, *, takes=False):
    with walk(place.gateway, place.queue, takes=takes) as steps:
        return [letter for page in steps.pages() for letter in page]


@pytest.mark.parametrize("count", [0, 1, 25])
def test_a_walk_meets_every_letter_once(place, count):
    place.die(*map(str, range(count)))
    assert bodies(walked(place)) == sorted(map(str, range(count)))
    assert bodies(walked(place)) == sorted(map(str, range(count))), "and a second one does too"
    assert place.count() == (count, 0)


def test_a_letter_tells_where_it_came_from_and_what_it_carries(place):
    attributes = {
        "Customer": {"DataType": "String", "StringValue": "42"},
        "Digest": {"DataType": "Binary", "BinaryValue": b"\x00\xff"},
    }
    place.die("hello", queue="mails", MessageAttributes=attributes)
    (letter,) = walked(place)
    assert (letter.body, letter.source) == ("hello", None if place.is_plain else "mails"), "moto does not tell"
    assert letter.attributes["Customer"] == {"DataType": "String", "StringValue": "42"}
    assert letter.attributes["Digest"] == {"DataType": "Binary", "BinaryValue": "AP8="}
    assert letter.receive_count >= 1
    assert letter.expires_ms(60) == letter.sent_ms + 60_000


def test_a_letter_that_was_put_back_says_itself_where_it_came_from(place):
    place.gateway.send(
        place.queue, [Message(body="x", attributes={SOURCE: {"DataType": "String", "StringValue": "mails"}})]
    )
    (letter,) = walked(place)
    assert letter.source == "mails"


def test_what_is_taken_and_deleted_is_gone_and_the_rest_is_there(place):
    place.die(*map(str, range(25)))
    with walk(place.gateway, place.queue, takes=True) as steps:
        for page in steps.pages():
            taken = steps.take([letter for letter in page if letter.body.endswith("3")])
            assert steps.delete(taken) == taken
    assert place.count() == (22, 0)
    assert bodies(walked(place)) == sorted(str(one) for one in range(25) if one % 10 != 3)


def test_what_is_taken_and_left_is_there_again(place):
    place.die("x")
    with walk(place.gateway, place.queue, takes=True) as steps:
        letters = [letter for page in steps.pages() for letter in page]
        taken = steps.take(letters)
        assert place.count() == (0, 1)
        steps.leave(taken)
        assert place.count() == (1, 0)


def test_a_walk_that_ends_early_or_badly_leaves_everything_visible(place):
    place.die(*map(str, range(30)))
    with walk(place.gateway, place.queue, takes=True) as steps:
        next(iter(steps.pages()))
    assert place.count() == (30, 0)
    steps = walk(place.gateway, place.queue, takes=True)
    next(steps.pages())
    steps.__exit__(ValueError, ValueError("the caller's"), None)
    assert place.count() == (30, 0)


def test_on_our_broker_a_look_leaves_no_trace_and_sees_what_is_hidden(make_place):
    place = make_place("embedded")
    place.die("a", "b", "c")
    (held, *_) = place.receive("dead", VisibilityTimeout=600, MaxNumberOfMessages=1)
    counts = {letter.body: letter.receive_count for letter in walked(place)}
    assert counts == {letter.body: letter.receive_count for letter in walked(place, takes=True)}
    assert held["Body"] in counts


def test_on_our_broker_a_letter_that_somebody_else_has_is_not_taken(make_place):
    place = make_place("embedded")
    place.die("a", "b", "c")
    with walk(place.gateway, place.queue, takes=True) as steps:
        (page,) = steps.pages()
        (held, *_) = place.receive("dead", VisibilityTimeout=600, MaxNumberOfMessages=1)
        assert bodies(steps.take(page)) == sorted({"a", "b", "c"} - {held["Body"]})
        assert steps.take(page) == [], "nor by a second walk"


def test_elsewhere_a_look_counts_as_a_receive(make_place):
    place = make_place("moto")
    place.die("a")
    (first,), (second,) = walked(place), walked(place)
    assert second.receive_count == first.receive_count + 1


def test_what_cannot_be_done_says_why_and_what_to_do(place):
    with pytest.raises(NotFoundError) as missing:
        place.gateway.queue("nobody")
    assert missing.value.exit_code == 3
    assert missing.value.hint


def test_an_endpoint_where_nobody_answers_is_unreachable(make_place):
    place = make_place("embedded")
    nobody = Gateway(place.endpoint._replace(url="http://127.0.0.1:9"), pause=lambda _: None)
    with pytest.raises(UnreachableError) as gone:
        nobody.queue("dead")
    assert gone.value.exit_code == 5


def test_a_batch_is_split_by_count_and_by_size(place):
    large = "x" * 200_000
    outcomes = place.gateway.send(place.queue, [Message(body=large, attributes={}) for _ in range(13)])
    assert [one.error for one in outcomes] == [None] * 13
    assert place.count()[0] == 13


def test_what_sqs_refuses_of_a_batch_is_told_one_by_one(make_place):
    place = make_place("embedded")
    outcomes = place.gateway.send(
        place.queue, [Message(body="good", attributes={}), Message(body="bad \x00", attributes={})]
    )
    assert outcomes[0].message_id
    assert outcomes[1].error
    assert not outcomes[1].is_unknown


def test_a_send_that_is_throttled_is_asked_again_and_one_that_failed_is_not(make_place):
    place = make_place("embedded")
    real, faults, asked = place.gateway._client.call, [Transient("SendMessageBatch", 400, "RequestThrottled", "")], []

    def call(action, members, **how):
        asked.append(action)
        if faults:
            raise faults.pop()
        return real(action, members, **how)

    place.gateway._client.call = call
    (sent,) = place.gateway.send(place.queue, [Message(body="x", attributes={})])
    assert (sent.error, len(asked)) == (None, 2)
    faults.append(Transient("SendMessageBatch", 503, "ServiceUnavailable", ""))
    (sent,) = place.gateway.send(place.queue, [Message(body="y", attributes={})])
    assert (sent.is_unknown, len(asked)) == (True, 3)
    assert place.count() == (1, 0)


def test_refused_names_the_permission(make_place):
    place = make_place("embedded")

    def denied(action, members, **_):
        raise SqsFault(action, 403, "AccessDenied", "no")

    place.gateway._client.call = denied
    with pytest.raises(RefusedError) as refused:
        place.gateway.delete(
            place.queue, [Letter(message_id="1", body="", handle="h", attributes={}, sent_ms=0, receive_count=1)]
        )
    assert "sqs:DeleteMessage on" in refused.value.hint
