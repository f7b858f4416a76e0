"""Monthly reports: an organisation's donations of a month, as CSV and as a page to read.

The files hold nothing but facts of the month, so that making a report again gives the same bytes.
"""

import hashlib
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import select

from amply.errors import AmplyError
from amply.jobs import organisations, runtime
from amply.jobs.celery_app import app
from amply.jobs.records import insert_or_replace, reading, writing
from amply.jobs.report_files import Line, Month, csv_text, html_text, write_atomically
from amply.jobs.runtime import Runtime
from amply.jobs.schema import donations, reports
from amply.jobs.schema import organisations as organisation_rows


class UnknownOrganisationError(AmplyError):
    """No organisation has this id."""

    exit_code = 3


@app.task  # type: ignore[untyped-decorator]
def generate_monthly_report(org_id: str) -> dict[str, Any]:
    """Write the report of the last complete month (UTC) to `reports/<organisation>/<YYYY-MM>.csv` and `.html`.

    Returns the month, the number of donations, and the two paths. The donations of one organisation and month are held
    in memory.

    Raises:
        UnknownOrganisationError: no organisation has this id.
    """
    work = runtime.current()
    month = last_complete_month(work.clock.now_ms())
    name, lines = _read(work, org_id, month)
    folder = work.data / "reports" / folder_name(org_id)
    texts = {
        "csv": csv_text(lines),
        "html": html_text(name, month, lines),
    }
    paths = {kind: folder / f"{month.name}.{kind}" for kind in texts}
    for kind, text in texts.items():
        write_atomically(paths[kind], text.encode())
    row = {
        "organisation_id": org_id,
        "period": month.name,
        "donation_count": len(lines),
        "created_ms": work.clock.now_ms(),
        **{f"{kind}_sha256": hashlib.sha256(text.encode()).hexdigest() for kind, text in texts.items()},
    }
    with writing(work.engine) as connection:
        insert_or_replace(connection, reports, row)
    return {
        "period": month.name,
        "donations": len(lines),
        **{kind: str(path) for kind, path in paths.items()},
    }


@app.task  # type: ignore[untyped-decorator]
def generate_monthly_reports() -> int:
    """Queue the monthly report of every organisation. Returns how many."""
    known = organisations.known(runtime.current().engine)
    for organisation_id in known:
        generate_monthly_report.delay(organisation_id)
    return len(known)


def last_complete_month(now_ms: int) -> Month:
    """The calendar month (UTC) before the one that this moment is in."""
    end = datetime.fromtimestamp(now_ms / 1000, UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    start = (end - timedelta(days=1)).replace(day=1)
    return Month(start.strftime("%Y-%m"), round(start.timestamp() * 1000), round(end.timestamp() * 1000))


def folder_name(organisation_id: str) -> str:
    """A folder name for any organisation id: another for every id, also where upper and lower case are one.

    Lower-case ASCII letters, digits, `-` and `_` stand for themselves; every other byte becomes `%` and two digits.
    """
    safe = b"abcdefghijklmnopqrstuvwxyz0123456789-_"
    return "".join(chr(byte) if byte in safe else f"%{byte:02x}" for byte in organisation_id.encode())


def _read(work: Runtime, org_id: str, month: Month) -> tuple[str, list[Line]]:
    columns = (
        donations.c.id,
        donations.c.donated_ms,
        donations.c.donor,
        donations.c.amount_minor,
        donations.c.currency,
    )
    of_month = (
        (donations.c.organisation_id == org_id)
        & (donations.c.donated_ms >= month.start_ms)
        & (donations.c.donated_ms < month.end_ms)
    )
    with reading(work.engine) as connection:
        name = connection.execute(
            select(organisation_rows.c.name).where(organisation_rows.c.id == org_id)
        ).scalar_one_or_none()
        if name is None:
            raise UnknownOrganisationError(
                f"No organisation has the id {org_id!r}.", hint="An organisation is known from its first donation on."
            )
        rows = connection.execute(select(*columns).where(of_month))
        # Sorted here: databases put text in different orders.
        return name, sorted((Line(*row) for row in rows), key=lambda line: (line.donated_ms, line.donation_id))
