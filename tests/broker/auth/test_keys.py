"""The key ring and its file, as several processes, people with editors and crashes meet it."""

import os
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from amply.broker.auth.keys import Key, KeyFileError, KeyRing
from amply.broker.auth.secret import Secret

NOW_MS = 1_700_000_000_000
SECRET = "a secret of forty characters, or about so"


def make_key(access_key: str = "AKIAONE", **members) -> Key:
    return Key(access_key, Secret(SECRET), "worker", "laptop", NOW_MS, **members)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "keys" / "keys.json"


@pytest.fixture
def ring(path: Path) -> KeyRing:
    return KeyRing(path)


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def test_without_a_file_nobody_is_known(ring, path):
    assert ring.find("AKIAONE") is None
    assert ring.list() == []
    assert not path.parent.exists()


def test_a_key_is_found_with_all_that_it_was_added_with(ring, path):
    key = make_key(expires_ms=NOW_MS + 1, session_token=Secret("token"))
    ring.add(key)
    ring.add(make_key("AKIATWO"))
    assert KeyRing(path).find("AKIAONE") == key
    assert [one.access_key for one in KeyRing(path).list()] == ["AKIAONE", "AKIATWO"]


def test_a_key_is_added_once(ring):
    ring.add(make_key())
    with pytest.raises(KeyFileError, match="already"):
        ring.add(make_key())


def test_only_its_owner_may_see_the_file_and_its_folder(ring, path):
    umask = os.umask(0)
    try:
        ring.add(make_key())
    finally:
        os.umask(umask)
    assert {name.name: mode(name) for name in path.parent.iterdir()} == {"keys.json": 0o600, "keys.json.lock": 0o600}
    assert mode(path.parent) == 0o700


def test_the_secret_is_in_the_key_file_and_nowhere_else(ring, path, tmp_path):
    ring.add(make_key())
    files = [file for file in tmp_path.rglob("*") if file.is_file() and SECRET.encode() in file.read_bytes()]
    assert files == [path]


def test_a_revoked_key_is_refused_by_a_ring_that_had_read_it_before(ring, path):
    ring.add(make_key())
    broker = KeyRing(path)
    assert broker.find("AKIAONE").refusal(None, NOW_MS) is None
    ring.revoke("AKIAONE", NOW_MS + 5)
    assert broker.find("AKIAONE").refusal(None, NOW_MS) == "the access key was revoked"
    assert broker.find("AKIAONE").revoked_ms == NOW_MS + 5


def test_a_new_file_of_the_same_size_and_time_is_noticed(ring, path):
    ring.add(make_key())
    ring.find("AKIAONE")
    status = path.stat()
    new = path.with_name("by hand")
    new.write_bytes(path.read_bytes().replace(b"AKIAONE", b"AKIATWO"))
    new.chmod(0o600)
    os.utime(new, ns=(status.st_atime_ns, status.st_mtime_ns))
    new.replace(path)
    assert ring.find("AKIAONE") is None
    assert ring.find("AKIATWO") is not None


def test_a_file_that_is_taken_away_takes_its_keys_along(ring, path):
    ring.add(make_key())
    assert ring.find("AKIAONE")
    path.unlink()
    assert ring.find("AKIAONE") is None


def test_revoking_twice_keeps_the_first_time_and_an_unknown_key_is_told(ring):
    ring.add(make_key())
    ring.revoke("AKIAONE", NOW_MS + 1)
    assert ring.revoke("AKIAONE", NOW_MS + 2).revoked_ms == NOW_MS + 1
    with pytest.raises(KeyFileError, match="AKIATWO"):
        ring.revoke("AKIATWO", NOW_MS)


@pytest.mark.parametrize(
    ("members", "token", "now_ms", "refusal"),
    [
        ({}, None, NOW_MS, None),
        ({}, "token", NOW_MS, "the session token is not this access key's"),
        ({"expires_ms": NOW_MS + 1}, None, NOW_MS, None),
        ({"expires_ms": NOW_MS}, None, NOW_MS, "the access key has expired"),
        ({"session_token": Secret("token")}, "token", NOW_MS, None),
        ({"session_token": Secret("token")}, None, NOW_MS, "the session token is not this access key's"),
        ({"session_token": Secret("token")}, "Token", NOW_MS, "the session token is not this access key's"),
        ({"session_token": Secret("")}, None, NOW_MS, "the session token is not this access key's"),
        ({"revoked_ms": NOW_MS - 1}, None, NOW_MS, "the access key was revoked"),
        ({"revoked_ms": NOW_MS - 1, "expires_ms": NOW_MS - 1}, None, NOW_MS, "the access key was revoked"),
    ],
)
def test_the_audit_learns_why_a_key_is_refused(members, token, now_ms, refusal):
    assert make_key(**members).refusal(token, now_ms) == refusal


DAMAGES = {
    "empty": b"",
    "cut off": b'{"version":1,"keys":[{"access_key":"AKIAONE","secret":"' + SECRET.encode(),
    "not UTF-8": b'{"version":1,"keys":[],"\xff":1}',
    "a name not UTF-8": b'{"version":1,"keys":[{"access_key":"\xff","secret":"","role":"","name":"","created_ms":1}]}',
    "no JSON": b"secret: " + SECRET.encode(),
    "a list": b"[]",
    "nested": b"[" * 100_000,
    "unknown member": b'{"version":1,"keys":[],"more":1}',
    "a number as a secret": b'{"version":1,"keys":[{"access_key":"A","secret":5,"role":"","name":"","created_ms":1}]}',
    "a key without a role": b'{"version":1,"keys":[{"access_key":"A","secret":"s","name":"n","created_ms":1}]}',
    "a later version": b'{"version":2,"keys":[]}',
    "one key twice": b'{"version":1,"keys":[%b,%b]}'
    % ((b'{"access_key":"A","secret":"s","role":"r","name":"n","created_ms":1}',) * 2),
}


@pytest.mark.parametrize("content", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_file_opens_for_nobody_tells_no_secret_and_stays_as_it_is(ring, path, content):
    ring.add(make_key())
    assert ring.find("AKIAONE")
    path.write_bytes(content)
    for _ in range(2):
        with pytest.raises(KeyFileError, match="damaged") as told:
            ring.find("AKIAONE")
        assert SECRET not in str(told.value)
        assert "amply key create" in told.value.hint
        assert told.value.__cause__ is None
    with pytest.raises(KeyFileError, match="damaged"):
        ring.add(make_key("AKIATWO"))
    assert path.read_bytes() == content


def spoil_mode(path: Path) -> None:
    path.chmod(0o640)


def spoil_folder(path: Path) -> None:
    path.parent.chmod(0o750)
    path.write_bytes(path.read_bytes())


def spoil_link(path: Path) -> None:
    path.rename(path.with_name("elsewhere"))
    path.symlink_to("elsewhere")


def spoil_kind(path: Path) -> None:
    path.unlink()
    os.mkfifo(path, 0o600)


def spoil_to_folder(path: Path) -> None:
    path.unlink()
    path.mkdir(mode=0o700)


SPOILED = {
    spoil_mode: "chmod 600",
    spoil_folder: "chmod 700",
    spoil_link: "it is a symbolic link",
    spoil_kind: "is no file",
    spoil_to_folder: "is no file",
}


@pytest.mark.parametrize(("spoil", "told"), SPOILED.items(), ids=lambda value: getattr(value, "__name__", ""))
def test_a_file_that_others_could_reach_opens_for_nobody(ring, path, spoil: Callable[[Path], None], told):
    ring.add(make_key())
    assert ring.find("AKIAONE")
    spoil(path)
    for _ in range(2):
        with pytest.raises(KeyFileError, match=told):
            ring.find("AKIAONE")


def test_a_file_that_is_put_right_opens_again(ring, path):
    ring.add(make_key())
    path.chmod(0o644)
    with pytest.raises(KeyFileError):
        ring.find("AKIAONE")
    path.chmod(0o600)
    assert ring.find("AKIAONE")


def test_a_file_of_another_user_opens_for_nobody(ring, path, monkeypatch):
    ring.add(make_key())
    monkeypatch.setattr("os.geteuid", lambda: os.getuid() + 1)
    with pytest.raises(KeyFileError, match="belongs to user"):
        KeyRing(path).find("AKIAONE")


def test_nothing_is_written_through_a_link_in_the_lock_s_place(ring, path):
    path.parent.mkdir(mode=0o700)
    (path.parent / "keys.json.lock").symlink_to("victim")
    with pytest.raises(KeyFileError, match="cannot be written"):
        ring.add(make_key())
    assert not (path.parent / "victim").exists()


def run_python(code: str, *arguments: str) -> "subprocess.Popen[bytes]":
    return subprocess.Popen([sys.executable, "-c", code, *arguments])


ADD_TEN = """
import sys
from pathlib import Path
from amply.broker.auth.keys import Key, KeyRing
from amply.broker.auth.secret import Secret
ring = KeyRing(Path(sys.argv[1]))
for number in range(10):
    ring.add(Key(f"AKIA{sys.argv[2]}{number}", Secret("s"), "worker", "laptop", 1))
"""


def test_writers_at_the_same_time_lose_nothing(ring, path):
    writers = [run_python(ADD_TEN, str(path), name) for name in "ABCD"]
    assert [writer.wait(60) for writer in writers] == [0, 0, 0, 0]
    assert {key.access_key for key in ring.list()} == {f"AKIA{name}{number}" for name in "ABCD" for number in range(10)}


CRASH = """
import os, sys
from pathlib import Path
from amply.broker.auth.keys import Key, KeyRing
from amply.broker.auth.secret import Secret
path = Path(sys.argv[1])
step, moment = sys.argv[2], sys.argv[3]
owner = Path if step == "replace" else os
really = getattr(owner, step)
def crash(*arguments, **more):
    if moment == "after":
        really(*arguments, **more)
    os._exit(9)
setattr(owner, step, crash)
KeyRing(path).add(Key("AKIATWO", Secret("s"), "worker", "laptop", 1))
"""


@pytest.mark.parametrize(
    ("step", "moment", "is_added"),
    [("fsync", "before", False), ("replace", "before", False), ("replace", "after", True)],
)
def test_a_crash_while_writing_leaves_the_old_keys_or_the_new_ones(ring, path, step, moment, is_added):
    ring.add(make_key())
    assert run_python(CRASH, str(path), step, moment).wait(60) == 9
    left = {"AKIAONE", "AKIATWO"} if is_added else {"AKIAONE"}
    assert {key.access_key for key in KeyRing(path).list()} == left
    KeyRing(path).add(make_key("AKIATHREE"))
    assert {key.access_key for key in ring.list()} == left | {"AKIATHREE"}
    assert {name.name for name in path.parent.iterdir()} == {"keys.json", "keys.json.lock"}


def test_a_new_file_is_on_the_disk_before_it_takes_the_old_one_s_place(ring, monkeypatch):
    steps = []
    for owner, name in ((os, "fsync"), (Path, "replace")):
        really = getattr(owner, name)

        def noted(*arguments, name=name, really=really):
            kind = "folder" if name == "fsync" and stat.S_ISDIR(os.fstat(arguments[0]).st_mode) else ""
            steps.append(f"{name} {kind}".strip())
            return really(*arguments)

        monkeypatch.setattr(owner, name, noted)
    ring.add(make_key())
    assert steps == ["fsync", "replace", "fsync folder"]
