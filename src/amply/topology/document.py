"""YAML as a tree of values that know their line and their place.

Knows YAML and how to say what is wrong in it. Must not know what a topology is.
"""

import difflib
import re
from collections.abc import Callable
from pathlib import Path

import yaml
from msgspec import Struct

from amply.errors import AmplyError

# A declaration of a thousand queues fits; a mistaken path to a log or a backup does not.
SIZE_BYTES_MAX = 1024 * 1024
DEPTH_MAX = 20

_NUMBER = re.compile(r"0|-?[1-9][0-9]{0,18}")
_STRING, _INT, _BOOL = (f"tag:yaml.org,2002:{name}" for name in ("str", "int", "bool"))


class Finding(Struct, frozen=True, order=True):
    """Something to say about a place in a file. `field` is like `queues[1].Attributes.VisibilityTimeout`, or ""."""

    line: int
    field: str
    reason: str


class TopologyError(AmplyError):
    """A topology file that cannot be used. `findings` are all of its errors, in the order of the lines."""

    def __init__(self, path: Path, findings: list[Finding], *, hint: str | None = None) -> None:
        self.path = path
        self.findings = tuple(sorted(findings))
        lines = [describe(path, finding) for finding in self.findings]
        super().__init__("\n".join(lines), hint=hint or f"Correct the file, then run: amply topology check {path}")


def describe(path: Path, finding: Finding) -> str:
    """One line for a person: file, line, field, reason."""
    place = f"{path}:{finding.line}" if finding.line else str(path)
    return f"{place}: {finding.field}: {finding.reason}" if finding.field else f"{place}: {finding.reason}"


class Report:
    """What was found wrong in a document, and on which line each of its fields is."""

    def __init__(self) -> None:
        self.errors: list[Finding] = []
        self.lines: dict[str, int] = {}

    def add(self, field: str, reason: str) -> None:
        """Add an error about a field."""
        self.errors.append(self.finding(field, reason))

    def finding(self, field: str, reason: str) -> Finding:
        """On the line of the field, or of the nearest thing around it that is in the file."""
        around = field
        while around not in self.lines and around:
            around = around[: max(around.rfind("."), around.rfind("["), 0)]
        return Finding(self.lines.get(around, 0), field, reason)


class Value:
    """A node of the document. What is asked of it and it cannot give is added to the report."""

    def __init__(self, node: yaml.Node, field: str, line: int, report: Report) -> None:
        self._node = node
        self.line = line
        self._report = report
        self.field = field
        report.lines.setdefault(field, line)

    def reject(self, reason: str) -> None:
        """Add an error about this place."""
        self._report.errors.append(Finding(self.line, self.field, reason))

    def members(self, known: tuple[str, ...], *, required: tuple[str, ...] = ()) -> dict[str, "Value"]:
        """The values of a mapping by key. Unknown, repeated and missing keys are errors; a non-mapping is empty."""
        if not isinstance(self._node, yaml.MappingNode):
            self.reject(f"must be a mapping of {', '.join(known)}; it is {self._kind()}")
            return {}
        found: dict[str, Value] = {}
        for key_node, node in self._node.value:
            key = key_node.value if isinstance(key_node, yaml.ScalarNode) else "?"
            field = f"{self.field}.{key}" if self.field else key
            line = key_node.start_mark.line + 1
            if key not in known:
                self._report.errors.append(Finding(line, field, f"unknown key{_did_you_mean(key, known)}"))
            elif key in found:
                self._report.errors.append(Finding(line, field, f"is given twice, first on line {found[key].line}"))
            else:
                found[key] = Value(node, field, line, self._report)
        for key in required:
            if key not in found:
                self.reject(f"{key} is missing")
        return found

    def elements(self) -> list["Value"]:
        """The values of a list; empty for anything else, which is an error."""
        if not isinstance(self._node, yaml.SequenceNode):
            self.reject(f"must be a list; it is {self._kind()}")
            return []
        nodes = enumerate(self._node.value)
        return [Value(node, f"{self.field}[{i}]", node.start_mark.line + 1, self._report) for i, node in nodes]

    def one_or_more(self) -> list["Value"]:
        """The values of a list, or this value alone if it is no list, as IAM writes them."""
        return self.elements() if isinstance(self._node, yaml.SequenceNode) else [self]

    def plain(self) -> object:
        """Mappings, lists and texts as they stand in the file, numbers and booleans as their texts."""
        return _plain(self._node)

    def text(self, fits: Callable[[str], object], meaning: str) -> str:
        """A string; one that does not fit is an error and still the answer, anything else is an error and "".

        `meaning` tells a person what fits, like "1 to 80 letters".
        """
        if not self._is_scalar(_STRING):
            quote = "; put it in quotes" if self._is_scalar(_INT, _BOOL) else ""
            self.reject(f"must be {meaning}; it is {self._kind()}{quote}")
            return ""
        text: str = self._node.value
        if not fits(text):
            self.reject(f"must be {meaning}; it is {self._kind()}")
        return text

    def choice(self, choices: tuple[str, ...]) -> str | None:
        """One of the words, quoted or not. None after an error."""
        if self._is_scalar(_STRING, _BOOL) and self._node.value in choices:
            return str(self._node.value)
        self.reject(f"must be {' or '.join(choices)}; it is {self._kind()}")
        return None

    def number(self, lowest: int, highest: int) -> int | None:
        """A whole number within the range, ends included. Decimal digits, quoted or not, as SQS itself takes them.

        None after an error.
        """
        if not self._is_scalar(_STRING, _INT) or not _NUMBER.fullmatch(self._node.value):
            self.reject(f"must be a whole number in {lowest}..{highest}; it is {self._kind()}")
            return None
        number = int(self._node.value)
        if not lowest <= number <= highest:
            self.reject(f"{number} is outside {lowest}..{highest}")
            return None
        return number

    def _is_scalar(self, *tags: str) -> bool:
        return isinstance(self._node, yaml.ScalarNode) and self._node.tag in tags

    def _kind(self) -> str:
        if isinstance(self._node, yaml.MappingNode):
            return "a mapping"
        if isinstance(self._node, yaml.SequenceNode):
            return "a list"
        text = self._node.value[:100]
        return repr(text) if self._is_scalar(_STRING) else text or "empty"


def _plain(node: yaml.Node) -> object:
    if isinstance(node, yaml.MappingNode):
        return {str(_plain(key)): _plain(value) for key, value in node.value}
    if isinstance(node, yaml.SequenceNode):
        return [_plain(value) for value in node.value]
    return node.value


def read(path: Path, report: Report) -> Value | None:
    """The root of a YAML file of one document, or None and an error.

    Aliases are refused, as are files over 1 MiB or nested more than 20 deep: a topology needs none of them, and each
    is a way to make a small file eat the memory.
    """
    try:
        with path.open("rb") as file:
            data = file.read(SIZE_BYTES_MAX + 1)
    except OSError as error:
        hint = "Give the path of a topology file, or unset AMPLY_TOPOLOGY to use the one that comes with amply."
        raise TopologyError(path, [Finding(0, "", f"cannot be read: {error.strerror}")], hint=hint) from error
    if len(data) > SIZE_BYTES_MAX:
        report.errors.append(Finding(0, "", f"is larger than {SIZE_BYTES_MAX} bytes; this is not a topology"))
        return None
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        reason = f"byte {data[error.start]:#04x} is not UTF-8; save the file as UTF-8"
        report.errors.append(Finding(line, "", reason))
        return None
    return _compose(text, report)


def _compose(text: str, report: Report) -> Value | None:
    try:
        refusal = _refusal(text)
        node = None if refusal else yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        refusal = Finding(mark.line + 1 if mark else 0, "", f"is not YAML: {error.problem or error.context}")
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        refusal = Finding(line, "", f"is not YAML: the character {error.character:#06x} is not allowed")
    else:
        if node is not None:
            return Value(node, "", node.start_mark.line + 1, report)
    report.errors.append(refusal or Finding(0, "", "is empty"))
    return None


def _refusal(text: str) -> Finding | None:
    """What must not reach the composer, which recurses and shares."""
    depth = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        line = event.start_mark.line + 1 if event.start_mark else 0
        if isinstance(event, yaml.AliasEvent):
            return Finding(line, "", f"the alias *{event.anchor} is not supported; write the value out")
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > DEPTH_MAX:
            return Finding(line, "", f"is nested more than {DEPTH_MAX} deep")
    return None


def _did_you_mean(key: str, known: tuple[str, ...]) -> str:
    folded = {name.lower(): name for name in known}
    close = difflib.get_close_matches(key.lower()[:100], folded, n=1)
    return f"; did you mean {folded[close[0]]}?" if close else f"; known are {', '.join(known)}"
