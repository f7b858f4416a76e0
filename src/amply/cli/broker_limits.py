"""`--limit NAME=VALUE` of `amply broker`: SQS's limits are AWS's, unless a test has a reason for others."""

import difflib
import re
from collections.abc import Iterable

import click
import msgspec

from amply.broker.sqs.limits import AWS, CHANGEABLE, Limits

_NUMBER = re.compile(r"-?[0-9]{1,15}")


def read_limits(texts: Iterable[str]) -> Limits:
    """AWS's limits with those changed that are given as `name=number`; click's UsageError."""
    changes: dict[str, int] = {}
    for text in texts:
        name, _, value = text.partition("=")
        if name not in CHANGEABLE:
            close = difflib.get_close_matches(name, CHANGEABLE, n=1)
            hint = f"did you mean {close[0]}?" if close else "docs/reference/limits.md names them all"
            raise click.UsageError(f"--limit {text}: no such limit can be changed; {hint}")
        aws = getattr(AWS, name)
        if not _NUMBER.fullmatch(value) or int(value) < 0 <= aws:
            raise click.UsageError(f"--limit {text}: give a whole number, 0 or more; on AWS it is {name}={aws}")
        changes[name] = int(value)
    return msgspec.structs.replace(AWS, **changes)
