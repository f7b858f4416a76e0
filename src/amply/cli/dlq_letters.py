"""A dead letter as it is told: in a row, and as JSON.

Knows what is told of a letter; must not know where it is written.
"""

import json
from typing import Any

import msgspec

from amply.cli import output, times
from amply.cli.output import Alarm
from amply.deadletters.deaths import Found
from amply.deadletters.failures import Cause, Failure
from amply.deadletters.letters import SOON_MS
from amply.envelope.json_text import ascii_json

# Raised when a member changes its meaning or goes; members may be added.
JSON_VERSION = 1

ERROR_CHARS = 200
NAME_CHARS = 120
_ID_CHARS = 8

COLUMNS = ("Id", "Task", "Job", "Error", "Receives", "Age", "Left", "Source")


def row(found: Found, retention_s: int, now_ms: int, *, is_narrow: bool) -> tuple[object, ...]:
    """The letter's cells for `COLUMNS`; the beginning of its id where they are narrow."""
    letter = found.letter
    return (
        letter.message_id[:_ID_CHARS] if is_narrow else output.brief(letter.message_id, NAME_CHARS),
        output.brief(found.job.task or "", NAME_CHARS),
        (found.job.id or "")[:_ID_CHARS],
        output.brief(found.death.text, ERROR_CHARS),
        letter.receive_count,
        times.short((now_ms - letter.sent_ms) / 1000),
        time_left(letter.expires_ms(retention_s), now_ms),
        output.brief(letter.source or "", NAME_CHARS),
    )


def time_left(expires_ms: int, now_ms: int) -> str:
    """How long SQS keeps it; with `!` if that is not a day."""
    left = times.short((expires_ms - now_ms) / 1000)
    return Alarm(f"!{left}") if expires_ms - now_ms < SOON_MS else left


def as_data(found: Found, retention_s: int) -> dict[str, Any]:
    """What is told of each letter."""
    letter = found.letter
    return {
        "id": letter.message_id,
        "task": found.job.task,
        "job_id": found.job.id,
        "group": found.group,
        **death_data(found.death),
        "receives": letter.receive_count,
        "sent_ms": letter.sent_ms,
        "first_received_ms": letter.first_received_ms,
        "visible_ms": letter.visible_ms,
        "expires_ms": letter.expires_ms(retention_s),
        "source": letter.source,
    }


def death_data(death: Cause) -> dict[str, Any]:
    """Why it died; `error` is all of it in one text."""
    return {
        "error": death.text,
        "reason": death.reason,
        "exception": death.exception,
        "message": death.message,
        "worker": death.worker,
        "attempt": death.attempt,
        "is_last": death.is_last,
        "died_ms": death.at_ms,
    }


def failure_data(failure: Failure) -> dict[str, Any]:
    """A failed run, with the names of the worker's record."""
    told: dict[str, Any] = msgspec.structs.asdict(failure)
    return told


def json_value(value: Any) -> Any:
    """A job's argument as JSON has it: what has no type there in kombu's marks, and no number that is none."""
    return json.loads(ascii_json(value), parse_constant=str)
