"""Queue names, queue URLs and ARNs: checking, making and reading them."""

import re
from functools import lru_cache

from amply.broker.sqs.faults import INVALID_ADDRESS, INVALID_PARAMETER_VALUE, Fault

FIFO_SUFFIX = ".fifo"

_STANDARD_NAME = re.compile(r"[A-Za-z0-9_-]{1,80}")
_FIFO_NAME = re.compile(r"[A-Za-z0-9_-]{1,75}\.fifo")
_ACCOUNT = re.compile(r"[0-9]{12}")
_ARN = re.compile(r"arn:aws(?:-[a-z-]+)?:sqs:([a-z0-9-]+):([0-9]{12}):([A-Za-z0-9_-]{1,80}|[A-Za-z0-9_-]{1,75}\.fifo)")
# [scheme://host[:port]]/[queue/<region>/][<account>/]<name>, or the bare name
_URL = re.compile(
    r"(?:[A-Za-z][A-Za-z0-9+.-]*://[^/?#@\s]+/)?/?"
    r"(?:(?:queue/[a-z0-9-]+/)?([A-Za-z0-9_-]{1,80})/)?"
    r"([A-Za-z0-9_-]{1,80}|[A-Za-z0-9_-]{1,75}\.fifo)/?"
)

_STANDARD_NAME_RULE = "Can only include alphanumeric characters, hyphens, or underscores. 1 to 80 in length"
_FIFO_NAME_RULE = (
    "The name of a FIFO queue can only include alphanumeric characters, hyphens, or underscores, "
    "must end with .fifo suffix and be 1 to 80 in length"
)


def check_queue_name(name: str, *, is_fifo: bool) -> None:
    """Fault InvalidParameterValue unless the name may be given to such a queue (AWS API reference, CreateQueue)."""
    if is_fifo:
        if not _FIFO_NAME.fullmatch(name):
            raise Fault(INVALID_PARAMETER_VALUE, _FIFO_NAME_RULE)
    elif not _STANDARD_NAME.fullmatch(name):
        raise Fault(INVALID_PARAMETER_VALUE, _STANDARD_NAME_RULE)


def is_fifo_name(name: str) -> bool:
    """Whether a queue of this name is a FIFO queue: the suffix and the type go together."""
    return name.endswith(FIFO_SUFFIX)


def is_account(text: str) -> bool:
    """Whether this is the form of an AWS account id: 12 digits."""
    return _ACCOUNT.fullmatch(text) is not None


def queue_url(base_url: str, account: str, name: str) -> str:
    """`base_url` has no final slash."""
    return f"{base_url}/{account}/{name}"


@lru_cache(maxsize=1024)
def parse_queue_url(url: str, default_account: str) -> tuple[str, str]:
    """The account and the name that a queue URL stands for; Fault InvalidAddress if it cannot be one.

    Only the last two segments of the path matter, because clients behind proxies and containers send all kinds of
    hosts. A bare queue name is taken too. An account that is not 12 digits (documents write `xxxx`) and a missing one
    mean the default account.
    """
    match = _URL.fullmatch(url)
    if match is None:
        raise Fault(INVALID_ADDRESS, f"The address {url} is not valid for this endpoint.")
    account, name = match.groups()
    return (account if account and is_account(account) else default_account), name


def queue_arn(region: str, account: str, name: str) -> str:
    """The ARN of a queue."""
    return f"arn:aws:sqs:{region}:{account}:{name}"


@lru_cache(maxsize=1024)
def parse_queue_arn(arn: str) -> tuple[str, str, str] | None:
    """Region, account and name; None if this is no queue's ARN (what to answer then depends on where it stood)."""
    match = _ARN.fullmatch(arn)
    return (match[1], match[2], match[3]) if match else None
