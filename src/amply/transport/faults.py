"""What can go wrong between a worker and SQS, in the two kinds that Celery tells apart.

Knows SQS's error codes and both ways in which an answer names them; must not know sockets, nor what is done
about a fault.
"""

from collections.abc import Mapping

import msgspec

# Too many requests just now: the same request passes later. Each name is one AWS uses for it, by protocol and service.
_THROTTLING = {
    "RequestThrottled",  # SQS's own, also for a FIFO queue's rate ("Common error types", SQS API Reference)
    "ThrottlingException",  # AWS's common name in the JSON protocol
    "Throttling",  # the same in the Query protocol
    "ThrottledException",  # the same in older services
    "RequestThrottledException",  # the same as an exception's name
    "TooManyRequestsException",  # the same of gateways in front of SQS (VPC lattices, API gateways)
    "RequestLimitExceeded",  # the account's rate of calls to the API
    "KmsThrottled",  # an encrypted queue's key is asked too often (SQS API Reference, SendMessage)
    "KMS.ThrottlingException",  # the same in the Query protocol
}
# The front end or a service behind it is ill; most come with a 5xx, but the JSON protocol does not promise it.
_AILING = {"InternalError", "InternalFailure", "ServiceUnavailable", "ServiceUnavailableException", "RequestTimeout"}
# The credentials ran out or were replaced; new ones are looked for, and then the same request passes.
CREDENTIAL_CODES = frozenset(
    {
        "ExpiredToken",  # a session token past its end, Query protocol
        "ExpiredTokenException",  # the same, JSON protocol
        "TokenRefreshRequired",  # the same, of services that ask for a fresh one early
        "RequestExpired",  # a signature that came too late: a clock that was stepped, or a stalled host
        "InvalidClientTokenId",  # a key that was deleted or rotated, or is not known everywhere yet, Query protocol
        "UnrecognizedClientException",  # the same, JSON protocol
        "InvalidSecurity",  # SQS's own: credentials that it cannot use any more, or a request that came over plain HTTP
        "CredentialsUnavailable",  # ours: the place the credentials come from did not answer
    }
)
# The role may not do it. The status does not tell: AWS says 403 for credentials too, and 400 in some JSON services.
_DENIED = {"AccessDenied", "AccessDeniedException", "KmsAccessDenied", "KMS.AccessDeniedException"}
_PASSING_CODES = _THROTTLING | _AILING | CREDENTIAL_CODES
# 408: the request came too slowly; 429: too many of them. Proxies say so without an SQS code.
_PASSING_STATUSES = {408, 429}
_MESSAGE_CHARACTERS = 500


class Unreachable(ConnectionError):
    """No whole answer came: refused, reset, timed out, cut off, or not HTTP. The text is one line for people.

    Whether SQS acted on the request is not known, unless the text says that no connection was made.
    """


class TimedOut(Unreachable):
    """The connection stood, or was being made, and nothing came in time: other requests may hang as well."""


class Aborted(Unreachable):
    """Somebody called `Connection.abort`."""


class SqsFault(Exception):
    """SQS refused the request.

    `code` is the name in the SQS API Reference ("QueueDoesNotExist", without the namespace), `status` the HTTP status,
    0 if nothing was sent. Survives pickling, as a task's exception must.
    """

    def __init__(self, action: str, status: int, code: str, message: str) -> None:
        super().__init__(action, status, code, message)
        self.action = action
        self.status = status
        self.code = code
        self.message = message

    @property
    def is_denied(self) -> bool:
        """Whether SQS says that the role may not do it, and not something about the credentials themselves."""
        return self.code in _DENIED

    def __str__(self) -> str:
        return f"{self.action} failed: {self.code}: {self.message}"


class Transient(SqsFault):
    """A refusal that may pass by itself: throttling, a fault inside SQS, credentials that are being replaced."""


# For kombu: after these the connection is made anew and publishing is tried again; after those it is not.
CONNECTION_ERRORS = (Unreachable, Transient)
CHANNEL_ERRORS = (SqsFault,)


class _ErrorBody(msgspec.Struct):
    """An error in AWS JSON 1.0. AWS writes `message`, some front ends `Message`."""

    type: str = msgspec.field(name="__type", default="")
    message: str | None = None
    capital_message: str | None = msgspec.field(name="Message", default=None)


_decode_error = msgspec.json.Decoder(_ErrorBody).decode


def fault(action: str, status: int, code: str, message: str) -> SqsFault:
    """The exception for a refusal: a `Transient` if it may pass, else an `SqsFault`."""
    passing = code in _PASSING_CODES or status in _PASSING_STATUSES or status >= 500
    return (Transient if passing else SqsFault)(action, status, code, message)


def read_fault(action: str, status: int, headers: Mapping[str, str], body: bytes) -> SqsFault:
    """The exception for an answer other than 200. `headers` have lower-case names.

    The code is that of `__type`; where the body names none, the Query protocol's of the header `x-amzn-query-error`
    ("code;Sender"), or "HTTP502" when neither is there, as in a proxy's own page.
    """
    try:
        told = _decode_error(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        told = _ErrorBody()
    query_code = headers.get("x-amzn-query-error", "").partition(";")[0].strip()
    named = told.type.rpartition("#")[2]
    # A passing fault may be known as one under either of its names.
    code = query_code if query_code in _PASSING_CODES or not named else named
    message = told.message or told.capital_message
    if not message:
        kind = headers.get("content-type", "no content type").partition(";")[0]
        message = f"the answer was HTTP {status} without a word of SQS ({kind}, {len(body)} bytes)"
    return fault(action, status, code or f"HTTP{status}", message[:_MESSAGE_CHARACTERS])
