"""Requests that botocore signs, as they arrive at the broker; and the question that a broker asks of them."""

from datetime import UTC, datetime
from typing import Any, NamedTuple
from unittest import mock
from urllib.parse import urlsplit

from botocore.auth import SigV4Auth, SigV4QueryAuth
from botocore.awsrequest import AWSPreparedRequest, AWSRequest
from botocore.credentials import Credentials as Keys

from amply.broker.server.reader import RequestReader
from amply.broker.sqs.faults import INVALID_CLIENT_TOKEN_ID, Fault
from amply.broker.wire.credentials import Credentials, read_credentials
from amply.broker.wire.http import Request
from amply.broker.wire.signature import Signature, read_signature, verify

KEY = "AKIAIOSFODNN7EXAMPLE"
SECRET = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
TOKEN = "IQoJb3JpZ2luX2VjEJr//////////wEaDGV1+/=="
REGION = "eu-central-1"
HOST = "sqs.test:9324"
URL = f"http://{HOST}/"
QUEUE = f"{URL}000000000000/work"

SIGNED_AT = datetime(2026, 1, 31, 12, 0, 0, tzinfo=UTC)
NOW_MS = int(SIGNED_AT.timestamp()) * 1000

FORM = "application/x-www-form-urlencoded; charset=utf-8"
JSON = {"X-Amz-Target": "AmazonSQS.SendMessage", "Content-Type": "application/x-amz-json-1.0"}
# What SDKs send without signing it.
UNSIGNED = [
    ("User-Agent", "Boto3/1.44.5 md/Botocore#1.44.5"),
    ("amz-sdk-invocation-id", "7a2f"),
    ("amz-sdk-request", "attempt=1"),
    ("X-Amzn-Trace-Id", "Root=1-5759e988-bd862e3fe1be46a994272793"),
]


class Sent(NamedTuple):
    """A request as its client writes it."""

    method: str
    target: str
    headers: list[tuple[str, str]]
    body: bytes


def as_sent(prepared: AWSPreparedRequest) -> Sent:
    """A request of botocore's, with the Host header that an HTTP client adds."""
    url = urlsplit(prepared.url)
    text = {name: value.decode() if isinstance(value, bytes) else value for name, value in prepared.headers.items()}
    text.setdefault("Host", url.netloc)
    text.pop("Content-Length", None)
    target = (url.path or "/") + (f"?{url.query}" if url.query else "")
    body = prepared.body or b""
    return Sent(prepared.method, target, list(text.items()), body.encode() if isinstance(body, str) else body)


def sign(
    method: str,
    url: str,
    headers: dict[str, str] | None = None,
    data: Any = b"",
    *,
    params: Any = None,
    token: str | None = None,
    expires_s: int | None = None,
    region: str = REGION,
    service: str = "sqs",
) -> Sent:
    """Signed by botocore: in the header, or as a presigned URL that is valid for so long."""
    request = AWSRequest(method, url, headers=headers or {}, data=data, params=params)
    keys = Keys(KEY, SECRET, token)
    with mock.patch("botocore.auth.get_current_datetime", return_value=SIGNED_AT):
        if expires_s is None:
            SigV4Auth(keys, service, region).add_auth(request)
        else:
            SigV4QueryAuth(keys, service, region, expires=expires_s).add_auth(request)
    return as_sent(request.prepare())


def receive(sent: Sent) -> Request | None:
    """What arrives of it; None if it is refused as HTTP."""
    lines = [f"{sent.method} {sent.target} HTTP/1.1", *(f"{name}: {value}" for name, value in sent.headers)]
    if sent.body:
        lines.append(f"Content-Length: {len(sent.body)}")
    reader = RequestReader(max_body_bytes=2**20)
    refusal = reader.feed("\r\n".join([*lines, "", ""]).encode("latin-1") + sent.body)
    if refusal is not None:
        return None
    ((request, _),) = reader.arrived
    return request


def authenticate(request: Request, *, token: str | None = None, now_ms: int = NOW_MS, **limits: int) -> Signature:
    """As a broker does that has one key; who reads only the credentials sees the same ones."""
    signature = read_signature(request)
    named = read_credentials(request.headers.get(b"authorization"), request.target.partition("?")[2])
    assert named == Credentials(signature.access_key, signature.date, signature.region, signature.service)
    secret = SECRET if signature.access_key == KEY else None
    verify(request, signature, secret, region=REGION, service="sqs", now_ms=now_ms, **limits)
    if signature.session_token != token:
        raise Fault(INVALID_CLIENT_TOKEN_ID)
    return signature


def accept(sent: Sent, *, token: str | None = None) -> Signature:
    """The signature of a request that must be right."""
    request = receive(sent)
    assert request is not None
    return authenticate(request, token=token)
