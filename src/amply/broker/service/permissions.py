"""AddPermission and RemovePermission: changes of the queue's Policy attribute."""

from typing import TYPE_CHECKING

from amply.broker.auth.permissions import add_permission as added
from amply.broker.auth.permissions import remove_permission as removed
from amply.broker.engine.commands import SetQueueAttributes

if TYPE_CHECKING:
    from amply.broker.service.service import Respond, Service
    from amply.broker.sqs.calls import Context
    from amply.broker.sqs.shapes import AddPermissionRequest, RemovePermissionRequest


def add_permission(service: "Service", request: "AddPermissionRequest", context: "Context", respond: "Respond") -> None:
    """In force at once."""
    key = service.key(request.queue_url, context)
    queue = service.engine.queues.existing(key)
    policy = added(
        queue.record.attributes.get("Policy"),
        arn=queue.arn,
        label=request.label,
        account_ids=request.aws_account_ids,
        actions=request.actions,
        limits=service.limits,
    )
    service.execute(SetQueueAttributes(key, {"Policy": policy}), respond, lambda _: None)


def remove_permission(
    service: "Service", request: "RemovePermissionRequest", context: "Context", respond: "Respond"
) -> None:
    """In force at once. With the last permission the policy goes."""
    key = service.key(request.queue_url, context)
    policy = removed(service.engine.queues.existing(key).record.attributes.get("Policy"), request.label)
    service.execute(SetQueueAttributes(key, {"Policy": policy}), respond, lambda _: None)
