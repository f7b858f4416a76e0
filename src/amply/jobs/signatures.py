"""Signing a webhook as Standard Webhooks 1.0.0 says. Pure; knows bytes and secrets, not endpoints or sockets."""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Sequence

from amply import ids
from amply.errors import AmplyError

_PREFIX = "whsec_"
_KEY_BYTES_MIN, _KEY_BYTES_MAX = 24, 64


class WebhookSecretError(AmplyError):
    """A webhook secret is not one."""


def new_secret() -> str:
    """A new random secret, `whsec_` and 32 bytes in base64."""
    return _PREFIX + base64.b64encode(ids.secret(32)).decode()


def key_of(secret: str) -> bytes:
    """The key in a secret.

    Raises:
        WebhookSecretError: it lacks the prefix, is not base64, or holds fewer than 24 or more than 64 bytes.
    """
    try:
        key = base64.b64decode(secret.removeprefix(_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if not secret.startswith(_PREFIX) or not _KEY_BYTES_MIN <= len(key) <= _KEY_BYTES_MAX:
        raise WebhookSecretError(
            "A webhook secret is not usable.",
            hint=f"It is {_PREFIX} followed by base64 of {_KEY_BYTES_MIN} to {_KEY_BYTES_MAX} random bytes.",
        )
    return key


def headers(secrets: Sequence[str], message_id: str, timestamp_s: int, body: bytes) -> dict[str, str]:
    """The three headers of one attempt: one signature for each secret, so that a secret can be exchanged in peace.

    `timestamp_s` is the epoch second of the attempt; `body` is exactly what is sent.
    """
    signed = b".".join((message_id.encode(), str(timestamp_s).encode(), body))
    signatures = (hmac.new(key_of(secret), signed, hashlib.sha256).digest() for secret in secrets)
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(timestamp_s),
        "webhook-signature": " ".join(f"v1,{base64.b64encode(signature).decode()}" for signature in signatures),
    }
