"""Why a letter died: what its worker told, or what can be concluded where no worker did.

Knows letters and causes; must not know where either comes from.
"""

from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from hashlib import blake2b
from typing import Protocol

from msgspec import Struct

from amply.deadletters.failures import Cause
from amply.deadletters.fingerprints import fingerprint
from amply.deadletters.jobs import Headline, headline, told
from amply.deadletters.letters import REDRIVEN_AT, Letter

# Nobody reported a failure, and yet it was received as often as it may be: whoever ran it is gone, or took too long.
UNREPORTED = "no failure was reported: its worker was killed, or its lease ended while it ran"
NOT_MOVED = "it was sent here, and did not die in a queue"
NO_JOB = "not a Celery job"

_REMEMBERED_GROUPS_MAX = 10_000


class Found(Struct, frozen=True):
    """A letter, which job it is, and why it died. `group` names those with the same task and kind of failure."""

    letter: Letter
    job: Headline
    death: Cause
    group: str


class Causes(Protocol):
    """Where the causes of failures are kept."""

    def causes(self, keys: Sequence[tuple[str, str | None]]) -> list[Cause | None]:
        """The last known failure of each message (its id at SQS, and its job's)."""


def explain(letter: Letter, job: Headline, cause: Cause | None) -> Cause:
    """What its worker told; else what the letter itself lets conclude."""
    # What failed before it was brought back is not why it died again.
    if cause is not None and (REDRIVEN_AT not in letter.attributes or (cause.at_ms or 0) >= _redriven_ms(letter)):
        return cause
    if job.task is None and (why := told(letter.body).unreadable) is not None:
        return _unreported(NO_JOB, why)
    return _unreported(UNREPORTED if letter.source is not None else NOT_MOVED)


def _redriven_ms(letter: Letter) -> int:
    try:
        return int(letter.attributes[REDRIVEN_AT]["StringValue"])
    except (KeyError, ValueError):
        return 0


@lru_cache(maxsize=64)
def _unreported(reason: str, message: str = "") -> Cause:
    return Cause(fingerprint(reason, "", message, ""), reason, message=message)


def found(pages: Iterable[list[Letter]], causes: Causes) -> Iterator[list[Found]]:
    """The letters of a walk, with their jobs and deaths."""
    groups: dict[tuple[str | None, str], str] = {}
    for letters in pages:
        jobs = [headline(letter.body) for letter in letters]
        keys = [(letter.message_id, job.id) for letter, job in zip(letters, jobs, strict=True)]
        page = []
        for letter, job, cause in zip(letters, jobs, causes.causes(keys), strict=True):
            death = explain(letter, job, cause)
            key = job.task, death.kind
            group = groups.get(key)
            if group is None:
                if len(groups) > _REMEMBERED_GROUPS_MAX:
                    groups.clear()
                group = groups[key] = group_id(*key)
            page.append(Found(letter, job, death, group))
        yield page


def group_id(task: str | None, kind: str) -> str:
    """Eight hexadecimal digits, the same on every machine."""
    return blake2b(f"{task or ''}\0{kind}".encode("utf-8", "backslashreplace"), digest_size=4).hexdigest()
