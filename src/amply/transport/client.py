"""A lean SQS client: AWS JSON 1.0, signed, over kept connections. On the path of every message.

Knows how SQS is asked and how it answers; must not know Celery, nor what the requests are for. botocore's client does
the same for any service at many times the cost.
"""

import hashlib
from collections import Counter, deque
from collections.abc import Callable, Mapping
from typing import Any, TypeVar
from urllib.parse import urlsplit

import msgspec

from amply import __version__
from amply.clock import wall_ms
from amply.transport.endpoint import Endpoint
from amply.transport.faults import CREDENTIAL_CODES, Unreachable, read_fault
from amply.transport.http import CONNECT_TIMEOUT_S, Connection
from amply.transport.signing import Signer

Answer = TypeVar("Answer")

IDLE_CONNECTIONS_MAX = 4
# Doing these twice is the same as once. Not a send, which would make a second message, and not a receive, which would
# count against a message's maxReceiveCount.
_REPEATABLE = {
    *("GetQueueUrl", "GetQueueAttributes", "ListQueues", "ListQueueTags", "ListDeadLetterSourceQueues", "CreateQueue"),
    *("DeleteMessage", "DeleteMessageBatch", "ChangeMessageVisibility", "ChangeMessageVisibilityBatch"),
}
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(dict[str, Any]).decode


class SqsClient:
    """SQS at one endpoint, for any number of threads, and for the children of a fork.

    `requests` counts what was asked, by action; under threads it may miss a few.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        connect_timeout_s: float = CONNECT_TIMEOUT_S,
        now_ms: Callable[[], int] = wall_ms,
    ) -> None:
        self._endpoint = endpoint
        self._connect_timeout_s = connect_timeout_s
        self._now_ms = now_ms
        self._signer = Signer(_host(endpoint.url), endpoint.region)
        # The last one used is used first, so that few are kept warm. A deque's ends are atomic: with no lock, a fork
        # cannot leave one locked. Connections notice a fork themselves.
        self._idle: deque[Connection] = deque()
        self.requests: Counter[str] = Counter()

    def call(
        self,
        action: str,
        members: Mapping[str, Any],
        *,
        timeout_s: float = 10.0,
        connection: Connection | None = None,
    ) -> dict[str, Any]:
        """Ask for an action and return the answer's members, both as the SQS API Reference has them.

        Bytes go out as base64; binary values come back as the base64 text that SQS sends. The whole call ends within
        `timeout_s` seconds: give a ReceiveMessage more than its WaitTimeSeconds. It goes over `connection` if one is
        given, which only one thread may use at a time.

        Raises `SqsFault`, or `Transient` if that may pass; `Unreachable` if there was no whole answer or a body is not
        the one its MD5 tells of; `NoCredentials`. Nothing is tried again, with one exception: a request that is the
        same done twice, when the peer closes a kept connection as it is sent.
        """
        answer = self._ask(action, members, timeout_s, connection, _decode)
        if damaged := _damaged(action, members, answer):
            raise Unreachable(f"{self._endpoint.url}: the answer to {action} has another body's MD5 ({damaged})")
        return answer

    def call_as(
        self, decode: Callable[[bytes], Answer], action: str, members: Mapping[str, Any], *, timeout_s: float = 10.0
    ) -> Answer:
        """The same with another decoder for the answer's JSON, and no look at MD5s: not for sends and receives."""
        return self._ask(action, members, timeout_s, None, decode)

    def _ask(
        self,
        action: str,
        members: Mapping[str, Any],
        timeout_s: float,
        connection: Connection | None,
        decode: Callable[[bytes], Answer],
    ) -> Answer:
        body = _encode(members)
        headers = self._signer.headers(
            f"AmazonSQS.{action}", body, self._endpoint.credentials.keys(), now_ms=self._now_ms()
        )
        headers["user-agent"] = f"amply/{__version__}"
        used = connection or self._take()
        self.requests[action] += 1
        response = used.exchange(headers, body, timeout_s=timeout_s, is_repeatable=action in _REPEATABLE)
        if connection is None:
            self._give_back(used)
        if response.status != 200:
            fault = read_fault(action, response.status, response.headers, response.body)
            if fault.code in CREDENTIAL_CODES:
                self._endpoint.credentials.renew()
            raise fault
        try:
            return decode(response.body or b"{}")
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise Unreachable(f"{self._endpoint.url}: the answer to {action} is not JSON") from error

    def connection(self) -> Connection:
        """A connection of one's own, for a thread's long polls; to be closed by whoever asked for it."""
        return Connection(
            self._endpoint.url, connect_timeout_s=self._connect_timeout_s, ca_bundle=self._endpoint.ca_bundle
        )

    def close(self) -> None:
        """Close the idle connections. A later call opens a new one."""
        while self._idle:
            self._idle.pop().close()

    def _take(self) -> Connection:
        try:
            return self._idle.pop()
        except IndexError:
            return self.connection()

    def _give_back(self, used: Connection) -> None:
        if len(self._idle) < IDLE_CONNECTIONS_MAX:
            self._idle.append(used)
        else:
            used.close()


def _host(url: str) -> str:
    """The value of the Host header: without the port if it is the scheme's own."""
    parts = urlsplit(url)
    default = ":443" if parts.scheme == "https" else ":80"
    return parts.netloc.removesuffix(default)


def _damaged(action: str, members: Mapping[str, Any], answer: Mapping[str, Any]) -> str | None:
    """The id of a message whose body arrived as another, at SQS or here."""
    if action == "SendMessage":
        sent = [(answer.get("MessageId", ""), members.get("MessageBody", ""), answer.get("MD5OfMessageBody"))]
    elif action == "SendMessageBatch":
        bodies = {entry["Id"]: entry["MessageBody"] for entry in members["Entries"]}
        sent = [
            (entry["MessageId"], bodies.get(entry["Id"], ""), entry.get("MD5OfMessageBody"))
            for entry in answer.get("Successful", ())
        ]
    elif action == "ReceiveMessage":
        sent = [
            (message.get("MessageId", ""), message.get("Body", ""), message.get("MD5OfBody"))
            for message in answer.get("Messages") or ()
        ]
    else:
        return None
    for message_id, body, digest in sent:
        if digest and hashlib.md5(body.encode(), usedforsecurity=False).hexdigest() != digest:
            return str(message_id)
    return None
