"""`amply job`: a job by its task's name and JSON arguments, sent the way the application itself sends it."""

import difflib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from amply import settings
from amply.cli import output
from amply.cli.json_options import read_json
from amply.cli.workers_environment import local_credentials
from amply.errors import AmplyError

if TYPE_CHECKING:
    from celery import Celery
    from celery.result import AsyncResult

# Raised when a member changes its meaning or goes; members may be added.
JSON_VERSION = 1

# The longest DelaySeconds of SendMessage (AWS API reference). Celery's own countdown would hold the message in a
# worker, where it comes back, and runs again, each time the visibility timeout passes.
COUNTDOWN_S_MAX = 900


class UnknownNameError(AmplyError):
    """No task, or no queue, has this name."""

    exit_code = 3


class NotSentError(AmplyError):
    """SQS did not take the message."""

    exit_code = 5


class NotDoneError(AmplyError):
    """The job was sent, and did not succeed while somebody waited for it."""


@click.group()
def job() -> None:
    """Send jobs to their queues."""


@job.command()
@click.argument("name")
@click.option(
    "--args", callback=read_json(list, "an array"), default="[]", help="The positional arguments, like '[\"org-1\"]'."
)
@click.option("--kwargs", callback=read_json(dict, "an object"), default="{}", help="The keyword arguments.")
@click.option("--queue", help="Its Celery name; by default the one that the task's route names.")
@click.option(
    "--countdown", type=click.IntRange(0, COUNTDOWN_S_MAX), default=0, metavar="S", help="Seconds before it may run."
)
@click.option("--wait", type=click.FloatRange(min=0), metavar="S", help="Wait so many seconds for its result.")
@output.json_option
def send(
    *,
    name: str,
    args: list[Any],
    kwargs: dict[str, Any],
    queue: str | None,
    countdown: int,
    wait: float | None,
    as_json: bool,
) -> None:
    """Send a job of the task NAME, such as amply.jobs.reports.generate_monthly_report.

    Ends with 3 when there is no such task or queue, 5 when SQS does not take it, and with --wait 1 unless it succeeds.
    """
    app = _application()
    _check(app, name, args, kwargs, queue)
    options: dict[str, Any] = {"queue": queue} if queue else {}
    if countdown:
        options["delay_seconds"] = countdown
    with _connection(app) as connection:
        sent = app.send_task(name, args=args, kwargs=kwargs, connection=connection, **options)
    told = {"version": JSON_VERSION, "id": sent.id, "task": name, "queue": queue or _route(app, name)}
    output.say(f"Sent to {told['queue']}.")
    if wait is None:
        _write(told, as_json=as_json)
        return
    state, result = _wait(sent, wait)
    _write({**told, "state": state, "result": result}, as_json=as_json)
    if state != "SUCCESS":
        raise NotDoneError(
            f"Job {sent.id} failed: {result}" if state == "FAILURE" else f"Job {sent.id} is not done after {wait:g} s.",
            hint="It stays on its queue, and runs again until it succeeds or is a dead letter."
            if state == "FAILURE"
            else "Are workers running, with this AMPLY_DATA or REDIS_URL? `amply status` shows what waits.",
        )


def _application() -> "Celery":
    from amply.jobs.celery_app import app

    app.loader.import_default_modules()
    return app


def _check(app: "Celery", name: str, args: list[Any], kwargs: dict[str, Any], queue: str | None) -> None:
    tasks = [task for task in app.tasks if not task.startswith("celery.")]
    if name not in tasks:
        raise UnknownNameError(f"There is no task {name}.", hint=_nearest(name, tasks))
    if queue is not None and queue not in app.amqp.queues:
        raise UnknownNameError(f"There is no queue {queue}.", hint=_nearest(queue, app.amqp.queues))
    try:
        app.tasks[name].__header__(*args, **kwargs)
    except TypeError as error:
        raise click.UsageError(f"{name} cannot be called like this: {error}") from error


def _nearest(name: str, names: Iterable[str]) -> str:
    # The last part alone is what people remember of a task's name.
    known = sorted(names)
    near = [each for each in known if each.rpartition(".")[2] == name] or difflib.get_close_matches(name, known, n=3)
    return f"Did you mean {' or '.join(near)}?" if near else f"There are: {', '.join(known)}"


def _route(app: "Celery", name: str) -> str:
    return str(app.amqp.router.route({}, name)["queue"].name)


@contextmanager
def _connection(app: "Celery") -> "Iterator[Any]":
    from botocore.exceptions import BotoCoreError, ClientError
    from kombu.exceptions import OperationalError

    endpoint_url = settings.read().sqs_endpoint_url
    local = local_credentials(endpoint_url, "", settings.child_environment({}))
    try:
        with app.connection_for_write() as connection:
            # In place of credentials that botocore would look for, find nowhere, and miss.
            connection.userid = local.get("AWS_ACCESS_KEY_ID")
            connection.password = local.get("AWS_SECRET_ACCESS_KEY")
            yield connection
    except (OperationalError, BotoCoreError, ClientError) as error:
        raise NotSentError(
            f"SQS at {endpoint_url or 'AWS'} did not take the job: {error}",
            hint="Start it with `amply up` or `amply broker`, and set AWS_ENDPOINT_URL_SQS to the line that it prints.",
        ) from error


def _wait(sent: "AsyncResult", wait_s: float) -> tuple[str, Any]:
    from celery.exceptions import TimeoutError as NotInTimeError

    try:
        result = sent.get(timeout=wait_s, interval=0.1, propagate=False)
    except NotInTimeError:
        return "PENDING", None
    return sent.state, str(result) if isinstance(result, Exception) else result


def _write(told: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        output.write_json(told)
    elif "state" in told:
        output.write_table("Job", ("Id", "State", "Result"), [(told["id"], told["state"], told["result"])])
    else:
        click.echo(told["id"])
