"""Identities."""

import uuid

from amply.ids import CountingIds, RandomIds, request_id


def test_message_ids_are_random_uuids_and_never_the_same() -> None:
    ids = RandomIds()
    made = [ids.message_id() for _ in range(2000)]
    assert len(set(made)) == 2000
    for text in made:
        parsed = uuid.UUID(text)
        assert (str(parsed), parsed.version, parsed.variant) == (text, 4, uuid.RFC_4122)


def test_counting_ids_are_the_same_on_every_run() -> None:
    one, other = CountingIds(), CountingIds()
    assert [one.message_id() for _ in range(3)] == [other.message_id() for _ in range(3)]


def test_request_ids_differ_and_look_like_uuids() -> None:
    one, other = request_id(), request_id()
    assert one != other
    assert str(uuid.UUID(one)) == one
