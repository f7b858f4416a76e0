"""What `broker_transport_options` may say. Wrong values are refused with the key's name; unknown keys are kombu's.

Knows the options' names and ranges; must not know what follows from them.
"""

from collections.abc import Mapping
from typing import Any, Literal

import msgspec
from msgspec import Struct

from amply.errors import AmplyError

# SQS waits no longer for a message (AWS API reference, ReceiveMessage).
LONGEST_WAIT_S = 20
# SQS hides a message no longer than this after its receive (AWS API reference, ChangeMessageVisibility).
LONGEST_VISIBILITY_S = 12 * 3600


class OptionError(AmplyError, ValueError):
    """An option whose value cannot work."""

    exit_code = 2


class BackoffPolicy(Struct, frozen=True, forbid_unknown_fields=True):
    """How long a failed job waits: `first_s`, then `factor` times longer each time, up to `most_s`.

    Each wait is made up to `jitter` (0..0.3) longer or shorter by chance, so that jobs that failed together do not come
    back together. With the default factor the waits grow nevertheless.
    """

    first_s: float = 5.0
    factor: float = 2.0
    most_s: float = 900.0
    jitter: float = 0.2


class Predefined(Struct, frozen=True):
    """A queue whose URL is known, as in kombu's `predefined_queues`."""

    url: str


class Options(Struct, frozen=True):
    """The transport's options, with kombu's names where kombu has the option.

    - `wait_time_seconds` (0..20): how long a poll waits for a message.
    - `lease_seconds` (1..43200): a received message stays hidden this long, and is extended every third of it.
    - `queue_order`: queues by falling priority; by default the order of `-Q`.
    - `starvation_guard`: after so many jobs in a row from queues above it, a lower queue gets a turn; 0 is never.
    - `message_format`: "brief" (JSON, arguments in base64), "readable" (all text), "stock" (base64 of the first).
    - `backoff`, `queue_backoff`, `task_backoff`: how long a failed job waits; a task's goes before a queue's.
    - `telemetry_queue`: the SQS queue that gets the causes of failures and Celery's events; none by default.
    - `payload_store`: where messages above the queue's limit are kept (`file:///folder`, `s3://bucket/prefix`).
    - `foreign_tasks`: by queue, the task that is called with the body of a message that Celery did not write.
    - `visibility_timeout`: of a queue that has to be created.
    """

    region: str | None = None
    endpoint_url: str | None = None
    is_secure: bool = False
    wait_time_seconds: int = LONGEST_WAIT_S
    lease_seconds: int = 120
    visibility_timeout: int = 1800
    queue_name_prefix: str = ""
    predefined_queues: dict[str, Predefined] | None = None
    queue_order: list[str] = []
    starvation_guard: int = 0
    message_format: Literal["brief", "readable", "stock"] = "brief"
    backoff: BackoffPolicy = BackoffPolicy()
    queue_backoff: dict[str, BackoffPolicy] = {}
    task_backoff: dict[str, BackoffPolicy] = {}
    telemetry_queue: str | None = None
    payload_store: str | None = None
    foreign_tasks: dict[str, str] = {}

    @classmethod
    def read(cls, transport_options: Mapping[str, Any]) -> "Options":
        """The options that are set; OptionError names the one that cannot be."""
        known = {name: value for name, value in transport_options.items() if name in cls.__struct_fields__}
        try:
            options = msgspec.convert(known, cls)
        except msgspec.ValidationError as error:
            raise OptionError(f"broker_transport_options: {error}", hint="See docs/reference/transport.md.") from None
        _check_ranges(options)
        return options


def _check_ranges(options: Options) -> None:
    _within("wait_time_seconds", options.wait_time_seconds, 0, LONGEST_WAIT_S)
    _within("lease_seconds", options.lease_seconds, 1, LONGEST_VISIBILITY_S)
    _within("visibility_timeout", options.visibility_timeout, 0, LONGEST_VISIBILITY_S)
    _within("starvation_guard", options.starvation_guard, 0, 1_000_000)
    policies = {"backoff": options.backoff}
    policies |= {f"queue_backoff[{queue}]": policy for queue, policy in options.queue_backoff.items()}
    policies |= {f"task_backoff[{task}]": policy for task, policy in options.task_backoff.items()}
    for name, policy in policies.items():
        _within(f"{name}.first_s", policy.first_s, 0, LONGEST_VISIBILITY_S)
        _within(f"{name}.most_s", policy.most_s, policy.first_s, LONGEST_VISIBILITY_S)
        _within(f"{name}.factor", policy.factor, 1, 100)
        _within(f"{name}.jitter", policy.jitter, 0, 0.3)


def _within(name: str, value: float, least: float, most: float) -> None:
    if not least <= value <= most:
        raise OptionError(
            f"broker_transport_options: {name} is {value}; it must be between {least:g} and {most:g}",
            hint="See docs/reference/transport.md.",
        )
