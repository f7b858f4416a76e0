"""Refusing: whatever is sent is either safe to hand to a worker or refused with a reason."""

import base64
import json
import math
import zlib
from typing import Any

import pytest
from envelope_samples import EMBEDDED, PROTOCOL_1, TASK, b64, call, changed, payload
from envelope_worker import WORKER
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from amply.envelope import Job, Unreadable, job, read, write


def deep(levels: int) -> bytes:
    return b"[[" + b"[" * levels + b"]" * levels + b"], {}, {}]"


REFUSED = {
    "": "neither a JSON object nor base64",
    "hello world": "neither a JSON object nor base64",
    "[1, 2]": "neither",
    "null": "neither",
    "{": "the message is not JSON",
    '{"a": ' * 50_000: "nested too deep",
    b64(b"\xff\xfe"): "neither",
    b64(b"[]"): "neither",
    b64(b"{"): "the message is not JSON",
    '{"__type__": "bytes", "__value__": "{}"}': "it has no body",
    "\ud800": "neither",
    "{\ud800}": "neither",
    '{"properties":{}}': "it has no body",
    '{"Type": "Notification", "Message": "hi"}': "it has no body",
    changed({"headers": "x"}): "headers must be an object",
    changed({"properties": [1]}): "properties must be an object",
    changed({"delivery_info": "x"}, "properties"): "properties.delivery_info must be an object",
    changed({"routing_key": []}, "properties.delivery_info"): "properties.delivery_info.routing_key",
    changed({"priority": "high"}, "properties"): "properties.priority must be a whole number",
    changed({"correlation_id": {}}, "properties"): "properties.correlation_id",
    changed({"body_encoding": "rot13"}, "properties"): "properties.body_encoding must be",
    changed({"body_encoding": 64}, "properties"): "properties.body_encoding must be",
    changed({"content-type": 5}): "content-type must be",
    changed({"content-type": "application/data"}): "content-type says plain data",
    changed({"content-encoding": ["utf-8"]}): "content-encoding must be",
    changed({"body": 5}): "body must be text",
    changed({"body": None}): "it has no body",
    changed({"body": ""}): "body must be text, and not empty",
    changed({"body": "abc"}): "body is not base64",
    changed({"body": "é"}): "body is not base64",
    changed({"body": b64(b"\xff")}): "body is not JSON",
    changed({"body": b64(b"5")}): "body must be a list",
    changed({"body": b64([1, 2])}): "body must be a list",
    changed({"body": b64({"a": 1})}): "body must be a list",
    changed({"body": b64([{}, {}, {}])}): "args in the body",
    changed({"body": b64([[], [], {}])}): "kwargs in the body",
    changed({"body": b64([[], {}, None])}): "embedded calls",
    changed({"body": b64([[], {}, {"retries": "x"}])}): r"body\[2\].retries",
    changed({"body": b64([[], {}, {"errbacks": [5]}])}): r"body\[2\].errbacks",
    changed({"body": b64([[], {}, {"__type__": "bytes", "__value__": "x"}])}): "embedded calls",
    changed({"body": b64(b'[[], {}, {"\\u005f_type__": "bytes", "__value__": "x"}]')}): "embedded calls",
    changed({"body": b64([[{"__type__": "uuid", "__value__": 5}], {}, {}])}): "body is not JSON that kombu can read",
    changed({"body": b64(deep(250))}): "body is nested too deep",
    changed({"body": b64(deep(100_000))}): "body is nested too deep",
    changed({"task": ["x"]}, "headers"): "headers.task must be",
    changed({"task": None}, "headers"): "headers.task is missing",
    changed({"task": "a\nb"}, "headers"): "headers.task must be",
    changed({"id": None}, "headers"): "headers.id is missing",
    changed({"id": 7}, "headers"): "headers.id must be",
    changed({"eta": 5}, "headers"): "headers.eta must be a time",
    changed({"eta": ""}, "headers"): "headers.eta must be a time",
    changed({"expires": "9999-12-31T23:59:59"}, "headers"): "headers.expires must be a time",
    changed({"retries": "3"}, "headers"): "headers.retries must be",
    changed({"retries": None}, "headers"): "headers.retries must be",
    changed({"retries": True}, "headers"): "headers.retries must be",
    changed({"timelimit": 5}, "headers"): "headers.timelimit must be",
    changed({"timelimit": [1]}, "headers"): "headers.timelimit must be",
    changed({"timelimit": [math.inf, None]}, "headers"): "headers.timelimit must be",
    changed({"stamped_headers": [[]]}, "headers"): "headers.stamped_headers must be",
    changed({"stamps": []}, "headers"): "headers.stamps must be",
    changed({"root_id": "\ud800"}, "headers"): "headers.root_id must be",
    changed({"compression": ["gzip"]}, "headers"): "headers.compression must be",
    changed({"compression": "gzip"}, "headers"): "not compressed as",
    changed({"headers": {}, "body": b64(5)}): "neither headers nor body name a task",
    changed({"headers": {}, "body": b64(PROTOCOL_1 | {"id": None})}): "body.id is missing",
    changed({"headers": {"id": None}, "body": b64(PROTOCOL_1)}): "headers.id must not be null",
    changed({"headers": {}, "body": b64(PROTOCOL_1 | {"kwargs": None})}): "kwargs in the body",
    changed({"headers": {}, "body": b64(PROTOCOL_1 | {"eta": 5})}): "body.eta must be",
}


@pytest.mark.parametrize(("body", "reason"), REFUSED.items(), ids=range(len(REFUSED)))
def test_a_message_that_is_no_job_is_refused_with_its_reason(body: str, reason: str) -> None:
    with pytest.raises(Unreadable, match=reason) as refused:
        read(body)
    assert len(refused.value.reason) < 120
    assert "\n" not in refused.value.reason


WRONG = {
    **dict.fromkeys(("id", "task", "shadow", "root_id", "parent_id", "group", "taskset", "eta", "expires"), 5),
    **dict.fromkeys(("retries", "group_index", "replaced_task_nesting", "timelimit", "stamps", "headers"), "5"),
    **{name: [5] for name in ("chord", "callbacks", "errbacks", "chain", "stamped_headers")},
}


@pytest.mark.parametrize(("name", "value"), WRONG.items(), ids=WRONG)
def test_a_member_of_the_wrong_type_is_named_wherever_it_is(name: str, value: Any) -> None:
    with pytest.raises(Unreadable, match=rf"^headers\.{name} must be"):
        read(changed({name: value}, "headers"))
    with pytest.raises(Unreadable, match=rf"^body\.{name} must be"):
        read(json.dumps({"body": b64(PROTOCOL_1 | {name: value})}))
    with pytest.raises(Unreadable, match=rf"^body\[2\]\.{name} must be"):
        read(changed({"body": b64([[], {}, {name: value}])}))


@pytest.mark.parametrize("name", ["args", "kwargs", "properties", "delivery_info"])
def test_what_is_embedded_in_a_call_may_not_overlay_a_request_with_nonsense(name: str) -> None:
    with pytest.raises(Unreadable, match=rf"^body\[2\]\.{name} must be"):
        read(changed({"body": b64([[], {}, {name: 5}])}))


@pytest.mark.parametrize("name", ["correlation_id", "reply_to", "exchange", "routing_key", "consumer_tag", "priority"])
def test_a_property_of_the_wrong_type_is_named(name: str) -> None:
    for where in ("properties", "properties.delivery_info"):
        with pytest.raises(Unreadable, match=rf"^{where}\.{name} must be"):
            read(changed({name: ["x"]}, where))


def test_what_unpacks_to_far_more_than_a_message_is_refused() -> None:
    bomb = zlib.compress(b"[" + b" " * 80_000_000)
    with pytest.raises(Unreadable, match="unpacks to more than"):
        read(write(payload(bomb, compression="gzip"), "brief"))


HOSTILE = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters(), max_size=5)
    | st.sampled_from(["", "1970-01-01", "9998-12-31T23:59:59-23:59", "base64", "gzip", TASK, "application/json"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(max_size=3) | st.sampled_from(["args", "task", "id", "retries"]), inner, max_size=3)
        | st.fixed_dictionaries({"__type__": st.sampled_from(["datetime", "bytes", "uuid", "new"]), "__value__": inner})
    ),
    max_leaves=5,
)

# Values that are right for one member and wrong for another.
PLAUSIBLE = st.sampled_from(
    [None, 0, 3, 0.5, "", "x", "1970-01-01", "9998-12-31T23:59:59-23:59", [], [None, None], [60, 0.5], ["x"], {}, [{}]]
)


def hostile_members(sample: dict[str, Any], *names: str) -> st.SearchStrategy[dict[str, Any]]:
    """The sample with up to two of its members, or of the named ones, replaced by anything or gone."""
    name = st.sampled_from([*sample, *names])
    replaced = st.dictionaries(name, PLAUSIBLE | HOSTILE, max_size=2)
    return st.tuples(replaced, st.sets(name, max_size=1) | st.just(set())).map(
        lambda how: {member: value for member, value in (sample | how[0]).items() if member not in how[1]}
    )


CALL_NAMES = ("eta", "expires", "shadow", "root_id", "group", "stamps", "stamped_headers", "chord", "errbacks", "chain")
HEADERS = hostile_members(payload()["headers"], "headers", "ignore_result", "argsrepr", "compression", *CALL_NAMES)
BODIES = st.one_of(
    st.just(call(1, n=2)),
    hostile_members(PROTOCOL_1, "taskset", "utc", *CALL_NAMES),
    st.tuples(st.just([1]), st.just({}), hostile_members(EMBEDDED, *CALL_NAMES, "retries", "id", "delivery_info")),
    st.tuples(HOSTILE, HOSTILE, HOSTILE),
    HOSTILE,
)
PROPERTIES = hostile_members(payload()["properties"])
GOOD_HEADERS = st.builds(lambda: payload()["headers"])
GOOD_PROPERTIES = st.builds(lambda: payload()["properties"])
# Mostly one part is hostile at a time, so that many messages come far.
PARTS = st.one_of(
    st.tuples(HEADERS, GOOD_PROPERTIES, st.just(call(1, n=2)) | st.just(PROTOCOL_1)),
    st.tuples(GOOD_HEADERS, PROPERTIES, st.just(call(1, n=2))),
    st.tuples(GOOD_HEADERS | st.just({}), GOOD_PROPERTIES, BODIES),
    st.tuples(HEADERS | HOSTILE, PROPERTIES | HOSTILE, BODIES),
)


@settings(max_examples=400, suppress_health_check=[HealthCheck.too_slow])
@given(PARTS, st.sampled_from([None, "utf-8", "UTF-8", ""]))
def test_what_is_read_never_ends_a_worker_and_what_is_not_says_why(parts: Any, text_encoding: str | None) -> None:
    headers, properties, body = parts
    text = json.dumps(body)
    message = payload() | {"body": b64(body), "headers": headers, "properties": properties}
    if text_encoding is not None and isinstance(properties, dict):
        message |= {"body": text, "properties": properties | {"body_encoding": text_encoding}}
    told = job(message)
    assert isinstance(told, Job)
    try:
        back = read(json.dumps(message))
    except Unreadable:
        return
    outcome = WORKER.take(back)
    # Compressions and marks that an application may have registered are left to its kombu, which tells Celery in order.
    in_order = {"reserved", "scheduled", "discarded", "unknown task", "undecoded"}
    assert outcome in in_order or "Unsupported type" in outcome
    assert read(write(back, "brief"))["headers"].keys() == back["headers"].keys()


@given(
    st.text(st.characters()) | st.binary().map(lambda data: base64.b64encode(data).decode()) | HOSTILE.map(json.dumps)
)
@example("7" * 5000)
@example('{"body": ' + "7" * 5000 + "}")
def test_any_text_at_all_is_read_or_refused(body: str) -> None:
    with pytest.raises(Unreadable):
        read(body)


@given(HOSTILE)
def test_a_job_is_told_of_anything_at_all(anything: Any) -> None:
    assert job(anything).args is None
