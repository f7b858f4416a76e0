"""Who signed a request, from its header or its presigned URL."""

import pytest

from amply.broker.wire.credentials import Credentials, account_of, read_credentials

HOME = "000000000000"
SCOPE = "AKIAIOSFODNN7EXAMPLE/20260101/eu-central-1/sqs/aws4_request"
HEADER = f"AWS4-HMAC-SHA256 Credential={SCOPE}, SignedHeaders=host;x-amz-date, Signature=abc".encode()
EXPECTED = Credentials("AKIAIOSFODNN7EXAMPLE", "20260101", "eu-central-1", "sqs")


def test_key_and_region_are_read_from_the_authorization_header() -> None:
    assert read_credentials(HEADER, "") == EXPECTED
    assert read_credentials(HEADER.replace(b", ", b","), "") == EXPECTED


def test_key_and_region_are_read_from_a_presigned_url() -> None:
    escaped = SCOPE.replace("/", "%2F")
    assert read_credentials(None, f"Action=ListQueues&X-Amz-Credential={escaped}&X-Amz-Signature=0") == EXPECTED
    assert read_credentials(None, f"X-Amz-Credential={SCOPE}") == EXPECTED


@pytest.mark.parametrize(
    "header",
    [b"", b"Basic eDp5", b"Bearer x", b"AWS4-HMAC-SHA256 Credential=x", HEADER.replace(b"2026", b"x"), b"\xff" * 10],
)
def test_what_is_no_signature_names_nobody(header: bytes) -> None:
    assert read_credentials(header, "") is None


def test_a_very_long_header_is_not_read() -> None:
    assert read_credentials(HEADER + b"x" * 10_000, "") is None


@pytest.mark.parametrize("query", ["", "Action=ListQueues", "X-Amz-Credential=", "X-Amz-Credential=%ff%2F"])
def test_a_query_without_credentials_names_nobody(query: str) -> None:
    assert read_credentials(None, query) is None


def test_a_key_of_twelve_digits_is_the_account() -> None:
    assert account_of(Credentials("123456789012", "20260101", "us-east-1", "sqs"), HOME) == "123456789012"
    assert account_of(EXPECTED, HOME) == HOME
    assert account_of(None, HOME) == HOME
