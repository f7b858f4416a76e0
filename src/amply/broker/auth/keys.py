"""Access keys, and the one file that their secrets are in.

Knows the file, who may read it and how it is written so that a crash leaves the old or the new one whole. Must not know
what a role may do, how a request is signed, or what time it is.
"""

import fcntl
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from amply.broker.auth.secret import Secret
from amply.errors import AmplyError

_VERSION = 1


class KeyFileError(AmplyError):
    """The key file cannot be used as it is: damaged, readable for others, or not ours."""


class Key(Struct, frozen=True, forbid_unknown_fields=True):
    """An access key. Times are epoch milliseconds.

    `name` is the user that it speaks for, `role` what that user may do. A key with `expires_ms` is temporary, as AWS
    STS makes them, and has a `session_token` that every request carries. A revoked key stays in the file, so that the
    audit can name it.
    """

    access_key: str
    secret: Secret
    role: str
    name: str
    created_ms: int
    expires_ms: int | None = None
    session_token: Secret | None = None
    revoked_ms: int | None = None

    def refusal(self, session_token: str | None, now_ms: int) -> str | None:
        """Why a request with this key and this session token is refused, in words for the audit; None if it is not.

        Clients are told the same for all of them, and for a key that nobody knows: AWS's InvalidClientTokenId.
        """
        if self.revoked_ms is not None:
            return "the access key was revoked"
        if self.expires_ms is not None and now_ms >= self.expires_ms:
            return "the access key has expired"
        given = None if session_token is None else Secret(session_token)
        if given != self.session_token:
            return "the session token is not this access key's"
        return None


class _Content(Struct, forbid_unknown_fields=True):
    """What the key file holds."""

    version: int
    keys: list[Key]


# What tells one state of the file from another. A new file takes the old one's place on every write, so the inode
# changes; the rest is for people with an editor.
_Stamp = tuple[int, int, int, int, int, int]


class KeyRing:
    """The keys in a file, which may change while the broker runs.

    Every lookup asks the file system whether the file is still the same (about 2 µs, a hundredth of what a signature
    costs), so that a revoked key is refused from the next request on; a second's patience would save nothing. A file
    that is not there holds no keys. A file that is damaged or that others can read raises `KeyFileError` at every
    lookup until it is put right: nobody gets in on keys that may no longer be true.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._name = str(path)
        self._stamp: _Stamp | None = None
        self._keys: dict[str, Key] = {}

    def find(self, access_key: str) -> Key | None:
        """The key of this id, whether it is still good or not (see `Key.refusal`). Raises `KeyFileError`."""
        self._refresh()
        return self._keys.get(access_key)

    def list(self) -> list[Key]:
        """All keys in the order in which they were added, revoked ones too. Raises `KeyFileError`."""
        self._refresh()
        return [*self._keys.values()]

    def add(self, key: Key) -> None:
        """Write a new key; the file and its folder are made if they are missing. Raises `KeyFileError`.

        Two keys may speak for the same name: that is how one takes another's place without a pause.
        """

        def added(keys: dict[str, Key]) -> dict[str, Key]:
            if key.access_key in keys:
                raise KeyFileError(f"there is already an access key {key.access_key} in {self.path}")
            return keys | {key.access_key: key}

        self._change(added)

    def revoke(self, access_key: str, now_ms: int) -> Key:
        """Make a key useless at once, and return it as it is now. Raises `KeyFileError`.

        A key that was revoked before keeps the time of the first.
        """

        def revoked(keys: dict[str, Key]) -> dict[str, Key]:
            key = keys.get(access_key)
            if key is None:
                raise KeyFileError(
                    f"there is no access key {access_key} in {self.path}", hint="See them with: amply key list"
                )
            if key.revoked_ms is not None:
                return keys
            return keys | {access_key: msgspec.structs.replace(key, revoked_ms=now_ms)}

        return self._change(revoked)[access_key]

    def _refresh(self) -> None:
        try:
            stamp = _stamp(os.lstat(self._name))
        except FileNotFoundError:
            self._stamp, self._keys = None, {}
            return
        except OSError as error:
            raise KeyFileError(f"the key file {self.path} cannot be read: {error.strerror}") from error
        if stamp != self._stamp:
            self._stamp, self._keys = _read(self.path)

    def _change(self, change: Callable[[dict[str, Key]], dict[str, Key]]) -> dict[str, Key]:
        """Read, change and write while no other process does."""
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            _check_folder(self.path.parent)
            with _alone(self.path.with_name(f"{self.path.name}.lock")):
                self._refresh()
                keys = change(self._keys)
                if keys is not self._keys:
                    _write(self.path, _Content(_VERSION, [*keys.values()]))
        except OSError as error:
            raise KeyFileError(
                f"the key file {self.path} cannot be written: {error.strerror}",
                hint="Give this user the right to write there, or name another file.",
            ) from error
        return keys


def _stamp(status: os.stat_result) -> _Stamp:
    times = status.st_mtime_ns, status.st_ctime_ns
    return status.st_ino, status.st_size, *times, status.st_mode, status.st_uid


def _read(path: Path) -> tuple[_Stamp, dict[str, Key]]:
    try:
        _check_folder(path.parent)
        # Not blocking: somebody may have put a named pipe there.
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            status = os.fstat(descriptor)
            _check_private(path, status, stat.S_ISREG, "file", 0o600)
            with os.fdopen(descriptor, "rb", closefd=False) as file:
                content = file.read()
        finally:
            os.close(descriptor)
    except OSError as error:
        why = "it is a symbolic link" if path.is_symlink() else error.strerror
        raise KeyFileError(f"the key file {path} cannot be read: {why}") from error
    return _stamp(status), _decode(path, content)


def _decode(path: Path, content: bytes) -> dict[str, Key]:
    try:
        decoded = msgspec.json.decode(content, type=_Content, dec_hook=_secret_of)
    # Neither the text of these errors nor what caused them is shown: they might quote what is in the file.
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise _damaged(path, "it is not what amply wrote") from None
    if decoded.version != _VERSION:
        raise _damaged(path, f"it has version {decoded.version}, and this amply knows version {_VERSION}")
    keys = {key.access_key: key for key in decoded.keys}
    if len(keys) != len(decoded.keys):
        raise _damaged(path, "it holds an access key twice")
    return keys


def _damaged(path: Path, why: str) -> KeyFileError:
    return KeyFileError(
        f"the key file {path} is damaged: {why}",
        hint="Put a copy of it back, or move it away and make new keys with: amply key create",
    )


def _check_folder(folder: Path) -> None:
    _check_private(folder, folder.lstat(), stat.S_ISDIR, "folder", 0o700)


def _check_private(path: Path, status: os.stat_result, is_kind: Callable[[int], bool], kind: str, mode: int) -> None:
    if not is_kind(status.st_mode):
        raise KeyFileError(f"the key {kind} {path} is no {kind}", hint=f"Name the {kind} itself, not a link to it.")
    if status.st_uid != os.geteuid():
        raise KeyFileError(
            f"the key {kind} {path} belongs to user {status.st_uid}, not to this process's user {os.geteuid()}",
            hint="Run this as its owner, or name another file.",
        )
    if status.st_mode & 0o077:
        raise KeyFileError(
            f"others may look into the key {kind} {path} (mode {stat.S_IMODE(status.st_mode):04o})",
            hint=f"Run: chmod {mode:o} {path}\nIf others could have read the keys, make new ones and revoke these.",
        )


@contextmanager
def _alone(lock: Path) -> Iterator[None]:
    """Hold the lock; whoever else wants it waits the few milliseconds that a write takes."""
    descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _write(path: Path, content: _Content) -> None:
    """Replace the file in one step that a crash can only come before or after. The caller holds the lock."""
    encoded = msgspec.json.format(msgspec.json.encode(content, enc_hook=_text_of)) + b"\n"
    new = path.with_name(f"{path.name}.new")
    # One that is there was left behind by a crash: only the holder of the lock makes it.
    new.unlink(missing_ok=True)
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(encoded)
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _text_of(secret: Any) -> str:
    if not isinstance(secret, Secret):
        raise TypeError(f"the key file holds no {type(secret).__name__}")
    return secret.reveal()


def _secret_of(kind: type, text: Any) -> Secret:
    if kind is not Secret or not isinstance(text, str):
        raise TypeError(f"the key file holds no {kind.__name__}")
    return Secret(text)
