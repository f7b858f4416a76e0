"""Nothing of a signed request can be changed unnoticed, and nothing that claims to be one does other harm."""

from collections import Counter
from collections.abc import Callable
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mutants import MUTATIONS, header_of, with_header
from signed_requests import FORM, HOST, JSON, KEY, NOW_MS, QUEUE, TOKEN, UNSIGNED, URL, Sent, accept, receive, sign
from signed_requests import authenticate as ask

from amply.broker.sqs.faults import Fault
from amply.broker.wire.http import Request

MUTANTS = 2_000
ACTION = {"Action": "SendMessage", "MessageBody": "a b+c/ü~*"}
JSON_HEADERS = {**JSON, "x-amzn-query-mode": "true", "X-Amz-Foo": "a  b"}

# Each with its session token.
ORIGINALS = [
    (sign("POST", URL, JSON_HEADERS, b'{"QueueUrl": "work", "MessageBody": "x"}'), None),
    (sign("POST", URL, JSON_HEADERS, b"{}", token=TOKEN), TOKEN),
    (sign("POST", QUEUE, {"Content-Type": FORM}, ACTION), None),
    (sign("GET", QUEUE, params=ACTION), None),
    (sign("GET", QUEUE, params=ACTION, expires_s=60), None),
    (sign("GET", QUEUE, params=ACTION, token=TOKEN, expires_s=60), TOKEN),
    (sign("POST", QUEUE, {"Content-Type": FORM}, ACTION, expires_s=60), None),
    (sign("POST", f"{URL}?a=1&b=2", {**JSON, "Content-Type": "text/plain"}, b"{}", expires_s=60), None),
]


def is_refused(sent: Sent, token: str | None) -> bool:
    """As HTTP, or with a fault of the client's; any other exception, and none, fail the test."""
    request = receive(sent)
    if request is None:
        return True
    with pytest.raises(Fault) as caught:
        ask(request, token=token)
    return 400 <= caught.value.row.status < 500


@pytest.mark.parametrize(("sent", "token"), ORIGINALS)
def test_the_originals_are_taken(sent: Sent, token: str | None) -> None:
    accept(sent, token=token)
    accept(sent._replace(headers=sent.headers + UNSIGNED), token=token)


def test_two_thousand_tampered_requests_are_refused() -> None:
    refused: Counter[str] = Counter()
    arrived: Counter[str] = Counter()
    seed = 0
    while refused.total() < MUTANTS:
        rng = Random(seed)
        original, token = rng.choice(ORIGINALS)
        mutate = rng.choice(MUTATIONS)
        mutant = mutate(original, rng)
        if mutant is not None:
            assert mutant != original, (seed, mutate.__name__)
            assert is_refused(mutant, token), (seed, mutate.__name__, mutant)
            refused[mutate.__name__] += 1
            arrived[mutate.__name__] += receive(mutant) is not None
        seed += 1
    assert len(refused) == len(MUTATIONS)
    # Every kind has mutants that only the signature keeps out, not the rules of HTTP.
    assert all(arrived[name] > 0 for name in refused)


def retarget(change: Callable[[str], str]) -> Callable[[Sent], Sent]:
    return lambda sent: sent._replace(target=change(sent.target))


# What Signature Version 4 itself does not tell apart, and what it means for the broker.
EQUIVALENT: dict[str, Callable[[Sent], Sent]] = {
    "header names have no case": lambda sent: sent._replace(headers=[(n.upper(), v) for n, v in sent.headers]),
    "headers have no order": lambda sent: sent._replace(headers=sent.headers[::-1]),
    "space around a header's value": lambda sent: sent._replace(headers=[(n, f"  {v}\t") for n, v in sent.headers]),
    "runs of spaces; no value of SQS has any": lambda sent: with_header(
        sent, "x-amz-foo", (header_of(sent, "x-amz-foo") or "").replace("  ", "     ")
    ),
    "spaces behind a comma": lambda sent: with_header(
        sent, "authorization", (header_of(sent, "authorization") or "").replace(", ", ",")
    ),
    "unsigned headers": lambda sent: sent._replace(headers=[*sent.headers, ("Accept", "*/*"), ("User-Agent", "other")]),
    "dots and empty segments; they name no queue": retarget(lambda target: f"/.//x/..{target}"),
    "query fields have no order; the forms' reader takes the last of equal names": retarget(
        lambda target: "?".join([target.partition("?")[0], *reversed_query(target)])
    ),
    "escapes have no case": retarget(lambda target: target.replace("%2F", "%2f").replace("%C3%BC", "%c3%bc")),
    "what needs no escape": retarget(lambda target: target.replace("Action", "%41ction").replace("~", "%7E")),
    "a credential all in escapes": retarget(lambda target: target.replace(KEY, "".join(f"%{ord(c):x}" for c in KEY))),
    "a plus is a space": retarget(lambda target: target.replace("a%20b", "a+b").replace("a+b", "a%20b")),
    "an empty query is none": retarget(lambda target: target if "?" in target else f"{target}?"),
}


def reversed_query(target: str) -> list[str]:
    query = target.partition("?")[2]
    return ["&".join(reversed(query.split("&")))] if query else []


@pytest.mark.parametrize("what", EQUIVALENT)
def test_what_means_the_same_is_taken(what: str) -> None:
    changed = [(EQUIVALENT[what](sent), sent, token) for sent, token in ORIGINALS]
    assert any(other != sent for other, sent, _ in changed)
    for other, _, token in changed:
        accept(other, token=token)


def test_equal_fields_of_a_query_have_no_order_either() -> None:
    """Whoever relies on which of them counts must not take both."""
    sent = sign("GET", f"{URL}?a=1&a=2")
    accept(sent._replace(target="/?a=2&a=1"))


text = st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=40)
SCOPE = f"{KEY}/20260131/eu-central-1/sqs/aws4_request"
scope = st.one_of(text, st.just(SCOPE), st.lists(text, max_size=6).map("/".join))
names = st.one_of(text, st.just("host;x-amz-date"), st.lists(text, max_size=4).map(";".join))
hexadecimal = st.one_of(text, st.text("0123456789abcdef", min_size=64, max_size=64))
date = st.one_of(text, st.just("20260131T120000Z"), st.from_regex(r"[0-9]{8}T[0-9]{6}Z", fullmatch=True))
http_date = st.from_regex(r"(Mon|Sat), [0-9]{2} (Jan|Feb|Xyz) [0-9]{4} [0-9]{2}:[0-9]{2}:[0-9]{2} GMT", fullmatch=True)
authorization = st.one_of(
    st.binary(max_size=200),
    st.builds("AWS4-HMAC-SHA256 Credential={}, SignedHeaders={}, Signature={}".format, scope, names, hexadecimal).map(
        str.encode
    ),
)
query = st.one_of(
    text,
    st.builds(
        "X-Amz-Algorithm={}&X-Amz-Credential={}&X-Amz-Date={}&X-Amz-Expires={}&X-Amz-SignedHeaders={}&X-Amz-Signature={}".format,
        st.one_of(text, st.just("AWS4-HMAC-SHA256")),
        scope,
        date,
        st.one_of(text, st.integers(-1, 10**9).map(str)),
        st.one_of(names, st.just("host")),
        hexadecimal,
    ),
)


@settings(max_examples=400, deadline=None)
@given(authorization=st.none() | authorization, query=query, date=date | http_date, path=text, body=st.binary())
def test_garbage_meets_a_fault(authorization: bytes | None, query: str, date: str, path: str, body: bytes) -> None:
    headers = {b"host": HOST.encode(), b"x-amz-date" if len(path) % 2 else b"date": date.encode()}
    if authorization is not None:
        headers[b"authorization"] = authorization
    with pytest.raises(Fault) as caught:
        ask(Request("POST", f"/{path}?{query}", headers, body), now_ms=NOW_MS)
    assert 400 <= caught.value.row.status < 500
