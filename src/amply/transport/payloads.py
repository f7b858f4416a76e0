"""Where messages go that are too large for SQS: into a folder or an S3 bucket, while a pointer travels in their place.

A pointer's body has the form of AWS's extended client libraries, a JSON list of a type and its fields, beside the
message attribute `ExtendedPayloadSize`; one in S3 is read and written by those libraries too. Knows pointers and
stores; must not know what a message says.

A stored payload is deleted by whoever deletes its message, afterwards. So a payload is never missing while its message
may come again. It stays behind when a process dies between storing and sending or between the two deletions, when a
send was refused or its answer was lost, and when SQS itself drops the message: expired, or purged. What stays behind is
cleaned by age, counted from storing: a folder by `FolderStore.sweep`, a bucket by a lifecycle rule on the prefix. The
age must be longer than a message can live: the longest countdown, the queue's retention and its dead letter queue's
together, so more than 28 days where both keep messages for 14.
"""

import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import unquote, urlsplit

import botocore
import botocore.session
import msgspec
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from amply.clock import wall_ms
from amply.errors import AmplyError
from amply.ids import secret
from amply.transport.faults import Unreachable, fault

# The attribute (type Number) with the payload's size in bytes; it says that a body is a pointer. Messages must be
# received with this name in MessageAttributeNames.
SIZE_ATTRIBUTE = "ExtendedPayloadSize"

_S3_TYPE = "software.amazon.payloadoffloading.PayloadS3Pointer"
_FILE_TYPE = "amply.PayloadFilePointer"

# A pointer is a few hundred bytes: names of S3 objects end at 1024 bytes (S3 user guide, "Naming objects").
POINTER_BYTES_MAX = 4096
_KEY = re.compile(r"[0-9a-f]{32}")
# A file that is still being written.
_PART = ".part"

_HINT = "Give payload_store as file:///absolute/folder or s3://bucket/prefix."


class PayloadUnusable(AmplyError):
    """What a pointer names cannot be had, now or later: it leads elsewhere, or the payload is gone or damaged."""


class PayloadStore(Protocol):
    """Keeps bodies that are too large for a message.

    A store that cannot be reached now raises Unreachable; one that refuses raises SqsFault or Transient, as SQS does.
    Safe to use from several threads and after a fork.
    """

    def put(self, body: str) -> str:
        """Keep the body; when this returns, it survives a crash. Gives the pointer to send in its place."""

    def get(self, pointer_body: str) -> str:
        """The body behind a pointer; PayloadUnusable if it cannot be had or is not this store's."""

    def delete(self, pointer_body: str) -> None:
        """Forget the body; one that is gone already is no error. PayloadUnusable if it is not this store's."""


def is_pointer(body: str, attributes: Mapping[str, Any]) -> bool:
    """Whether a received message stands for a stored payload. `attributes` are its MessageAttributes."""
    return SIZE_ATTRIBUTE in attributes and _read(body) is not None


def store_for(url: str) -> PayloadStore:
    """The store that a URL names: `file:///absolute/folder` or `s3://bucket/prefix`. AmplyError for any other."""
    parts = urlsplit(url)
    if parts.query or parts.fragment:
        raise AmplyError(f"The payload store {url!r} has a query or a fragment, which it cannot use.", hint=_HINT)
    if parts.scheme == "file":
        path = Path(unquote(parts.path))
        if parts.netloc not in {"", "localhost"} or not path.is_absolute():
            reason = "names no absolute folder on this machine; it needs three slashes after 'file:'"
            raise AmplyError(f"The payload store {url!r} {reason}.", hint=_HINT)
        return FolderStore(path)
    if parts.scheme == "s3":
        if not parts.netloc:
            raise AmplyError(f"The payload store {url!r} names no bucket.", hint=_HINT)
        return S3Store(parts.netloc, parts.path.strip("/"))
    raise AmplyError(f"The payload store {url!r} is of a kind that does not exist.", hint=_HINT)


class FolderStore:
    """Payloads as files, for one machine or a shared file system.

    Files are for their owner alone (mode 0600, a folder made here 0700): producers and workers run as the same user.
    `now_ms` is the clock that file times come from.
    """

    def __init__(self, path: Path, *, now_ms: Callable[[], int] = wall_ms) -> None:
        self._path = path
        self._now_ms = now_ms

    def put(self, body: str) -> str:
        """Keep the body in a new file. Unreachable when the folder cannot be written, as when the disk is full."""
        key = _new_key()
        final = self._path / key
        part = final.with_suffix(_PART)
        try:
            self._make_folder()
            try:
                _write_durably(part, body.encode())
                part.rename(final)
            except OSError:
                part.unlink(missing_ok=True)
                raise
            _sync(self._path)
        except OSError as error:
            raise _folder_failed("store a payload", self._path, error) from error
        return _pointer(_FILE_TYPE, {"fileName": key})

    def get(self, pointer_body: str) -> str:
        """The body that `put` was given."""
        path = self._file(pointer_body)
        try:
            return path.read_text("utf-8")
        except FileNotFoundError:
            raise PayloadUnusable(f"The payload {path.name} is not in {self._path}: deleted, or never there.") from None
        except UnicodeDecodeError:
            raise PayloadUnusable(f"The payload {path.name} in {self._path} is damaged: it is not UTF-8.") from None
        except OSError as error:
            raise _folder_failed("read a payload", self._path, error) from error

    def delete(self, pointer_body: str) -> None:
        """Remove the file."""
        path = self._file(pointer_body)
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise _folder_failed("delete a payload", self._path, error) from error

    def sweep(self, older_than_s: float) -> int:
        """Remove payloads, and what a crash left half-written, that were stored longer ago. How many they were.

        Files that this store did not write stay.
        """
        before_s = self._now_ms() / 1000 - older_than_s
        removed = 0
        try:
            for path in self._path.iterdir():
                if _KEY.fullmatch(path.name.removesuffix(_PART)) and _changed_s(path) < before_s:
                    path.unlink(missing_ok=True)
                    removed += 1
        except FileNotFoundError:
            return 0  # nothing was ever stored
        except OSError as error:
            raise _folder_failed("clean the payload store", self._path, error) from error
        return removed

    def _file(self, pointer_body: str) -> Path:
        key = _fields(pointer_body, _FILE_TYPE, f"a file in {self._path}").get("fileName")
        # Our keys are hexadecimal digits, so a name that passes cannot lead out of the folder.
        if key is None or not _KEY.fullmatch(key):
            raise PayloadUnusable(
                f"The message points to a file that is no payload of {self._path}; it was not opened."
            )
        return self._path / key

    def _make_folder(self) -> None:
        if not self._path.is_dir():
            self._path.mkdir(mode=0o700, parents=True, exist_ok=True)
            _sync(self._path.parent)


class S3Store:
    """Payloads as objects in a bucket: `prefix/` and a random name.

    Region, credentials and endpoint come from botocore's own chain: environment (AWS_ENDPOINT_URL_S3 among it),
    profile, role. Producers need s3:PutObject, workers s3:GetObject and s3:DeleteObject, all on the prefix alone;
    s3:ListBucket tells a payload that is gone from one that may not be read.
    """

    def __init__(self, bucket: str, prefix: str = "") -> None:
        self._bucket = bucket
        self._prefix = f"{prefix}/" if prefix else ""
        self._client_of: tuple[int, Any] = (0, None)

    def put(self, body: str) -> str:
        """Keep the body in a new object."""
        key = f"{self._prefix}{_new_key()}"
        self._call("PutObject", Key=key, Body=body.encode(), ContentType="text/plain; charset=utf-8")
        return _pointer(_S3_TYPE, {"s3BucketName": self._bucket, "s3Key": key})

    def get(self, pointer_body: str) -> str:
        """The body that `put` was given."""
        key = self._key(pointer_body)
        content = self._call("GetObject", Key=key)
        try:
            return content.decode("utf-8")
        except UnicodeDecodeError:
            raise PayloadUnusable(f"The payload s3://{self._bucket}/{key} is damaged: it is not UTF-8.") from None

    def delete(self, pointer_body: str) -> None:
        """Remove the object; in a bucket with versions, its older ones stay until a lifecycle rule ends them."""
        self._call("DeleteObject", Key=self._key(pointer_body))

    def _key(self, pointer_body: str) -> str:
        fields = _fields(pointer_body, _S3_TYPE, f"an object in s3://{self._bucket}")
        bucket, key = fields.get("s3BucketName"), fields.get("s3Key")
        # Anybody who may send could otherwise have a worker read, and delete, all that its role is allowed to.
        if bucket != self._bucket or key is None or not key.startswith(self._prefix) or key == self._prefix:
            raise PayloadUnusable(
                f"The message points outside the payload store s3://{self._bucket}/{self._prefix}; it was not followed."
            )
        return key

    def _call(self, action: str, *, Key: str, **members: Any) -> bytes:  # noqa: N803 - S3's name for it
        try:
            answer = getattr(self._client(), botocore.xform_name(action))(Bucket=self._bucket, Key=Key, **members)
            return answer["Body"].read() if "Body" in answer else b""
        except ClientError as error:
            told = error.response.get("Error", {})
            code, message = told.get("Code", ""), told.get("Message", "")
            if code == "NoSuchKey":
                text = f"The payload s3://{self._bucket}/{Key} is gone: deleted, or ended by a lifecycle rule."
                raise PayloadUnusable(text) from error
            status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
            raise fault(action, status, code, f"{message} (payload store s3://{self._bucket})") from error
        except BotoCoreError as error:
            raise Unreachable(f"{action} in the payload store s3://{self._bucket} failed: {error}") from error

    def _client(self) -> Any:
        """Made at the first use in each process: it is slow to make, and connections must not cross a fork."""
        pid, client = self._client_of
        if pid != os.getpid():
            config = Config(connect_timeout=5, read_timeout=30, retries={"mode": "standard", "total_max_attempts": 3})
            client = botocore.session.get_session().create_client("s3", config=config)
            self._client_of = (os.getpid(), client)
        return client


def _new_key() -> str:
    # Straight from the system: two processes after a fork must not make the same name.
    return secret(16).hex()


def _pointer(kind: str, fields: dict[str, str]) -> str:
    return msgspec.json.encode([kind, fields]).decode()


def _read(body: str) -> tuple[str, dict[str, str]] | None:
    """Type and fields of a pointer; None if the body is none."""
    if len(body) > POINTER_BYTES_MAX:
        return None
    try:
        kind, fields = msgspec.json.decode(body, type=tuple[str, dict[str, str]])
    except (ValueError, RecursionError):  # every decoding error of msgspec is a ValueError
        return None
    return (kind, fields) if kind in {_S3_TYPE, _FILE_TYPE} else None


def _fields(body: str, kind: str, expected: str) -> dict[str, str]:
    found = _read(body)
    if found is None or found[0] != kind:
        raise PayloadUnusable(f"The message does not point to {expected}, where this payload store keeps its payloads.")
    return found[1]


def _write_durably(path: Path, content: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(descriptor)


def _sync(folder: Path) -> None:
    """Make names in a folder survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _changed_s(path: Path) -> float:
    try:
        return path.lstat().st_mtime
    except FileNotFoundError:  # whoever read it has deleted it meanwhile
        return float("inf")


def _folder_failed(what: str, path: Path, error: OSError) -> Unreachable:
    return Unreachable(f"Cannot {what} in {path}: {error.strerror}. Check the folder's space and permissions.")
