"""Bugs planted in the engine, one at a time: the simulation must find each of them. `make mutants` runs this.

python tests/sim/mutants.py [word]     only those with the word in their name
"""

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
ENGINE = Path("amply/broker/engine")
SEEDS = 1000
LIVES = """
import lives, signal, sys
for seed in range(int(sys.argv[1])):
    signal.alarm(30)
    lives.block((seed, 1, lives.STEPS))
"""

# One line each: what is wrong, where, what stands there, what stands there instead.
MUTANTS = [
    ("receives are not counted", "queue.py", "entry.receive_count + 1, first_ms", "entry.receive_count, first_ms"),
    (
        "the first receive is forgotten",
        "queue.py",
        "now_ms if entry.first_received_ms is None else",
        "now_ms if True else",
    ),
    ("dead letters go too late", "queue.py", "receive_count >= redrive.max", "receive_count > redrive.max"),
    (
        "expired messages are delivered",
        "queue.py",
        "entry.sent_ms <= now_ms - self",
        "entry.sent_ms < now_ms - 9999 - self",
    ),
    ("the in-flight cap is off by one", "standard.py", "limits.in_flight_max - len", "limits.in_flight_max + 1 - len"),
    ("the FIFO in-flight cap is off by one", "fifo.py", "limits.in_flight_max - len", "limits.in_flight_max + 1 - len"),
    ("leases end late", "in_flight.py", "timeouts[0][0] <= now_ms:", "timeouts[0][0] < now_ms:"),
    (
        "leases may last longer than 12 hours",
        "visibility.py",
        "if visible_ms > receipt.received_ms",
        "if visible_ms > now_ms",
    ),
    ("a changed lease ends at its old moment, too", "in_flight.py", "entry.visible_ms == visible_ms", "True"),
    (
        "a receive is undone without its count",
        "queue.py",
        "count = entry.receive_count - 1",
        "count = entry.receive_count",
    ),
    ("a lost receive is undone although it was changed", "queue.py", "is not entry:", "is None:"),
    ("delays end early", "delayed.py", "moment_ms + -moment_ms % STEP_MS", "moment_ms - moment_ms % STEP_MS"),
    ("the cursor does not go back", "window.py", "self.place = min(self.place, before)", "pass"),
    (
        "a read forgets what became ready meanwhile",
        "window.py",
        "place if self._rewound is None else min(place, self._rewound)",
        "place",
    ),
    ("look-ups are believed although outdated", "lookups.py", "self._changed.get(seq, 0) > issued", "False"),
    ("a poll's end is forgotten", "queue.py", "moments.append(self.parking.next_deadline_ms())", "pass"),
    (
        "polls are not woken by timeouts",
        "queue.py",
        "self.in_flight.next_ms(), self.next_delay_ms()",
        "self.next_delay_ms()",
    ),
    (
        "polls are not woken by the end of delays",
        "queue.py",
        "self.in_flight.next_ms(), self.next_delay_ms()",
        "self.in_flight.next_ms()",
    ),
    ("dead letters wake nobody", "engine.py", "while decision.moved_to:", "while False:"),
    (
        "the oldest message is forgotten",
        "queue.py",
        "self.oldest_ms is None or sent_ms < self.oldest_ms",
        "self.oldest_ms is None",
    ),
    ("retention is looked after once only", "queue.py", "self._is_ageing = False\n        still", "still"),
    (
        "deleted messages are in flight still",
        "in_flight.py",
        "entry = self._entries.pop(seq, None)",
        "entry = self._entries.get(seq)",
    ),
    ("groups are not locked", "groups.py", "return group not in self._locks and self.head", "return self.head"),
    (
        "one deletion frees the group",
        "groups.py",
        "left = self._locks.pop(group) - 1",
        "left = self._locks.pop(group) * 0",
    ),
    ("a group that is free is not announced", "groups.py", "elif group in self._waiting:", "elif False:"),
    ("what comes back goes to the end of its group", "groups.py", "heappush(line, seq)", "line.append(seq)"),
    (
        "locks are forgotten by a restart",
        "fifo.py",
        "self.line.groups.lock(group_of(entry))\n\n    @property",
        "pass\n\n    @property",
    ),
    (
        "groups are mixed in an answer",
        "fifo.py",
        "while group is not None and len(deliveries) < count and",
        "while group is not None and len(deliveries) < min(1, count) and",
    ),
    (
        "ids are remembered too briefly",
        "deduplication.py",
        "now_ms < sent_ms + self._window_ms",
        "now_ms < sent_ms + self._window_ms - 1000",
    ),
    (
        "ids are remembered too long",
        "deduplication.py",
        "now_ms < sent_ms + self._window_ms",
        "now_ms <= sent_ms + self._window_ms",
    ),
    ("the scope of ids is not heeded", "deduplication.py", 'if scope == "messageGroup"', "if False"),
    ("ids are forgotten by a restart", "fifo.py", "decision.changes.append(Deduplicated(", "str(Deduplicated("),
    (
        "a purge keeps the ids",
        "fifo.py",
        "        self.deduplication = Dedup",
        "        self.deduplication = self.__dict__.get('deduplication') or Dedup",
    ),
    ("expired receipts delete", "fifo.py", "return entry.receive_count == receipt.receive_count", "return True"),
    ("attempts hold although a message was changed", "attempts.py", " or entry.visible_ms != visible_ms", ""),
    ("empty answers are remembered", "fifo.py", "attempt_id is not None and deliveries:", "attempt_id is not None:"),
    ("attempts are not on disk", "fifo.py", "decision.changes.append(Attempted(", "str(Attempted("),
    (
        "attempts hold too long",
        "attempts.py",
        "self._window_ms = window_s * 1000",
        "self._window_ms = window_s * 2000",
    ),
    ("repeated attempts get new handles", "fifo.py", "attempt.received_ms, hidden, content", "now_ms, hidden, content"),
    ("a delay begins anew when it is changed", "declarations.py", "queue.advance(now_ms, decision)  #", "#"),
    ("what is visible is delayed again", "fifo_delays.py", "self._until_seq = last_seq", "pass"),
    ("what is read is not asked for its delay", "fifo.py", "if not self.delays.is_delayed(message[0])]", "]"),
    ("what came back during a read comes late", "line.py", "break  #", "pass  #"),
    (
        "claims count as receives",
        "visibility.py",
        "visible_ms, entry.receive_count,",
        "visible_ms, entry.receive_count + 1,",
    ),
    ("a claim takes what was received since", "visibility.py", " or entry.receive_count != receipt.receive_count", ""),
    ("a claim takes what is claimed", "visibility.py", "held.is_claimed and not change.timeout_s", "held.is_claimed"),
    ("a claim gives up what somebody received", "visibility.py", "held.is_claimed and not", "not"),
    ("a claim takes what is delayed", "visibility.py", "queue.visible_ms(entry) <= now_ms if held", "True if held"),
    ("claims know no cap", "visibility.py", "change.timeout_s and not queue.has_room_in_flight()", "False"),
    ("a claim leaves no mark", "visibility.py", "is_claimed = receipt.is_peeked or", "is_claimed ="),
    (
        "a claim frees expired receipts",
        "fifo.py",
        "entry is None or entry.is_claimed != receipt.is_peeked",
        "entry is None",
    ),
    (
        "claims believe that what waits is at hand",
        "visibility.py",
        "queue.look_at(seq, {}) is None]",
        "not queue.is_known(seq)]",
    ),
    ("a task counts what it did not move", "moves.py", "moved=task.moved + moved", "moved=task.moved + moved + 1"),
    (
        "a task keeps the message that it moved",
        "moves.py",
        "            source.remove(entry.seq, decision)\n            destination",
        "            destination",
    ),
    ("a task moves what is past its retention", "moves.py", "entry.sent_ms <= now_ms - source.retention_ms", "False"),
    (
        "a task starts over after a restart",
        "moves.py",
        "task = replace(task, moved=task.moved + moved)",
        "run.task = task = replace(task, moved=task.moved + moved)",
    ),
]


def plant(folder: Path, file: str, old: str, new: str) -> None:
    path = folder / "src" / ENGINE / file
    text = path.read_text()
    if not re.search(re.escape(old), text):
        raise SystemExit(f"{file} does not hold any more: {old}")
    path.write_text(text.replace(old, new))


def catch(folder: Path) -> str | None:
    """Which seed finds it, and how; None if none does."""
    lives = [sys.executable, "-c", LIVES, str(SEEDS)]
    environment = os.environ | {"PYTHONPATH": f"{folder / 'src'}{os.pathsep}{ROOT / 'tests/sim'}"}
    ended = subprocess.run(lives, env=environment, capture_output=True, text=True, check=False)
    if ended.returncode == -signal.SIGALRM:
        return "it hangs"
    if ended.returncode == 0:
        return None
    found = re.findall(r"^(\w+Error\b.*)$|^(seed \d+, step \d+)", ended.stderr, re.MULTILINE)
    return ", ".join(error or seed for error, seed in found[:2])


def main() -> int:
    word = sys.argv[1] if len(sys.argv) > 1 else ""
    escaped = 0
    for what, file, old, new in MUTANTS:
        if word not in what:
            continue
        began_s = time.monotonic()
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            shutil.copytree(ROOT / "src", folder / "src", ignore=shutil.ignore_patterns("__pycache__"))
            plant(folder, file, old, new)
            caught = catch(folder)
        escaped += caught is None
        took_s = time.monotonic() - began_s
        sys.stdout.write(f"{'caught ' if caught else 'ESCAPED'} {took_s:4.0f} s  {what}: {caught}\n")
        sys.stdout.flush()
    sys.stdout.write(f"{escaped} escaped\n")
    return 1 if escaped else 0


if __name__ == "__main__":
    sys.exit(main())
