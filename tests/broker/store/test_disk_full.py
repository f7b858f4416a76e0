"""A really full disk: sends are refused, everything else goes on, nothing that was answered is lost."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(__file__).with_name("full_disk.py")
# A mount namespace of its own: the small disk is gone with the program, whatever happens to it.
ON_A_SMALL_DISK = ["unshare", "-Urm", "sh", "-c", 'mount -t tmpfs -o size=12m tmpfs "$1" && exec "$2" "$3" "$1" "$4"']


def run(folder, manner):
    arguments = [str(folder), sys.executable, str(PROGRAM), manner]
    done = subprocess.run([*ON_A_SMALL_DISK, "sh", *arguments], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="needs mount namespaces")
@pytest.mark.parametrize("manner", ["heeding", "heedless"])
def test_a_full_disk_refuses_sends_and_nothing_else(tmp_path, manner):
    seen = run(tmp_path, manner)
    assert seen.pop("sent") > 2000
    assert seen.pop("tends_until_free") < 20
    assert seen == {
        "refused": 0 if manner == "heeding" else 1,
        "was_full": manner == "heeding",
        "full_after_refusal": True,
        "deletes_refused": 0,
        "kept_when_full": True,
        "kept_after_deletes": True,
        "kept_after_restart": True,
        "sends_again": True,
    }
