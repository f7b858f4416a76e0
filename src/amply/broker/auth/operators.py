"""How the operators of a condition compare one text of a policy with one value of a request.

Knows texts, numbers, times, addresses and ARNs. Must not know condition keys or what follows from a comparison. Source:
IAM guide, "IAM JSON policy elements: Condition operators".
"""

import ipaddress
import re
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from functools import partial
from operator import eq, ge, gt, le, lt
from typing import Any

from msgspec import Struct

from amply.broker.auth.patterns import Context, Syntax, parse_pattern
from amply.broker.auth.policy_errors import PolicyError

# Whether a value of the request is what the policy says; None if it cannot be told.
Test = Callable[[str, Context], bool | None]

_NUMBER = re.compile(r"[+-]?[0-9]{1,30}(?:\.[0-9]{1,30})?")
_EPOCH = re.compile(r"[0-9]{1,11}(?:\.[0-9]{1,9})?")
_CIDR = re.compile(r"[0-9A-Fa-f.:]+(?:/[0-9]{1,3})?")
_EPOCH_START = datetime(1970, 1, 1, tzinfo=UTC)


class Operator(Struct, frozen=True):
    """An operator: how it makes the test of one text of the policy, and the kinds of condition keys that it fits.

    A negated one holds where its tests do not.
    """

    make_test: Callable[[str, str], Test]
    kinds: frozenset[str]
    is_negated: bool = False


def _pattern_test(text: str, where: str, *, syntax: Syntax) -> Test:
    return parse_pattern(text, syntax, where).matches


def _ordered_test(
    text: str, where: str, *, read: Callable[[str], Any], compare: Callable[[Any, Any], bool], form: str
) -> Test:
    limit = read(text)
    if limit is None:
        raise PolicyError(text, where, form)

    def test(value: str, _context: Context) -> bool | None:
        found = read(value)
        return None if found is None else compare(found, limit)

    return test


def _number(text: str) -> Decimal | None:
    return Decimal(text) if _NUMBER.fullmatch(text) else None


def _moment(text: str) -> Decimal | None:
    """Epoch seconds; a time without an offset is UTC."""
    if _EPOCH.fullmatch(text):
        return Decimal(text)
    try:
        moment = datetime.fromisoformat(text)
        elapsed = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - _EPOCH_START
    except (ValueError, OverflowError):
        return None
    return Decimal(elapsed.days * 86_400 + elapsed.seconds) + Decimal(elapsed.microseconds) / 1_000_000


def _bool(text: str) -> bool | None:
    return {"true": True, "false": False}.get(text.lower())


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    # What a socket for both kinds calls a client that came over IPv4.
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address


def _address_test(text: str, where: str) -> Test:
    network = _network(text)
    if network is None:
        raise PolicyError(text, where, "an address is written 203.0.113.7, a range 203.0.113.0/24 or 2001:db8::/32")
    if isinstance(network, ipaddress.IPv6Network) and network.network_address.ipv4_mapped:
        raise PolicyError(text, where, "clients that come over IPv4 are known by their IPv4 address; write that")

    def test(value: str, _context: Context) -> bool | None:
        address = _address(value)
        return None if address is None else address in network

    return test


def _network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    # Python also reads 10.0.0.0/255.0.0.0, which IAM does not.
    if not _CIDR.fullmatch(text):
        return None
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError:
        return None


_EVERY_KIND = frozenset({"text", "texts", "arn", "date", "epoch", "bool", "address"})
_COMPARISONS = {
    "Equals": (eq, False),
    "NotEquals": (eq, True),
    "LessThan": (lt, False),
    "LessThanEquals": (le, False),
    "GreaterThan": (gt, False),
    "GreaterThanEquals": (ge, False),
}


def _comparing(syntax: Syntax, *kinds: str) -> tuple[Operator, Operator]:
    """An operator that compares texts, and its negation."""
    make_test = partial(_pattern_test, syntax=syntax)
    fitting = frozenset(kinds) or _EVERY_KIND
    return Operator(make_test, fitting), Operator(make_test, fitting, is_negated=True)


def _ordering(family: str, read: Callable[[str], Any], form: str, *kinds: str) -> dict[str, Operator]:
    """The six operators that compare numbers or times."""
    return {
        f"{family}{name}": Operator(
            partial(_ordered_test, read=read, compare=compare, form=form), frozenset(kinds), is_negated
        )
        for name, (compare, is_negated) in _COMPARISONS.items()
    }


_equals, _not_equals = _comparing(Syntax(has_wildcards=False))
_equals_in_any_case, _not_equals_in_any_case = _comparing(Syntax(has_wildcards=False, ignores_case=True))
_like, _not_like = _comparing(Syntax())
# IAM compares ArnEquals and ArnLike alike, with wildcards.
_arn_like, _arn_not_like = _comparing(Syntax(is_arn=True), "arn")

OPERATORS: dict[str, Operator] = {
    "StringEquals": _equals,
    "StringNotEquals": _not_equals,
    "StringEqualsIgnoreCase": _equals_in_any_case,
    "StringNotEqualsIgnoreCase": _not_equals_in_any_case,
    "StringLike": _like,
    "StringNotLike": _not_like,
    "ArnEquals": _arn_like,
    "ArnNotEquals": _arn_not_like,
    "ArnLike": _arn_like,
    "ArnNotLike": _arn_not_like,
    **_ordering("Numeric", _number, "a number is written 10 or 10.5", "epoch"),
    **_ordering("Date", _moment, "a time is written 2026-01-31T12:00:00Z or in epoch seconds", "date", "epoch"),
    "Bool": Operator(partial(_ordered_test, read=_bool, compare=eq, form="it is true or false"), frozenset({"bool"})),
    "IpAddress": Operator(_address_test, frozenset({"address"})),
    "NotIpAddress": Operator(_address_test, frozenset({"address"}), is_negated=True),
}
