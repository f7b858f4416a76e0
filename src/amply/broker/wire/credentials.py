"""Who signed a request: the access key and the region named in its Signature Version 4 credential scope.

The signature itself is not checked here.
"""

import re
from functools import lru_cache
from urllib.parse import unquote

from msgspec import Struct

from amply.broker.sqs.names import is_account

# <access key>/<date>/<region>/<service>/aws4_request, in the header after `Credential=`, in a presigned URL as
# X-Amz-Credential with its slashes escaped
_HEADER = re.compile(rb"AWS4-HMAC-SHA256 .*?Credential=([A-Za-z0-9_-]{1,128})/[0-9]{8}/([a-z0-9-]{1,64})/", re.DOTALL)
_QUERY = re.compile(r"(?:^|&)X-Amz-Credential=([^&]{1,512})")
_SCOPE = re.compile(r"([A-Za-z0-9_-]{1,128})/[0-9]{8}/([a-z0-9-]{1,64})/.*", re.DOTALL)
_HEADER_LENGTH_MAX = 1024


class Credentials(Struct, frozen=True, gc=False):
    """What a credential scope says."""

    access_key: str
    region: str


def read_credentials(authorization: bytes | None, query: str) -> Credentials | None:
    """From the Authorization header, else from a presigned URL's query; None if neither names any."""
    if authorization is not None and len(authorization) <= _HEADER_LENGTH_MAX:
        # Everything up to the signature is the same in all of a client's requests of a day.
        return _of_header(authorization.partition(b"Signature=")[0])
    return _of_query(query) if query else None


def account_of(credentials: Credentials | None, default_account: str) -> str:
    """An access key of 12 digits is an account id, so that one broker can serve several accounts."""
    if credentials is not None and is_account(credentials.access_key):
        return credentials.access_key
    return default_account


@lru_cache(maxsize=256)
def _of_header(authorization: bytes) -> Credentials | None:
    match = _HEADER.match(authorization)
    return Credentials(match[1].decode(), match[2].decode()) if match else None


def _of_query(query: str) -> Credentials | None:
    found = _QUERY.search(query)
    match = _SCOPE.fullmatch(unquote(found[1])) if found else None
    return Credentials(match[1], match[2]) if match else None
