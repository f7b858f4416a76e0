"""AWS Signature Version 4: which key a request names, and whether that key's secret signed this very request.

Both forms: the Authorization header and the presigned URL. Everything is computed from the request as it came; what
the client says of its own body counts for nothing. Knows no keys, no clock and no permissions.

A repeated request passes again until its time is over, as it does at AWS. The order of equal query parameters, the
case of percent escapes, runs of spaces in headers, and `.`, `..` and `//` in paths are not told apart by the scheme.

Sources: IAM user guide, "Create a signed AWS API request"; botocore 1.44, auth.py.
"""

import hmac
import re
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from hashlib import sha256
from typing import Final
from urllib.parse import quote, unquote_plus, unquote_to_bytes

from msgspec import Struct

from amply.broker.sqs.faults import (
    INCOMPLETE_SIGNATURE,
    INVALID_CLIENT_TOKEN_ID,
    MISSING_AUTHENTICATION_TOKEN,
    REQUEST_EXPIRED,
    SIGNATURE_DOES_NOT_MATCH,
    Fault,
)
from amply.broker.wire.aws_query import FIELDS_MAX
from amply.broker.wire.credentials import AUTHORIZATION_MAX_BYTES, Credentials, parse_scope
from amply.broker.wire.http import Request

SKEW_S: Final = 900
EXPIRES_MAX_S: Final = 604_800
# Before anyone has shown a key, a request must not cost much; clients sign a handful of headers.
SIGNED_HEADERS_MAX_LENGTH: Final = 4096

_ALGORITHM: Final = "AWS4-HMAC-SHA256"
_AUTHORIZATION = re.compile(rb"AWS4-HMAC-SHA256 Credential=([!-+.-~-]+), ?SignedHeaders=([!-+.-~-]+), ?")
_SIGNATURE = re.compile(r"[0-9a-f]{64}")
_HEADER_NAME = re.compile(r"[a-z0-9!#$%&'*+.^_`|~-]+")
_TIMESTAMP = re.compile(r"[0-9]{8}T[0-9]{6}Z")
_TIMESTAMP_FORMAT: Final = "%Y%m%dT%H%M%SZ"
_HTTP_DATE = re.compile(
    r"(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun), ([0-9]{2}) ([A-Z][a-z]{2}) ([0-9]{4}) ([0-9]{2}):([0-9]{2}):([0-9]{2}) "
    r"(?:GMT|[+-]0000)"
)
_MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_EXPIRES = re.compile(r"[1-9][0-9]{0,5}")
_TOKEN = re.compile(r"[!-~]{1,8192}")

_NAME_OF_SIGNATURE: Final = "X-Amz-Signature"
_NAMES_IN_QUERY: Final = frozenset(
    {
        *("X-Amz-Algorithm", "X-Amz-Credential", "X-Amz-Date", "X-Amz-Expires", "X-Amz-SignedHeaders"),
        *("X-Amz-Security-Token", _NAME_OF_SIGNATURE),
    }
)
_FORM: Final = b"application/x-www-form-urlencoded"

_NO_SECRET: Final = "the secret of nobody"  # noqa: S105 - whatever it signs is refused
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class Signature(Struct, frozen=True, gc=False, kw_only=True):
    """What a request says of its own signing; nothing of it is true before `verify`.

    `date` is the day in the credential scope, YYYYMMDD; `signed_ms` the instant of signing. `signed_headers` are lower
    case, in order. `expires_s` is the validity of a presigned URL, 1..604800, None for the header form. Whoever finds
    the key compares `session_token` (ASCII) with the key's own.
    """

    access_key: str
    date: str
    region: str
    service: str
    signed_headers: tuple[str, ...]
    signature: str
    signed_ms: int
    expires_s: int | None
    session_token: str | None


def read_signature(request: Request) -> Signature:
    """The one signature that a request carries, after a check that it covers what the request's meaning depends on.

    Fault MissingAuthenticationToken without any, IncompleteSignature if it is broken, if it leaves out what it must
    cover, or if there are two.
    """
    authorization = request.headers.get(b"authorization")
    query = request.target.partition("?")[2]
    fields = _signing_fields(query) if query else {}
    if authorization is not None:
        if fields:
            raise _incomplete("A request is signed in its Authorization header or in its query, not in both.")
        signature = _of_header(request.headers, authorization)
    elif fields:
        signature = _of_query(fields)
    else:
        raise Fault(
            MISSING_AUTHENTICATION_TOKEN,
            "The request is not signed. Give the client an access key and its secret "
            "(AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY).",
        )
    _check_coverage(request, signature)
    return signature


def verify(
    request: Request,
    signature: Signature,
    secret: str | None,
    *,
    region: str,
    service: str,
    now_ms: int,
    skew_s: int = SKEW_S,
) -> None:
    """Return if `secret` signed the request for this region and service, and its time is not over.

    `secret` None, for an access key that nobody has, costs the same and ends in Fault InvalidClientTokenId at best.
    Otherwise Fault SignatureDoesNotMatch or RequestExpired. `now_ms` is real wall time, as the client's clock is.
    """
    _check_scope(signature, region, service)
    _check_time(signature, now_ms, skew_s)
    body_hash = sha256(request.body).hexdigest()
    claimed = request.headers.get(b"x-amz-content-sha256")
    if claimed is not None and claimed != body_hash.encode():
        raise _mismatch(
            "X-Amz-Content-Sha256 is not the hash of the body that arrived. Bodies must be signed: neither "
            "UNSIGNED-PAYLOAD nor streaming is accepted."
        )
    canonical = _canonical_request(request, signature, body_hash)
    scope = f"{signature.date}/{signature.region}/{signature.service}/aws4_request"
    to_sign = f"{_ALGORITHM}\n{_timestamp(signature.signed_ms)}\n{scope}\n{sha256(canonical).hexdigest()}"
    key = _signing_key(_NO_SECRET if secret is None else secret, signature.date, signature.region, signature.service)
    expected = hmac.digest(key, to_sign.encode(), "sha256").hex()
    is_match = hmac.compare_digest(expected, signature.signature)
    if secret is None:
        raise Fault(INVALID_CLIENT_TOKEN_ID, "There is no such access key.")
    if not is_match:
        raise _mismatch(
            "The signature is not one of this request by this access key's secret. Check the secret; a proxy that "
            "changes the Host header, the path or the body has the same effect."
        )


# Reading.


def _of_header(headers: Mapping[bytes, bytes], authorization: bytes) -> Signature:
    # Everything up to the signature is the same in all of a client's requests of a day.
    head, _, signature = authorization.partition(b"Signature=")
    if len(authorization) > AUTHORIZATION_MAX_BYTES:
        raise _incomplete(f"The Authorization header is longer than {AUTHORIZATION_MAX_BYTES} bytes.")
    credentials, signed_headers = _read_head(head)
    name = b"x-amz-date" if b"x-amz-date" in headers else b"date"
    if name not in headers:
        raise _incomplete("The request has no X-Amz-Date header.")
    if name.decode() not in signed_headers:
        raise _incomplete("The header that dates the request is not signed.")
    token = headers.get(b"x-amz-security-token")
    return _signature(
        credentials,
        signed_headers,
        signature=signature.decode("latin-1"),
        signed_ms=_read_date(headers[name].decode("latin-1")),
        session_token=None if token is None else token.decode("latin-1"),
    )


@lru_cache(maxsize=256)
def _read_head(head: bytes) -> tuple[Credentials, tuple[str, ...]]:
    match = _AUTHORIZATION.fullmatch(head)
    if match is None:
        raise _incomplete(
            "The Authorization header must have the form "
            "'AWS4-HMAC-SHA256 Credential=..., SignedHeaders=..., Signature=...'."
        )
    return _read_credential(match[1].decode()), _read_signed_headers(match[2].decode())


def _signing_fields(query: str) -> dict[str, str]:
    """Those fields of a query that belong to a presigned URL, decoded."""
    if query.count("&") >= FIELDS_MAX:
        raise _incomplete(f"The query has more than {FIELDS_MAX} fields.")
    fields: dict[str, str] = {}
    for pair in query.split("&"):
        spelling, _, value = pair.partition("=")
        name = unquote_plus(spelling)
        if name in _NAMES_IN_QUERY:
            if name in fields or spelling != name:  # so that everyone who looks for it finds the same one
                raise _incomplete(f"The query must have one {name}, and no escapes in its name.")
            fields[name] = unquote_plus(value)
    return fields


def _of_query(fields: Mapping[str, str]) -> Signature:
    missing = _NAMES_IN_QUERY - {"X-Amz-Security-Token"} - fields.keys()
    if missing:
        raise _incomplete(f"The query of a presigned URL must have {', '.join(sorted(missing))}.")
    if fields["X-Amz-Algorithm"] != _ALGORITHM:
        raise _incomplete(f"X-Amz-Algorithm must be {_ALGORITHM}.")
    expires = fields["X-Amz-Expires"]
    if not _EXPIRES.fullmatch(expires) or int(expires) > EXPIRES_MAX_S:
        raise _incomplete(f"X-Amz-Expires must be 1 to {EXPIRES_MAX_S} seconds.")
    return _signature(
        _read_credential(fields["X-Amz-Credential"]),
        _read_signed_headers(fields["X-Amz-SignedHeaders"]),
        signature=fields[_NAME_OF_SIGNATURE],
        signed_ms=_read_timestamp(fields["X-Amz-Date"]),
        expires_s=int(expires),
        session_token=fields.get("X-Amz-Security-Token"),
    )


def _signature(
    credentials: Credentials,
    signed_headers: tuple[str, ...],
    *,
    signature: str,
    signed_ms: int,
    expires_s: int | None = None,
    session_token: str | None,
) -> Signature:
    if not _SIGNATURE.fullmatch(signature):
        raise _incomplete("The signature must be 64 lower case hexadecimal digits.")
    if session_token is not None and not _TOKEN.fullmatch(session_token):
        raise _incomplete("X-Amz-Security-Token is not a session token.")
    return Signature(
        access_key=credentials.access_key,
        date=credentials.date,
        region=credentials.region,
        service=credentials.service,
        signed_headers=signed_headers,
        signature=signature,
        signed_ms=signed_ms,
        expires_s=expires_s,
        session_token=session_token,
    )


def _read_credential(scope: str) -> Credentials:
    credentials = parse_scope(scope)
    if credentials is None:
        raise _incomplete("Credential must have the form '<access key>/<YYYYMMDD>/<region>/<service>/aws4_request'.")
    return credentials


def _read_signed_headers(text: str) -> tuple[str, ...]:
    names = text.split(";") if len(text) <= SIGNED_HEADERS_MAX_LENGTH else []
    if not names or names != sorted(set(names)) or not all(_HEADER_NAME.fullmatch(name) for name in names):
        raise _incomplete("SignedHeaders must be lower case names in order, each once, separated by semicolons.")
    return tuple(names)


def _read_date(text: str) -> int:
    """Milliseconds of an X-Amz-Date or Date header; the latter may also be an HTTP date."""
    match = _HTTP_DATE.fullmatch(text)
    if match is None or match[2] not in _MONTHS:
        return _read_timestamp(text)
    month = _MONTHS.index(match[2]) + 1
    return _read_timestamp(f"{match[3]}{month:02}{match[1]}T{match[4]}{match[5]}{match[6]}Z")


@lru_cache(maxsize=64)
def _read_timestamp(text: str) -> int:
    instant = None
    if _TIMESTAMP.fullmatch(text):  # strptime alone also takes fewer digits
        with suppress(ValueError):
            instant = datetime.strptime(text, _TIMESTAMP_FORMAT).replace(tzinfo=UTC)
    if instant is None:
        raise _incomplete("The date of signing must have the form YYYYMMDD'T'HHMMSS'Z'.")
    return (instant - _EPOCH) // timedelta(milliseconds=1)


def _check_coverage(request: Request, signature: Signature) -> None:
    """What is not signed may have been put there by anyone on the way, so the request's meaning must not depend on it.

    X-Amzn-Trace-Id, User-Agent and Amz-Sdk-* may stay unsigned; every SDK leaves some of them out.
    """
    headers, signed = request.headers, signature.signed_headers
    if "host" not in signed:
        raise _incomplete("The Host header is not signed.")
    for name in signed:
        if name.encode() not in headers:
            raise _incomplete(f"The request has no {name} header, which SignedHeaders names.")
    for header in headers:
        if header.startswith(b"x-amz-") and header.decode("latin-1") not in signed:
            raise _incomplete("All X-Amz-* headers must be signed.")
    # With an X-Amz-Target the content type tells nothing; without, it decides whether a body is read at all. Some SDKs
    # do not sign it on forms.
    if "content-type" in signed or not request.body or b"x-amz-target" in headers:
        return
    if headers.get(b"content-type", b"").partition(b";")[0].strip().lower() != _FORM:
        raise _incomplete("The Content-Type header is not signed.")


# Verifying.


def _check_scope(signature: Signature, region: str, service: str) -> None:
    if signature.region != region:
        raise _mismatch(f"The request is signed for the region {signature.region}; this is {region}.")
    if signature.service != service:
        raise _mismatch(f"The request is signed for the service {signature.service}; this is {service}.")
    if signature.date != _timestamp(signature.signed_ms)[:8]:
        raise _mismatch("The day in the credential scope is not the day of the request's date.")


def _check_time(signature: Signature, now_ms: int, skew_s: int) -> None:
    since_s = (now_ms - signature.signed_ms) / 1000
    if since_s < -skew_s:
        lead = f"signed {-since_s:.0f} s after the time here, {_timestamp(now_ms)}; at most {skew_s} s are allowed"
        raise Fault(REQUEST_EXPIRED, f"The request is {lead}. Compare the clocks of both machines.")
    if signature.expires_s is None:
        if since_s > skew_s:
            age = f"signed {since_s:.0f} s before the time here, {_timestamp(now_ms)}; at most {skew_s} s are allowed"
            raise Fault(REQUEST_EXPIRED, f"The request is {age}. Compare the clocks of both machines.")
    elif since_s > signature.expires_s:
        raise Fault(
            REQUEST_EXPIRED,
            f"The presigned URL was valid for {signature.expires_s} s; it is {_timestamp(now_ms)} here and it was "
            f"signed {since_s:.0f} s ago. Make a new one.",
        )


def _canonical_request(request: Request, signature: Signature, body_hash: str) -> bytes:
    path, _, query = request.target.partition("?")
    headers, names = request.headers, signature.signed_headers
    # Any white space between words is one space, as SDKs sign it.
    values = "".join([f"{name}:{b' '.join(headers[name.encode()].split()).decode('latin-1')}\n" for name in names])
    head = f"{request.method}\n{_canonical_path(path)}\n{_canonical_query(query) if query else ''}\n"
    return f"{head}{values}\n{';'.join(names)}\n{body_hash}".encode("latin-1")


def _canonical_path(path: str) -> str:
    """Without empty and dot segments, and escaped once more: the sender has already done so once."""
    segments: list[str] = []
    for segment in path.split("/"):
        if segment == "..":
            del segments[-1:]
        elif segment not in {"", "."}:
            segments.append(segment)
    slash = "/" if segments and path.endswith("/") else ""
    return quote(f"/{'/'.join(segments)}{slash}", safe="/~")


def _canonical_query(query: str) -> str:
    """All fields but the signature, in order of their escaped bytes. A plus is a space, as it is to who reads forms."""
    pairs = [pair.partition("=") for pair in query.split("&")]
    fields = [(_escape(name), _escape(value)) for name, _, value in pairs]
    return "&".join([f"{name}={value}" for name, value in sorted(fields) if name != _NAME_OF_SIGNATURE])


def _escape(text: str) -> str:
    return quote(unquote_to_bytes(text.replace("+", " ")), safe="~")


@lru_cache(maxsize=1024)
def _signing_key(secret: str, date: str, region: str, service: str) -> bytes:
    key = f"AWS4{secret}".encode()
    for part in (date, region, service, "aws4_request"):
        key = hmac.digest(key, part.encode(), "sha256")
    return key


@lru_cache(maxsize=64)
def _timestamp(instant_ms: int) -> str:
    return (_EPOCH + timedelta(milliseconds=instant_ms)).strftime(_TIMESTAMP_FORMAT)


def _incomplete(message: str) -> Fault:
    return Fault(INCOMPLETE_SIGNATURE, message)


def _mismatch(message: str) -> Fault:
    return Fault(SIGNATURE_DOES_NOT_MATCH, message)
