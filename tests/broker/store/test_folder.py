"""The data folder: private, owned by one process, of a known format."""

import os
import subprocess
import sys

import apsw
import pytest

from amply.broker.store.port import StoreError, StoreLocked, StoreTooNew

HOLD = """
import sys
from pathlib import Path
from amply.broker.store.sqlite import SqliteStore
store = SqliteStore(Path(sys.argv[1]), ballast_bytes=4096)
print("open", flush=True)
sys.stdin.read()
"""


def test_only_this_user_can_read_the_folder_and_its_files(opened, facts, tmp_path):
    before = os.umask(0)
    try:
        opened().commit([], facts.T0)
    finally:
        os.umask(before)
    folder = tmp_path / "data"
    assert folder.stat().st_mode & 0o777 == 0o700
    modes = {file.name: oct(file.stat().st_mode & 0o777) for file in folder.iterdir()}
    assert set(modes) >= {"lock", "commits", "ballast", "store.sqlite3", "store.sqlite3-wal", "store.sqlite3-shm"}
    assert set(modes.values()) == {"0o600"}


def test_a_second_broker_on_the_same_folder_is_refused_and_told_who_owns_it(opened, tmp_path):
    folder = tmp_path / "data"
    owner = subprocess.Popen([sys.executable, "-c", HOLD, folder], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert owner.stdout.readline() == b"open\n"
        with pytest.raises(StoreLocked, match=rf"another amply broker \(pid {owner.pid}\) owns {folder}"):
            opened()
    finally:
        owner.kill()
        owner.communicate()
    opened()  # a killed owner leaves nothing to clear away


def test_a_closed_store_gives_its_folder_up(opened, facts):
    first = opened()
    first.close()
    opened().commit([], facts.T0)


@pytest.mark.parametrize("mode", [0o720, 0o702, 0o777])
def test_a_folder_that_others_may_write_into_is_refused(opened, tmp_path, mode):
    folder = tmp_path / "data"
    folder.mkdir()
    folder.chmod(mode)
    with pytest.raises(StoreError, match=f"others may write into .*{mode:o}"):
        opened()


def test_a_symbolic_link_is_refused_as_folder_and_as_file(opened, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir(mode=0o700)
    (tmp_path / "data").symlink_to(elsewhere)
    with pytest.raises(StoreError, match="is a symbolic link"):
        opened()
    for name in ("lock", "commits", "store.sqlite3"):
        folder = tmp_path / f"with-{name}"
        folder.mkdir(mode=0o700)
        (folder / name).symlink_to(tmp_path / "precious")
        with pytest.raises(StoreError):
            opened(folder)
        assert not (tmp_path / "precious").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_a_folder_of_another_user_is_refused(opened, tmp_path):
    (tmp_path / "data").mkdir(mode=0o700)
    os.chown(tmp_path / "data", 12345, 12345)
    with pytest.raises(StoreError, match="belongs to user 12345"):
        opened()


def test_a_file_in_the_place_of_the_folder_is_refused(opened, tmp_path):
    (tmp_path / "data").write_text("")
    with pytest.raises(StoreError, match="cannot be used"):
        opened()


def test_a_folder_written_by_a_newer_version_is_refused_and_left_alone(opened, tmp_path):
    opened().close()
    path = tmp_path / "data" / "store.sqlite3"
    database = apsw.Connection(str(path))
    database.execute("PRAGMA user_version = 99")
    database.close()
    before = path.read_bytes()
    with pytest.raises(StoreTooNew, match="has format 99"):
        opened()
    assert path.read_bytes() == before


def test_sqlite_runs_with_the_settings_that_the_promises_rest_on(opened):
    pragma = opened()._database._connection.pragma
    wanted = {
        "journal_mode": "wal",
        "synchronous": 2,
        "fullfsync": 1,
        "checkpoint_fullfsync": 1,
        "wal_autocheckpoint": 0,
        "locking_mode": "normal",
        "cache_size": -16384,
        "page_size": 4096,
        "auto_vacuum": 2,
        "temp_store": 2,
        "foreign_keys": 0,
    }
    assert {name: pragma(name) for name in wanted} == wanted


def test_no_query_sorts_or_reads_a_whole_table_of_messages(opened):
    from amply.broker.store.named_sql import QUERIES

    database = opened()._database
    for name in ("ready", "oldest", "in_flight", "delayed", "find", "abandoned_seqs", "queues", "remove_entries"):
        sql = QUERIES[name]
        plan = [row[3] for row in database.execute("EXPLAIN QUERY PLAN " + sql, (1,) * sql.count("?"))]
        wrong = [step for step in plan if "TEMP B-TREE" in step or step in {"SCAN e", "SCAN m", "SCAN entry"}]
        assert not wrong, (name, plan)


def test_counting_the_delayed_never_touches_the_table(opened):
    from amply.broker.store.named_sql import QUERIES

    plan = opened()._database.execute("EXPLAIN QUERY PLAN " + QUERIES["delayed"], (1, 1)).fetchall()
    assert "COVERING INDEX entry_by_visible" in plan[0][3]
