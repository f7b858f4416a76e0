"""What a monthly report looks like as CSV and HTML, and how it gets into its file. Must not know the store.

Names in it are strangers' text: a spreadsheet must not run them as formulas, a browser not as markup.
"""

import csv
import html
import io
import os
import tempfile
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

# Currencies whose smallest unit is not a hundredth (ISO 4217).
_DECIMALS = {
    **dict.fromkeys(("BIF", "CLP", "DJF", "GNF", "ISK", "JPY", "KMF", "KRW", "PYG", "RWF", "UGX", "UYI", "VND"), 0),
    **dict.fromkeys(("VUV", "XAF", "XOF", "XPF"), 0),
    **dict.fromkeys(("BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND"), 3),
}

# What spreadsheets take for the start of a formula, also behind spaces and in full width (OWASP, "CSV Injection").
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")

_HTML_LINES_MAX = 10_000

_STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:60rem;padding:0 1rem;color:#1a1a1a}"
    "table{border-collapse:collapse;width:100%}th,td{text-align:left;padding:.3rem .6rem;border-bottom:1px solid #ccc;"
    "overflow-wrap:anywhere}.amount{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}"
)


class Month(NamedTuple):
    """A calendar month, UTC. `name` is YYYY-MM; it lasts from `start_ms` to just before `end_ms`."""

    name: str
    start_ms: int
    end_ms: int


class Line(NamedTuple):
    """One donation in a report."""

    donation_id: str
    donated_ms: int
    donor: str
    amount_minor: int
    currency: str


def csv_text(lines: Sequence[Line]) -> str:
    """The donations as CSV (RFC 4180), one a line under a line of headings."""
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(("donation_id", "donated_at", "donor", "amount", "currency"))
    for line in lines:
        amount = amount_text(line.amount_minor, line.currency)
        cells = (line.donation_id, _moment(line.donated_ms), line.donor, amount, line.currency)
        writer.writerow([_defused(cell) for cell in cells])
    return out.getvalue()


def html_text(organisation: str, month: Month, lines: Sequence[Line]) -> str:
    """The donations as a page that needs nothing else: totals first, then every donation, up to a bound."""
    totals: Counter[str] = Counter()
    for line in lines:
        totals[line.currency] += line.amount_minor
    title = f"Donations to {html.escape(organisation)}, {month.name}"
    total_rows = (_row(currency, amount_text(total, currency)) for currency, total in sorted(totals.items()))
    rows = (
        _row(
            _moment(line.donated_ms),
            line.donor,
            line.donation_id,
            f"{amount_text(line.amount_minor, line.currency)} {line.currency}",
        )
        for line in lines[:_HTML_LINES_MAX]
    )
    left_out = len(lines) - _HTML_LINES_MAX
    more = f"<p>{left_out} more are in the CSV file.</p>" if left_out > 0 else ""
    return "\n".join(
        (
            '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width,initial-scale=1">',
            "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">",
            f"<title>{title}</title><style>{_STYLE}</style></head><body>",
            f"<h1>{title}</h1>",
            f"<p>{len(lines)} donations. Times are UTC.</p>",
            "<h2>Totals</h2>",
            '<table><thead><tr><th>Currency</th><th class="amount">Total</th></tr></thead><tbody>',
            *total_rows,
            "</tbody></table>",
            "<h2>Donations</h2>",
            "<table><thead><tr><th>Time</th><th>Donor</th><th>Donation</th>",
            '<th class="amount">Amount</th></tr></thead><tbody>',
            *rows,
            f"</tbody></table>{more}",
            "</body></html>\n",
        )
    )


def amount_text(amount_minor: int, currency: str) -> str:
    """An amount in the currency's main unit: 1250 with EUR is 12.50, with JPY 1250."""
    decimals = _DECIMALS.get(currency, 2)
    whole, part = divmod(amount_minor, 10**decimals)
    return f"{whole}.{part:0{decimals}}" if decimals else str(whole)


def write_atomically(path: Path, content: bytes) -> None:
    """Give the file this content at once, durably: a reader, or a crash, sees the old content or the new."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    descriptor, draft = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # for the owner alone
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(draft).replace(path)
    finally:
        Path(draft).unlink(missing_ok=True)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _moment(epoch_ms: int) -> str:
    return datetime.fromtimestamp(epoch_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")


def _defused(cell: str) -> str:
    return f"'{cell}" if cell.lstrip(" ").startswith(_FORMULA_STARTS) else cell


def _row(*cells: str) -> str:
    *texts, amount = (html.escape(cell) for cell in cells)
    return "<tr>" + "".join(f"<td>{text}</td>" for text in texts) + f'<td class="amount">{amount}</td></tr>'
