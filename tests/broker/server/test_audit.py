"""The audit: what a line holds, and that nothing a stranger does makes it grow or stops the broker."""

import json
import logging
import stat

import pytest

from amply.broker.server import audit
from amply.broker.server.audit import BURST, OLD_FILES_MAX, SIZE_BYTES_MAX, TEXT_LENGTH_MAX, Audit


class Clock:
    now_ms = 1_700_000_000_000

    def __call__(self):
        return self.now_ms


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "audit.jsonl"


@pytest.fixture
def written(path, clock):
    return Audit(path, now_ms=clock)


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_refusal_is_one_line_of_json_that_only_the_owner_reads(path, written):
    written.write("refused", peer="10.0.0.1", access_key=None, action="SendMessage", reason="no")
    assert lines(path) == [
        {
            "time": "2023-11-14T22:13:20.000+00:00",
            "event": "refused",
            "peer": "10.0.0.1",
            "action": "SendMessage",
            "reason": "no",
        }
    ]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_what_a_client_sent_can_neither_begin_a_line_nor_steer_a_terminal(path, written):
    written.write("refused", reason='a\n{"event": "forged"}\x1b[2J\u202e' + "x" * 10_000)
    text = path.read_text()
    assert text.count("\n") == 1
    assert text.isascii()
    assert "\x1b" not in text
    assert len(lines(path)[0]["reason"]) == TEXT_LENGTH_MAX


def test_lines_over_the_rate_are_counted_and_the_next_line_tells_how_many(path, written, clock):
    for _ in range(BURST + 7):
        written.write("refused", reason="no")
    assert len(lines(path)) == BURST
    clock.now_ms += 1000
    written.write("refused", reason="no")
    assert lines(path)[-1]["suppressed"] == 7
    clock.now_ms += 1000
    written.write("refused", reason="no")
    assert "suppressed" not in lines(path)[-1]


def test_strangers_cannot_keep_what_keys_are_denied_out_of_the_file(path, written):
    for _ in range(BURST * 2):
        written.write("refused", reason="no")
    written.write("denied", reason="no")
    assert lines(path)[-1]["event"] == "denied"


def test_a_clock_that_steps_back_neither_fills_the_file_nor_closes_it(path, written, clock):
    for _ in range(BURST):
        written.write("refused", reason="no")
    clock.now_ms -= 3_600_000
    written.write("refused", reason="no")
    assert len(lines(path)) == BURST
    clock.now_ms += 2000
    written.write("refused", reason="no")
    assert len(lines(path)) == BURST + 1


def test_what_was_left_out_is_told_at_the_end(path, written):
    for _ in range(BURST + 3):
        written.write("refused", reason="no")
    written.close()
    assert lines(path)[-1]["suppressed"] == 3


def test_a_large_file_becomes_an_old_one_and_the_oldest_goes(path, written):
    for number in range(OLD_FILES_MAX + 2):
        path.write_text(f"{number}\n")
        with path.open("r+") as file:
            file.truncate(SIZE_BYTES_MAX)
        written.write("refused", reason="no")
    assert len(lines(path)) == 1
    kept = sorted(path.parent.glob("audit.jsonl.*"))
    assert [each.name for each in kept] == [f"audit.jsonl.{number}" for number in range(1, OLD_FILES_MAX + 1)]
    assert [each.read_bytes()[:1] for each in kept] == [b"4", b"3", b"2"]


@pytest.mark.parametrize("kind", ["folder", "link", "missing folder"])
def test_a_file_that_cannot_be_written_is_logged_once_and_stops_nothing(tmp_path, clock, caplog, kind):
    path = tmp_path / ("gone/audit.jsonl" if kind == "missing folder" else "audit.jsonl")
    if kind == "folder":
        path.mkdir()
    elif kind == "link":
        path.symlink_to(tmp_path / "elsewhere")
    written = Audit(path, now_ms=clock)
    with caplog.at_level(logging.ERROR):
        written.write("refused", reason="no")
        written.write("refused", reason="no")
    assert len(caplog.records) == 1
    assert not (tmp_path / "elsewhere").exists()


def test_lines_that_did_not_fit_on_the_disk_are_counted(path, written, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(audit.os, "write", full)
        written.write("refused", reason="no")
    written.write("refused", reason="no")
    assert lines(path)[-1]["suppressed"] == 1
