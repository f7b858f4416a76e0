"""ChangeMessageVisibility: hiding a message for longer, showing it again, and claiming one that was only looked at.

Works on any queue; which receipts of receives are good enough is the queue's to say (AWS API reference,
ChangeMessageVisibility). Claims are this broker's own: whoever looked at a message takes exactly that one, unless
somebody was faster.
"""

from typing import TYPE_CHECKING

from amply.broker.sqs.faults import MESSAGE_NOT_INFLIGHT, OVER_LIMIT, Fault, invalid_parameter

if TYPE_CHECKING:
    from amply.broker.engine.commands import VisibilityChange
    from amply.broker.engine.decision import Decision
    from amply.broker.engine.queue import Queue
    from amply.broker.engine.records import Entry


def unknown_for(queue: "Queue", changes: "list[VisibilityChange]") -> list[int]:
    """The messages that must be looked up on disk first.

    For a receipt of a receive it is enough to know where a message stands; a claim must also know how often it was
    received, which memory forgets of messages that wait on a FIFO queue.
    """
    unknown = queue.unknown([change.receipt.seq for change in changes if not change.receipt.is_peeked])
    looked_at = [change.receipt.seq for change in changes if change.receipt.is_peeked]
    return unknown + [seq for seq in looked_at if queue.look_at(seq, {}) is None]


def change_visibility(
    queue: "Queue", change: "VisibilityChange", found: "dict[int, Entry | None]", now_ms: int, decision: "Decision"
) -> Fault | None:
    """Hide the message for `timeout_s` from now on, or show it at once with 0; why not, if that cannot be.

    `found` is what was looked up on disk, by seq.
    """
    receipt = change.receipt
    visible_ms = now_ms + change.timeout_s * 1000
    timeout_s_max = queue.limits.visibility_timeout_s_max
    if visible_ms > receipt.received_ms + timeout_s_max * 1000:
        return invalid_parameter(
            "VisibilityTimeout",
            change.timeout_s,
            f"Total VisibilityTimeout for the message is beyond the limit [{timeout_s_max} seconds]",
        )
    if receipt.is_peeked:
        fault = _claim_lost(queue, change, found, now_ms)
    else:
        fault = queue.out_of_reach(receipt, change.handle, found)
    if fault:
        return fault
    entry = queue.take_out(receipt.seq, found, now_ms)
    if entry is None:
        return invalid_parameter(
            "ReceiptHandle",
            change.handle,
            "Message does not exist or is not available for visibility timeout change.",
        )
    is_claimed = receipt.is_peeked or (entry.is_claimed and entry.visible_ms > now_ms)
    changed = entry.rescheduled(visible_ms, entry.receive_count, entry.first_received_ms, is_claimed=is_claimed)
    queue.hide(changed, now_ms, decision)
    found[changed.seq] = changed  # the same message may come again in this command
    return None


def _claim_lost(
    queue: "Queue", change: "VisibilityChange", found: "dict[int, Entry | None]", now_ms: int
) -> Fault | None:
    """Why the receipt of a look cannot take the message, or show it again; None if it can, or if the message is gone.

    It must be as it was looked at: not received since, and visible. A claim gives up what is claimed, nothing else.
    """
    receipt = change.receipt
    entry = queue.look_at(receipt.seq, found)
    if entry is None:
        return None
    held = queue.in_flight.get(receipt.seq)
    is_free = queue.visible_ms(entry) <= now_ms if held is None else held.is_claimed and not change.timeout_s
    if not is_free or entry.receive_count != receipt.receive_count:
        return Fault(MESSAGE_NOT_INFLIGHT, "The specified message isn't in flight.")
    if change.timeout_s and not queue.has_room_in_flight():
        return Fault(OVER_LIMIT, "Too many messages in flight. Delete some, or wait until they become visible.")
    return None
