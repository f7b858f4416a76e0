"""A worker's self-check: what it finds about SQS, its queues, its permissions and its settings, on one screen.

Runs once when a worker is ready, in a thread of its own, and whenever somebody asks. Knows where facts and rules are;
must not change anything, at SQS or in the app.
"""

import logging
import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import botocore.session
from botocore.exceptions import BotoCoreError
from msgspec import Struct

from amply.errors import AmplyError
from amply.transport import findings, pool, settings_findings
from amply.transport.endpoint import Endpoint, GivenCredentials
from amply.transport.faults import SqsFault, Unreachable
from amply.transport.findings import Finding, days
from amply.transport.options import Options
from amply.transport.payloads import store_for
from amply.transport.probing import Prober, QueueFacts, look, may_list

logger = logging.getLogger(__name__)

# No job has this id, so every result backend can be asked for its result.
_NOBODYS_JOB = "amply-self-check"
_BACKEND_S = 5.0
_ACTIONS = ("ReceiveMessage", "DeleteMessage", "ChangeMessageVisibility", "GetQueueAttributes", "SendMessage")
# botocore's words (botocore.credentials), where they are not clear by themselves.
_KINDS = {
    "env": "environment",
    "iam-role": "instance role",
    "container-role": "container role",
    "sso": "single sign-on",
}
_VARIABLES = {
    "url_of_sqs": "AWS_ENDPOINT_URL_SQS",
    "url_of_aws": "AWS_ENDPOINT_URL",
    "region_variable": "AWS_DEFAULT_REGION",
}


class NotOurTransport(AmplyError):
    """The app uses another transport."""

    exit_code = 2


class Place(Struct, frozen=True):
    """Where SQS is and who asks, each with where that is said. Never holds a key."""

    url: str
    url_from: str
    region: str
    region_from: str
    credentials: str


class Shape(Struct, frozen=True):
    """What a worker's command line may say besides the settings; limits in seconds, None for none."""

    concurrency: int
    prefetch_multiplier: int
    time_limit: float | None
    soft_time_limit: float | None

    @classmethod
    def of_settings(cls, conf: Any) -> "Shape":
        """The shape of a worker that is started without a word."""
        return cls(
            conf.worker_concurrency or os.cpu_count() or 1,
            conf.worker_prefetch_multiplier,
            conf.task_time_limit,
            conf.task_soft_time_limit,
        )

    @classmethod
    def of_worker(cls, consumer: Any) -> "Shape":
        """The shape of a running worker."""
        worker = consumer.controller
        return cls(pool.size(consumer.pool) or 1, worker.prefetch_multiplier, worker.time_limit, worker.soft_time_limit)


class Report(Struct, frozen=True, kw_only=True):
    """What a check found. `queues` are those that are consumed; empty where SQS was not reached."""

    place: Place
    is_reachable: bool
    queues: list[QueueFacts]
    findings: list[Finding]

    @property
    def problems(self) -> list[Finding]:
        """What is not well, errors first."""
        return sorted((each for each in self.findings if each.level != "ok"), key=lambda each: each.level)


def check(app: Any, *, connection: Any = None, shape: Shape | None = None) -> Report:
    """Check the app as its worker would run here, with the queues that `-Q` selected, else all that are declared.

    `connection` is kombu's, by default the app's own; `shape` is that of the settings unless given. Takes a few
    requests a queue, none of which changes anything, and up to some seconds where something does not answer. Raises
    NotOurTransport; AmplyError where the transport's options or its endpoint cannot be used at all.
    """
    broker = connection or app.connection_for_read()
    if broker.transport.driver_name != "amply":
        raise NotOurTransport(
            f"The app uses the transport {broker.transport_cls!r}, and this check is for amply's.",
            hint="Set broker_transport = 'amply.transport:Transport', or a broker_url that begins with amply://",
        )
    options = Options.read(broker.transport_options)
    endpoint = broker.transport.endpoint()
    place = _place(broker, options, endpoint)
    queues: list[QueueFacts] = []
    found: list[Finding] = []
    is_reachable = True
    prober = Prober(endpoint)
    try:
        for name in app.amqp.queues.consume_from:
            queues.append(look(prober, options, name, is_consumed=True))
            found += findings.of_queue(queues[-1], options)
        found += _of_the_rest(prober, options, app)
    except (Unreachable, SqsFault, AmplyError) as error:
        is_reachable = not isinstance(error, Unreachable)
        found.append(_not_asked(place, error))
    finally:
        prober.close()
    found += _of_settings(app, options, broker.transport_options, shape or Shape.of_settings(app.conf))
    return Report(place=place, is_reachable=is_reachable, queues=queues, findings=found)


def _of_settings(app: Any, options: Options, given: Mapping[str, Any], shape: Shape) -> Iterator[Finding]:
    conf = app.conf
    tasks = {name: task for name, task in app.tasks.items() if not name.startswith("celery.")}
    yield from settings_findings.of_options(options, given)
    yield from settings_findings.of_lease(options, shape.time_limit, shape.soft_time_limit, tasks)
    yield from settings_findings.of_prefetch(shape.prefetch_multiplier, shape.concurrency)
    yield from settings_findings.of_tasks(tasks)
    yield from settings_findings.of_acknowledgement(tasks)
    yield from settings_findings.of_routes(conf.task_routes, tasks, app.amqp.queues if conf.task_queues else ())
    yield from _of_results(app)
    yield from _of_payloads(options)


def _place(broker: Any, options: Options, endpoint: Endpoint) -> Place:
    session = botocore.session.Session(
        session_vars={name: (None, variable, None, None) for name, variable in _VARIABLES.items()}
    )
    set_by = [variable for name, variable in _VARIABLES.items() if session.get_config_variable(name)]
    if options.endpoint_url or broker.hostname:
        url_from = "transport option endpoint_url" if options.endpoint_url else "broker URL"
    else:
        url_from = next((name for name in set_by if name.startswith("AWS_ENDPOINT")), "AWS's own, or the profile's")
    if options.region:
        region_from = "transport option region"
    elif _VARIABLES["region_variable"] in set_by:
        region_from = _VARIABLES["region_variable"]
    else:
        region_from = "profile" if session.get_config_variable("region") else "default for a named endpoint"
    return Place(endpoint.url, url_from, endpoint.region, region_from, _credentials(session, endpoint))


def _credentials(session: Any, endpoint: Endpoint) -> str:
    if isinstance(endpoint.credentials, GivenCredentials):
        return "broker URL"
    try:
        found = session.get_credentials()
    except (BotoCoreError, OSError, ValueError) as error:
        return f"not to be had: {error}"
    return "none" if found is None else _KINDS.get(found.method, found.method)


def _not_asked(place: Place, error: Exception) -> Finding:
    if isinstance(error, Unreachable):
        why = "The worker goes on trying; its queues and permissions were not checked."
        mend = "Start the broker, or correct the endpoint and the way to it; then run: amply doctor celery"
        return Finding("error", "SQS", f"does not answer: {error}.", why, mend)
    if isinstance(error, AmplyError):
        return Finding("error", "credentials", error.message, mend=error.hint or "")
    why = f"It was asked with credentials from: {place.credentials}."
    return Finding("error", "SQS", f"refuses: {error}", why, "See that they are valid here and now; then check again.")


def _of_the_rest(prober: Prober, options: Options, app: Any) -> Iterator[Finding]:
    if options.telemetry_queue is None:
        yield Finding("ok", "telemetry queue", "none: the causes of failures are in the workers' logs alone.")
    else:
        yield from findings.of_telemetry(look(prober, options, options.telemetry_queue, is_consumed=False))
    if app.conf.worker_enable_remote_control:
        yield from findings.of_permissions("remote control", "*", {"ListQueues": may_list(prober)})
    yield from findings.of_clock(prober.clock_ahead_s)


def _of_results(app: Any) -> Iterator[Finding]:
    """Asks the result backend for a result, in a thread, because it may take any time to find that nobody answers."""
    subject, mend = "result_backend", "Correct result_backend, or start what it names."
    why = "Jobs run, but their results, chords and groups do not."
    told: list[Exception] = []

    def ask() -> None:
        try:
            app.backend.get_state(_NOBODYS_JOB)
        except Exception as error:  # noqa: BLE001 - a backend may raise anything
            told.append(error)

    url = str(app.conf.result_backend or "disabled")
    scheme = url.partition("://")[0]
    if scheme in {"disabled", "rpc"}:
        # Asking rpc:// would make a queue.
        yield Finding("ok", subject, "none is set." if scheme == "disabled" else "rpc:// was not tried.")
        return
    asking = threading.Thread(target=ask, name="amply-checkup-results", daemon=True)
    asking.start()
    asking.join(_BACKEND_S)
    if asking.is_alive():
        yield Finding("error", subject, f"{scheme} has not answered for {_BACKEND_S:g} s.", why, mend)
    elif told:
        yield Finding("error", subject, f"{scheme} fails: {type(told[0]).__name__}: {told[0]}.", why, mend)
    else:
        yield Finding("ok", subject, f"{scheme} answers.")


def _of_payloads(options: Options) -> Iterator[Finding]:
    subject, url = "payload_store", options.payload_store
    if url is None:
        yield Finding("ok", subject, "none: a job above its queue's MaximumMessageSize is refused with its size.")
        return
    try:
        store_for(url)
    except AmplyError as error:
        why = "No job can be sent or received."
        yield Finding("error", subject, error.message, why, error.hint or "")
        return
    if not url.startswith("file:"):
        yield Finding("ok", subject, f"{url} was not tried: it takes s3:PutObject, s3:GetObject and s3:DeleteObject.")
        return
    folder = Path(unquote(urlsplit(url).path))
    # What does not exist yet is made with the first payload.
    nearest = next(each for each in (folder, *folder.parents) if each.exists())
    if nearest.is_dir() and os.access(nearest, os.W_OK | os.X_OK):
        yield Finding("ok", subject, f"{folder} can be written.")
    else:
        why = "What is too large for its queue can be neither sent, nor deleted when it is done."
        mend = "Make it a folder that belongs to the user of this process."
        yield Finding("error", subject, f"{nearest} cannot be written.", why, mend)


# How a report reads


def text(report: Report) -> str:
    """The report on one screen, without the problems' details."""
    place = report.place
    lines = [
        f"SQS          {place.url} ({place.url_from})",
        f"region       {place.region} ({place.region_from})",
        f"credentials  {place.credentials}",
    ]
    if report.queues:
        lines += ["", *_aligned(queue_table(report)), "", *_aligned(permission_table(report))]
    lines += ["", *_aligned([(each.level, each.subject, each.what) for each in report.findings])]
    return "\n".join(lines)


def queue_table(report: Report) -> list[tuple[str, ...]]:
    """The queues, under a row of headings."""
    head = ("queue", "at SQS", "type", "visible", "in flight", "delayed", "kept", "visibility", "size limit")
    return [(*head, "receives", "dead letters"), *(_queue_row(queue) for queue in report.queues)]


def permission_table(report: Report) -> list[tuple[str, ...]]:
    """What the role may do with each queue, under a row of headings."""
    rows = [(queue.name, *(queue.permissions.get(each, "") for each in _ACTIONS)) for queue in report.queues]
    return [("queue", *_ACTIONS), *rows]


def _queue_row(queue: QueueFacts) -> tuple[str, ...]:
    dead = queue.dead_letter_queue
    return (
        queue.name,
        queue.sqs_name or queue.state,
        "FIFO" if queue.is_fifo else "standard",
        *("" if each is None else str(each) for each in (queue.visible, queue.in_flight, queue.delayed)),
        "" if queue.retention_s is None else days(queue.retention_s),
        "" if queue.visibility_timeout_s is None else f"{queue.visibility_timeout_s} s",
        "" if queue.maximum_message_bytes is None else f"{queue.maximum_message_bytes / 1024:g} KiB",
        "" if queue.max_receive_count is None else str(queue.max_receive_count),
        "" if dead is None else dead.name,
    )


def _aligned(rows: Sequence[tuple[str, ...]]) -> list[str]:
    rows = [tuple(map(_on_one_line, row)) for row in rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _on_one_line(told: str) -> str:
    """Without what would begin a line of its own in a log: some of it was said by servers."""
    return "".join(character if character.isprintable() else " " for character in told)


# At the start of a worker


def start(sender: Any, **_: Mapping[str, Any]) -> None:
    """Celery's signal worker_ready, whose sender is the worker's consumer: check it aside, and log what is found."""
    if getattr(getattr(sender.connection, "transport", None), "driver_name", None) == "amply":
        arguments = (sender.app, Shape.of_worker(sender))
        threading.Thread(target=_log, args=arguments, name="amply-checkup", daemon=True).start()


def _log(app: Any, shape: Shape) -> None:
    try:
        report = check(app, shape=shape)
    except Exception:
        # The check is for people; whatever is wrong with it, the worker works.
        logger.exception("The self-check failed")
        return
    count = len(report.problems)
    told = "no problems" if not count else "1 problem" if count == 1 else f"{count} problems"
    logger.info("Self-check: %s\n%s", told, text(report))
    for problem in report.problems:
        logger.warning("Self-check: %s", _on_one_line(str(problem)))
