"""AWS Signature Version 4 for the one kind of request that is sent: POST of AWS JSON to SQS's root.

Knows the rules of "Create a signed AWS API request" (AWS IAM User Guide); must not know sockets, nor where credentials
come from. botocore signs any request at ten times the cost; this is on the path of every message.
"""

import hashlib
import hmac
from datetime import UTC, datetime
from typing import NamedTuple

CONTENT_TYPE = "application/x-amz-json-1.0"
_ALGORITHM = "AWS4-HMAC-SHA256"


class Keys(NamedTuple):
    """An access key, its secret, and the session token that temporary credentials come with."""

    access_key: str
    secret_key: str
    token: str | None = None


class Signer:
    """Signs requests to one host and region.

    `host` is the value of the Host header: with the port unless it is the scheme's own. The key that a day's signatures
    are made with is kept until the day or the secret changes. Safe to use from several threads.
    """

    def __init__(self, host: str, region: str, service: str = "sqs") -> None:
        self._host = host
        self._region = region
        self._service = service
        self._day_key: tuple[str, str, bytes] = ("", "", b"")

    def headers(self, target: str, body: bytes, keys: Keys, *, now_ms: int) -> dict[str, str]:
        """The headers of a POST, all but those of the connection: type, target, date, token, authorization, host.

        `target` is "AmazonSQS.<Action>"; `now_ms` is wall time, from which AWS lets the date differ by 15 minutes.
        """
        now = datetime.fromtimestamp(now_ms // 1000, UTC)
        date = now.strftime("%Y%m%dT%H%M%SZ")
        day = date[:8]
        # In the order of their names, as they are signed.
        headers = {"content-type": CONTENT_TYPE, "host": self._host, "x-amz-date": date}
        if keys.token:
            headers["x-amz-security-token"] = keys.token
        headers["x-amz-target"] = target
        signed = ";".join(headers)
        lines = "".join([f"{name}:{value}\n" for name, value in headers.items()])
        request = f"POST\n/\n\n{lines}\n{signed}\n{hashlib.sha256(body).hexdigest()}"
        scope = f"{day}/{self._region}/{self._service}/aws4_request"
        text = f"{_ALGORITHM}\n{date}\n{scope}\n{hashlib.sha256(request.encode()).hexdigest()}"
        signature = hmac.digest(self._signing_key(day, keys.secret_key), text.encode(), "sha256").hex()
        headers["authorization"] = (
            f"{_ALGORITHM} Credential={keys.access_key}/{scope}, SignedHeaders={signed}, Signature={signature}"
        )
        return headers

    def _signing_key(self, day: str, secret: str) -> bytes:
        # Read and replaced as one tuple, so that a thread never sees another secret's key.
        known_day, known_secret, key = self._day_key
        if (known_day, known_secret) != (day, secret):
            key = f"AWS4{secret}".encode()
            for part in (day, self._region, self._service, "aws4_request"):
                key = hmac.digest(key, part.encode(), "sha256")
            self._day_key = (day, secret, key)
        return key
