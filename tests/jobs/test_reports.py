import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select

from amply.jobs import schema
from amply.jobs.donations import record_donation
from amply.jobs.report_files import Line, Month, amount_text, csv_text, html_text, write_atomically
from amply.jobs.reports import (
    UnknownOrganisationError,
    folder_name,
    generate_monthly_report,
    generate_monthly_reports,
    last_complete_month,
)

OCTOBER = Month("2026-10", 1_790_812_800_000, 1_793_491_200_000)


def donate(name, moment, **changed):
    donation = {"id": name, "organisation_id": "org1", "amount_minor": 1250, "currency": "EUR", "donated_at": moment}
    record_donation({**donation, **changed})


def files(work):
    return {path.name: path.read_bytes() for path in (work.data / "reports").rglob("*") if path.is_file()}


def test_a_report_holds_the_donations_of_the_last_complete_month(work):
    donate("before", "2026-09-30T23:59:59.999Z")
    donate("last", "2026-10-31T23:59:59.999Z")
    donate("first", "2026-10-01T00:00:00Z", donor="Ada")
    donate("after", "2026-11-01T00:00:00Z")
    donate("other", "2026-10-15T00:00:00Z", organisation_id="org2")
    made = generate_monthly_report.apply(("org1",)).get()
    assert (made["period"], made["donations"]) == ("2026-10", 2)
    assert (work.data / "reports/org1/2026-10.csv").read_bytes().decode() == (
        "donation_id,donated_at,donor,amount,currency\r\n"
        "first,2026-10-01 00:00:00,Ada,12.50,EUR\r\n"
        "last,2026-10-31 23:59:59,,12.50,EUR\r\n"
    )
    page = (work.data / "reports/org1/2026-10.html").read_text()
    assert '<tr><td>EUR</td><td class="amount">25.00</td></tr>' in page
    assert "<script" not in page


def test_making_a_report_again_gives_the_same_bytes(work, clock):
    donate("d1", "2026-10-02T00:00:00Z")
    made = generate_monthly_report("org1")
    before = files(work)
    clock.advance(3600)
    assert generate_monthly_report("org1") == made
    assert files(work) == before
    with work.engine.connect() as connection:
        (row,) = connection.execute(select(schema.reports)).all()
    assert (row.organisation_id, row.period, row.donation_count) == ("org1", "2026-10", 1)


def test_every_known_organisation_gets_its_report(work):
    donate("d1", "2026-10-02T00:00:00Z")
    donate("d2", "2026-10-02T00:00:00Z", organisation_id="Org/1")
    assert generate_monthly_reports() == 2
    assert (work.data / "reports/org1/2026-10.csv").is_file()
    assert (work.data / "reports/%4frg%2f1/2026-10.csv").is_file()


def test_an_unknown_organisation_fails_the_job_and_writes_nothing(work):
    for name in ("nobody", "../../etc", ""):
        with pytest.raises(UnknownOrganisationError):
            generate_monthly_report(name)
    assert files(work) == {}


@pytest.mark.parametrize(
    ("moment", "month"),
    [
        (1_793_491_200_000, OCTOBER),
        (1_793_491_199_999, Month("2026-09", 1_788_220_800_000, 1_790_812_800_000)),
        (1_767_225_600_000, Month("2025-12", 1_764_547_200_000, 1_767_225_600_000)),
    ],
)
def test_the_last_complete_month_ends_where_this_one_begins(moment, month):
    assert last_complete_month(moment) == month


@given(st.text(max_size=64), st.text(max_size=64))
def test_no_organisation_id_leads_out_of_its_folder_or_into_anothers(one, other):
    name = folder_name(one)
    assert set(name) <= set("abcdefghijklmnopqrstuvwxyz0123456789-_%")
    assert name.casefold() == name
    assert one == other or name != folder_name(other)


@given(st.lists(st.builds(Line, st.text(), st.integers(0, 2**42), st.text(), st.integers(1), st.just("EUR"))))
def test_csv_reads_back_and_no_cell_is_a_formula(lines):
    _, *read = csv.reader(io.StringIO(csv_text(lines), newline=""))
    assert len(read) == len(lines)
    for cells, line in zip(read, lines, strict=True):
        assert cells[2].removeprefix("'") == line.donor.removeprefix("'")
        assert not any(cell.lstrip(" ").startswith(("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d")) for cell in cells)


@pytest.mark.parametrize("donor", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", " =1", "＝1"])  # noqa: RUF001
def test_a_name_that_a_spreadsheet_would_run_is_made_text(donor):
    assert f"'{donor}" in csv_text([Line("d", 0, donor, 1, "EUR")])


def test_a_name_is_no_markup():
    page = html_text('<b>"&', OCTOBER, [Line("d", 0, "<script>alert(1)</script>", 1, "EUR")])
    assert "<script" not in page
    assert "<b>" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page


@pytest.mark.parametrize(
    ("amount", "currency", "text"),
    [(1250, "EUR", "12.50"), (5, "USD", "0.05"), (1250, "JPY", "1250"), (1250, "KWD", "1.250"), (100, "XYZ", "1.00")],
)
def test_amounts_are_written_in_the_currencys_main_unit(amount, currency, text):
    assert amount_text(amount, currency) == text


def test_a_page_does_not_grow_without_bound(monkeypatch):
    lines = [Line(f"d{number}", 0, "", 1, "EUR") for number in range(10_001)]
    page = html_text("org", OCTOBER, lines)
    assert "1 more are in the CSV file." in page
    assert '<td class="amount">100.01</td>' in page


def test_a_file_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "folder" / "report.csv"
    write_atomically(path, b"old")
    monkeypatch.setattr("os.fsync", lambda _: (_ for _ in ()).throw(OSError("disk")))
    with pytest.raises(OSError, match="disk"):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert path.stat().st_mode & 0o777 == 0o600
    assert list(path.parent.iterdir()) == [path]
