"""`amply doctor`: what is wrong, why it matters, and how to mend it."""

import sys
from typing import TYPE_CHECKING, Any

import click

from amply import settings
from amply.cli import output
from amply.cli.workers_environment import local_credentials
from amply.errors import AmplyError

if TYPE_CHECKING:
    from amply.transport.checkup import Report

# Raised when a member changes its meaning or goes; members may be added.
JSON_VERSION = 1

_PROBLEMS = 1
_UNREACHABLE = 5


class UnknownAppError(AmplyError):
    """The module, or the app in it, is not there."""

    exit_code = 3


@click.group()
def doctor() -> None:
    """Check what is declared and what is there, and say how to mend it."""


@doctor.command()
@click.option(
    "--app",
    "name",
    metavar="MODULE",
    default="amply.jobs.celery_app",
    show_default=True,
    help="The Celery app, written as for `celery -A`.",
)
@output.json_option
def celery(name: str, *, as_json: bool) -> int:
    """Check a Celery app on SQS: queues, permissions, settings.

    The same check runs at the start of every worker. It changes nothing, at SQS or elsewhere.

    Ends with 1 when there are problems, 3 when there is no such app, 5 when SQS does not answer.
    """
    from msgspec.structs import replace

    from amply.transport import checkup

    app = _application(name)
    with app.connection_for_read() as connection:
        local = local_credentials(settings.read().sqs_endpoint_url, "", settings.child_environment({}))
        if local and not connection.userid:
            # In place of credentials that botocore would look for, find nowhere, and miss.
            connection.userid = local.get("AWS_ACCESS_KEY_ID")
            connection.password = local.get("AWS_SECRET_ACCESS_KEY")
        report = checkup.check(app, connection=connection)
        if connection.userid and connection.userid == local.get("AWS_ACCESS_KEY_ID"):
            report = replace(report, place=replace(report.place, credentials="any, for a broker on this machine"))
    if as_json:
        output.write_json(_as_data(report))
    elif sys.stdout.isatty():
        _write_tables(report)
    else:
        click.echo("\n".join(output.safe(line) for line in checkup.text(report).split("\n")))
    for problem in report.problems:
        output.say(f"{problem.level.capitalize()}: {problem}")
    if not report.problems:
        output.say("No problems.")
        return 0
    return _PROBLEMS if report.is_reachable else _UNREACHABLE


def _application(name: str) -> Any:
    from celery.app.utils import find_app

    try:
        app = find_app(name)
        app.loader.import_default_modules()
    except (ImportError, AttributeError) as error:
        raise UnknownAppError(
            f"There is no Celery app {name}: {error}", hint="Write it as for `celery -A`: module, or module:attribute."
        ) from error
    return app


def _write_tables(report: "Report") -> None:
    from amply.transport import checkup

    place = report.place
    rows = [("SQS", place.url, place.url_from), ("Region", place.region, place.region_from)]
    output.write_table("Where", ("", "", "From"), [*rows, ("Credentials", "", place.credentials)])
    for title, (head, *body) in (
        ("Queues", checkup.queue_table(report)),
        ("Permissions", checkup.permission_table(report)),
    ):
        output.write_table(title, [heading[0].upper() + heading[1:] for heading in head], body)
    output.write_table(
        "Findings", ("Level", "About", "Found"), [(each.level, each.subject, each.what) for each in report.findings]
    )


def _as_data(report: "Report") -> dict[str, Any]:
    import msgspec

    return {"version": JSON_VERSION, **msgspec.to_builtins(report)}
