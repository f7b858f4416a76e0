"""A broker that asks its callers who they are, fuzzed by one who may do little: send to the queue `work`.

Every request is signed with that caller's key, unless it begins with an exclamation mark. Whatever it is, the queue
`secret` stays as it is, and no word of it gets out.
"""

import hmac
from collections.abc import Callable
from hashlib import sha256
from typing import Any

from msgspec.structs import replace
from signing import ACCESS_KEY, REGION, SECRET, SIGNED_MS
from world import ACCOUNT, World, Wrong

from amply.broker.auth.keys import Key
from amply.broker.auth.policies import parse
from amply.broker.auth.secret import Secret
from amply.broker.server.front import Front
from amply.broker.server.gate import Gate
from amply.broker.service import observation
from amply.broker.wire.http import Request
from amply.broker.wire.protocols import read
from amply.broker.wire.signature import Signature, _canonical_request, _signing_key

TREASURE = "treasure"
SIGNED_AT = "20260101T000000Z"
SCOPE = f"20260101/{REGION}/sqs/aws4_request"
SENDER = parse(
    {
        "Version": "2012-10-17",
        "Statement": {"Effect": "Allow", "Action": "sqs:SendMessage", "Resource": f"arn:aws:sqs:*:{ACCOUNT}:work"},
    },
    kind="identity",
)
ALLOWED = {"SendMessage", "SendMessageBatch"}
KEY = Key(access_key=ACCESS_KEY, secret=Secret(SECRET), role="sender", name="sender", created_ms=SIGNED_MS)


class OneKey:
    """A ring with one key."""

    def find(self, access_key: str) -> Key | None:
        return KEY if access_key == KEY.access_key else None


class NoAudit:
    """Writes nothing."""

    def write(self, event: str, **members: str | None) -> None:
        """What is refused is seen in the answer."""


class StrictWorld(World):
    """A world with a gate in front of the queues `work` and `secret`."""

    def close_the_gate(self) -> None:
        keys: Any = OneKey()
        audit: Any = NoAudit()
        gate = Gate(
            self.service,
            keys,
            {"sender": SENDER},
            account=ACCOUNT,
            region=REGION,
            is_tls=False,
            audit=audit,
            now_ms=lambda: SIGNED_MS,
        )
        self.front = Front(self.service, default_account=ACCOUNT, new_request_id=self._new_request_id, gate=gate)

    def queues(self) -> list[object]:
        """Everything but what arrives at `work`."""
        views = observation.queue_views(self.service)
        shown: list[object] = [replace(view, visible=0, delayed=0, sent=0) for view in views if view.name == "work"]
        shown += [view for view in views if view.name != "work"]
        return [*shown, *(queue.attributes for queue in self.service.engine.queues)]


def probe(
    data: bytes, requests_max: int, make_request: Callable[[bytes], Request], open_world: Callable[..., Any]
) -> None:
    """Ask the requests of an input, one a line. `open_world` makes the two queues; it returns a receipt handle."""
    world = StrictWorld()
    try:
        handle = open_world(world)
        world.close_the_gate()
        before = world.queues()
        for line in data.split(b"\n")[:requests_max]:
            is_signed = not line.startswith(b"!")
            request = make_request(line.removeprefix(b"!").replace(b"$H", handle))
            answer = world.ask(sign(request) if is_signed else request)
            if TREASURE.encode() in answer.body or world.queues() != before:
                raise Wrong(f"{request} reached what it may not: {answer}")
            if answer.status == 200 and not (is_signed and _action(request) in ALLOWED):
                raise Wrong(f"{request} was carried out")
    finally:
        world.close()


def _action(request: Request) -> str | None:
    exchange = read(request, default_account=ACCOUNT, base_url=None, request_id="r")
    return exchange.action.name if exchange.action else None


def sign(request: Request) -> Request:
    """The request with the caller's signature in its header."""
    headers = {**request.headers, b"x-amz-date": SIGNED_AT.encode()}
    request = replace(request, headers=headers)
    names = tuple(sorted(name.decode() for name in headers if name != b"accept"))
    signature = Signature(
        access_key=ACCESS_KEY,
        date="20260101",
        region=REGION,
        service="sqs",
        signed_headers=names,
        signature="",
        signed_ms=SIGNED_MS,
        expires_s=None,
        session_token=None,
    )
    canonical = _canonical_request(request, signature, sha256(request.body).hexdigest())
    to_sign = f"AWS4-HMAC-SHA256\n{SIGNED_AT}\n{SCOPE}\n{sha256(canonical).hexdigest()}"
    key = _signing_key(SECRET, "20260101", REGION, "sqs")
    value = (
        f"AWS4-HMAC-SHA256 Credential={ACCESS_KEY}/{SCOPE}, SignedHeaders={';'.join(names)}, "
        f"Signature={hmac.digest(key, to_sign.encode(), 'sha256').hex()}"
    )
    return replace(request, headers={**headers, b"authorization": value.encode()})
