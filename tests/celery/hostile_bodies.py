"""Message bodies that no Celery client writes, and some that were made to do harm. None of them names a job to do."""

import base64
import json
from typing import Any


def _b64(content: object) -> str:
    text = content if isinstance(content, str) else json.dumps(content)
    return base64.b64encode(text.encode()).decode()


def _envelope(**changes: Any) -> dict[str, Any]:
    """A whole envelope of a job that counts, with these members changed; ... removes one."""
    whole = {
        "body": _b64([[1], {}, {"callbacks": None, "errbacks": None, "chain": None, "chord": None}]),
        "content-type": "application/json",
        "content-encoding": "utf-8",
        "headers": {"lang": "py", "task": "ledger.count", "id": "hostile", "retries": 0, "root_id": "hostile"},
        "properties": {
            "correlation_id": "hostile",
            "body_encoding": "base64",
            "delivery_tag": "hostile",
            "delivery_mode": 2,
            "priority": 0,
            "delivery_info": {"exchange": "", "routing_key": "celery"},
        },
    }
    return {name: value for name, value in {**whole, **changes}.items() if value is not ...}


_HEADERS: dict[str, Any] = _envelope()["headers"]

HOSTILE = [
    # Not JSON at all.
    "a plain text",
    "<xml><job>count</job></xml>",
    "{",
    '{"body": "torn',
    "\u00fc\u4e16\U0001f600",
    "NaN",
    "AAAA",
    _b64("a plain text"),
    _b64("{"),
    "[" * 20_000,
    _b64("[" * 20_000),
    # JSON, but nobody's envelope.
    "null",
    "0",
    '"text"',
    "[]",
    "{}",
    "[1, 2, 3]",
    '{"properties":{}}',
    '{"body": null}',
    '{"body": {}, "headers": []}',
    '{"event": "user.created", "user": {"id": 7}}',
    '{"Records": [{"eventSource": "aws:s3", "s3": {"object": {"key": "a"}}}]}',
    '{"Type": "Notification", "MessageId": "1", "TopicArn": "arn:aws:sns:::t", "Message": "hello"}',
    # Envelopes of Celery with something wrong in them.
    json.dumps(_envelope(body=...)),
    json.dumps(_envelope(body=7)),
    json.dumps(_envelope(body="%%% no base64 %%%")),
    json.dumps(_envelope(body=_b64("no json"))),
    json.dumps(_envelope(body=_b64("7"))),
    json.dumps(_envelope(body=_b64([1, 2, 3, 4, 5]))),
    json.dumps(_envelope(headers=None)),
    json.dumps(_envelope(headers={**_HEADERS, "task": None})),
    json.dumps(_envelope(headers={**_HEADERS, "task": ["ledger.count"]})),
    json.dumps(_envelope(headers={**_HEADERS, "task": "os.system"})),
    json.dumps(_envelope(headers={**_HEADERS, "id": None, "task": {"a": 1}})),
    json.dumps(_envelope(**{"content-type": "application/x-python-serialize"})),
    json.dumps(_envelope(**{"content-type": "application/x-unheard-of"})),
    json.dumps(_envelope(properties=7, body=...)),
]
