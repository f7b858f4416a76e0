"""Where requests go and who signs them, out of broker URLs and AWS's own configuration."""

import json
from datetime import UTC, datetime, timedelta
from unittest.mock import Mock

import botocore.exceptions
import pytest
from botocore.credentials import Credentials, ReadOnlyCredentials

from amply.clock import ManualClock
from amply.errors import AmplyError
from amply.transport import endpoint
from amply.transport.endpoint import FoundCredentials, NoCredentials, resolve
from amply.transport.faults import Transient
from amply.transport.signing import Keys


@pytest.fixture(autouse=True)
def aws(monkeypatch, tmp_path):
    """AWS's configuration: empty, and to be written; nobody is asked for roles."""
    for name in ("PROFILE", "DEFAULT_REGION", "REGION", "ACCESS_KEY_ID", "SECRET_ACCESS_KEY", "SESSION_TOKEN"):
        monkeypatch.delenv(f"AWS_{name}", raising=False)
    for name in ("ENDPOINT_URL", "ENDPOINT_URL_SQS", "CA_BUNDLE", "IGNORE_CONFIGURED_ENDPOINT_URLS"):
        monkeypatch.delenv(f"AWS_{name}", raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setattr(endpoint, "_answers", {})
    return tmp_path


@pytest.mark.parametrize(
    ("parts", "url"),
    [
        ({"hostname": "localhost", "port": 9324}, "http://localhost:9324"),
        ({"hostname": "localhost"}, "http://localhost"),
        ({"hostname": "::1", "port": 9324}, "http://[::1]:9324"),
        ({"hostname": "broker", "port": 443, "ssl": True}, "https://broker:443"),
        ({"hostname": "broker", "ssl": {"ca_certs": "x"}}, "https://broker"),
        ({"endpoint_url": "http://127.0.0.1:9324/"}, "http://127.0.0.1:9324"),
        (
            {"endpoint_url": "https://vpce-1.sqs.eu-west-1.vpce.amazonaws.com", "hostname": "localhost", "port": 1},
            "https://vpce-1.sqs.eu-west-1.vpce.amazonaws.com",
        ),
    ],
)
def test_a_named_endpoint_is_taken_as_it_is(monkeypatch, parts, url):
    monkeypatch.setenv("AWS_ENDPOINT_URL_SQS", "http://elsewhere:1")
    assert resolve(**parts).url == url


@pytest.mark.parametrize(
    ("region", "url"),
    [
        ("eu-central-1", "https://sqs.eu-central-1.amazonaws.com"),
        ("us-east-1", "https://sqs.us-east-1.amazonaws.com"),
        ("cn-north-1", "https://sqs.cn-north-1.amazonaws.com.cn"),
        ("us-gov-west-1", "https://sqs.us-gov-west-1.amazonaws.com"),
    ],
)
def test_a_region_has_its_own_address_in_every_partition(region, url):
    assert resolve(region=region)[:2] == (url, region)


def test_the_region_comes_from_the_option_then_the_environment_then_the_profile(monkeypatch, aws):
    (aws / "config").write_text("[profile work]\nregion = ap-south-1\n")
    monkeypatch.setenv("AWS_PROFILE", "work")
    assert resolve()[:2] == ("https://sqs.ap-south-1.amazonaws.com", "ap-south-1")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "sa-east-1")
    assert resolve().region == "sa-east-1"
    assert resolve(region="eu-west-3").region == "eu-west-3"
    assert resolve(hostname="localhost").region == "sa-east-1"


def test_a_named_endpoint_needs_no_region():
    assert resolve(hostname="localhost", port=9324).region == "us-east-1"


def test_the_configured_endpoint_is_asked_and_a_new_one_is_noticed(monkeypatch, aws):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    assert resolve()[:2] == ("http://127.0.0.1:1", "us-east-1")
    monkeypatch.setenv("AWS_ENDPOINT_URL_SQS", "http://127.0.0.1:2")
    assert resolve(region="eu-central-1")[:2] == ("http://127.0.0.1:2", "eu-central-1")
    monkeypatch.setenv("AWS_ENDPOINT_URL_SQS", "http://127.0.0.1:3")
    assert resolve(region="eu-central-1").url == "http://127.0.0.1:3"
    monkeypatch.setenv("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "true")
    assert resolve(region="eu-central-1").url == "https://sqs.eu-central-1.amazonaws.com"


def test_a_profile_s_own_endpoint_for_sqs_is_asked(monkeypatch, aws):
    (aws / "config").write_text(
        "[profile work]\nregion = eu-west-1\nservices = local\n"
        "[services local]\nsqs =\n  endpoint_url = http://127.0.0.1:4566\n"
    )
    monkeypatch.setenv("AWS_PROFILE", "work")
    assert resolve()[:2] == ("http://127.0.0.1:4566", "eu-west-1")


def test_botocore_is_asked_once_for_the_same_endpoint(monkeypatch):
    resolve(region="eu-central-1")
    monkeypatch.setattr(endpoint.botocore.session.Session, "create_client", Mock(side_effect=AssertionError))
    assert resolve(region="eu-central-1").url == "https://sqs.eu-central-1.amazonaws.com"


def test_without_a_region_and_an_endpoint_the_error_says_what_to_set():
    with pytest.raises(AmplyError, match=r"AWS_REGION.*AWS_ENDPOINT_URL_SQS"):
        resolve()


@pytest.mark.parametrize("url", ["localhost:9324", "sqs://localhost", "http://", "http://a:99999", "http://a/path"])
def test_an_endpoint_that_is_no_host_s_url_is_refused(url):
    with pytest.raises(AmplyError, match="is no address of a host"):
        resolve(endpoint_url=url)


def test_the_authorities_for_tls_are_those_of_the_environment_or_the_profile(monkeypatch, aws):
    assert resolve(hostname="broker").ca_bundle is None
    (aws / "config").write_text("[default]\nca_bundle = /from/the/profile\n")
    assert resolve(hostname="broker").ca_bundle == "/from/the/profile"
    monkeypatch.setenv("AWS_CA_BUNDLE", "/from/the/environment")
    assert resolve(hostname="broker").ca_bundle == "/from/the/environment"


def test_keys_in_the_url_win_over_the_environment_s(monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "environment")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    assert resolve(hostname="localhost", userid="key", password="word").credentials.keys() == Keys("key", "word")
    assert resolve(hostname="localhost").credentials.keys() == Keys("environment", "secret")


def test_keys_alone_in_the_url_leave_the_endpoint_to_aws():
    found = resolve(userid="key", password="word", region="eu-central-1")
    assert found.url == "https://sqs.eu-central-1.amazonaws.com"
    assert found.credentials.keys() == Keys("key", "word")


def test_a_profile_s_keys_and_token_are_found(monkeypatch, aws):
    (aws / "credentials").write_text(
        "[work]\naws_access_key_id = profile\naws_secret_access_key = secret\naws_session_token = token\n"
    )
    monkeypatch.setenv("AWS_PROFILE", "work")
    assert resolve(hostname="localhost").credentials.keys() == Keys("profile", "secret", "token")


def test_without_any_keys_the_error_says_where_to_put_some():
    credentials = resolve(hostname="localhost", port=9324).credentials
    with pytest.raises(NoCredentials, match="no AWS credentials") as raised:
        credentials.keys()
    assert "amply://key:secret@host:port" in str(raised.value)


def test_a_role_s_keys_are_followed_as_they_rotate(monkeypatch, start_peer, parts):
    def answer(key: str) -> bytes:
        # Within ten minutes of their end botocore asks for others at each use.
        end = (datetime.now(UTC) + timedelta(minutes=5)).strftime("%Y-%m-%dT%H:%M:%SZ")
        body = json.dumps({"AccessKeyId": key, "SecretAccessKey": "s", "Token": "t", "Expiration": end}).encode()
        return b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(body) + body

    def play(peer, connection):
        connection.recv(65536)
        connection.sendall(answer(f"key{peer.connections}"))

    monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", f"{start_peer(play).url}/role")
    credentials = resolve(hostname="localhost").credentials
    first, second = credentials.keys(), credentials.keys()
    assert (first.secret_key, first.token) == ("s", "t")
    assert first.access_key != second.access_key


def test_refused_keys_are_looked_for_anew_but_not_more_than_every_few_seconds(aws):
    def write(key: str) -> None:
        (aws / "credentials").write_text(f"[default]\naws_access_key_id = {key}\naws_secret_access_key = secret\n")

    clock = ManualClock()
    credentials = FoundCredentials(clock=clock)
    write("first")
    assert credentials.keys().access_key == "first"
    write("second")
    credentials.renew()
    assert credentials.keys().access_key == "first"
    clock.advance(5)
    credentials.renew()
    assert credentials.keys().access_key == "second"


def test_the_old_keys_stay_while_there_are_no_others(aws):
    clock = ManualClock()
    sessions = [Mock(get_credentials=lambda: Credentials("old", "secret")), Mock(get_credentials=lambda: None)]
    credentials = FoundCredentials(lambda: sessions.pop(0), clock=clock)
    credentials.keys()
    clock.advance(5)
    credentials.renew()
    assert sessions == []
    assert credentials.keys().access_key == "old"


@pytest.mark.parametrize(
    "error",
    [
        botocore.exceptions.CredentialRetrievalError(provider="sso", error_msg="logged out"),
        botocore.exceptions.ClientError({"Error": {"Code": "AccessDenied"}}, "AssumeRole"),
        RuntimeError("Credentials were refreshed, but the refreshed credentials are still expired."),
        FileNotFoundError("credential_process"),
    ],
)
def test_a_source_of_keys_that_fails_may_recover(error):
    found = Mock(get_frozen_credentials=Mock(side_effect=[error, ReadOnlyCredentials("key", "secret", None)]))
    credentials = FoundCredentials(lambda: Mock(get_credentials=lambda: found))
    with pytest.raises(Transient, match="CredentialsUnavailable"):
        credentials.keys()
    assert credentials.keys() == Keys("key", "secret")
