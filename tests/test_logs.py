"""Log files that cannot grow without bound."""

import stat
from pathlib import Path

from amply.logs import OLDER_FILES_KEPT, LogFolder


def test_each_name_has_a_file_of_its_own_that_only_its_owner_reads(tmp_path: Path) -> None:
    logs = LogFolder(tmp_path / "logs")
    logs.write("worker.1", "one")
    logs.write("worker.2", "two")
    logs.write("worker.1", "drei \udc80 ü")
    logs.close()
    assert logs.path("worker.1").read_text() == "one\ndrei ? ü\n"
    assert logs.path("worker.2").read_text() == "two\n"
    assert stat.S_IMODE(logs.path("worker.1").stat().st_mode) == 0o600


def test_a_full_file_moves_aside_and_only_a_few_older_ones_are_kept(tmp_path: Path) -> None:
    logs = LogFolder(tmp_path, size_bytes_max=10)
    for number in range(12):
        logs.write("w", f"line {number}")
    logs.close()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["w.log", "w.log.1", "w.log.2", "w.log.3"]
    assert [logs.path("w").read_text(), (tmp_path / "w.log.1").read_text()] == ["line 11\n", "line 10\n"]
    assert len(list(tmp_path.iterdir())) == OLDER_FILES_KEPT + 1


def test_a_new_start_goes_on_in_the_same_file_and_counts_what_is_in_it(tmp_path: Path) -> None:
    for line in ("12345678", "9"):
        logs = LogFolder(tmp_path, size_bytes_max=10)
        logs.write("w", line)
        logs.close()
    assert (tmp_path / "w.log").read_text() == "9\n"
    assert (tmp_path / "w.log.1").read_text() == "12345678\n"


def test_a_line_longer_than_the_bound_is_written_whole_in_a_file_of_its_own(tmp_path: Path) -> None:
    logs = LogFolder(tmp_path, size_bytes_max=10)
    logs.write("w", "x" * 50)
    logs.close()
    assert logs.path("w").read_text() == "x" * 50 + "\n"
