"""A disk that fills up: sends are refused in time, everything else goes on, nothing is lost."""

import errno
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from broker_process import BrokerProcess, until
from json_client import JsonClient, RefusedError

# The broker keeps 64 MB free of new messages and a ballast of 16 MB; there must be room for some messages beside that.
DISK_SIZE = "128m"
BODY = "x" * 200_000


@dataclass
class SmallDisk:
    """A folder on a tmpfs that only the processes started `within` see, and `seen_from_here` as well."""

    folder: Path
    seen_from_here: Path
    within: tuple[str, ...]

    def fill(self) -> None:
        """As somebody else's file would."""
        with (self.seen_from_here / "others").open("ab", buffering=0) as file:
            for size in (1 << 20, 1 << 12, 1):
                try:
                    while True:
                        file.write(bytes(size))
                except OSError as error:
                    if error.errno != errno.ENOSPC:
                        raise

    def clear(self) -> None:
        """Take that file away."""
        (self.seen_from_here / "others").unlink()


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    """In a mount namespace of its own, which goes with the process that holds it."""
    if sys.platform != "linux":
        pytest.skip("needs Linux' mount namespaces")
    is_root = os.geteuid() == 0
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = f"mount -t tmpfs -o size={DISK_SIZE},mode=700 amply-test {folder} && echo mounted && exec cat"
    unshare = ["unshare", "-m"] if is_root else ["unshare", "-Urm"]
    enter = ["-m"] if is_root else ["-m", "-U", "--preserve-credentials"]
    with subprocess.Popen(
        [*unshare, "sh", "-c", mount], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as holder:
        if holder.stdout.readline() != "mounted\n":
            pytest.skip(f"may not mount a file system here: {holder.communicate()[1].strip()}")
        seen_from_here = Path(f"/proc/{holder.pid}/root{folder}")
        yield SmallDisk(folder, seen_from_here, ("nsenter", "-t", str(holder.pid), *enter))
        holder.communicate()


def send_until_refused(client: JsonClient, sent: set[str]) -> RefusedError:
    for number in range(10_000):
        name = f"{len(sent)}-{number}"
        try:
            client.call("SendMessage", QueueUrl="work", MessageBody=f"{name} {BODY}")
        except RefusedError as refused:
            return refused
        sent.add(name)
    pytest.fail("the disk never got full")


def take(client: JsonClient, count: int) -> set[str]:
    """Receive and delete so many messages, or all if there are fewer."""
    taken: set[str] = set()
    while len(taken) < count:
        answer = client.call("ReceiveMessage", QueueUrl="work", MaxNumberOfMessages=5, VisibilityTimeout=600)
        if not (messages := answer.get("Messages")):
            break
        for message in messages:
            client.call("DeleteMessage", QueueUrl="work", ReceiptHandle=message["ReceiptHandle"])
            taken.add(message["Body"].partition(" ")[0])
    return taken


def accepts_sends(client: JsonClient, sent: set[str]) -> bool:
    name = f"probe-{len(sent)}"
    try:
        client.call("SendMessage", QueueUrl="work", MessageBody=name)
    except RefusedError as refused:
        if refused.status == 503:
            return False
        raise
    sent.add(name)
    return True


def test_a_full_disk_refuses_sends_and_nothing_else(disk: SmallDisk, start: Callable[..., BrokerProcess]) -> None:
    broker = start(disk.folder / "data", disk.within)
    sent: set[str] = set()
    with broker.client() as client:
        client.call("CreateQueue", QueueName="work")
        refused = send_until_refused(client, sent)
        assert (refused.status, refused.code) == (503, "com.amazon.coral.service#ServiceUnavailable")
        taken = take(client, 10)
        assert len(taken) == 10

        # Now somebody else takes the rest of the disk, down to the last byte.
        disk.fill()
        taken |= take(client, 10)
        assert not accepts_sends(client, sent)
        broker.kill()
    # Not even a crash changes that.
    broker = start(disk.folder / "data", disk.within)
    with broker.client() as client:
        taken |= take(client, 10)
        assert len(taken) == 30
        assert not accepts_sends(client, sent)

        disk.clear()
        taken |= take(client, len(sent))
        until(lambda: accepts_sends(client, sent), "sends are accepted again")
        taken |= take(client, len(sent))
    assert taken == sent
