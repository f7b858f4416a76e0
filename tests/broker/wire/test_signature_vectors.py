"""AWS's own test suite of Signature Version 4."""

import json
from pathlib import Path

import pytest

from amply.broker.sqs.faults import Fault
from amply.broker.wire.http import Request
from amply.broker.wire.signature import read_signature, verify

VECTORS = json.loads((Path(__file__).parent / "signature_vectors.json").read_text(encoding="utf-8"))["vectors"]
SCOPE = "AKIDEXAMPLE/20150830/us-east-1/service/aws4_request"
SECRET = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"


def signed(request: str, signed_headers: str, signature: str) -> Request:
    """Some targets are such as the broker's HTTP refuses, and so are folded lines, which the suite reads as lists."""
    head, _, body = request.partition("\n\n")
    first, *lines = head.split("\n")
    method, _, rest = first.partition(" ")
    headers: dict[bytes, bytes] = {}
    name = b""
    for line in lines:
        text, _, value = line.partition(":") if not line.startswith(" ") else (name.decode(), "", line)
        name = text.lower().encode()
        value_bytes = value.strip().encode()
        headers[name] = headers[name] + b"," + value_bytes if name in headers else value_bytes
    authorization = f"AWS4-HMAC-SHA256 Credential={SCOPE}, SignedHeaders={signed_headers}, Signature={signature}"
    headers[b"authorization"] = authorization.encode()
    return Request(method, rest.rpartition(" ")[0], headers, body.encode())


@pytest.mark.parametrize("name", VECTORS)
def test_a_vector_of_the_suite_is_taken(name: str) -> None:
    request = signed(**VECTORS[name])
    signature = read_signature(request)
    verify(request, signature, SECRET, region="us-east-1", service="service", now_ms=signature.signed_ms)


@pytest.mark.parametrize("name", VECTORS)
def test_no_vector_of_the_suite_is_taken_with_another_secret(name: str) -> None:
    request = signed(**VECTORS[name])
    signature = read_signature(request)
    with pytest.raises(Fault, match="SignatureDoesNotMatch"):
        verify(request, signature, SECRET.lower(), region="us-east-1", service="service", now_ms=signature.signed_ms)


def test_a_session_token_that_was_added_after_signing_is_refused() -> None:
    """The suite knows services that take one; SQS's SDKs sign it."""
    request = signed(**VECTORS["post-sts-header-after"])
    headers = {**request.headers, b"x-amz-security-token": b"AQoDYXdzEPT//////////wEXAMPLE"}
    with pytest.raises(Fault, match="IncompleteSignature"):
        read_signature(Request(request.method, request.target, headers, request.body))
