"""The verdict on the history of a FIFO queue: what the ledger says, and order and deduplication besides.

A message is named GROUP-NUMBER; its name is its deduplication id. Number 7 of a group is sent when 6 is acknowledged.
"""

import math
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from ledger import TICK_NS, Event, Verdict, deletes, judge


@dataclass
class FifoVerdict:
    """As the ledger's verdict."""

    messages: Verdict
    doubled: set[str] = field(default_factory=set)  # a deduplication id with more than one MessageId or SequenceNumber
    falling: set[str] = field(default_factory=set)  # a SequenceNumber not above that of the message sent before
    overtaking: set[str] = field(default_factory=set)  # delivered while an earlier one of its group was still there
    answered_otherwise: set[str] = field(default_factory=set)  # repeats of a receive that got something else
    repeated_sends: int = 0
    repeated_receives: int = 0

    @property
    def broken_promises(self) -> dict[str, Any]:
        """Empty for a broker that keeps its word."""
        names = "doubled", "falling", "overtaking", "answered_otherwise"
        return self.messages.broken_promises | {name: getattr(self, name) for name in names if getattr(self, name)}


def judge_fifo(events: Iterable[Event]) -> FifoVerdict:
    """The verdict on a history that ended with a complete drain."""
    events = list(events)
    verdict = FifoVerdict(judge(events))
    _judge_numbers(verdict, events)
    _judge_order(verdict, events)
    _judge_repeats(verdict, events)
    return verdict


def _place(name: str) -> tuple[str, int]:
    group, _, number = name.rpartition("-")
    return group, int(number)


def _judge_numbers(verdict: FifoVerdict, events: list[Event]) -> None:
    """One MessageId and one SequenceNumber for each deduplication id, in every answer; the numbers rise in a group."""
    known: defaultdict[str, set[tuple[str, str]]] = defaultdict(set)
    for event in events:
        if event["kind"] == "acknowledged":
            for name, message_id in event["message_ids"].items():
                known[name].add((message_id, event["sequence_numbers"][name]))
        if event["kind"] == "delivered":
            for message in event["messages"]:
                known[message["name"]].add((message["message_id"], message["sequence_number"]))
    verdict.doubled = {name for name, numbers in known.items() if len(numbers) > 1}
    in_order = sorted((*_place(name), min(int(number) for _, number in numbers)) for name, numbers in known.items())
    for (group, _, before), (next_group, place, number) in pairwise(in_order):
        if group == next_group and number <= before:
            verdict.falling.add(f"{group}-{place}")


def _judge_order(verdict: FifoVerdict, events: list[Event]) -> None:
    """All messages sent before in the group are being deleted by then, or come before in the same answer."""
    by_kind: defaultdict[str, list[Event]] = defaultdict(list)
    for event in events:
        by_kind[event["kind"]].append(event)
    gone_ns: defaultdict[tuple[str, int], float] = defaultdict(lambda: math.inf)
    for name, asked_ns in deletes(by_kind["deleting"], by_kind["kept"]):
        gone_ns[_place(name)] = min(gone_ns[_place(name)], asked_ns)
    for event in by_kind["delivered"]:
        for message in event["messages"] if event["is_drain"] else ():
            gone_ns[_place(message["name"])] = min(gone_ns[_place(message["name"])], event["got_ns"])
    sent: defaultdict[str, set[int]] = defaultdict(set)
    for event in by_kind["attempted"]:
        for group, number in map(_place, event["names"]):
            verdict.repeated_sends += number in sent[group]
            sent[group].add(number)

    for event in by_kind["delivered"]:
        before: set[tuple[str, int]] = set()
        for group, number in (_place(message["name"]) for message in event["messages"]):
            for earlier in sent[group]:
                if earlier < number and (group, earlier) not in before and gone_ns[group, earlier] > event["got_ns"]:
                    verdict.overtaking.add(f"{group}-{number}")
            before.add((group, number))


def _judge_repeats(verdict: FifoVerdict, events: list[Event]) -> None:
    """A receive with the same attempt id is answered as before while the visibility timeout runs."""
    by_attempt: defaultdict[str, list[Event]] = defaultdict(list)
    for event in events:
        if event["kind"] == "delivered" and event["attempt_id"] is not None:
            by_attempt[event["attempt_id"]].append(event)
    for attempt_id, answers in by_attempt.items():
        answers.sort(key=lambda event: event["got_ns"])
        for earlier, later in pairwise(answers):
            if not earlier["messages"]:
                continue
            verdict.repeated_receives += 1
            if later["got_ns"] < earlier["until_ns"] - TICK_NS and later["messages"] != earlier["messages"]:
                verdict.answered_otherwise.add(attempt_id)
