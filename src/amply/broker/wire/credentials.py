"""Who says to have signed a request: the credential scope of AWS's Signature Version 4, in its header or presigned URL.

The signature itself is checked in `signature`, and only by a broker that was told to.
"""

import re
from functools import lru_cache
from typing import Final
from urllib.parse import unquote

from msgspec import Struct

from amply.broker.sqs.names import is_account

AUTHORIZATION_MAX_BYTES: Final = 8192

# In the header after `Credential=`, in a presigned URL as X-Amz-Credential with its slashes escaped.
_SCOPE = re.compile(r"([A-Za-z0-9_-]{1,128})/([0-9]{8})/([a-z0-9-]{1,64})/([a-z0-9-]{1,64})/aws4_request")
_HEADER = re.compile(rb"AWS4-HMAC-SHA256 .*?Credential=([!-+.-~-]{1,512})", re.DOTALL)  # printable, up to a comma
_QUERY = re.compile(r"(?:^|&)X-Amz-Credential=([^&]{1,1024})")


class Credentials(Struct, frozen=True, gc=False):
    """What a credential scope says. `date` is YYYYMMDD, in UTC."""

    access_key: str
    date: str
    region: str
    service: str


def read_credentials(authorization: bytes | None, query: str) -> Credentials | None:
    """From the Authorization header, else from a presigned URL's query; None if neither names any."""
    if authorization is not None and len(authorization) <= AUTHORIZATION_MAX_BYTES:
        # Everything up to the signature is the same in all of a client's requests of a day.
        return _of_header(authorization.partition(b"Signature=")[0])
    return _of_query(query) if query else None


def parse_scope(scope: str) -> Credentials | None:
    """`<access key>/<date>/<region>/<service>/aws4_request`; None if it is not of this form."""
    match = _SCOPE.fullmatch(scope)
    return Credentials(match[1], match[2], match[3], match[4]) if match else None


def account_of(credentials: Credentials | None, default_account: str) -> str:
    """An access key of 12 digits is an account id, so that one broker can serve several accounts."""
    if credentials is not None and is_account(credentials.access_key):
        return credentials.access_key
    return default_account


@lru_cache(maxsize=256)
def _of_header(authorization: bytes) -> Credentials | None:
    match = _HEADER.match(authorization)
    return parse_scope(match[1].decode()) if match else None


def _of_query(query: str) -> Credentials | None:
    found = _QUERY.search(query)
    return parse_scope(unquote(found[1])) if found else None
