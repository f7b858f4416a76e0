"""Who asks, and whom a policy of a resource speaks of.

Knows accounts, users and roles by their ARNs. Must not know keys or what anybody may do. Source: IAM guide, "AWS JSON
policy elements: Principal" and "NotPrincipal".
"""

import re
from collections.abc import Mapping
from typing import Any

from msgspec import Struct

from amply.broker.auth.patterns import Context
from amply.broker.auth.policy_errors import PolicyError
from amply.broker.sqs.names import is_account

_ARN = re.compile(r"arn:aws(?:-[a-z-]+)?:(?:iam|sts)::([0-9]{12}):((?:user|role|assumed-role)/[\w+=,.@/-]+|root)")
_SERVICE = re.compile(r"[a-z0-9.-]+\.amazonaws\.com(?:\.cn)?")


class Principal(Struct, frozen=True):
    """Who asks: the account, the ARN of the user or role, and the user's name. Root is the account itself."""

    account: str
    arn: str
    user_name: str
    is_root: bool = False

    @property
    def session_arn(self) -> str:
        """What AWS calls whoever asks, in its sentences too: a role is spoken for by a session with the user's name."""
        prefix, is_role, role = self.arn.partition(":role/")
        if not is_role:
            return self.arn
        partition = prefix.split(":")[1]
        return f"arn:{partition}:sts::{self.account}:assumed-role/{role.rpartition('/')[2]}/{self.user_name}"

    def context(self) -> Context:
        """The condition keys that follow from who asks. No AWS service ever asks on somebody's behalf here."""
        return {
            "aws:principalarn": (self.arn,),
            "aws:principalaccount": (self.account,),
            "aws:principalisawsservice": ("false",),
            "aws:viaawsservice": ("false",),
            "aws:userid": (self.account if self.is_root else self.user_name,),
            **({} if self.is_root else {"aws:username": (self.user_name,)}),
        }


class Principals(Struct, frozen=True):
    """Whom a Principal or NotPrincipal element lists. AWS services are counted, and nobody here is one."""

    is_everyone: bool
    accounts: frozenset[str]
    arns: frozenset[str]
    count: int

    def name(self, principal: Principal) -> bool:
        """Whether this very user, role or session is listed; an account lists only its root."""
        if self.is_everyone or principal.arn in self.arns or principal.session_arn in self.arns:
            return True
        return principal.is_root and principal.account in self.accounts

    def cover(self, principal: Principal) -> bool:
        """Whether it is listed, or its account is."""
        return principal.account in self.accounts or self.name(principal)


def parse_principals(element: Any, where: str) -> Principals:
    """Read a Principal or NotPrincipal element: `*`, or lists by kind. Raises `PolicyError`."""
    if element == "*":
        return Principals(True, frozenset(), frozenset(), 1)
    if not isinstance(element, Mapping) or not element:
        raise PolicyError(element, where, 'it is "*" or {"AWS": [accounts and ARNs]}')
    accounts: set[str] = set()
    arns: set[str] = set()
    is_everyone = False
    count = 0
    for kind, listed in element.items():
        if kind not in {"AWS", "Service"}:
            raise PolicyError(kind, where, "only principals of the kinds AWS and Service can be told apart here")
        names = [listed] if isinstance(listed, str) else listed
        if not isinstance(names, list | tuple) or not names:
            raise PolicyError(listed, where, "it is a text or a list of texts, and not empty")
        count += len(names)
        for name in names:
            if kind == "Service":
                _check_service(name, where)
            elif name == "*":
                is_everyone = True
            else:
                account, arn = _read_name(name, where)
                accounts.update(account)
                arns.update(arn)
    return Principals(is_everyone, frozenset(accounts), frozenset(arns), count)


def _check_service(name: Any, where: str) -> None:
    if not isinstance(name, str) or not _SERVICE.fullmatch(name):
        raise PolicyError(name, where, "a service is named like sns.amazonaws.com")


def _read_name(name: Any, where: str) -> tuple[list[str], list[str]]:
    """The account that it names, or the ARN."""
    if isinstance(name, str) and is_account(name):
        return [name], []
    match = _ARN.fullmatch(name) if isinstance(name, str) else None
    if match is None:
        why = (
            "a principal is *, a 12-digit account, or the whole ARN of an account's root, a user, a role or a role's "
            "session; wildcards inside are not allowed"
        )
        raise PolicyError(name, where, why)
    return ([match[1]], []) if match[2] == "root" else ([], [match[0]])
