"""Texts of a policy that stand for many: wildcards and variables.

Knows how they match. Must not know what the text is of. Sources: IAM guide, "IAM JSON policy elements: Resource" and
"IAM policy elements: Variables and tags".
"""

import re
from collections.abc import Iterable, Mapping

from msgspec import Struct

from amply.broker.auth.condition_keys import MANY, kind_of
from amply.broker.auth.policy_errors import PolicyError

# What is known about a request: condition keys in lower case, and their values.
Context = Mapping[str, tuple[str, ...]]

_PIECE = re.compile(r"\$\{([^}]*)\}|[*]|[?]|[^*?$]+|\$")
_VARIABLE = re.compile(r"([A-Za-z0-9:/._@+=-]+)(?:\s*,\s*'([^']*)')?")
# The characters that mean something else where they stand alone.
_ESCAPED = frozenset("*?$")
_ARN_SEGMENTS = 6


class Syntax(Struct, frozen=True):
    """What a text may hold, and how it is compared.

    An ARN is compared segment by segment: no wildcard reaches beyond a colon but in the last of the six segments.
    """

    has_wildcards: bool = True
    is_arn: bool = False
    ignores_case: bool = False


class _Variable(Struct, frozen=True):
    key: str
    default: str | None


class _Wildcard(Struct, frozen=True):
    """`*` if it is many characters, else `?`; `any_character` is what it stands for, as a regular expression."""

    is_many: bool
    any_character: str


class Pattern(Struct, frozen=True):
    """A text of a policy, ready to be compared."""

    pieces: tuple[str | _Variable | _Wildcard, ...]
    flags: int
    # Made once where no variable has to be looked up for each request.
    compiled: re.Pattern[str] | None

    def matches(self, value: str, context: Context) -> bool | None:
        """Whether a value is one that the text stands for; None if a variable has no value in this request."""
        if self.compiled is not None:
            return self.compiled.fullmatch(value) is not None
        pieces: list[str | _Wildcard] = []
        for piece in self.pieces:
            if isinstance(piece, _Variable):
                # Two values are as good as none: which of them is meant cannot be told.
                (text, *others) = context.get(piece.key) or (piece.default,)
                if text is None or others:
                    return None
                pieces.append(text)
            else:
                pieces.append(piece)
        return re.fullmatch(_expression(pieces), value, self.flags) is not None


def any_of(results: Iterable[bool | None]) -> bool | None:
    """True if one of them is; else None if one of them is not known; else False."""
    outcome: bool | None = False
    for result in results:
        if result:
            return True
        if result is None:
            outcome = None
    return outcome


def parse_pattern(text: str, syntax: Syntax, where: str) -> Pattern:
    """Read a text. Raises `PolicyError`: an ARN without six segments, a variable that is written wrongly."""
    pieces: list[str | _Variable | _Wildcard] = []
    segment = 1
    for match in _PIECE.finditer(text):
        piece = match[0]
        if match[1] is not None:
            pieces.append(_variable(match[1], text, where))
        elif piece in {"*", "?"} and syntax.has_wildcards:
            is_bounded = syntax.is_arn and segment < _ARN_SEGMENTS
            pieces.append(_Wildcard(piece == "*", "[^:]" if is_bounded else "."))
        elif text.startswith("${", match.start()):
            raise PolicyError(text, where, "a variable is written ${key}, and this one never ends")
        else:
            segment += piece.count(":")
            pieces.append(piece)
    if syntax.is_arn and segment < _ARN_SEGMENTS:
        why = "an ARN has six parts, as in arn:aws:sqs:<region>:<account>:<queue>; write * for those that do not matter"
        raise PolicyError(text, where, why)
    flags = re.DOTALL | (re.IGNORECASE if syntax.ignores_case else 0)
    fixed = [piece for piece in pieces if not isinstance(piece, _Variable)]
    compiled = re.compile(_expression(fixed), flags) if len(fixed) == len(pieces) else None
    return Pattern(tuple(pieces), flags, compiled)


def _variable(inside: str, text: str, where: str) -> str | _Variable:
    if inside in _ESCAPED:
        return inside
    match = _VARIABLE.fullmatch(inside)
    if match is None:
        raise PolicyError(text, where, "a variable is written ${key} or ${key, 'what to take if it has no value'}")
    if kind_of(match[1], where) == MANY:
        raise PolicyError(text, where, f"{match[1]} has many values, and a variable stands for one")
    return _Variable(match[1].lower(), match[2])


def _expression(pieces: Iterable[str | _Wildcard]) -> str:
    """A regular expression that takes time in proportion to the pattern times the value, however many `*` there are.

    What follows a `*` is looked for where it comes first, and that is not tried again further on: where it comes first
    leaves the most room for the rest. Values come from clients, who choose them as nasty as they can.
    """
    head, *parts = _parts(pieces)
    expression = head[1]
    for number, (reach, rest) in enumerate(parts, 1):
        is_last = number == len(parts)
        expression += f"{reach}*{rest}" if is_last else f"(?>{reach}*?{rest})"
    return expression


def _parts(pieces: Iterable[str | _Wildcard]) -> list[tuple[str, str]]:
    """What each `*` stands for many of, and the expression of what follows it; first what comes before any `*`."""
    parts = [("", "")]
    for piece in pieces:
        if isinstance(piece, _Wildcard) and piece.is_many:
            parts.append((piece.any_character, ""))
        else:
            reach, rest = parts[-1]
            parts[-1] = reach, rest + (re.escape(piece) if isinstance(piece, str) else piece.any_character)
    return parts
