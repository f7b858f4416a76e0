"""SQS requests as the bytes that boto3 would send, made once and sent many times.

Knows HTTP heads and AWS JSON. Does not know sockets, nor what is measured.
"""

import json
import random
import re
import time
from collections.abc import Iterator
from itertools import count, repeat
from typing import Final

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from msgspec import Struct

REGION: Final = "eu-central-1"
QUEUE_NAME: Final = "bench"
BATCH: Final = 10

_ALPHABET: Final = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
_HEAD: Final = (
    "POST / HTTP/1.1\r\n"
    "Host: {host}\r\n"
    "Accept-Encoding: identity\r\n"
    "X-Amz-Target: AmazonSQS.{action}\r\n"
    "Content-Type: application/x-amz-json-1.0\r\n"
    "X-Amzn-Query-Mode: true\r\n"
    "User-Agent: Boto3/1.40.0 md/Botocore#1.40.0 ua/2.1 os/linux#6.1.0 md/arch#x86_64 lang/python#3.11.7 "
    "md/pyimpl#CPython m/Z,b,D cfg/retry-mode#legacy Botocore/1.40.0\r\n"
    "X-Amz-Date: {date}\r\n"
    "Authorization: {authorization}\r\n"
    "amz-sdk-invocation-id: 3c1c3d5e-6b7b-4bf0-9d4c-6b1a2f9a2f10\r\n"
    "amz-sdk-request: attempt=1\r\n"
    "Content-Length: "
)
# Of nobody's key: an open broker does not look.
_UNSIGNED: Final = {
    "date": "20260101T000000Z",
    "authorization": "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20260101/eu-central-1/sqs/aws4_request, "
    "SignedHeaders=content-type;host;x-amz-date;x-amz-target;x-amzn-query-mode, "
    "Signature=fe5f80f77d5fa3beca038a248ff027d0445342fe2855ddc963176630326f1024",
}
# Places for numbers, as long as those are, in letters that a body does not have.
_GROUP: Final = "#" * 6
_NUMBER: Final = "@" * 12
_HANDLE: Final = re.compile(rb'"ReceiptHandle":\s*"([^"]+)"')


def body_text(size_bytes: int) -> str:
    """A message body of that size in base64's letters, as Celery's are; the same on every run."""
    return "".join(random.Random(size_bytes).choices(_ALPHABET, k=size_bytes))


class Key(Struct, frozen=True):
    """An access key and its secret."""

    access_key: str
    secret: str


def signing(host: str, action: str, body: bytes, key: Key) -> dict[str, str]:
    """The date and the Authorization that boto3 would give the request: good for 15 minutes, as often as it is sent."""
    headers = {
        "Content-Type": "application/x-amz-json-1.0",
        "X-Amz-Target": f"AmazonSQS.{action}",
        "X-Amzn-Query-Mode": "true",
    }
    request = AWSRequest("POST", f"http://{host}/", headers=headers, data=body)
    SigV4Auth(Credentials(key.access_key, key.secret), "sqs", REGION).add_auth(request)
    return {"date": request.headers["X-Amz-Date"], "authorization": request.headers["Authorization"]}


class Calls:
    """The requests of one queue at one endpoint. `host` is "address:port". With a key, sends are really signed.

    With `groups`, the queue is FIFO: messages go to so many groups in turns, each under a deduplication id of its own,
    and nothing is signed.
    """

    def __init__(self, host: str, queue_url: str, body_bytes: int, key: Key | None = None, groups: int = 0) -> None:
        self._host = host
        self._key = key
        self._groups = groups
        self._message = {"MessageBody": body_text(body_bytes)}
        if groups:
            self._message |= {"MessageGroupId": _GROUP, "MessageDeduplicationId": f"{time.time_ns():x}-{_NUMBER}"}
        receive = {"QueueUrl": queue_url, "VisibilityTimeout": 600, "WaitTimeSeconds": 0}
        self.receive_one = self._request("ReceiveMessage", {**receive, "MaxNumberOfMessages": 1})
        self.receive_batch = self._request("ReceiveMessage", {**receive, "MaxNumberOfMessages": BATCH})
        self._delete_head = self._head("DeleteMessage")
        self._delete_batch_head = self._head("DeleteMessageBatch")
        self._queue_url = queue_url
        self._queue = json.dumps(queue_url).encode()

    def sends(self) -> Iterator[bytes]:
        """SendMessage, again and again."""
        return self._numbered(self._request("SendMessage", {"QueueUrl": self._queue_url, **self._message}), 1)

    def batch_sends(self) -> Iterator[bytes]:
        """SendMessageBatch, again and again."""
        entries = [{"Id": str(number), **self._message} for number in range(BATCH)]
        return self._numbered(
            self._request("SendMessageBatch", {"QueueUrl": self._queue_url, "Entries": entries}), BATCH
        )

    def _numbered(self, request: bytes, messages: int) -> Iterator[bytes]:
        if not self._groups:
            return repeat(request)
        template = request.replace(_GROUP.encode(), b"%06d").replace(_NUMBER.encode(), b"%012d")
        return (
            template
            % tuple(part for number in range(first, first + messages) for part in (number % self._groups, number))
            for first in count(0, messages)
        )

    def delete(self, handle: bytes) -> bytes:
        """Delete one message."""
        body = b'{"QueueUrl":%b,"ReceiptHandle":"%b"}' % (self._queue, handle)
        return b"%b%d\r\n\r\n%b" % (self._delete_head, len(body), body)

    def delete_batch(self, handles: list[bytes]) -> bytes:
        """Delete up to ten messages in one request."""
        entries = b",".join(b'{"Id":"%d","ReceiptHandle":"%b"}' % pair for pair in enumerate(handles))
        body = b'{"QueueUrl":%b,"Entries":[%b]}' % (self._queue, entries)
        return b"%b%d\r\n\r\n%b" % (self._delete_batch_head, len(body), body)

    def _head(self, action: str) -> bytes:
        return _HEAD.format(host=self._host, action=action, **_UNSIGNED).encode("ascii")

    def _request(self, action: str, content: dict[str, object]) -> bytes:
        body = json.dumps(content, separators=(",", ":")).encode()
        signed = signing(self._host, action, body, self._key) if self._key is not None else _UNSIGNED
        head = _HEAD.format(host=self._host, action=action, **signed).encode("ascii")
        return b"%b%d\r\n\r\n%b" % (head, len(body), body)


def handles_in(answer: bytes) -> list[bytes]:
    """The receipt handles in the body of a ReceiveMessage answer."""
    return _HANDLE.findall(answer)
