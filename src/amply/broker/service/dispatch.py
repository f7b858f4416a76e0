"""Dispatch: who carries out which action, and what becomes of one that fails."""

import logging
from typing import TYPE_CHECKING, Any

from amply.broker.service import listing, moving, peeking, permissions, queues, receiving, sending
from amply.broker.sqs.faults import INTERNAL_FAILURE, Fault

if TYPE_CHECKING:
    from collections.abc import Callable

    from amply.broker.service.service import Cancel, Respond, Service
    from amply.broker.sqs.calls import Call, Context

    Handler = Callable[[Service, Any, Context, Respond], Cancel | None]

_log = logging.getLogger(__name__)


def submit(service: "Service", call: "Call", respond: "Respond") -> "Cancel | None":
    """Carry out a call. The outcome goes to `respond`, now or later; never to nobody.

    What is returned is to be called if the client leaves before that.
    """
    try:
        return HANDLERS[call.action](service, call.request, call.context, respond)
    except Fault as fault:
        respond(fault)
    except Exception:  # noqa: BLE001 - one caller's trouble must not be everybody's
        _log.exception("%s failed", call.action)
        respond(Fault(INTERNAL_FAILURE))
    return None


# Every action has its line here.
HANDLERS: "dict[str, Handler]" = {
    "AddPermission": permissions.add_permission,
    "CancelMessageMoveTask": moving.cancel_message_move_task,
    "ChangeMessageVisibility": receiving.change_message_visibility,
    "ChangeMessageVisibilityBatch": receiving.change_message_visibility_batch,
    "CreateQueue": queues.create_queue,
    "DeleteMessage": receiving.delete_message,
    "DeleteMessageBatch": receiving.delete_message_batch,
    "DeleteQueue": queues.delete_queue,
    "GetQueueAttributes": queues.get_queue_attributes,
    "GetQueueUrl": queues.get_queue_url,
    "ListQueueTags": queues.list_queue_tags,
    "ListDeadLetterSourceQueues": listing.list_dead_letter_source_queues,
    "ListMessageMoveTasks": moving.list_message_move_tasks,
    "ListQueues": listing.list_queues,
    "PeekMessages": peeking.peek_messages,
    "PurgeQueue": queues.purge_queue,
    "ReceiveMessage": receiving.receive_message,
    "RemovePermission": permissions.remove_permission,
    "SendMessage": sending.send_message,
    "SendMessageBatch": sending.send_message_batch,
    "SetQueueAttributes": queues.set_queue_attributes,
    "StartMessageMoveTask": moving.start_message_move_task,
    "TagQueue": queues.tag_queue,
    "UntagQueue": queues.untag_queue,
}
