"""The job in a letter: quickly for lists of many, and whole for one. Knows envelopes; runs and opens nothing."""

import binascii
from typing import Any

import msgspec
from msgspec import Struct

from amply import envelope
from amply.envelope import Job, Unreadable


class Headline(Struct, frozen=True):
    """Which job it is. None where the body does not say: it may be no Celery job at all."""

    task: str | None
    id: str | None


class Told(Struct, frozen=True):
    """All that a body tells of its job. `unreadable` is why it is none, in one line."""

    job: Job
    unreadable: str | None


class _Members(Struct):
    task: str | None = None
    id: str | None = None


class _Envelope(Struct):
    headers: _Members


_NOTHING = Headline(None, None)
_TEXT_CHARS_MAX = 1024
# Only the members that are wanted are decoded, at a tenth of the whole envelope's time.
_decode = msgspec.json.Decoder(_Envelope).decode


def headline(body: str) -> Headline:
    """The job's task and id; never raises."""
    try:
        quick = _decode(body if body.startswith("{") else binascii.a2b_base64(body))
    except (msgspec.DecodeError, ValueError, UnicodeError, RecursionError):
        quick = None
    if quick is None or not quick.headers.task:
        # Rare: Celery's protocol 1, other languages' clients, or no job.
        job = told(body).job
        return Headline(job.task, job.id) if job.task or job.id else _NOTHING
    return Headline(
        quick.headers.task[:_TEXT_CHARS_MAX], quick.headers.id[:_TEXT_CHARS_MAX] if quick.headers.id else None
    )


def told(body: str) -> Told:
    """The whole job; never raises."""
    payload: dict[str, Any] = {}
    try:
        payload = envelope.read(body)
    except Unreadable as fault:
        return Told(envelope.job(payload), fault.reason)
    return Told(envelope.job(payload), None)
