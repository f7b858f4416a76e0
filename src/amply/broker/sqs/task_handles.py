"""Handles of message move tasks: base64 of JSON that names the task and its source, as on AWS."""

import base64

import msgspec
from msgspec import Struct

from amply.broker.sqs.faults import INVALID_PARAMETER_VALUE, Fault


class TaskHandle(Struct, frozen=True, rename="camel"):
    """What a handle says."""

    task_id: str
    source_arn: str

    @property
    def text(self) -> str:
        """What clients get."""
        return base64.b64encode(msgspec.json.encode(self)).decode()


def read_task_handle(text: str) -> TaskHandle:
    """What a client sent; Fault InvalidParameterValue if that is no handle."""
    try:
        return msgspec.json.decode(base64.b64decode(text, validate=True), type=TaskHandle)
    except (ValueError, RecursionError):  # Base64, UTF-8 and JSON are refused by kinds of ValueError.
        raise Fault(INVALID_PARAMETER_VALUE, "Value for parameter TaskHandle is invalid.") from None
