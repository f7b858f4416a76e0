"""Letters of the same task that died of the same failure, counted without keeping them."""

from collections import Counter
from collections.abc import Iterable

from msgspec import Struct

from amply.deadletters.deaths import Found
from amply.deadletters.failures import Cause
from amply.deadletters.letters import SOON_MS

# Beyond, letters are counted but in no group: a body that says another task each time must not fill the memory.
GROUPS_MAX = 1000
SOURCES_MAX = 20
OTHER_QUEUES = "other queues"


class Group(Struct, kw_only=True):
    """Letters with the same task and kind of failure. Times are in epoch milliseconds.

    `death` is that of the letter that died last; `first_ms` and `last_ms` are when the first and the last one died, or
    were sent where nobody knows. `soonest_ms` is when the first of them expires, `expiring` how many do so within a
    day.
    """

    id: str
    task: str | None
    death: Cause
    example_id: str
    first_ms: int
    last_ms: int
    soonest_ms: int
    count: int = 0
    expiring: int = 0
    sources: Counter[str | None]


class Groups(Struct, kw_only=True):
    """What a walk found. `groups` come by falling count; `others` are letters beyond the first thousand groups."""

    groups: list[Group]
    letters: int
    others: int
    soonest_ms: int | None
    expiring: int


def group(pages: Iterable[list[Found]], *, retention_s: int, now_ms: int) -> Groups:
    """Sort all letters into groups. `retention_s` is the dead letter queue's."""
    groups: dict[str, Group] = {}
    letters = others = 0
    for page in pages:
        for found in page:
            letters += 1
            of = groups.get(found.group)
            if of is None:
                if len(groups) == GROUPS_MAX:
                    others += 1
                    continue
                of = groups[found.group] = _begun(found, retention_s)
            _count(of, found, retention_s, now_ms)
    ordered = sorted(groups.values(), key=lambda one: (-one.count, one.id))
    return Groups(
        groups=ordered,
        letters=letters,
        others=others,
        soonest_ms=min((one.soonest_ms for one in ordered), default=None),
        expiring=sum(one.expiring for one in ordered),
    )


def _begun(found: Found, retention_s: int) -> Group:
    died_ms = _died_ms(found)
    return Group(
        id=found.group,
        task=found.job.task,
        death=found.death,
        example_id=found.letter.message_id,
        first_ms=died_ms,
        last_ms=died_ms,
        soonest_ms=found.letter.expires_ms(retention_s),
        sources=Counter(),
    )


def _count(of: Group, found: Found, retention_s: int, now_ms: int) -> None:
    died_ms, expires_ms = _died_ms(found), found.letter.expires_ms(retention_s)
    of.count += 1
    source = found.letter.source
    of.sources[source if source in of.sources or len(of.sources) < SOURCES_MAX else OTHER_QUEUES] += 1
    of.first_ms = min(of.first_ms, died_ms)
    of.soonest_ms = min(of.soonest_ms, expires_ms)
    if expires_ms - now_ms < SOON_MS:
        of.expiring += 1
    if died_ms >= of.last_ms:
        of.last_ms, of.death, of.example_id = died_ms, found.death, found.letter.message_id


def _died_ms(found: Found) -> int:
    return found.letter.sent_ms if found.death.at_ms is None else found.death.at_ms
