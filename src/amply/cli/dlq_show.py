"""`amply dlq show`: everything that is known of one dead letter."""

import json
import sys
from typing import Any

import click
import msgspec

from amply.cli import output, times
from amply.cli.dlq_letters import JSON_VERSION, NAME_CHARS, as_data, failure_data, json_value, time_left
from amply.cli.dlq_opening import looked_at
from amply.cli.dlq_options import Place, place_options
from amply.clock import wall_ms
from amply.deadletters.dead_letter_queue import DeadLetterQueue
from amply.deadletters.deaths import Found
from amply.deadletters.failures import Failure
from amply.deadletters.jobs import Told, told

_VALUE_CHARS = 2_000
_TRACEBACK_LINES = 200
_LATER = "reported nothing: their workers were killed, or their leases ended"
_HISTORY_COLUMNS = ("Run", "When", "Worker", "Error", "Again in")


@click.command()
@click.argument("id_", metavar="ID")
@click.option(
    "--body", "only_body", is_flag=True, help="Write the body and nothing else; as it is unless to a terminal."
)
@place_options
@output.json_option
def show(id_: str, *, only_body: bool, place: Place, as_json: bool) -> None:
    """Show all of one letter: its job, why it died, its failed runs, attributes, times and body.

    ID is the message's, at least its first eight characters, or the job's.
    """
    if only_body and as_json:
        raise click.UsageError("--body and --json exclude each other; the body is in the JSON, too.")
    with looked_at(place) as letters:
        found = letters.letter(id_)
        if only_body:
            _write_body(found.letter.body)
            return
        traceback = letters.traceback(found.death.kind)
        history = letters.history(found)
        job = told(found.letter.body)
        if as_json:
            output.write_json(_as_data(letters, found, job, traceback, history))
        else:
            _write(found, job, traceback, history, letters.queue.retention_s)


def _write_body(body: str) -> None:
    if sys.stdout.isatty():
        output.write_text(body)
    else:
        click.echo(body.encode("utf-8", "surrogatepass"), nl=False)


def _as_data(
    letters: DeadLetterQueue, found: Found, job: Told, traceback: str | None, history: list[Failure]
) -> dict[str, Any]:
    letter = found.letter
    called = msgspec.structs.asdict(job.job)
    called |= {name: json_value(called[name]) for name in ("args", "kwargs")}
    return {
        "version": JSON_VERSION,
        "queue": letters.name,
        "endpoint": letters.gateway.endpoint_url,
        **as_data(found, letters.queue.retention_s),
        "traceback": traceback,
        "job": called,
        "unreadable": job.unreadable,
        "history": [failure_data(failure) for failure in history],
        "attributes": letter.attributes,
        "message_group_id": letter.group_id,
        "message_deduplication_id": letter.deduplication_id,
        "trace_header": letter.trace_header,
        "body": letter.body,
    }


def _write(found: Found, job: Told, traceback: str | None, history: list[Failure], retention_s: int) -> None:
    letter, now_ms = found.letter, wall_ms()
    _section("Letter", [("Id", letter.message_id), ("Group", found.group), ("From", letter.source)], gap=False)
    _section("Job", _job_lines(job))
    _section("Why it died", _death_lines(found))
    if traceback:
        output.write_text(traceback.rstrip("\n"), indent="    ", lines=_TRACEBACK_LINES)
    if history:
        click.echo()
        output.write_table("Failed runs", _HISTORY_COLUMNS, [_history_row(failure) for failure in history])
    expires_ms = letter.expires_ms(retention_s)
    _section(
        "Times",
        [
            ("Sent", _moment(letter.sent_ms, now_ms)),
            ("First received", _moment(letter.first_received_ms, now_ms)),
            ("Hidden until", _hidden(letter.visible_ms, now_ms)),
            ("Expires", f"{times.utc(expires_ms)} (in {time_left(expires_ms, now_ms)})"),
            ("Receives", letter.receive_count),
        ],
    )
    _section("Message attributes", [(name, _attribute(value)) for name, value in letter.attributes.items()])
    system = (
        ("MessageGroupId", letter.group_id),
        ("MessageDeduplicationId", letter.deduplication_id),
        ("AWSTraceHeader", letter.trace_header),
    )
    _section("System attributes", system)
    _section("Body", [("Characters", output.count(len(letter.body)))])
    click.echo(f"  {output.safe(output.brief(letter.body, _VALUE_CHARS))}")


def _section(title: str, lines: Any, *, gap: bool = True) -> None:
    """A heading and what is known below it, after an empty line; nothing if nothing is."""
    known = [(name, value) for name, value in lines if value not in {None, ""}]
    if not known:
        return
    if gap:
        click.echo()
    click.echo(title)
    for name, value in known:
        click.echo(
            f"  {output.safe(output.brief(name, NAME_CHARS))}: {output.safe(output.brief(str(value), _VALUE_CHARS))}"
        )


def _job_lines(told_job: Told) -> list[tuple[str, object]]:
    job = told_job.job
    lines: list[tuple[str, object]] = [("Task", job.task), ("Id", job.id)]
    if job.args is None or job.kwargs is None:
        lines += [("Arguments", job.unread), ("As its sender wrote them", job.argsrepr), ("And", job.kwargsrepr)]
    else:
        lines += [("Arguments", _json(job.args)), ("Keyword arguments", _json(job.kwargs))]
    lines += [("Retries", job.retries), ("Not before", job.eta), ("Void after", job.expires)]
    lines += [
        ("Parent", job.parent_id),
        ("Root", job.root_id),
        ("Sent by", job.origin),
        ("Routing key", job.routing_key),
    ]
    if told_job.unreadable is not None:
        lines.append(("Not a Celery job", told_job.unreadable))
    return lines


def _json(value: Any) -> str:
    return json.dumps(json_value(value), ensure_ascii=False)


def _death_lines(found: Found) -> list[tuple[str, object]]:
    death = found.death
    return [
        ("Reason", death.reason),
        ("Error", f"{death.exception}: {death.message}" if death.exception else death.message),
        ("Run", death.attempt),
        ("Worker", death.worker),
        ("When", None if death.at_ms is None else times.utc(death.at_ms)),
        ("Later runs", None if death.is_last else _LATER),
    ]


def _history_row(failure: Failure) -> tuple[object, ...]:
    error = f"{failure.exception}: {failure.message}" if failure.exception else failure.message or failure.reason
    again = "" if failure.again_in_s is None else times.short(failure.again_in_s)
    worker = f"{failure.nodename or failure.hostname} {failure.pid}"
    return failure.attempt, times.utc(failure.timestamp_ms), worker, output.brief(error, _VALUE_CHARS), again


def _moment(at_ms: int | None, now_ms: int) -> str | None:
    return None if at_ms is None else f"{times.utc(at_ms)} ({times.short((now_ms - at_ms) / 1000)} ago)"


def _hidden(visible_ms: int | None, now_ms: int) -> str | None:
    return None if visible_ms is None or visible_ms <= now_ms else times.utc(visible_ms)


def _attribute(value: dict[str, str]) -> str:
    data = value["StringValue"] if "StringValue" in value else f"base64 {value.get('BinaryValue', '')}"
    return f"{value.get('DataType', '')} {data}"
