"""Identities. The only module that makes random ones, so that a simulation can make them predictable."""

import base64
import itertools
import os
import uuid
from typing import Protocol

# The two high bits of this digit are 10 in every UUID of RFC 9562.
_VARIANT = {digit: "89ab"[int(digit, 16) & 3] for digit in "0123456789abcdef"}


class Ids(Protocol):
    """Where new identities come from."""

    def message_id(self) -> str:
        """A UUID in its usual text form, as SQS gives every message."""


class RandomIds:
    """Identities nobody can guess.

    They are on the path of every message, so random bytes are fetched many at a time and the text is put together by
    hand: `uuid.uuid4` takes five times as long.
    """

    _AT_ONCE = 256

    def __init__(self) -> None:
        self._digits = ""
        self._at = 0

    def message_id(self) -> str:
        """A random UUID (version 4)."""
        at = self._at
        if at == len(self._digits):
            self._digits = os.urandom(16 * self._AT_ONCE).hex()
            at = 0
        self._at = at + 32
        digits = self._digits[at : at + 32]
        return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-{_VARIANT[digits[16]]}{digits[17:20]}-{digits[20:]}"


class CountingIds:
    """Identities in order, the same on every run; for tests and simulations."""

    def __init__(self) -> None:
        self._last = 0

    def message_id(self) -> str:
        """The next UUID in order."""
        self._last += 1
        return str(uuid.UUID(int=self._last))


_process = str(uuid.uuid4())[:24]
_requests = itertools.count(1)


def request_id() -> str:
    """A new request id, as AWS puts on every answer: names the request in logs, and is no secret."""
    return f"{_process}{next(_requests):012x}"


def secret(size_bytes: int) -> bytes:
    """Random bytes for keys."""
    return os.urandom(size_bytes)


def access_key_id(*, is_temporary: bool) -> str:
    """A new access key id in AWS's form: 20 letters and digits, ASIA first for temporary keys and AKIA for others."""
    return ("ASIA" if is_temporary else "AKIA") + base64.b32encode(os.urandom(10)).decode()


def secret_access_key() -> str:
    """A new secret for an access key, in AWS's form: 40 characters, 240 random bits."""
    return base64.b64encode(os.urandom(30)).decode()


def session_token() -> str:
    """A new token that goes with a temporary access key: 96 characters, 576 random bits."""
    return base64.b64encode(os.urandom(72)).decode()
