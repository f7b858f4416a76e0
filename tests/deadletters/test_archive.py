"""Letters in a file come out of it as they went in, and a file that is none is told by its line."""

import json
import stat
import sys
from pathlib import Path

import pytest

from amply.deadletters.archive import Archive, export, line, read
from amply.deadletters.deaths import found
from amply.deadletters.gateway import RefusedError
from amply.errors import AmplyError

sys.path.insert(0, str(Path(__file__).parent))
from letter_samples import envelope, letter
from pretend import NoCauses

WHOLE = letter(
    envelope(job_id="job-7"),
    message_id="m-7",
    attributes={
        "Text": {"DataType": "String", "StringValue": "\u202e\u2028"},
        "Number": {"DataType": "Number.int", "StringValue": "1"},
        "Bytes": {"DataType": "Binary.gzip", "BinaryValue": "AP8="},
    },
    first_received_ms=5,
    source="jobs",
    group_id="g",
    deduplication_id="d",
    trace_header="Root=1",
)


def page(*letters):
    (known,) = found([list(letters)], NoCauses())
    return known


def lines(*letters):
    return b"".join(line("dead", one) for one in page(*letters))


def test_a_letter_comes_out_as_it_went_in(tmp_path):
    assert export(tmp_path / "a.jsonl", "dead", [page(WHOLE, letter("\x00\ud800", message_id="m-8")), []]) == 2
    (first, one), (second, other) = read(tmp_path / "a.jsonl")
    assert (first, second) == (1, 2)
    assert one.letter() == WHOLE
    assert (one.queue, one.task, one.id) == ("dead", "tasks.add", "job-7")
    assert one.death["reason"].startswith("no failure was reported")
    assert other.letter() == letter("\x00\ud800", message_id="m-8"), "even what is no text"


def test_the_format_is_what_is_documented(tmp_path):
    told = json.loads(lines(WHOLE))
    assert list(told)[:4] == ["version", "queue", "message_id", "body"]
    assert told["version"] == 1
    assert told["attributes"]["Bytes"] == {"DataType": "Binary.gzip", "BinaryValue": "AP8="}
    assert lines(letter("ü\u2028\n")).count(b"\n") == 1, "whatever it holds, a letter is one line"


def test_an_export_is_for_its_owner_alone_and_replaces_nothing(tmp_path):
    path = tmp_path / "a.jsonl"
    export(path, "dead", [page(WHOLE)])
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with pytest.raises(RefusedError, match="there already"):
        export(path, "dead", [])
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    with pytest.raises(RefusedError, match="there already"):
        export(tmp_path / "link", "dead", [])
    assert len(list(read(path))) == 1


def test_an_export_that_fails_leaves_no_file(tmp_path):
    def pages():
        yield page(WHOLE)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        export(tmp_path / "a.jsonl", "dead", pages())
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(AmplyError, match="cannot be used"):
        export(tmp_path / "no" / "folder", "dead", [])


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        (b"{", "not JSON"),
        (b"\xff", "not JSON"),
        (b"[]", "Expected `object`"),
        (b'{"death":{"a":' + b"[" * 100_000, "nested too deep|not JSON|[Rr]ecurs"),
        (lines(WHOLE).replace(b'"version":1', b'"version":2'), "version"),
        (lines(WHOLE).replace(b'"queue":"dead"', b'"queue":"../x"'), "queue"),
        (lines(WHOLE).replace(b'"body":', b'"bodi":'), "body"),
        (lines(WHOLE).replace(b'"sent_ms":1000000', b'"sent_ms":-1'), "sent_ms"),
        (lines(WHOLE).replace(b"AP8=", b"AP8"), "'Bytes' does not hold"),
        (lines(WHOLE).replace(b"Binary.gzip", b"String"), "'Bytes' does not hold"),
        (lines(WHOLE).replace(b"Number.int", b"Numbers"), "DataType"),
        (lines(WHOLE).replace(b'"message_id":"m-7"', b'"message_id":""'), "message_id"),
    ],
)
def test_a_line_that_is_no_letter_is_named(tmp_path, bad, why):
    path = tmp_path / "a.jsonl"
    path.write_bytes(lines(WHOLE) + b"\n" + bad.rstrip(b"\n") + b"\n" + lines(WHOLE))
    with pytest.raises(AmplyError, match=rf"a\.jsonl, line 3: .*({why})"):
        list(read(path))
    with pytest.raises(AmplyError, match="line 3"), Archive(path, "dead"):
        pass


def test_a_line_without_end_is_not_read_into_memory(tmp_path):
    path = tmp_path / "a.jsonl"
    with path.open("wb") as file:
        file.truncate(1 << 30)
    with pytest.raises(AmplyError, match="line 1: it is longer than"):
        list(read(path))
    with pytest.raises(AmplyError, match="cannot be read"):
        list(read(tmp_path / "none"))


def test_an_archive_takes_each_letter_once_whoever_adds_it(tmp_path):
    path = tmp_path / "a.jsonl"
    for _ in range(2):
        with Archive(path, "dead") as archive:
            archive.add(page(WHOLE))
            archive.add(page(WHOLE, letter(message_id="m-8")))
    assert [one.message_id for _, one in read(path)] == ["m-7", "m-8"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_every_part_of_a_line_that_a_kill_left_is_mended(tmp_path, monkeypatch):
    monkeypatch.setattr("os.fsync", lambda _: None)
    path = tmp_path / "a.jsonl"
    first, second, short = (lines(one) for one in (letter(message_id="m-1"), WHOLE, letter("", message_id="m-9")))
    whole = first + second
    for size in range(len(whole)):
        path.write_bytes(whole[:size])
        with Archive(path, "dead") as archive:
            archive.add(page(letter("", message_id="m-9")))
        ends = [len(part) for part in (b"", first, whole)]
        # A line that lacks only its end is whole.
        kept = max(end for end in ends if end <= size + 1)
        assert path.read_bytes() == whole[:kept] + short, size
        path.unlink()


@pytest.mark.parametrize("text", [b"127.0.0.1 localhost", b"127.0.0.1 localhost\n", b'{"version":1}', b"\x00"])
def test_what_is_no_archive_is_left_as_it_is(tmp_path, text):
    path = tmp_path / "hosts"
    path.write_bytes(text)
    with pytest.raises(AmplyError, match="hosts"), Archive(path, "dead"):
        pass
    assert path.read_bytes() == text


def test_an_archive_is_on_the_disk_before_it_is_told_so(tmp_path, monkeypatch):
    path, synced = tmp_path / "a.jsonl", []
    with Archive(path, "dead") as archive:
        monkeypatch.setattr("os.fsync", lambda _: synced.append(path.stat().st_size))
        archive.add(page(WHOLE))
        assert synced == [len(lines(WHOLE))]
        with pytest.raises(RefusedError, match="another process adds to"), Archive(path, "dead"):
            pass


def test_an_archive_that_got_nothing_is_no_file(tmp_path):
    with Archive(tmp_path / "a.jsonl", "dead"):
        assert (tmp_path / "a.jsonl").exists()
    assert list(tmp_path.iterdir()) == []
