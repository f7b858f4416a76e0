"""Identities."""

import re
import uuid

from amply.ids import CountingIds, RandomIds, access_key_id, request_id, secret_access_key, session_token


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


def test_access_keys_have_the_form_of_aws_and_are_never_the_same() -> None:
    assert re.fullmatch("AKIA[A-Z2-7]{16}", access_key_id(is_temporary=False))
    assert re.fullmatch("ASIA[A-Z2-7]{16}", access_key_id(is_temporary=True))
    assert re.fullmatch("[A-Za-z0-9+/]{40}", secret_access_key())
    assert re.fullmatch("[A-Za-z0-9+/]{96}", session_token())
    for make in (lambda: access_key_id(is_temporary=False), secret_access_key, session_token):
        assert len({make() for _ in range(100)}) == 100
