"""Policies in IAM's own words: reading them, and which of their statements speak of a request.

Must not know what follows from that (`access`) or where policies come from. What cannot be enforced is refused when a
policy is read. Sources: IAM guide, "IAM JSON policy element reference"; SQS guide, "Quotas related to policies".
"""

import json
from collections.abc import Mapping
from typing import Any, Literal, NoReturn

import msgspec
from msgspec import Struct

from amply.broker.auth.conditions import Condition, NullCondition, parse_conditions
from amply.broker.auth.grantable import permissions_of
from amply.broker.auth.patterns import Context, Pattern, Syntax, any_of, parse_pattern
from amply.broker.auth.policy_errors import PolicyError, did_you_mean
from amply.broker.auth.principals import Principal, Principals, parse_principals
from amply.broker.sqs.limits import AWS, Limits

__all__ = ["Policy", "PolicyError", "Statement", "parse"]

Kind = Literal["identity", "resource"]

_WITH_VARIABLES = "2012-10-17"
_VERSIONS = (_WITH_VARIABLES, "2008-10-17")
_POLICY_ELEMENTS = {"Version", "Id", "Statement"}
_STATEMENT_ELEMENTS = {
    *("Sid", "Effect", "Action", "NotAction", "Resource", "NotResource", "Principal", "NotPrincipal", "Condition"),
}


class Statement(Struct, frozen=True):
    """One statement. `permissions` are those that it speaks of, as `sqs:SendMessage`.

    `principals` is None in a policy of an identity, which speaks of whoever has it. `resources` and `principals` are
    those that are meant or, with `is_not_`, all but those.
    """

    sid: str | None
    is_allow: bool
    permissions: frozenset[str]
    resources: tuple[Pattern, ...]
    is_not_resource: bool
    principals: Principals | None
    is_not_principal: bool
    conditions: tuple[Condition | NullCondition, ...]

    def applies(self, permission: str, resource: str, context: Context) -> bool:
        """Whether it speaks of this permission on this resource, under these conditions.

        Where that cannot be told, because a variable has no value in this request, it grants nothing and denies.
        """
        in_doubt = not self.is_allow
        if permission not in self.permissions:
            return False
        is_listed = any_of(pattern.matches(resource, context) for pattern in self.resources)
        is_meant = in_doubt if is_listed is None else is_listed is not self.is_not_resource
        return is_meant and all(condition.holds(context, in_doubt=in_doubt) for condition in self.conditions)

    def concerns(self, principal: Principal, *, is_account_enough: bool) -> bool:
        """Whether it speaks of whoever asks.

        An account that is listed stands for all its users where something is denied, and where something is granted to
        another account. Within one account it grants nothing by itself: it leaves that to the users' own policies.
        In a NotPrincipal, an account that is listed excepts all its users from a grant, and none from a denial.
        """
        if self.principals is None:
            return True
        if self.is_not_principal:
            excepts = self.principals.cover if self.is_allow else self.principals.name
            return not excepts(principal)
        if is_account_enough or not self.is_allow:
            return self.principals.cover(principal)
        return self.principals.name(principal)


class Policy(Struct, frozen=True):
    """A policy that can be enforced as it stands."""

    kind: Kind
    statements: tuple[Statement, ...]


def parse(document: str | Mapping[str, Any], *, kind: Kind, limits: Limits = AWS) -> Policy:
    """Read the policy of an identity (a role) or of a resource (a queue), as JSON text or as what JSON stands for.

    Raises `PolicyError`. A queue's policy is held to SQS's quotas; one of an identity is not.
    """
    text = document if isinstance(document, str) else _encode(document)
    size_bytes = len(text.encode("utf-8", "surrogatepass"))
    if kind == "resource" and size_bytes > limits.policy_size_bytes_max:
        raise PolicyError(f"{size_bytes} bytes", "Policy", f"it has at most {limits.policy_size_bytes_max}")
    decoded = _decode(text)
    _check_elements(decoded, _POLICY_ELEMENTS, "Policy")
    version = decoded.get("Version", "2008-10-17")
    if version not in _VERSIONS:
        raise PolicyError(version, "Version", f"it is {' or '.join(_VERSIONS)}")
    if not isinstance(decoded.get("Id", ""), str):
        raise PolicyError(decoded["Id"], "Id", "it is a text")
    if version != _WITH_VARIABLES and "${" in text:
        raise PolicyError("${", "Policy", f'variables need "Version": "{_WITH_VARIABLES}"')
    listed = decoded.get("Statement")
    statements = listed if isinstance(listed, list) and listed else [listed]
    parsed = tuple(_statement(one, kind, f"Statement[{number}]") for number, one in enumerate(statements))
    _check_sids(parsed)
    if kind == "resource":
        _check_quotas(parsed, limits)
    return Policy(kind, parsed)


def _encode(document: Mapping[str, Any]) -> str:
    try:
        return msgspec.json.encode(document).decode()
    except (TypeError, ValueError, RecursionError) as error:
        raise PolicyError("the document", "Policy", f"it holds what JSON cannot: {error}") from error


def _decode(text: str) -> dict[str, Any]:
    try:
        decoded = json.loads(text, object_pairs_hook=_once, parse_constant=_no_number)
        # Half a surrogate pair is JSON, and no text that could be told back.
        json.dumps(decoded, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise PolicyError("the text", "Policy", f"it is not JSON: {error}") from error
    if not isinstance(decoded, dict):
        raise PolicyError("the text", "Policy", "it is no JSON object")
    return decoded


def _once(members: list[tuple[str, Any]]) -> dict[str, Any]:
    """Most readers of JSON keep the last of two members with one name, and the first would be ignored."""
    kept = dict(members)
    if len(kept) != len(members):
        names = [name for name, _ in members]
        twice = next(name for name in names if names.count(name) > 1)
        raise PolicyError(twice, "Policy", "it stands twice in one object, and only one could be meant")
    return kept


def _no_number(text: str) -> NoReturn:
    raise ValueError(f"{text} is no number of JSON")


def _check_elements(element: Mapping[str, Any], known: set[str], where: str) -> None:
    for name in element:
        if name not in known:
            why = "this element is not known here, and nothing in a policy is ignored" + did_you_mean(name, known)
            raise PolicyError(name, where, why)


def _statement(element: Any, kind: Kind, where: str) -> Statement:
    if not isinstance(element, dict):
        raise PolicyError(element, where, "a policy has a Statement, which is an object or a list of objects")
    _check_elements(element, _STATEMENT_ELEMENTS, where)
    sid = element.get("Sid")
    if sid is not None and not isinstance(sid, str):
        raise PolicyError(sid, f"{where}.Sid", "it is a text")
    effect = element.get("Effect")
    if effect not in ("Allow", "Deny"):
        raise PolicyError(effect, f"{where}.Effect", "it is Allow or Deny")
    action = _either(element, "Action", where)
    resource = _either(element, "Resource", where)
    permissions = permissions_of(
        _texts(element[action], f"{where}.{action}"),
        is_not=action == "NotAction",
        is_sqs_only=kind == "resource",
        where=f"{where}.{action}",
    )
    principal = _principal_element(element, kind, where)
    return Statement(
        sid=sid,
        is_allow=effect == "Allow",
        permissions=permissions,
        resources=tuple(
            _resource(text, f"{where}.{resource}") for text in _texts(element[resource], f"{where}.{resource}")
        ),
        is_not_resource=resource == "NotResource",
        principals=parse_principals(element[principal], f"{where}.{principal}") if principal else None,
        is_not_principal=principal == "NotPrincipal",
        conditions=parse_conditions(element["Condition"], f"{where}.Condition") if "Condition" in element else (),
    )


def _either(element: Mapping[str, Any], name: str, where: str) -> str:
    found = [one for one in (name, f"Not{name}") if one in element]
    if len(found) != 1:
        raise PolicyError(" and ".join(found) or None, where, f"a statement has one of {name} and Not{name}")
    return found[0]


def _principal_element(element: Mapping[str, Any], kind: Kind, where: str) -> str | None:
    if kind == "resource":
        return _either(element, "Principal", where)
    for name in ("Principal", "NotPrincipal"):
        if name in element:
            raise PolicyError(
                name, where, "a role's policy speaks of whoever has the role; only a queue's policy names"
            )
    return None


def _texts(element: Any, where: str) -> list[str]:
    texts = element if isinstance(element, list) else [element]
    if not texts or not all(isinstance(text, str) and text for text in texts):
        raise PolicyError(element, where, "it is a text or a list of texts, and not empty")
    return texts


def _resource(text: str, where: str) -> Pattern:
    if text == "*":
        return parse_pattern(text, Syntax(), where)
    if not text.startswith("arn:"):
        raise PolicyError(text, where, "a resource is * or an ARN, as in arn:aws:sqs:<region>:<account>:<queue>")
    return parse_pattern(text, Syntax(is_arn=True), where)


def _check_sids(statements: tuple[Statement, ...]) -> None:
    sids = [statement.sid for statement in statements if statement.sid]
    for number, sid in enumerate(sids):
        if sid in sids[:number]:
            raise PolicyError(sid, "Policy", "two statements have this Sid, and it must tell them apart")


def _check_quotas(statements: tuple[Statement, ...], limits: Limits) -> None:
    counts = {
        "statements": (len(statements), limits.policy_statements_max),
        "principals": (sum(one.principals.count for one in statements if one.principals), limits.policy_principals_max),
        "conditions": (sum(len(one.conditions) for one in statements), limits.policy_conditions_max),
    }
    for what, (count, count_max) in counts.items():
        if count > count_max:
            raise PolicyError(f"{count} {what}", "Policy", f"the policy of a queue has at most {count_max}")
