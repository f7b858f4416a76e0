"""Crashes, flipped bits, lost log ends, refused writes: told, never served, never answered as success."""

import logging
import shutil

import apsw
import pytest

from amply.broker.engine.records import Added, QueuePut, Removed, Rescheduled
from amply.broker.store.port import StoreBroken, StoreDamaged

FAR = 10**15


def test_what_a_killed_broker_had_committed_is_there_after_it(opened, facts, tmp_path):
    store = opened()
    store.commit([QueuePut(facts.queue())], facts.T0)
    for seq in range(1, 50):
        store.commit([facts.added(seq)], facts.T0)
        if seq % 3 == 0:
            store.commit(
                [Rescheduled(facts.entry(seq - 1, visible_ms=FAR, receive_count=1)), Removed(seq, 2)], facts.T0
            )
        if seq % 10 == 0:
            left = shutil.copytree(tmp_path / "data", tmp_path / f"left-{seq}")
            left.chmod(0o700)
            after = opened(left)
            assert after.load(facts.T0) == store.load(facts.T0)
            assert after.ready(2, (0, 0), FAR, 99, 10**6) == store.ready(2, (0, 0), FAR, 99, 10**6)


def flip(path, text):
    """Flip one bit of a stored text."""
    raw = bytearray(path.read_bytes())
    assert raw.count(text.encode()) == 1
    at = raw.index(text.encode())
    raw[at + 2] ^= 0x80  # what is left is not even UTF-8
    path.write_bytes(raw)


@pytest.mark.parametrize("text", ["body of 2 ", "id-22222", "AIDAX", "Root=22", "group-2", "attribute-2"])
def test_a_flipped_bit_quarantines_the_message_and_spares_the_others(opened, facts, tmp_path, caplog, text):
    from amply.broker.sqs.shapes import MessageAttributeValue

    store = opened()
    second = facts.content(
        2,
        message_id="id-22222",
        sender_id="AIDAX",
        trace_header="Root=22",
        group_id="group-2",
        attributes={"attribute-2": MessageAttributeValue(data_type="String", string_value="v")},
    )
    store.commit([QueuePut(facts.queue()), facts.added(1), Added(facts.entry(2), second), facts.added(3)], facts.T0)
    store.close()
    flip(tmp_path / "data" / "store.sqlite3", text)
    store = opened()
    with caplog.at_level(logging.ERROR):
        page = store.ready(2, (0, 0), FAR, 10, 10**6)
    assert ([entry.seq for entry, _ in page.messages], page.damaged, page.is_last) == ([1, 3], [2], True)
    assert "[2]" in caplog.text
    assert store.load(facts.T0).queues[0].messages == 2
    assert store.find([2]) == []
    # What was decided before the damage was known changes nothing any more.
    store.commit([Rescheduled(facts.entry(2, receive_count=1)), Removed(2, 2), Removed(3, 2)], facts.T0)
    assert store.load(facts.T0).queues[0].messages == 1
    store.close()
    again = opened()
    assert again.ready(2, (0, 0), FAR, 10, 10**6).damaged == []
    assert again._database.execute("SELECT shelf FROM entry WHERE seq = 2").get == 0


def test_a_lost_message_row_is_reported_too(opened, facts):
    store = opened()
    store.commit([QueuePut(facts.queue()), facts.added(1), facts.added(2)], facts.T0)
    store._database.execute("DELETE FROM message WHERE seq = 1")
    page = store.ready(2, (0, 0), FAR, 1, 10**6)
    assert page.damaged == [1]
    assert [entry.seq for entry, _ in store.ready(2, (0, 0), FAR, 1, 10**6).messages] == [2]


def test_a_log_that_lost_its_end_is_refused_until_the_loss_is_accepted(opened, facts, tmp_path):
    store = opened()
    store.commit([QueuePut(facts.queue())], facts.T0)
    left = tmp_path / "left"
    for seq in range(1, 11):
        store.commit([facts.added(seq)], facts.T0)
    shutil.copytree(tmp_path / "data", left)
    left.chmod(0o700)
    log = left / "store.sqlite3-wal"
    with log.open("r+b") as file:
        file.truncate(log.stat().st_size // 2)
    with pytest.raises(StoreDamaged, match=r"knows of \d+ commits, the file commits of 11") as refusal:
        opened(left)
    assert str(left / "commits") in refusal.value.hint
    with pytest.raises(StoreDamaged):
        opened(left)
    (left / "commits").unlink()
    assert opened(left).load(facts.T0).queues[0].messages < 10


@pytest.mark.parametrize("torn", [b"", b"\0" * 16, b"\xff" * 16, b"123"])
def test_a_torn_file_of_commits_is_no_damage(opened, facts, tmp_path, torn):
    store = opened()
    store.commit([QueuePut(facts.queue())], facts.T0)
    store.close()
    (tmp_path / "data" / "commits").write_bytes(torn)
    assert len(opened().load(facts.T0).queues) == 1


@pytest.mark.parametrize(
    ("what", "damage"),
    [
        ("checksum of table state", lambda raw: raw.replace(b"S" * 32, b"S" * 31 + b"T")),
        ("cannot be read", lambda raw: b"\0" * 4096 + raw[4096:]),
        ("cannot be read", lambda raw: raw[: len(raw) - 4096]),
    ],
)
def test_a_damaged_database_is_refused_at_start(opened, tmp_path, what, damage, monkeypatch):
    monkeypatch.setattr("secrets.token_bytes", lambda size: b"S" * size)
    opened().close()
    path = tmp_path / "data" / "store.sqlite3"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(StoreDamaged, match=what):
        opened()


class RefusingFile(apsw.VFSFile):
    def __init__(self, base, filename, flags, vfs):
        super().__init__(base, filename, flags)
        self.vfs = vfs
        self.name = (filename.filename() if isinstance(filename, apsw.URIFilename) else filename) or ""

    def xSync(self, flags):
        if self.vfs.refused and self.name.endswith(self.vfs.refused):
            raise apsw.IOError("refused")
        return super().xSync(flags)


class RefusingDisk(apsw.VFS):
    """The system's disk, until it is told to refuse the syncs of a file."""

    refused = ""

    def __init__(self, base):
        self.base = base
        super().__init__("refusing", base, makedefault=True)

    def xOpen(self, name, flags):
        return RefusingFile(self.base, name, flags, self)


@pytest.fixture
def disk():
    usual = apsw.vfs_names()[0]
    vfs = RefusingDisk(usual)
    yield vfs
    vfs.unregister()
    apsw.set_default_vfs(usual)


def test_after_a_refused_sync_nothing_is_answered_as_committed_any_more(disk, opened, facts):
    store = opened()
    store.commit([QueuePut(facts.queue())], facts.T0)
    disk.refused = "-wal"
    with pytest.raises(StoreBroken, match="refused"):
        store.commit([facts.added(1)], facts.T0)
    disk.refused = ""
    for attempt in (
        lambda: store.commit([facts.added(2)], facts.T0),
        lambda: store.ready(2, (0, 0), FAR, 1, 1),
        lambda: store.load(facts.T0),
        store.tend,
    ):
        with pytest.raises(StoreBroken):
            attempt()
    store.close()
    assert opened().load(facts.T0).queues[0].queue == facts.queue()


def test_a_refused_sync_while_the_log_is_folded_is_not_passed_over(disk, opened, facts, monkeypatch):
    monkeypatch.setattr("amply.broker.store.database._WAL_PAGES", 20)
    store = opened()
    store.commit([QueuePut(facts.queue())], facts.T0)
    disk.refused = ".sqlite3"

    def commit_until_the_log_is_folded():
        for seq in range(1, 20):
            store.commit([facts.added(seq)], facts.T0)

    with pytest.raises(StoreBroken, match="refused"):
        commit_until_the_log_is_folded()


def test_two_messages_with_one_seq_stop_the_store(opened, facts):
    store = opened()
    store.commit([QueuePut(facts.queue()), facts.added(1)], facts.T0)
    with pytest.raises(StoreBroken, match="UNIQUE"):
        store.commit([facts.added(2), facts.added(1)], facts.T0)
