"""What clients tried, what the broker acknowledged, what it delivered; and the verdict on that.

After Jepsen's total-queue checker, and stricter: every acknowledged message that nobody tried to delete must come again
in the final drain. The ledger is kept outside the broker, so that it survives whatever happens there.
"""

import json
import zlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

Event = dict[str, Any]
# The broker counts in whole milliseconds.
TICK_NS = 2_000_000


def make_body(name: str, size: int) -> str:
    """A message body that says who it is and whether it is whole."""
    text = f"{name} " + "x" * size
    return f"{text} {zlib.crc32(text.encode()):08x}"


def name_in(body: str) -> str | None:
    """Who the body says it is; None if it is not exactly what was sent."""
    text, _, checksum = body.rpartition(" ")
    return text.partition(" ")[0] if f"{zlib.crc32(text.encode()):08x}" == checksum else None


class Ledger:
    """One client's part: a file that is only ever appended to. Moments are CLOCK_MONOTONIC in nanoseconds."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("a", encoding="utf-8", buffering=1)

    def close(self) -> None:
        """No more events."""
        self._file.close()

    def attempted(self, names: Iterable[str]) -> None:
        """These are about to be sent; a name is tried again only where it is a deduplication id."""
        self._write(kind="attempted", names=list(names))

    def acknowledged(self, message_ids: dict[str, str], sequence_numbers: dict[str, str] | None = None) -> None:
        """The broker acknowledged these; MessageId and, of a FIFO queue, SequenceNumber by name."""
        self._write(kind="acknowledged", message_ids=message_ids, sequence_numbers=sequence_numbers)

    def delivered(
        self,
        messages: list[dict[str, Any]],
        queue: str,
        asked_ns: int,
        got_ns: int,
        visibility_timeout_s: int,
        *,
        is_drain: bool = False,
        attempt_id: str | None = None,
    ) -> None:
        """An answer to ReceiveMessage; with the same `attempt_id`, to the same one asked again."""
        self._write(
            kind="delivered",
            messages=[
                {
                    "name": name_in(message["Body"]),
                    "message_id": message["MessageId"],
                    "count": int(message["Attributes"]["ApproximateReceiveCount"]),
                    "sequence_number": message["Attributes"].get("SequenceNumber"),
                }
                for message in messages
            ],
            queue=queue,
            asked_ns=asked_ns,
            got_ns=got_ns,
            until_ns=asked_ns + visibility_timeout_s * 1_000_000_000,
            is_drain=is_drain,
            attempt_id=attempt_id,
        )

    def deleting(self, names: Iterable[str], asked_ns: int = 0) -> None:
        """These are about to be deleted."""
        self._write(kind="deleting", names=list(names), asked_ns=asked_ns)

    def kept(self, names: Iterable[str], asked_ns: int) -> None:
        """The broker refused to delete these, as asked for at that moment."""
        self._write(kind="kept", names=list(names), asked_ns=asked_ns)

    def deleted(self, names: Iterable[str], at_ns: int) -> None:
        """The broker acknowledged that these are deleted."""
        self._write(kind="deleted", names=list(names), at_ns=at_ns)

    def changing(self, names: Iterable[str]) -> None:
        """The visibility of these is about to be changed."""
        self._write(kind="changing", names=list(names))

    def refused(self, what: str) -> None:
        """The broker answered with an error that this client did not expect."""
        self._write(kind="refused", what=what)

    def _write(self, **event: Any) -> None:
        self._file.write(json.dumps(event) + "\n")


def read(paths: Iterable[Path]) -> Iterator[Event]:
    """The events of several ledgers."""
    for path in paths:
        with path.open(encoding="utf-8") as lines:
            yield from map(json.loads, lines)


@dataclass
class Verdict:
    """What must be empty is empty, or the broker broke a promise; the numbers are only reported."""

    lost: set[str] = field(default_factory=set)  # acknowledged, never to be deleted, and not there in the end
    resurrected: set[str] = field(default_factory=set)  # delivered to a request made after the delete was acknowledged
    unexpected: list[str] = field(default_factory=list)  # nobody sent that, or not like that
    in_two_places: set[str] = field(default_factory=set)  # came twice in the final drain
    overlapping: set[str] = field(default_factory=set)  # given to two receivers at one time
    counts_fell: set[str] = field(default_factory=set)  # a later receive with no higher count
    refused: list[str] = field(default_factory=list)
    acknowledged: int = 0
    indeterminate: int = 0  # attempts without an answer
    recovered: int = 0  # of those, the ones that were delivered
    deleted: int = 0
    duplicates: int = 0  # deliveries after a message's first

    @property
    def broken_promises(self) -> dict[str, Any]:
        """Empty for a broker that keeps its word."""
        names = "lost", "resurrected", "unexpected", "in_two_places", "overlapping", "counts_fell", "refused"
        return {name: getattr(self, name) for name in names if getattr(self, name)}


def judge(events: Iterable[Event]) -> Verdict:
    """The verdict on a history that ended with a complete drain; the order of the events does not matter."""
    by_kind: defaultdict[str, list[Event]] = defaultdict(list)
    for event in events:
        by_kind[event["kind"]].append(event)
    attempted = _names(by_kind["attempted"])
    message_ids: dict[str, str] = {}
    for event in by_kind["acknowledged"]:
        message_ids |= event["message_ids"]
    deleted_ns: dict[str, int] = {}
    for event in by_kind["deleted"]:
        for name in event["names"]:
            deleted_ns[name] = min(event["at_ns"], deleted_ns.get(name, event["at_ns"]))

    verdict = Verdict(refused=[event["what"] for event in by_kind["refused"]])
    drained: Counter[str] = Counter()
    deliveries: defaultdict[str, list[Event]] = defaultdict(list)
    for event in by_kind["delivered"]:
        for message in event["messages"]:
            name = message["name"]
            if name not in attempted or message_ids.get(name, message["message_id"]) != message["message_id"]:
                verdict.unexpected.append(f"{name} as {message['message_id']} from {event['queue']}")
                continue
            deliveries[name].append(event | message)
            drained[name] += event["is_drain"]
            if event["asked_ns"] > deleted_ns.get(name, event["asked_ns"]):
                verdict.resurrected.add(name)
    gone = {name for name, _ in deletes(by_kind["deleting"], by_kind["kept"])}
    verdict.lost = message_ids.keys() - gone - {name for name, times in drained.items() if times}
    verdict.in_two_places = {name for name, times in drained.items() if times > 1}
    _judge_deliveries(verdict, deliveries, _names(by_kind["changing"]))

    indeterminate = attempted - message_ids.keys()
    verdict.acknowledged = len(message_ids)
    verdict.indeterminate = len(indeterminate)
    verdict.recovered = len(indeterminate & deliveries.keys())
    verdict.deleted = len(deleted_ns)
    verdict.duplicates = sum(len(one) - 1 for one in deliveries.values())
    return verdict


def _judge_deliveries(verdict: Verdict, deliveries: dict[str, list[Event]], changed: set[str]) -> None:
    """A message has one receiver at a time, and each receive counts one more."""
    for name, received in deliveries.items():
        received.sort(key=lambda delivery: delivery["got_ns"])
        for earlier, later in pairwise(received):
            if earlier["attempt_id"] is not None and later["attempt_id"] == earlier["attempt_id"]:
                continue  # the same receive again
            # Which of two came first is certain only if one was asked for after the other was there.
            if later["asked_ns"] > earlier["got_ns"] and later["count"] <= earlier["count"]:
                verdict.counts_fell.add(name)
            is_before = later["got_ns"] < earlier["until_ns"] - TICK_NS
            if name not in changed and is_before and earlier["got_ns"] < later["until_ns"] - TICK_NS:
                verdict.overlapping.add(name)


def deletes(asked: Iterable[Event], refused: Iterable[Event]) -> set[tuple[str, int]]:
    """Names of messages that may be deleted, and when that was asked for."""
    return _asked(asked) - _asked(refused)


def _asked(events: Iterable[Event]) -> set[tuple[str, int]]:
    return {(name, event["asked_ns"]) for event in events for name in event["names"]}


def _names(events: Iterable[Event]) -> set[str]:
    return {name for event in events for name in event["names"]}
