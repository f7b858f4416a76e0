"""Publishing ten jobs with one request: `with publish_batch(app): task.delay(...)`.

Collects what a thread publishes inside the block and sends it by SendMessageBatch. Knows batches and their failures;
must not know channels, or how a queue's name becomes a URL: each message comes with the function that sends it.
"""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from itertools import count, islice
from typing import Any, NamedTuple

from celery import Celery
from celery.exceptions import TaskPredicate

from amply.errors import AmplyError
from amply.transport.client import SqsClient
from amply.transport.faults import CONNECTION_ERRORS, SqsFault
from amply.transport.publishing import Label, Outgoing

# AWS API reference, SendMessageBatch: both ends inclusive, the bytes of all entries together.
ENTRIES_MAX = 10
BYTES_MAX = 1_048_576

# An error names so many jobs in its text; all of them are in its `failed`.
_NAMED_MAX = 5


class Failure(NamedTuple):
    """Why one message of a batch was not sent. `is_transient`: the same message may pass at the next try."""

    code: str
    message: str
    is_transient: bool


Send = Callable[[str, list[Outgoing]], list[Failure | None]]
"""Sends at most ten messages to a queue (Celery's name) with one request: for each, None or why it was not taken.

A request that fails as a whole raises SqsFault, Transient, Unreachable or an AmplyError."""


class FailedPublish(NamedTuple):
    """A job that was not published, or of which that is not known.

    `code` is SQS's, or `Unreachable` (no answer came: the job may be in the queue all the same), or `NotSent` (given up
    before it was tried, or while it was).
    """

    task: str
    id: str
    queue: str
    code: str
    message: str

    def __str__(self) -> str:
        return f"{Label(self.task, self.id)} to {self.queue}: {self.code}: {self.message}"


class PublishBatchError(AmplyError):
    """Some jobs of a block were not published: those in `failed`. The other `sent` ones are in their queues."""

    def __init__(
        self, message: str, *, hint: str | None = None, failed: Sequence[FailedPublish] = (), sent: int = 0
    ) -> None:
        # Only the message is required, so that the error survives being pickled by a worker's pool.
        super().__init__(message, hint=hint)
        self.failed = list(failed)
        self.sent = sent


class _Collected(NamedTuple):
    outgoing: Outgoing
    label: Label


class PublishBatch:
    """What was published inside a block and has not left yet: for each queue, less than fills a request.

    `sent` counts the messages that SQS took, `failed` lists the others; both are complete when the block has ended.
    Made by `publish_batch`, and for its thread only. `waits_s` gives the pauses between the tries of a request.
    """

    def __init__(self, waits_s: Callable[[], Iterator[float]]) -> None:
        self.sent = 0
        self.failed: list[FailedPublish] = []
        self._waits_s = waits_s
        self._thread_id = threading.get_ident()
        self._is_open = True
        self._pending: dict[tuple[Send, str], list[_Collected]] = {}
        self._error: PublishBatchError | None = None

    @property
    def is_collecting(self) -> bool:
        """Whether a publish of the calling thread belongs to it.

        A context that was copied inside the block (asyncio.to_thread, a task that outlives it) does not make it so.
        """
        return self._is_open and self._thread_id == threading.get_ident()

    def add(self, send: Send, queue: str, outgoing: Outgoing, label: Label) -> None:
        """Collect a message; a batch that is full leaves at once. Messages with equal `send` and `queue` share batches.

        Raises PublishBatchError when a request fails as a whole, and gives up what is collected: so a loop that
        publishes to a broker that is gone ends early. Messages that SQS refuses one by one are told at the end.
        """
        key = (send, queue)
        error: Exception | None = None
        collected_bytes = sum(collected.outgoing.size_bytes for collected in self._pending.get(key, ()))
        if collected_bytes and collected_bytes + outgoing.size_bytes > BYTES_MAX:
            error = self._send(key)
        pending = self._pending.setdefault(key, [])
        pending.append(_Collected(outgoing, label))
        if error is None and len(pending) == ENTRIES_MAX:
            error = self._send(key)
        if error is not None:
            self._drop(error)
            raise self._failure() from error

    def finish(self) -> None:
        """Send the rest. PublishBatchError if any message of the block failed."""
        error: Exception | None = None
        for key in list(self._pending):
            error = self._send(key) or error
            if isinstance(error, CONNECTION_ERRORS):
                break  # each further queue would only wait for the same broker
        self._drop(error)
        if self.failed:
            raise self._failure() from error

    def abandon(self, error: BaseException) -> None:
        """Send no more, and say in a note of the error that ends the block what became of its jobs."""
        self._drop(error)
        if error is self._error:
            self._error.sent, self._error.failed = self.sent, list(self.failed)
        elif self.failed:
            text = f"{self.sent} jobs were published, {len(self.failed)} were not:"
            error.add_note("\n  ".join([f"publish_batch: {text}", *_some(self.failed)]))

    def close(self) -> None:
        """The block has ended."""
        self._is_open = False

    def _send(self, key: tuple[Send, str]) -> Exception | None:
        """One batch, and again what may pass, as often as the policy allows. What the request as a whole failed of."""
        send, queue = key
        waits_s = self._waits_s()
        while True:
            entries = self._pending[key]
            error: Exception | None = None
            failures: list[Failure | None]
            try:
                failures = send(queue, [collected.outgoing for collected in entries])
            except (*CONNECTION_ERRORS, SqsFault, AmplyError) as whole:
                # After a lost answer the jobs may be in the queue twice, as when Celery tries a single publish again.
                error = whole
                failures = [_failure_of(whole)] * len(entries)
            wait_s = next(waits_s, None)
            again = []
            for collected, failure in zip(entries, failures, strict=True):
                if failure is None:
                    self.sent += 1
                elif failure.is_transient and wait_s is not None:
                    again.append(collected)
                else:
                    self.failed.append(FailedPublish(*collected.label, queue, failure.code, failure.message))
            if not again or wait_s is None:
                del self._pending[key]
                return error
            self._pending[key] = again
            time.sleep(wait_s)

    def _drop(self, error: BaseException | None) -> None:
        """Count what is collected as failed. While a request is under way its messages are still among it."""
        message = f"given up after {type(error).__name__}"
        for (_, queue), entries in self._pending.items():
            self.failed += [FailedPublish(*collected.label, queue, "NotSent", message) for collected in entries]
        self._pending.clear()

    def _failure(self) -> PublishBatchError:
        total = self.sent + len(self.failed)
        self._error = PublishBatchError(
            "\n  ".join([f"{len(self.failed)} of {total} jobs were not published:", *_some(self.failed)]),
            hint="All of them are in this error's `failed`. If its answer was lost, a job may be in its queue.",
            failed=self.failed,
            sent=self.sent,
        )
        return self._error


_collecting: ContextVar[PublishBatch | None] = ContextVar("amply_publish_batch", default=None)


def current() -> PublishBatch | None:
    """The batch that a publish of the calling thread belongs to, if it is inside such a block."""
    batch = _collecting.get()
    return batch if batch is not None and batch.is_collecting else None


@contextmanager
def publish_batch(app: Celery) -> Iterator[PublishBatch]:
    """Send the jobs that this thread publishes inside the block ten at a time.

        with publish_batch(app) as batch:
            for row in rows:
                import_row.delay(row)

    A batch leaves when ten jobs or 1 MiB for one queue are collected, and at the end of the block; a request that fails
    is tried again as `task_publish_retry_policy` says. When the block has ended without an error, SQS has all jobs.
    Otherwise PublishBatchError names each one that it has not, at the end of the block or, when a whole request failed,
    at the publish that filled it.

    - `.delay()` and Celery's `after_task_publish` mean "collected", not "sent": do not wait for a result in the block.
    - An error that ends the block leaves what has been sent where it is, and what is still collected is not sent; a
      note of the error names it. `retry()`, `Ignore` and `Reject` in a task are no errors: everything is sent.
    - A block inside a block is part of the outer one.
    - With another transport than this one each publish goes by itself, as without the block.
    """
    outer = current()
    if outer is not None:
        yield outer
        return
    batch = PublishBatch(lambda: _waits_s(app))
    token = _collecting.set(batch)
    try:
        try:
            yield batch
        except TaskPredicate:
            # retry() publishes the next run and then raises: were that message dropped, the job would be lost.
            batch.finish()
            raise
        batch.finish()
    except BaseException as error:
        batch.abandon(error)
        raise
    finally:
        batch.close()
        _collecting.reset(token)


def send_batch(client: SqsClient, queue_url: str, outgoings: Sequence[Outgoing]) -> list[Failure | None]:
    """One SendMessageBatch of 1 to 10 messages: for each, in their order, None or why it was not taken.

    Raises what `SqsClient.call` raises when the request fails as a whole.
    """
    entries = [{"Id": str(number), **outgoing.members()} for number, outgoing in enumerate(outgoings)]
    answer = client.call("SendMessageBatch", {"QueueUrl": queue_url, "Entries": entries})
    sent = {told.get("Id") for told in answer.get("Successful") or ()}
    failed = {told.get("Id"): told for told in answer.get("Failed") or ()}
    return [None if entry["Id"] in sent else _failure_told(failed.get(entry["Id"])) for entry in entries]


def _failure_told(told: dict[str, Any] | None) -> Failure:
    if told is None:
        return Failure("Unanswered", "the answer does not say what became of it", is_transient=True)
    code = str(told.get("Code", "unknown"))
    return Failure(code, str(told.get("Message") or "no reason given"), is_transient=not told.get("SenderFault", True))


def _failure_of(error: Exception) -> Failure:
    if isinstance(error, SqsFault):
        return Failure(error.code, error.message, is_transient=isinstance(error, CONNECTION_ERRORS))
    code = "Unreachable" if isinstance(error, CONNECTION_ERRORS) else type(error).__name__
    return Failure(code, str(error), is_transient=isinstance(error, CONNECTION_ERRORS))


def _waits_s(app: Celery) -> Iterator[float]:
    """The pauses of Celery's own policy for publishing, as kombu.Connection.ensure reads it."""
    if not app.conf.task_publish_retry:
        return iter(())
    policy = app.conf.task_publish_retry_policy or {}
    first_s, step_s = policy.get("interval_start", 1), policy.get("interval_step", 1)
    most_s = max(first_s, policy.get("interval_max", 1))
    return islice((min(first_s + step_s * tries, most_s) for tries in count()), policy.get("max_retries"))


def _some(failed: Sequence[FailedPublish]) -> list[str]:
    more = [f"and {len(failed) - _NAMED_MAX} more"] if len(failed) > _NAMED_MAX else []
    return [*map(str, failed[:_NAMED_MAX]), *more]
