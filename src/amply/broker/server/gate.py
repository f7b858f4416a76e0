"""The gate of a strict broker: who signed a request, and whether that key's role and the queue's policy allow it.

It stands between reading a request and carrying it out. Everything that it decides on is signed: action, queue and
parameters come from the target, the path, the query and the body. Whatever is refused is in the audit.
"""

from base64 import b32encode
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import lru_cache
from hashlib import sha256

from msgspec.structs import replace

from amply.broker.auth.keys import Key, KeyFileError, KeyRing
from amply.broker.auth.policies import Policy
from amply.broker.auth.principals import Principal
from amply.broker.server.audit import Audit
from amply.broker.service.guarding import denial
from amply.broker.service.service import Service
from amply.broker.sqs.faults import ACCESS_DENIED, INVALID_CLIENT_TOKEN_ID, SERVICE_UNAVAILABLE, Fault
from amply.broker.wire.http import Request
from amply.broker.wire.protocols import Exchange
from amply.broker.wire.signature import Signature, read_signature, verify

_SQS = "sqs"
_NO_SUCH_KEY = "There is no such access key."
_NO_KEYS = "The broker cannot read its keys. Its audit says why."


class _Refused(Exception):
    """A fault for the client, and why in the words of the audit, which a stranger need not know."""

    def __init__(self, fault: Fault, reason: str) -> None:
        super().__init__(reason)
        self.fault = fault
        self.reason = reason


class Gate:
    """Lets signed requests through whose principals may make them.

    `roles` are the policies of the topology by role, `account` and `region` its own. `now_ms` is the wall clock, as the
    clients' clocks are.
    """

    def __init__(
        self,
        service: Service,
        keys: KeyRing,
        roles: Mapping[str, Policy],
        *,
        account: str,
        region: str,
        is_tls: bool,
        audit: Audit,
        now_ms: Callable[[], int],
    ) -> None:
        self._service = service
        self._keys = keys
        self._roles = roles
        self._account = account
        self._region = region
        self._is_tls = is_tls
        self._audit = audit
        self._now_ms = now_ms

    def check(self, request: Request, exchange: Exchange) -> Exchange:
        """The exchange with its caller known, or with the fault that refuses it.

        Without a key one learns that a request names no action of SQS, and nothing else.
        """
        if exchange.action is None:
            return exchange
        signature: Signature | None = None
        try:
            signature = read_signature(request)
            key = self._authenticate(request, signature)
        except (Fault, _Refused) as error:
            fault, reason = (error.fault, error.reason) if isinstance(error, _Refused) else (error, error.message)
            self._record("refused", request, exchange, signature, reason=reason)
            return replace(exchange, call=None, fault=fault.with_traceback(None))
        return self._authorise(request, exchange, signature, key)

    def _authorise(self, request: Request, exchange: Exchange, signature: Signature, key: Key) -> Exchange:
        principal = _principal(self._account, key.role, key.name)
        if exchange.call is None:
            if exchange.fault is not None and exchange.fault.row is ACCESS_DENIED:  # it comes from a web page
                self._record("denied", request, exchange, signature, principal, reason=exchange.fault.message)
            return exchange
        sender_id = _sender_id(self._account, key.role, key.name)
        context = replace(exchange.call.context, account=self._account, sender_id=sender_id)
        call = replace(exchange.call, context=context)
        try:
            denied = denial(self._service, call, principal, self._roles.get(key.role), self._conditions(request))
        except Fault as fault:
            return replace(exchange, call=None, fault=fault.with_traceback(None))
        if denied is None:
            return replace(exchange, call=call)
        self._record("denied", request, exchange, signature, principal, resource=denied.resource, reason=denied.reason)
        return replace(exchange, call=None, fault=Fault(ACCESS_DENIED, denied.reason))

    def _authenticate(self, request: Request, signature: Signature) -> Key:
        """The key that signed the request. What a stranger is told does not depend on which keys there are."""
        now_ms = self._now_ms()
        try:
            key = self._keys.find(signature.access_key)
        except KeyFileError as error:
            raise _Refused(Fault(SERVICE_UNAVAILABLE, _NO_KEYS), error.message) from None
        secret = key.secret.reveal() if key is not None else None
        verify(request, signature, secret, region=self._region, service=_SQS, now_ms=now_ms)
        reason = key.refusal(signature.session_token, now_ms) if key is not None else None
        if key is None or reason is not None:
            raise _Refused(Fault(INVALID_CLIENT_TOKEN_ID, _NO_SUCH_KEY), reason or _NO_SUCH_KEY)
        return key

    def _conditions(self, request: Request) -> dict[str, tuple[str, ...]]:
        """What a policy's conditions may ask about the request, by condition keys in lower case."""
        epoch_s = self._now_ms() // 1000
        conditions: dict[str, tuple[str, ...]] = {
            "aws:securetransport": ("true" if self._is_tls else "false",),
            "aws:currenttime": (_iso_time(epoch_s),),
            "aws:epochtime": (str(epoch_s),),
        }
        if request.peer:
            conditions["aws:sourceip"] = (request.peer,)
        user_agent = request.headers.get(b"user-agent")
        if user_agent is not None:
            conditions["aws:useragent"] = (user_agent.decode("latin-1"),)
        return conditions

    def _record(
        self,
        event: str,
        request: Request,
        exchange: Exchange,
        signature: Signature | None,
        principal: Principal | None = None,
        *,
        resource: str | None = None,
        reason: str,
    ) -> None:
        self._audit.write(
            event,
            peer=request.peer,
            access_key=signature.access_key if signature is not None else None,
            principal=principal.session_arn if principal is not None else None,
            action=exchange.action.name if exchange.action is not None else None,
            resource=resource,
            reason=reason,
            request_id=exchange.request_id,
        )


@lru_cache(maxsize=256)
def _principal(account: str, role: str, name: str) -> Principal:
    return Principal(account=account, arn=f"arn:aws:iam::{account}:role/{role}", user_name=name)


@lru_cache(maxsize=256)
def _sender_id(account: str, role: str, name: str) -> str:
    """As AWS has it of a role's session: the role's id, the same for ever, and the session's name."""
    digest = b32encode(sha256(f"{account}:{role}".encode()).digest()).decode()
    return f"AROA{digest[:17]}:{name}"


@lru_cache(maxsize=4)
def _iso_time(epoch_s: int) -> str:
    return datetime.fromtimestamp(epoch_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
