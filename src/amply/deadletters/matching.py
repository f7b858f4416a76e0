"""Which letters are meant: by task, error, argument, age, source queue, group, or one by one."""

from fnmatch import fnmatchcase
from typing import Any

from msgspec import Struct

from amply.deadletters.deaths import Found
from amply.deadletters.jobs import told

_ID_CHARS_MIN = 8


class Match(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a letter has to fit, all of it; without anything every letter fits. Can be written as JSON.

    - `task`: the task's name, `*` and `?` stand for anything
    - `error`: a text in the reason, the exception's class or its message, in any case
    - `argument`: `name=value` of a keyword argument, or a text in the arguments as they are shown
    - `older_s`, `newer_s`: seconds since the letter was sent first
    - `source`: the queue that it came from
    - `group`: a group's id
    - `ids`: letters by the id of the message or of the job, or at least eight characters of its beginning
    """

    task: str | None = None
    error: str | None = None
    argument: str | None = None
    older_s: float | None = None
    newer_s: float | None = None
    source: str | None = None
    group: str | None = None
    ids: tuple[str, ...] = ()

    def fits(self, found: Found, now_ms: int) -> bool:
        """Whether the letter is meant; `now_ms` is the wall clock's."""
        letter, death = found.letter, found.death
        age_ms = now_ms - letter.sent_ms
        return (
            (self.group is None or found.group == self.group)
            and (not self.ids or any(is_called(found, named) for named in self.ids))
            and (self.task is None or fnmatchcase(found.job.task or "", self.task))
            and (self.source is None or letter.source == self.source)
            and (self.older_s is None or age_ms > self.older_s * 1000)
            and (self.newer_s is None or age_ms < self.newer_s * 1000)
            and (self.error is None or _holds(self.error, death.reason, death.exception, death.message))
            and (self.argument is None or _has_argument(letter.body, self.argument))
        )


def is_called(found: Found, named: str) -> bool:
    """Whether a letter's message or job has this id, or an id that begins so and is as good as unique."""
    ids = (found.letter.message_id, found.job.id or "")
    return named in ids or (len(named) >= _ID_CHARS_MIN and any(one.startswith(named) for one in ids))


def _holds(wanted: str, *texts: str) -> bool:
    folded = wanted.casefold()
    return any(folded in text.casefold() for text in texts)


def _has_argument(body: str, wanted: str) -> bool:
    job = told(body).job
    name, equals, value = wanted.partition("=")
    if equals and job.kwargs is not None and name in job.kwargs:
        return _shown(job.kwargs[name]) == value
    if job.args is None and job.kwargs is None:
        return wanted in (job.argsrepr or "") or wanted in (job.kwargsrepr or "")
    return any(wanted in _shown(one) for one in (*(job.args or ()), *(job.kwargs or {}).values()))


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else repr(value)
