"""Power cuts, simulated: every write and sync that SQLite makes is recorded, and the disk is rebuilt as it may be after
a cut: what was synced is there, what was not is there, missing or torn, in any mix.
"""

import random

import apsw
import pytest

from amply.broker.engine.records import QueuePut, Removed, Rescheduled
from amply.broker.store.port import StoreDamaged

FAR = 10**15
SECTOR = 512
STEPS = 90


class RecordingFile(apsw.VFSFile):
    def __init__(self, base, filename, flags, log):
        super().__init__(base, filename, flags)
        name = filename.filename() if isinstance(filename, apsw.URIFilename) else filename
        self.name, self.log = name.rsplit("/", 1)[-1], log

    def xWrite(self, data, offset):
        super().xWrite(data, offset)
        self.log.append(("write", self.name, offset, bytes(data)))

    def xTruncate(self, size):
        super().xTruncate(size)
        self.log.append(("truncate", self.name, size, b""))

    def xSync(self, flags):
        super().xSync(flags)
        self.log.append(("sync", self.name, 0, b""))


class RecordingDisk(apsw.VFS):
    def __init__(self, base):
        self.base, self.log = base, []
        super().__init__("recording", base, makedefault=True)

    def xOpen(self, name, flags):
        return RecordingFile(self.base, name, flags, self.log)

    def xDelete(self, name, sync_folder):
        super().xDelete(name, sync_folder)
        self.log.append(("delete", name.rsplit("/", 1)[-1], 0, b""))


@pytest.fixture
def disk():
    usual = apsw.vfs_names()[0]
    vfs = RecordingDisk(usual)
    yield vfs
    apsw.set_default_vfs(usual)
    vfs.unregister()


def run(store, disk, facts, folder, seed):
    """Commit at random. Log after each what is promised: the entries, and what stands in the file of commits."""
    dice = random.Random(seed)
    alive, last = {}, 0
    promise(disk, folder, alive)
    for _ in range(STEPS):
        changes = []
        for _ in range(dice.randint(1, 4)):
            if alive and dice.random() < 0.5:
                seq = dice.choice(sorted(alive))
                if dice.random() < 0.5:
                    del alive[seq]
                    changes.append(Removed(seq, 2))
                else:
                    count = alive[seq].receive_count + 1
                    alive[seq] = facts.entry(seq, visible_ms=facts.T0 + seq, receive_count=count)
                    changes.append(Rescheduled(alive[seq]))
            else:
                last += 1
                changes.append(facts.added(last))
                alive[last] = changes[-1].entry
        disk.log.append(("try", dict(alive), 0, b""))
        store.commit(changes, facts.T0)
        promise(disk, folder, alive)


def promise(disk, folder, alive):
    disk.log.append(("promise", dict(alive), 0, (folder / "commits").read_bytes()))


def apply(content, step):
    verb, _, at, data = step
    if verb == "truncate":
        del content[at:]
        content.extend(bytes(at - len(content)))
    elif verb == "write":
        content.extend(bytes(max(0, at - len(content))))
        content[at : at + len(data)] = data


def survivors(unsynced, dice):
    """What of the unsynced steps reached the disk."""
    fate = dice.choice(["none", "all", "some", "torn", "first"])
    if fate == "none":
        return []
    if fate == "first":
        return unsynced[: dice.randint(0, len(unsynced))]
    if fate == "some":
        return [step for step in unsynced if dice.random() < 0.5]
    if fate == "torn" and unsynced:
        kept = list(unsynced)
        at = dice.randrange(len(kept))
        verb, name, offset, data = kept[at]
        kept[at] = (verb, name, offset, data[: SECTOR * dice.randint(0, len(data) // SECTOR)])
        return kept if verb == "write" else kept[:at]
    return list(unsynced)


def cut(log, moment, dice):
    """The files after a cut at a moment."""
    files, unsynced = {}, {}
    for step in log[:moment]:
        verb, name = step[:2]
        if verb in {"try", "promise"} or name.endswith("-shm"):
            continue
        if verb == "delete":
            files.pop(name, None)
            unsynced.pop(name, None)
        elif verb == "sync":
            for written in unsynced.pop(name, []):
                apply(files.setdefault(name, bytearray()), written)
        else:
            unsynced.setdefault(name, []).append(step)
    for name, steps in unsynced.items():
        for written in survivors(steps, dice):
            apply(files.setdefault(name, bytearray()), written)
    return files


def lost_in(states, log, opened, facts, folder):
    """How many of so many cuts end with a store that holds neither what was promised last nor what was tried next."""
    first = next(at for at, step in enumerate(log) if step[0] == "promise")
    apsw.set_default_vfs(apsw.vfs_names()[1])  # the rebuilt stores are not recorded
    dice, lost = random.Random(7), 0
    for number in range(states):
        moment = dice.randrange(first + 1, len(log))
        known = [step for step in log[:moment] if step[0] in {"promise", "try"}]
        promised = next(step for step in reversed(known) if step[0] == "promise")
        rebuilt = folder / f"cut-{number}"
        rebuilt.mkdir(mode=0o700)
        for name, content in cut(log, moment, dice).items():
            (rebuilt / name).write_bytes(content)
        (rebuilt / "commits").write_bytes(promised[3] if dice.random() < 0.5 else b"")
        try:
            store = opened(rebuilt)
            page = store.ready(2, (0, 0), FAR, 10_000, 10**9)
            found = {entry.seq: entry for entry, _ in page.messages}
            messages = store.load(facts.T0).queues[0].messages
            whole = not page.damaged and messages == len(found)
            lost += not whole or found not in (promised[1], known[-1][1])
            store.close()
        except StoreDamaged:
            lost += 1
    return lost


@pytest.fixture(params=[4000, 60])
def folding(request, monkeypatch):
    """The log is folded into the database never, or many times."""
    monkeypatch.setattr("amply.broker.store.database._WAL_PAGES", request.param)


@pytest.mark.usefixtures("folding")
def test_no_cut_loses_a_commit_that_was_answered(disk, opened, facts, tmp_path):
    store = opened()
    store.commit([QueuePut(facts.queue())], facts.T0)
    run(store, disk, facts, tmp_path / "data", seed=1)
    assert lost_in(250, disk.log, opened, facts, tmp_path) == 0


def test_without_syncing_each_commit_cuts_do_lose_some(disk, opened, facts, tmp_path):
    """The control: if this finds no loss, the test above proves nothing."""
    store = opened()
    store.commit([QueuePut(facts.queue())], facts.T0)
    store._database.execute("PRAGMA synchronous = NORMAL")
    run(store, disk, facts, tmp_path / "data", seed=1)
    assert lost_in(80, disk.log, opened, facts, tmp_path) > 10
