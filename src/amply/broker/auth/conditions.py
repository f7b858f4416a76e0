"""The Condition of a statement: which keys of a request it looks at, and what follows where a key is absent.

Must not know how values are compared (`operators`) or what a statement does. Source: IAM guide, "IAM JSON policy
elements: Condition operators" and "Multivalued context keys".
"""

from collections.abc import Mapping
from typing import Any

from msgspec import Struct

from amply.broker.auth.condition_keys import MANY, kind_of
from amply.broker.auth.operators import OPERATORS, Test
from amply.broker.auth.patterns import Context, any_of
from amply.broker.auth.policy_errors import PolicyError, did_you_mean

_IF_EXISTS = "IfExists"
_NULL = "Null"
_SETS = {"ForAllValues": all, "ForAnyValue": any}


class Condition(Struct, frozen=True):
    """One key under one operator. The values of the policy are alternatives.

    `set_prefix` is ForAllValues, ForAnyValue or nothing.
    """

    key: str
    set_prefix: str
    is_negated: bool
    may_be_absent: bool
    tests: tuple[Test, ...]

    def holds(self, context: Context, *, in_doubt: bool) -> bool:
        """Whether a request meets it. `in_doubt` is the answer where that cannot be told: a variable without a value,
        a value that is none of its kind, two values where there can be one."""
        values = context.get(self.key, ())
        if not values:
            return self._holds_absent()
        if self.set_prefix:
            return _SETS[self.set_prefix](self._holds_for(value, context, in_doubt) for value in values)
        return self._holds_for(values[0], context, in_doubt) if len(values) == 1 else in_doubt

    def _holds_absent(self) -> bool:
        if self.set_prefix:
            return self.may_be_absent or self.set_prefix == "ForAllValues"
        return self.may_be_absent or self.is_negated

    def _holds_for(self, value: str, context: Context, in_doubt: bool) -> bool:  # noqa: FBT001
        result = any_of(test(value, context) for test in self.tests)
        return in_doubt if result is None else result is not self.is_negated


class NullCondition(Struct, frozen=True):
    """Whether a key must be absent or present."""

    key: str
    is_absent: bool

    def holds(self, context: Context, *, in_doubt: bool) -> bool:  # noqa: ARG002 - it is never in doubt
        """Whether a request meets it."""
        return bool(context.get(self.key)) is not self.is_absent


def parse_conditions(element: Any, where: str) -> tuple[Condition | NullCondition, ...]:
    """Read a Condition element; all that it returns must hold. Raises `PolicyError`."""
    conditions: list[Condition | NullCondition] = []
    for operator, keys in _members(element, where):
        for key, values in _members(keys, f"{where}.{operator}"):
            place = f"{where}.{operator}.{key}"
            texts = [_text(value, place) for value in (values if isinstance(values, list) else [values])]
            if not texts:
                raise PolicyError([], place, "without a value it could never hold; name one, or leave it out")
            conditions.append(_condition(operator, key, texts, place))
    return tuple(conditions)


def _members(element: Any, where: str) -> list[tuple[str, Any]]:
    if not isinstance(element, Mapping) or not element:
        raise PolicyError(element, where, 'it is written {"<operator>": {"<key>": "<value>"}}, and not empty')
    return [*element.items()]


def _text(value: Any, where: str) -> str:
    """A value as a text; numbers and true and false may stand without quotes."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str | int | float):
        return str(value)
    raise PolicyError(value, where, "a value is a text, a number, true or false")


def _condition(written: str, key: str, texts: list[str], where: str) -> Condition | NullCondition:
    kind = kind_of(key, where)
    if written == _NULL:
        return _null(key, texts, where)
    set_prefix, _, rest = written.rpartition(":")
    name = rest.removesuffix(_IF_EXISTS)
    operator = OPERATORS.get(name)
    if operator is None or set_prefix not in {"", *_SETS}:
        why = "this condition operator is not known here" + did_you_mean(name, [*OPERATORS, _NULL])
        raise PolicyError(written, where, why)
    if kind not in operator.kinds:
        raise PolicyError(written, where, f"{key} has no value that {name} could compare ({kind})")
    if kind == MANY and not set_prefix:
        raise PolicyError(written, where, f"{key} has many values; write ForAllValues:{name} or ForAnyValue:{name}")
    tests = tuple(operator.make_test(text, where) for text in texts)
    return Condition(key.lower(), set_prefix, operator.is_negated, rest != name, tests)


def _null(key: str, texts: list[str], where: str) -> NullCondition:
    if len(texts) != 1 or texts[0].lower() not in {"true", "false"}:
        raise PolicyError(texts, where, "Null is true (the key is absent) or false (it is there)")
    return NullCondition(key.lower(), texts[0].lower() == "true")
