"""The signature, beside botocore's own."""

from datetime import UTC, datetime
from typing import Any

import botocore.auth
import pytest
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from amply.transport.signing import Keys, Signer

NOW_MS = 1_753_000_000_123


@pytest.fixture
def botocore_time(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Set the time botocore signs at."""

    def set_time(now_ms: int) -> None:
        now = datetime.fromtimestamp(now_ms // 1000, UTC)
        monkeypatch.setattr(botocore.auth, "get_current_datetime", lambda: now)

    return set_time


def signed_by_botocore(host: str, region: str, target: str, body: bytes, keys: Keys) -> dict[str, str]:
    request = AWSRequest("POST", f"https://{host}/", data=body)
    request.headers["Host"] = host
    request.headers["X-Amz-Target"] = target
    request.headers["Content-Type"] = "application/x-amz-json-1.0"
    botocore.auth.SigV4Auth(Credentials(*keys), "sqs", region).add_auth(request)
    return {name.lower(): value for name, value in request.headers.items()}


@pytest.mark.parametrize(
    "keys",
    [
        Keys("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"),
        Keys("ASIAEXAMPLE", "secret", "FwoGZXIvYXdzEBYaD//////////token+/=="),
        Keys("test", "test"),
        Keys("kéy", "sécret"),
    ],
)
@pytest.mark.parametrize(
    ("host", "region"),
    [
        ("sqs.eu-central-1.amazonaws.com", "eu-central-1"),
        ("sqs.cn-north-1.amazonaws.com.cn", "cn-north-1"),
        ("127.0.0.1:9324", "us-east-1"),
        ("[::1]:9324", "us-gov-west-1"),
    ],
)
@pytest.mark.parametrize("body", [b"{}", '{"MessageBody":"ü ☃"}'.encode(), b"x" * 100_000])
def test_a_request_is_signed_as_botocore_signs_it(botocore_time, keys, host, region, body):
    botocore_time(NOW_MS)
    ours = Signer(host, region).headers("AmazonSQS.SendMessage", body, keys, now_ms=NOW_MS)
    assert ours == signed_by_botocore(host, region, "AmazonSQS.SendMessage", body, keys)


def test_the_kept_key_follows_the_day_and_the_secret(botocore_time):
    signer = Signer("localhost:9324", "eu-central-1")
    day_ms = 24 * 60 * 60 * 1000
    first, rotated = Keys("one", "secret"), Keys("two", "another")
    for now_ms, keys in ((NOW_MS, first), (NOW_MS + day_ms, first), (NOW_MS + day_ms, rotated), (NOW_MS, first)):
        botocore_time(now_ms)
        ours = signer.headers("AmazonSQS.ListQueues", b"{}", keys, now_ms=now_ms)
        assert ours == signed_by_botocore("localhost:9324", "eu-central-1", "AmazonSQS.ListQueues", b"{}", keys)
