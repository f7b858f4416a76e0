"""Letters for tests of what is read out of them."""

import base64
import json
from typing import Any

from amply.deadletters.letters import Letter


def envelope(task: str | None = "tasks.add", job_id: str = "job-1", args: Any = (1, 2), kwargs: Any = None) -> str:
    """A Celery message's body, as kombu writes it with plain envelopes."""
    call = [list(args), kwargs or {}, {"callbacks": None, "errbacks": None, "chain": None, "chord": None}]
    return json.dumps(
        {
            "body": base64.b64encode(json.dumps(call).encode()).decode(),
            "content-type": "application/json",
            "content-encoding": "utf-8",
            "headers": {"task": task, "id": job_id, "retries": 0},
            "properties": {
                "delivery_info": {"exchange": "", "routing_key": "celery"},
                "body_encoding": "base64",
                "delivery_tag": "1",
            },
        }
    )


def protocol_1(task: str = "tasks.add", job_id: str = "job-1") -> str:
    """A body as Celery's protocol 1 and other languages write it: the headers name no task."""
    call = {"task": task, "id": job_id, "args": [1], "kwargs": {}}
    return json.dumps(
        {
            "body": base64.b64encode(json.dumps(call).encode()).decode(),
            "content-type": "application/json",
            "content-encoding": "utf-8",
            "headers": {},
            "properties": {"delivery_info": {"exchange": "", "routing_key": "celery"}, "body_encoding": "base64"},
        }
    )


def letter(body: str = "x", **more: Any) -> Letter:
    """A letter that was sent at second 1000."""
    told = {"message_id": "m-1", "handle": "", "attributes": {}, "sent_ms": 1_000_000, "receive_count": 6}
    return Letter(body=body, **told | more)
