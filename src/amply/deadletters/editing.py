"""A dead letter with another task or other arguments: the body it has then, and a run that sends it.

Knows Celery's envelopes in all the forms that they travel in. Must not know how a run keeps its order.
"""

import base64
import bz2
import json
import lzma
import zlib
from collections.abc import Callable
from typing import Any

from amply.clock import Clock
from amply.deadletters.deaths import Causes
from amply.deadletters.gateway import Gateway, NotFoundError, Queue, RefusedError
from amply.deadletters.journal import Asked, Journal
from amply.deadletters.matching import Match
from amply.deadletters.moving import Moving, Outcome
from amply.deadletters.redriving import Redriving, refusal
from amply.envelope import Unreadable, read
from amply.envelope.content import plain_form, strict_base64, unpacked
from amply.envelope.json_text import ascii_json
from amply.topology.model import Topology

# Celery 5.7, app/task.py: argsrepr and kwargsrepr are cut to this.
_REPR_CHARS_MAX = 1024

# kombu 5.7, compression.py.
_PACKERS: dict[str, Callable[[bytes], bytes]] = {
    **dict.fromkeys(("application/x-gzip", "gzip", "zlib"), zlib.compress),
    **dict.fromkeys(("application/x-bz2", "bzip2", "bzip"), bz2.compress),
    **dict.fromkeys(("application/x-lzma", "lzma", "xz"), lzma.compress),
}


def edited_body(
    body: str, *, task: str | None = None, args: list[Any] | None = None, kwargs: dict[str, Any] | None = None
) -> str:
    """A Celery message's body with another task, other args, other kwargs; None leaves what is there.

    All else stays: id, headers, callbacks, and the form and compression that it came in. RefusedError for what is no
    JSON call of a task, or would be none then, or what SQS would not take.
    """
    try:
        read(body)
        edited = _edited(body, task, args, kwargs)
        read(edited)
    except Unreadable as fault:
        raise RefusedError(
            f"only a Celery job in JSON can be edited so: {fault.reason}", hint="Give the whole body with --body."
        ) from fault
    except (TypeError, ValueError) as error:
        raise RefusedError(f"these arguments cannot be written as JSON: {error}") from error
    return sendable(edited)


def sendable(body: str) -> str:
    """The body, if SQS takes it; else RefusedError."""
    why = refusal(body)
    if why is not None:
        raise RefusedError(f"SQS does not take this body: {why}")
    return body


def edit(
    gateway: Gateway,
    queue: Queue,
    journal: Journal,
    causes: Causes,
    *,
    message_id: str,
    body: str,
    clock: Clock,
    to: str | None = None,
    topology: Topology | None = None,
) -> Outcome:
    """Send a letter with a new body to where it came from, or to a queue; then delete it here.

    NotFoundError if no letter has this message id, RefusedError for a body that SQS does not take.
    """
    asked = Asked(verb="edit", match=Match(ids=(message_id,)), body=sendable(body), to=to, started_ms=clock.now_ms())
    target = Redriving(gateway, queue, clock=clock, to=to, body=body, topology=topology)
    outcome = Moving(gateway, queue, journal, target, clock=clock, threads=1).run(asked, causes)
    if not (outcome.moved or outcome.skipped or outcome.stayed or outcome.waiting):
        raise NotFoundError(f"there is no letter {message_id} in {queue.name}", hint="See them with: amply dlq ls")
    return outcome


def _edited(body: str, task: str | None, args: list[Any] | None, kwargs: dict[str, Any] | None) -> str:
    # With Python's own JSON, which revives no marked values: what is not edited stays as it was written.
    is_plain = body.lstrip()[:1] == "{"
    envelope = json.loads(body if is_plain else strict_base64(body))
    headers, properties = envelope.get("headers") or {}, envelope.get("properties") or {}
    if (envelope.get("content-type") or "application/json") != "application/json":
        raise Unreadable("its content is not application/json")
    _, encoding, data = plain_form(envelope["body"], properties.get("body_encoding"))
    compression = headers.get("compression")
    plain = unpacked(data, compression)
    if plain is None:
        raise Unreadable(f"its body is compressed as {compression}, which is not known here")
    call = _call(json.loads(plain), task if "task" not in headers else None, args, kwargs)
    if task is not None and "task" in headers:
        headers["task"] = task
    for name, value in (("argsrepr", args), ("kwargsrepr", kwargs)):
        if value is not None and name in headers:
            headers[name] = _shown(value)
    text = ascii_json(call)
    packed = _PACKERS[compression](text.encode()) if compression else text.encode()
    envelope["body"] = text if encoding == "utf-8" else base64.b64encode(packed).decode()
    written = ascii_json(envelope)
    return written if is_plain else base64.b64encode(written.encode()).decode()


def _call(call: Any, task: str | None, args: list[Any] | None, kwargs: dict[str, Any] | None) -> Any:
    if isinstance(call, dict):
        changes = {"task": task, "args": args, "kwargs": kwargs}
        return call | {name: value for name, value in changes.items() if value is not None}
    old_args, old_kwargs, embedded = call
    return [old_args if args is None else args, old_kwargs if kwargs is None else kwargs, embedded]


def _shown(value: Any) -> str:
    shown = repr(value)
    return shown if len(shown) <= _REPR_CHARS_MAX else f"{shown[: _REPR_CHARS_MAX - 3]}..."
