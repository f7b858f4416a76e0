"""Roles as the file declares them: IAM's own words, and `arn:aws:sqs:...:<QueueName>` for what stands at its top.

Knows the words of an IAM policy (IAM User Guide, "IAM JSON policy element reference") as far as a person gets them
wrong. Must not know what they allow: that is decided where requests come in.
"""

import re
from collections.abc import Iterator
from fnmatch import fnmatchcase
from typing import Any

from amply.broker.sqs.actions import ACTIONS
from amply.topology.document import Value
from amply.topology.model import Role, Topology

ELIDED_ARN = "arn:aws:sqs:...:"  # the region and the account are written once, at the top of the file
POLICY_VERSION = "2012-10-17"

_STATEMENT = ("Sid", "Effect", "Action", "NotAction", "Resource", "NotResource", "Condition")
_BATCH = "Batch"
_is_role_name = re.compile(r"[A-Za-z0-9_+=,.@-]{1,64}").fullmatch
_is_sid = re.compile(r"[A-Za-z0-9]{1,64}").fullmatch
_is_action = re.compile(r"[A-Za-z0-9_-]+:[A-Za-z0-9*?]+").fullmatch
# With the wildcards and variables of IAM, as in `amply-*` and `${aws:username}-jobs`.
_is_resource_name = re.compile(r"(?:[A-Za-z0-9_.*?-]|\$\{[A-Za-z0-9:/_*?$-]{1,100}\}){1,200}").fullmatch
_is_plain_name = re.compile(r"[A-Za-z0-9_.-]+").fullmatch


def read(value: Value) -> Role:
    """One of `roles`. What is wrong goes to the report."""
    members = value.members(("role", "Statement"), required=("role", "Statement"))
    meaning = "1 to 64 letters, digits and characters of _+=,.@-"
    name = members["role"].text(_is_role_name, meaning) if "role" in members else ""
    statements = members["Statement"].elements() if "Statement" in members else []
    if "Statement" in members and not statements:
        members["Statement"].reject("must hold at least one statement")
    return Role(name, {"Version": POLICY_VERSION, "Statement": [_statement(each) for each in statements]})


def full(topology: Topology, policy: dict[str, Any]) -> dict[str, Any]:
    """The policy with the region and the account in every ARN."""
    own = f"arn:aws:sqs:{topology.region}:{topology.account}:"

    def expanded(statement: dict[str, Any]) -> dict[str, Any]:
        told = dict(statement)
        for key in ("Resource", "NotResource"):
            if key in told:
                told[key] = [own + arn.removeprefix(ELIDED_ARN) if _is_elided(arn) else arn for arn in told[key]]
        return told

    return {**policy, "Statement": [expanded(statement) for statement in policy["Statement"]]}


def unknown_queues(topology: Topology) -> Iterator[tuple[str, str]]:
    """The field and the name of every queue that a role names, without wildcards, and the file does not declare."""
    own = f"arn:aws:sqs:{topology.region}:{topology.account}:"
    declared = {queue.name for queue in topology.queues}
    for i, role in enumerate(topology.roles):
        for j, statement in enumerate(full(topology, role.policy)["Statement"]):
            for key in ("Resource", "NotResource"):
                for arn in statement.get(key, ()):
                    name = arn.removeprefix(own)
                    if arn.startswith(own) and _is_plain_name(name) and name not in declared:
                        yield f"roles[{i}].Statement[{j}].{key}", name


def _statement(value: Value) -> dict[str, Any]:
    members = value.members(_STATEMENT, required=("Effect",))
    told: dict[str, Any] = {}
    if "Sid" in members:
        told["Sid"] = members["Sid"].text(_is_sid, "1 to 64 letters and digits")
    if "Effect" in members:
        told["Effect"] = members["Effect"].choice(("Allow", "Deny"))
    for key, other, read_one in (("Action", "NotAction", _action), ("Resource", "NotResource", _resource)):
        given = [each for each in (key, other) if each in members]
        if len(given) != 1:
            value.reject(f"needs {key} or {other}" + (", not both" if given else ""))
        for each in given:
            found = members[each].one_or_more()
            if not found:
                members[each].reject("must name at least one")
            told[each] = [read_one(one) for one in found]
    if "Condition" in members:
        told["Condition"] = _condition(members["Condition"])
    return told


def _action(value: Value) -> str:
    """An action that SQS knows, or a pattern that fits one."""
    text = value.text(lambda text: text == "*" or _is_action(text), "an action like sqs:SendMessage")
    service, _, name = text.partition(":")
    if text in {"", "*"} or not name:
        return text
    if service.lower() != "sqs":
        value.reject(f"{text} is no action of SQS; these begin with sqs:")
        return text
    pattern = name.lower()
    fitting = [action for action in ACTIONS if fnmatchcase(action.lower(), pattern)]
    if not fitting:
        value.reject(f"SQS has no action {text}")
    elif all(action.endswith(_BATCH) for action in fitting):
        value.reject(f"{text} is no permission of its own: sqs:{fitting[0].removesuffix(_BATCH)} allows the batch too")
    return text


def _resource(value: Value) -> str:
    text = value.text(bool, f"*, an ARN, or {ELIDED_ARN}<QueueName>")
    parts = text.split(":", 5)
    is_arn = len(parts) == 6 and parts[0] == "arn" and parts[2] == "sqs" and _is_resource_name(parts[5])
    if text and text != "*" and not is_arn and not (_is_elided(text) and _is_resource_name(text.split(":", 4)[4])):
        value.reject(f"{text[:200]!r} is no queue's ARN; write {ELIDED_ARN}<QueueName>, or *")
    return text


def _is_elided(arn: str) -> bool:
    return arn.startswith(ELIDED_ARN)


def _condition(value: Value) -> dict[str, dict[str, list[str]]]:
    """Operators, keys, values: {operator: {key: [value, ...]}}."""
    told = value.plain()
    if not isinstance(told, dict):
        value.reject("must be a mapping, like {IpAddress: {'aws:SourceIp': 10.0.0.0/8}}")
        return {}
    condition: dict[str, dict[str, list[str]]] = {}
    for operator, tests in told.items():
        if not isinstance(tests, dict):
            value.reject(f"{operator} must be a mapping of condition keys to their values")
            continue
        condition[operator] = {}
        for key, texts in tests.items():
            values = texts if isinstance(texts, list) else [texts]
            if not values or not all(isinstance(text, str) for text in values):
                value.reject(f"{operator}, {key}: must be a text or a list of texts")
                continue
            condition[operator][key] = values
    return condition
