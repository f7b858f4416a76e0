"""Messages as their writers make them, and stock kombu's channel."""

import base64
import json
from types import SimpleNamespace
from typing import Any

from kombu.transport import SQS

from amply.envelope import Form

TASK = "amply.jobs.webhooks.dispatch_webhook"
ID = "abc123-def456"
FORMS: tuple[Form, ...] = ("brief", "readable", "stock")
EMBEDDED = {"callbacks": None, "errbacks": None, "chain": None, "chord": None}

PROTOCOL_1 = {"id": ID, "task": TASK, "args": [1], "kwargs": {}, "retries": 0, "eta": None, "expires": None}


def b64(value: Any) -> str:
    data = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.b64encode(data).decode()


def call(*args: Any, **kwargs: Any) -> list[Any]:
    return [list(args), kwargs, dict(EMBEDDED)]


def payload(body: Any = None, **headers: Any) -> dict[str, Any]:
    """As kombu's virtual channel hands it to `_put`."""
    return {
        "body": b64(call("https://example.com", n=1) if body is None else body),
        "content-encoding": "utf-8",
        "content-type": "application/json",
        "headers": {"lang": "py", "task": TASK, "id": ID, "retries": 0, "timelimit": [None, None], **headers},
        "properties": {
            "correlation_id": ID,
            "reply_to": "",
            "delivery_mode": 2,
            "delivery_info": {"exchange": "", "routing_key": "celery"},
            "priority": 0,
            "body_encoding": "base64",
            "delivery_tag": "1",
        },
    }


def changed(change: dict[str, Any], where: str = "") -> str:
    """The JSON of an ordinary message with some members of it (or of its headers, ...) replaced."""
    message = payload()
    at = message
    for name in where.split("."):
        at = at[name] if name else at
    at.update(change)
    return json.dumps(message)


class StockChannel(SQS.Channel):
    """Stock kombu's channel with its own reading and writing, and no connection."""

    def __init__(self, *, outer_base64: bool) -> None:
        self.outer_base64 = outer_base64
        self.sent: list[str] = []

    def close(self) -> None: ...

    @property
    def sqs_base64_encoding(self) -> bool:
        return self.outer_base64

    def _new_queue(self, queue: str, **_: Any) -> str:
        return f"http://127.0.0.1/{queue}"

    def canonical_queue_name(self, queue_name: str) -> str:
        return queue_name

    def sqs(self, queue: str | None = None) -> Any:
        return SimpleNamespace(send_message=lambda **members: self.sent.append(members["MessageBody"]))

    def _resolve_delay_seconds(self, properties: dict[str, Any]) -> None:
        return None

    def read(self, body: str) -> dict[str, Any]:
        text = self._decode_python_message_body(body).decode()
        return self._envelope_payload(self._prepare_json_payload(text), text, {"ReceiptHandle": "r"}, "http://q")
