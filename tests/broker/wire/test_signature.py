"""Requests signed by botocore and kombu are taken; what is forged, late, incomplete or elsewhere is not, and why."""

import hmac
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import boto3
import pytest
from botocore.auth import SigV4Auth
from botocore.config import Config
from kombu.asynchronous.aws.connection import AsyncAWSQueryConnection
from kombu.asynchronous.aws.sqs.connection import AsyncSQSConnection
from signed_requests import (
    FORM,
    JSON,
    KEY,
    NOW_MS,
    QUEUE,
    REGION,
    SECRET,
    TOKEN,
    UNSIGNED,
    URL,
    Sent,
    accept,
    as_sent,
    authenticate,
    receive,
    sign,
)

from amply.broker.sqs.faults import Fault
from amply.broker.wire import signature as module
from amply.broker.wire.http import Request
from amply.broker.wire.signature import read_signature, verify

BODY = b'{"QueueUrl": "http://sqs.test:9324/000000000000/work", "MessageBody": "hello"}'
ACTION = {"Action": "SendMessage", "MessageBody": "a b+c/ü~*", "Version": "2012-11-05"}
HOUR_MS = 3_600_000


def arrived(*args: Any, **changes: Any) -> Request:
    """A request signed by botocore, as it arrives."""
    request = receive(sign(*args, **changes))
    assert request is not None
    return request


def json_request(headers: dict[str, str] = JSON, **changes: Any) -> Request:
    return arrived("POST", URL, headers, BODY, **changes)


def with_headers(request: Request, **headers: bytes | None) -> Request:
    """Other values for some headers; None drops one."""
    changed = {name.replace("_", "-").encode(): value for name, value in headers.items()}
    merged = {**request.headers, **changed}
    kept = {name: value for name, value in merged.items() if value is not None}
    return Request(request.method, request.target, kept, request.body)


def code_of(request: Request, **circumstances: Any) -> str:
    """The code of the fault that a request meets."""
    with pytest.raises(Fault) as caught:
        authenticate(request, **circumstances)
    return caught.value.row.query_code


@pytest.mark.parametrize(
    "sent",
    [
        sign("POST", URL, JSON, BODY),
        sign("POST", URL, JSON, b""),
        sign("POST", URL, {**JSON, "X-Amz-Foo": "  two   words\tand a tab  "}, BODY),
        sign("POST", URL, {**JSON, "Date": "set by the signer"}, BODY),
        sign("POST", QUEUE, {"Content-Type": FORM}, ACTION),
        sign("POST", QUEUE, {"Content-Type": FORM}, b"Action=SendMessage&MessageBody=%C3%BC+x"),
        sign("GET", QUEUE, params=ACTION),
        sign("GET", QUEUE, params=[("b", "2"), ("a", "2"), ("a", "1"), ("a", "10"), ("B", ""), ("a-", "1")]),
        sign("GET", f"{QUEUE}?Action=ListQueues&flag"),
        sign("GET", QUEUE, params=ACTION, expires_s=60),
        sign("GET", QUEUE, params=ACTION, expires_s=604_800),
        sign("POST", QUEUE, {"Content-Type": FORM}, ACTION, expires_s=60),
        sign("POST", URL, JSON, BODY, expires_s=60),
        sign("GET", f"{URL}a%20b/./c//d/../%C3%BC~*'(,)"),
        sign("GET", f"{URL}a/b/"),
    ],
)
def test_what_botocore_signs_is_taken(sent: Sent) -> None:
    assert accept(sent).access_key == KEY
    accept(sent._replace(headers=[*sent.headers, *UNSIGNED]))


@pytest.mark.parametrize("expires_s", [None, 60])
def test_a_session_token_is_read_and_covered(expires_s: int | None) -> None:
    assert accept(sign("GET", QUEUE, params=ACTION, token=TOKEN, expires_s=expires_s), token=TOKEN).session_token


def test_what_a_signature_says_can_be_read() -> None:
    signature = read_signature(arrived("GET", QUEUE, params=ACTION, token=TOKEN, expires_s=77))
    assert (signature.access_key, signature.date, signature.region) == (KEY, "20260131", REGION)
    assert (signature.service, signature.signed_headers, signature.signed_ms) == ("sqs", ("host",), NOW_MS)
    assert (signature.expires_s, signature.session_token) == (77, TOKEN)
    assert read_signature(json_request()).expires_s is None
    assert read_signature(json_request()).signed_headers == ("content-type", "host", "x-amz-date", "x-amz-target")


class _CaughtError(Exception):
    """Ends a client's call before anything is sent."""


def client_of(endpoint_url: str, **options: Any) -> Any:
    return boto3.client(
        "sqs",
        region_name=REGION,
        endpoint_url=endpoint_url,
        aws_access_key_id=KEY,
        aws_secret_access_key=SECRET,
        config=Config(retries={"total_max_attempts": 1}),
        **options,
    )


def passes_now(sent: Sent, **circumstances: Any) -> None:
    """Real clients sign with the real time."""
    request = receive(sent)
    assert request is not None
    authenticate(request, now_ms=read_signature(request).signed_ms, **circumstances)


@pytest.mark.parametrize("options", [{}, {"aws_session_token": TOKEN}])
def test_boto3s_calls_are_taken(options: dict[str, str]) -> None:
    client = client_of(URL, **options)
    sent: list[Sent] = []

    def catch(request: Any, **_: Any) -> None:
        sent.append(as_sent(request))
        raise _CaughtError

    client.meta.events.register("before-send.sqs", catch)
    calls: list[Callable[[], object]] = [
        lambda: client.send_message(QueueUrl=QUEUE, MessageBody="hellö"),
        lambda: client.receive_message(QueueUrl=QUEUE),
        client.list_queues,
    ]
    for call in calls:
        with pytest.raises(_CaughtError):
            call()
    assert len(sent) == len(calls)
    for one in sent:
        passes_now(one, token=options.get("aws_session_token"))


def test_boto3s_presigned_urls_are_taken() -> None:
    """Their parameters are in the query, and the headers that make them AWS JSON must be sent along."""
    url = client_of(URL).generate_presigned_url("list_queues", Params={"QueueNamePrefix": "a b"})
    headers = {**JSON, "Host": "sqs.test:9324", "X-Amz-Target": "AmazonSQS.ListQueues", "x-amzn-query-mode": "true"}
    passes_now(Sent("POST", url.removeprefix(URL.rstrip("/")), list(headers.items()), b""))


@pytest.mark.parametrize("verb", ["GET", "POST"])
@pytest.mark.parametrize("kind", [AsyncSQSConnection, AsyncAWSQueryConnection])
def test_what_kombu_signs_is_taken(kind: type[Any], verb: str) -> None:
    connection = kind(sqs_connection=client_of(URL), http_client=object())
    sent: list[Sent] = []
    connection._mexe = lambda request, callback=None: sent.append(as_sent(request))
    params = {"MaxNumberOfMessages": 10, "WaitTimeSeconds": 20}
    connection.make_request("ReceiveMessage", params, QUEUE, verb, None)
    names = {name.lower() for name, _ in sent[0].headers}
    by_curl = [("Content-Type", "application/x-www-form-urlencoded")] if names.isdisjoint({"content-type"}) else []
    passes_now(sent[0]._replace(headers=sent[0].headers + by_curl))


def test_a_request_without_signature_needs_one() -> None:
    assert code_of(Request("GET", "/?Action=ListQueues", {b"host": b"x"}, b"")) == "MissingAuthenticationToken"
    assert code_of(Request("POST", "/", {b"host": b"x"}, b"X-Amz-Signature=1")) == "MissingAuthenticationToken"


@pytest.mark.parametrize(
    "authorization",
    [
        b"",
        b"Basic eDp5",
        b"Bearer x",
        b"AWS4-HMAC-SHA256",
        b"AWS4-HMAC-SHA256 Credential=x, SignedHeaders=host, Signature=" + b"0" * 64,
        b"AWS4-ECDSA-P256-SHA256 Credential=K/20260131/sqs/aws4_request, SignedHeaders=host, Signature=00",
        b"\xff" * 100,
    ],
)
def test_a_broken_authorization_header_is_incomplete(authorization: bytes) -> None:
    assert code_of(with_headers(json_request(), authorization=authorization)) == "IncompleteSignature"


def test_two_signatures_are_none() -> None:
    header, url = json_request(), arrived("GET", QUEUE, params=ACTION, expires_s=60)
    both = Request("POST", url.target, header.headers, header.body)
    assert code_of(both) == "IncompleteSignature"
    assert code_of(with_headers(url, authorization=b"Basic eDp5")) == "IncompleteSignature"
    twice = header.headers[b"authorization"]
    assert code_of(with_headers(header, authorization=twice + b"," + twice)) == "IncompleteSignature"


@pytest.mark.parametrize("value", ["UNSIGNED-PAYLOAD", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD", "0" * 64])
def test_bodies_are_always_signed(value: str) -> None:
    """Even if the client signed that it did not sign the body."""
    header = {"X-Amz-Content-SHA256": value}
    for request in (arrived("POST", URL, {**JSON, **header}, BODY), arrived("POST", URL, header, expires_s=60)):
        with pytest.raises(Fault, match="SignatureDoesNotMatch: X-Amz-Content-Sha256 is not the hash of the body"):
            authenticate(request)


def test_a_right_hash_of_the_body_may_be_sent_if_it_is_signed() -> None:
    digest = module.sha256(BODY).hexdigest()
    authenticate(arrived("POST", URL, {**JSON, "X-Amz-Content-SHA256": digest}, BODY))
    assert code_of(with_headers(json_request(), x_amz_content_sha256=digest.encode())) == "IncompleteSignature"


@pytest.mark.parametrize("name", ["x_amz_target", "x_amz_security_token", "x_amz_foo", "x_amz_date"])
def test_every_amz_header_must_be_signed(name: str) -> None:
    url = arrived("GET", QUEUE, params=ACTION, expires_s=60)
    assert code_of(with_headers(url, **{name: b"20260131T120000Z"})) == "IncompleteSignature"
    form = arrived("POST", QUEUE, {"Content-Type": FORM}, ACTION, token=TOKEN)
    signed = form.headers[b"authorization"].replace(b";x-amz-security-token", b"")
    assert code_of(with_headers(form, authorization=signed)) == "IncompleteSignature"


def test_a_content_type_that_decides_what_the_body_is_must_be_signed() -> None:
    """Some SDKs leave a form's content type unsigned; then it may only be what makes the signed body count."""
    form = arrived("POST", QUEUE, {}, b"Action=ListQueues")
    authenticate(with_headers(form, content_type=FORM.encode()))
    for other in (b"text/plain", b"", None, b"application/x-amz-json-1.0"):
        assert code_of(with_headers(form, content_type=other)) == "IncompleteSignature"


def test_a_request_for_elsewhere_is_refused_with_the_difference() -> None:
    with pytest.raises(Fault, match="region us-east-1; this is eu-central-1"):
        authenticate(json_request(region="us-east-1"))
    with pytest.raises(Fault, match="service sns; this is sqs"):
        authenticate(json_request(service="sns"))


def test_clocks_may_differ_by_fifteen_minutes() -> None:
    request = json_request()
    for difference_s in (-900, 900):
        authenticate(request, now_ms=NOW_MS + difference_s * 1000)
    for difference_s in (-901, 901):
        assert code_of(request, now_ms=NOW_MS + difference_s * 1000) == "RequestExpired"
        assert code_of(request, now_ms=NOW_MS + difference_s // 3 * 1000, skew_s=300 - 1) == "RequestExpired"
    with pytest.raises(Fault, match=r"signed 3600 s before the time here, 20260131T130000Z; at most 900 s"):
        authenticate(request, now_ms=NOW_MS + HOUR_MS)
    with pytest.raises(Fault, match=r"signed 3600 s after the time here, 20260131T110000Z; at most 900 s"):
        authenticate(request, now_ms=NOW_MS - HOUR_MS)


def test_a_presigned_url_lives_as_long_as_it_says() -> None:
    request = arrived("GET", QUEUE, params=ACTION, expires_s=7200)
    authenticate(request, now_ms=NOW_MS + 2 * HOUR_MS)
    authenticate(request, now_ms=NOW_MS - 900_000)
    assert code_of(request, now_ms=NOW_MS + 2 * HOUR_MS + 1) == "RequestExpired"
    assert code_of(request, now_ms=NOW_MS - 901_000) == "RequestExpired"
    with pytest.raises(Fault, match=r"valid for 7200 s; it is 20260131T150000Z here and it was signed 10800 s ago"):
        authenticate(request, now_ms=NOW_MS + 3 * HOUR_MS)


@pytest.mark.parametrize("expires", [0, -1, 604_801, 10**9, "x", "", "1e3", "٣"])
def test_a_presigned_url_lives_at_most_a_week(expires: Any) -> None:
    request = receive(sign("GET", QUEUE, params=ACTION, expires_s=expires))
    assert request is not None
    assert code_of(request) == "IncompleteSignature"


@pytest.mark.parametrize(
    "date",
    [
        b"20260131",
        b"20260131T12000Z",
        b"20260132T120000Z",
        b"00000131T120000Z",
        b"2026-01-31T12:00:00Z",
        b"",
        b"now",
        b"\xff",
    ],
)
def test_a_date_that_is_none_is_incomplete(date: bytes) -> None:
    assert code_of(with_headers(json_request(), x_amz_date=date)) == "IncompleteSignature"


@pytest.mark.parametrize("date", ["Sat, 31 Xyz 2026 12:00:00 GMT", "Sat, 31 Feb 2026 12:00:00 GMT", "1 Jan 2026", ""])
def test_an_http_date_that_is_none_is_incomplete(date: str) -> None:
    request = json_request(headers={**JSON, "Date": "set by the signer"})
    authenticate(request)
    assert code_of(with_headers(request, date=date.encode())) == "IncompleteSignature"


def test_the_day_of_the_scope_is_the_day_of_the_date() -> None:
    request = json_request()
    changed = request.headers[b"authorization"].replace(b"/20260131/", b"/20260130/")
    with pytest.raises(Fault, match="SignatureDoesNotMatch: The day in the credential scope"):
        authenticate(with_headers(request, authorization=changed))


@pytest.mark.parametrize(
    ("left_out", "headers"), [("host", JSON), ("x-amz-date", JSON), ("date", {**JSON, "Date": ""})]
)
def test_a_signature_that_leaves_out_where_or_when_is_incomplete(
    monkeypatch: pytest.MonkeyPatch, left_out: str, headers: dict[str, str]
) -> None:
    """However right it is for the rest."""
    signed = SigV4Auth.headers_to_sign

    def fewer(signer: Any, request: Any) -> Any:
        names = signed(signer, request)
        del names[left_out]
        return names

    monkeypatch.setattr(SigV4Auth, "headers_to_sign", fewer)
    assert code_of(json_request(headers=headers)) == "IncompleteSignature"


@pytest.mark.parametrize("names", ["x-amz-date;host", "host;host;x-amz-date", "HOST;x-amz-date", "a b;host", ";host"])
def test_signed_headers_have_one_form(names: str) -> None:
    request = json_request()
    old = ";".join(read_signature(request).signed_headers)
    changed = request.headers[b"authorization"].replace(old.encode(), names.encode())
    assert code_of(with_headers(request, authorization=changed)) == "IncompleteSignature"
    url = sign("GET", QUEUE, params=ACTION, expires_s=60)
    other = receive(url._replace(target=url.target.replace("SignedHeaders=host", f"SignedHeaders={quote(names)}")))
    assert other is not None
    with pytest.raises(Fault, match="SignedHeaders must be lower case names in order"):
        authenticate(other)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("X-Amz-Credential=", "X%2DAmz-Credential="),
        ("AWS4-HMAC-SHA256", "AWS4-HMAC-SHA1"),
        ("X-Amz-Security-Token=", "X-Amz-Security-Token=%C3%BC"),
    ],
)
def test_a_presigned_url_of_another_form_is_incomplete(old: str, new: str) -> None:
    url = sign("GET", QUEUE, params=ACTION, token=TOKEN, expires_s=60)
    request = receive(url._replace(target=url.target.replace(old, new)))
    assert request is not None
    assert code_of(request) == "IncompleteSignature"


def test_an_unknown_key_costs_the_same_work_and_never_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    request = json_request()
    signature = read_signature(request)
    compared: list[tuple[Any, ...]] = []
    monkeypatch.setattr(hmac, "compare_digest", lambda *pair: bool(compared.append(pair)) or True)
    with pytest.raises(Fault, match="InvalidClientTokenId"):
        verify(request, signature, None, region=REGION, service="sqs", now_ms=NOW_MS)
    assert len(compared) == 1


@pytest.mark.parametrize("verdict", [True, False])
def test_only_the_comparison_in_constant_time_decides(monkeypatch: pytest.MonkeyPatch, verdict: bool) -> None:
    right = read_signature(json_request()).signature
    request = json_request()
    wrong = with_headers(request, authorization=request.headers[b"authorization"].replace(right.encode(), b"0" * 64))
    compared: list[tuple[Any, ...]] = []
    monkeypatch.setattr(hmac, "compare_digest", lambda *pair: compared.append(pair) or verdict)
    for one, signature in ((request, right), (wrong, "0" * 64)):
        if verdict:
            authenticate(one)
        else:
            assert code_of(one) == "SignatureDoesNotMatch"
        assert compared.pop() == (right, signature)
    assert not compared


def test_a_refusal_gives_away_neither_signature_nor_secret() -> None:
    request = json_request()
    right = read_signature(request).signature
    forged = Request("POST", "/", request.headers, BODY.replace(b"hello", b"other"))
    expected = read_signature(arrived("POST", URL, JSON, forged.body)).signature
    with pytest.raises(Fault) as caught:
        authenticate(forged)
    for text in (str(caught.value), caught.value.message):
        for hidden in (right, expected, SECRET, "AWS4-HMAC", module.sha256(forged.body).hexdigest()):
            assert hidden not in text


def test_what_nobody_signs_costs_little() -> None:
    many = "&".join(f"a{number}=1" for number in range(641))
    with pytest.raises(Fault, match="more than 640 fields"):
        read_signature(arrived("GET", f"{URL}?{many}"))
    names = ";".join(f"a{number:05}" for number in range(1000))
    request = json_request()
    changed = request.headers[b"authorization"].replace(b"=content-type;", f"={names};content-type;".encode())
    with pytest.raises(Fault, match="SignedHeaders must be"):
        authenticate(with_headers(request, authorization=changed))
