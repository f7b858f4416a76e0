import base64

import pytest
import standardwebhooks
from hypothesis import given
from hypothesis import strategies as st

from amply.clock import wall_ms
from amply.jobs import signatures
from amply.jobs.signatures import WebhookSecretError

keys = st.binary(min_size=24, max_size=64)


@given(keys, st.from_regex(r"[A-Za-z0-9_:-]{1,64}", fullmatch=True), st.text())
def test_the_public_library_accepts_our_signature(key, message_id, text):
    secret = "whsec_" + base64.b64encode(key).decode()
    body = text.encode("utf-8", "surrogatepass").decode("utf-8", "replace").encode()
    headers = signatures.headers([secret], message_id, wall_ms() // 1000, body)
    standardwebhooks.Webhook(secret).verify(body, headers, json_parse=False)


@given(keys, keys.filter(bool))
def test_while_a_secret_is_exchanged_both_verify(old, new):
    secrets = ["whsec_" + base64.b64encode(key).decode() for key in (new, old)]
    headers = signatures.headers(secrets, "evt", wall_ms() // 1000, b"{}")
    for secret in secrets:
        standardwebhooks.Webhook(secret).verify(b"{}", headers)


def test_another_secret_body_or_id_does_not_verify():
    secret = signatures.new_secret()
    headers = signatures.headers([secret], "evt", wall_ms() // 1000, b"{}")
    refused = [
        (signatures.new_secret(), b"{}", headers),
        (secret, b"[]", headers),
        (secret, b"{}", {**headers, "webhook-id": "evt2"}),
        (secret, b"{}", {**headers, "webhook-timestamp": str(int(headers["webhook-timestamp"]) + 1)}),
    ]
    for key, body, sent in refused:
        with pytest.raises(standardwebhooks.WebhookVerificationError):
            standardwebhooks.Webhook(key).verify(body, sent)


def test_the_example_of_the_specification_gives_its_signature():
    # Standard Webhooks 1.0.0, the example that its libraries test with.
    secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    headers = signatures.headers([secret], "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}')
    assert headers["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_a_new_secret_holds_32_bytes_and_is_another_each_time():
    assert len(signatures.key_of(signatures.new_secret())) == 32
    assert signatures.new_secret() != signatures.new_secret()


@pytest.mark.parametrize(
    "secret",
    [
        "",
        "whsec_",
        "whsec_!!!!",
        "whsec_" + base64.b64encode(b"k" * 23).decode(),
        "whsec_" + base64.b64encode(b"k" * 65).decode(),
        base64.b64encode(b"k" * 32).decode(),
        "whsec_é",
    ],
)
def test_what_is_no_secret_is_refused_without_being_shown(secret):
    with pytest.raises(WebhookSecretError) as refusal:
        signatures.key_of(secret)
    assert not secret.removeprefix("whsec_") or secret not in str(refusal.value)
