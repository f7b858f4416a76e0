"""How policies that cannot be enforced are refused."""

import json
from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any

from amply.errors import AmplyError


class PolicyError(AmplyError):
    """A policy that is refused when it is read: what is wrong, where in the document, and why it cannot stand.

    Nothing in a policy is ever left out silently, because a condition that nobody checks is an open door.
    `what` is a piece of the document, None where something is missing.
    """

    exit_code = 2

    def __init__(self, what: Any, where: str, why: str) -> None:
        self.what = _shown(what)
        super().__init__(f"{where}: {self.what}: {why}")
        self.where = where
        self.why = why


def _shown(what: Any) -> str:
    if what is None:
        return "nothing"
    return what if isinstance(what, str) and what else json.dumps(what, ensure_ascii=False)


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """The known name that is nearest to one that is not known, as the end of a sentence; or nothing."""
    spellings = {one.lower(): one for one in known}
    near = get_close_matches(name.lower(), spellings, n=1)
    return f"; did you mean {spellings[near[0]]}?" if near else ""
