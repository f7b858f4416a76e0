"""Whatever arrives: an exchange that can be answered, never another exception."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from amply.broker.sqs import faults
from amply.broker.sqs.actions import ACTIONS
from amply.broker.wire.aws_query import read_fields
from amply.broker.wire.http import Request
from amply.broker.wire.protocols import Exchange, read, write

FORM = b"application/x-www-form-urlencoded"


def read_request(request: Request) -> Exchange:
    return read(request, default_account="000000000000", base_url=None, request_id="id-1")


def answer(request: Request) -> Exchange:
    """Read, and write the fault if there is one."""
    exchange = read_request(request)
    assert (exchange.call is None) != (exchange.fault is None)
    if exchange.fault is not None:
        assert exchange.fault.row.is_sender
        response = write(exchange, exchange.fault)
        assert 400 <= response.status < 500
        assert (b"x-amzn-requestid", b"id-1") in response.headers
    return exchange


def send_json(body: bytes) -> Request:
    headers = {b"x-amz-target": b"AmazonSQS.SendMessage", b"content-type": b"application/x-amz-json-1.0"}
    return Request("POST", "/", headers, body)


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"[]",
        b"null",
        b"1",
        b'"x"',
        b"\xff\xfe",
        b"\xef\xbb\xbf{}",
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b'{"MessageAttributes":' * 100_000,
        b'{"DelaySeconds":' + b"9" * 5000 + b"}",
        b'{"DelaySeconds":2147483648}',
        b'{"DelaySeconds":NaN}',
        b'{"DelaySeconds":Infinity}',
        b'{"DelaySeconds":1e400}',
        b'{"DelaySeconds":1.0}',
        b'{"DelaySeconds":true}',
        b'{"DelaySeconds":"1"}',
        b'{"MessageBody":1}',
        b'{"MessageBody":null}',
        b'{"MessageBody":"\\ud800"}',
        b'{"MessageBody":"\\udc00x"}',
        b'{"MessageBody":"\xed\xa0\x80"}',
        b'{"MessageBody":"\xff"}',
        b'{"MessageBody":"a\nb"}',
        b'{"MessageAttributes":[]}',
        b'{"MessageAttributes":{"a":"x"}}',
        b'{"MessageAttributes":{"a":{"BinaryValue":"*"}}}',
        b"{} {}",
        b"{'a':1}",
    ],
    ids=lambda body: repr(body[:40]),
)
def test_bad_json_is_a_serialization_exception(body: bytes) -> None:
    exchange = answer(send_json(body))
    assert exchange.fault is not None
    assert exchange.fault.row is faults.SERIALIZATION


@pytest.mark.parametrize("origin", [b"https://example.com", b"http://127.0.0.1:9324", b"null"])
def test_a_request_from_a_web_page_is_refused(origin: bytes) -> None:
    form = b"Action=SendMessage&QueueUrl=http%3A%2F%2Flocalhost%2F000000000000%2Fwork&MessageBody=x"
    exchange = answer(Request("POST", "/", {b"content-type": FORM, b"origin": origin}, form))
    assert exchange.fault is not None
    assert exchange.fault.row is faults.ACCESS_DENIED


@pytest.mark.parametrize("text", ["a=1&b=2&a=1", "Action=SendMessage&Act%69on=DeleteQueue"])
def test_a_parameter_given_twice_is_refused(text: str) -> None:
    with pytest.raises(faults.Fault, match="MalformedQueryString"):
        read_fields(text)


def test_of_duplicate_members_the_last_counts() -> None:
    exchange = answer(send_json(b'{"QueueUrl":"q","MessageBody":"a","MessageBody":"b"}'))
    assert exchange.call is not None
    assert getattr(exchange.call.request, "message_body", None) == "b"


def test_a_serialization_exception_does_not_repeat_what_was_sent() -> None:
    exchange = answer(send_json(b'{"MessageBody":{"secret":"value"}}'))
    assert exchange.fault is not None
    assert "secret" not in exchange.fault.message


def test_json_of_very_many_names_and_texts_is_refused_before_it_is_decoded() -> None:
    for unit in (b',"a":{}', b',"\\\\":{}', b' , "a" : {}'):
        attributes = b'"x":{}' + unit * 50_000
        fault = answer(send_json(b'{"MessageSystemAttributes":{' + attributes + b"}}")).fault
        assert fault is not None
        assert fault.row is faults.SERIALIZATION
        assert "20000 names" in fault.message


@pytest.mark.parametrize("text", ['"' * 1_000_000, '\\"' * 500_000, '{"a": [{}]}' * 90_000, "\\" * 1_000_000])
def test_a_text_may_hold_any_number_of_quotes_braces_and_backslashes(text: str) -> None:
    queue_url = "http://localhost/000000000000/q"
    call = answer(send_json(json.dumps({"QueueUrl": queue_url, "MessageBody": text}).encode())).call
    assert call is not None
    assert call.request.message_body == text  # type: ignore[attr-defined]


def test_fields_nested_deep_are_refused_or_ignored() -> None:
    name = ".".join(["1"] * 10_000)
    for field in (name, f"AttributeName.{name}", "." * 10_000):
        body = f"Action=GetQueueAttributes&QueueUrl=q&{field}=x".encode()
        answer(Request("POST", "/", {b"content-type": FORM}, body))


@pytest.mark.parametrize("form", [b"MessageBody=100%", b"MessageBody=%2", b"MessageBody=%zz", b"%=a", b"a=%%20"])
def test_a_percent_sign_that_escapes_nothing_is_malformed(form: bytes) -> None:
    exchange = answer(Request("POST", "/", {b"content-type": FORM}, b"Action=SendMessage&QueueUrl=q&" + form))
    assert exchange.fault is not None
    assert exchange.fault.row is faults.MALFORMED_QUERY_STRING


@settings(deadline=None)
@given(fields=st.dictionaries(st.text(), st.text(), max_size=5))
def test_a_form_is_read_as_it_was_meant(fields: dict[str, str]) -> None:
    from urllib.parse import quote, urlencode

    assert read_fields(urlencode(fields)) == fields
    assert read_fields(urlencode(fields, quote_via=quote).encode()) == fields


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda children: st.lists(children, max_size=4) | st.dictionaries(st.text(max_size=10), children, max_size=4),
    max_leaves=10,
)
MEMBERS = (
    "QueueUrl",
    "Entries",
    "MessageBody",
    "MessageAttributes",
    "Attributes",
    "Tags",
    "MaxResults",
    "DelaySeconds",
)
json_bodies = st.dictionaries(st.sampled_from(MEMBERS) | st.text(max_size=5), json_values, max_size=6).map(
    lambda value: json.dumps(value).encode()
)
actions = st.sampled_from(sorted(ACTIONS))
paths = st.sampled_from(["/", "/000000000000/q", "/%2e%2e/", "//", "/?", "/?Action=ListQueues", "/a/b/c?QueueUrl=x"])
PARTS = ("Attribute", "AttributeName", "Tag", "Entries", "SendMessageBatchRequestEntry", "1", "2", "Name", "Value", "")
field_names = st.lists(st.sampled_from(PARTS) | st.text(max_size=3), min_size=1, max_size=9).map(".".join)
headers = st.dictionaries(
    st.sampled_from([b"authorization", b"host", b"accept", b"content-type", b"x-amz-target", b"x-amzn-trace-id"]),
    st.binary(max_size=30) | st.sampled_from([FORM, b"application/json", b"AmazonSQS.SendMessage"]),
)


@settings(deadline=None)
@given(action=actions, path=paths, body=st.binary(max_size=50) | json_bodies)
def test_any_json_request_has_an_answer(action: str, path: str, body: bytes) -> None:
    answer(Request("POST", path, {b"x-amz-target": f"AmazonSQS.{action}".encode()}, body))


@settings(deadline=None)
@given(action=actions, path=paths, fields=st.dictionaries(field_names, st.text(max_size=5), max_size=8))
def test_any_form_has_an_answer(action: str, path: str, fields: dict[str, str]) -> None:
    from urllib.parse import urlencode

    body = urlencode({"Action": action, "QueueUrl": "q", **fields}).encode()
    answer(Request("POST", path, {b"content-type": FORM}, body))


@settings(deadline=None)
@given(
    method=st.sampled_from(["GET", "POST"]),
    target=st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=40).map(lambda text: "/" + text),
    headers=headers,
    body=st.binary(max_size=60),
)
def test_any_bytes_have_an_answer(method: str, target: str, headers: dict[bytes, bytes], body: bytes) -> None:
    answer(Request(method, target, headers, body))
