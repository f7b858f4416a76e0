"""What a broker does before its first request: make the declared queues exist, as declared."""

import logging
from typing import TYPE_CHECKING

from amply.broker.engine.commands import CreateQueue, SetQueueAttributes
from amply.topology.derive import queue_attributes, queues_in_creation_order

if TYPE_CHECKING:
    from amply.broker.service.service import Outcome, Service
    from amply.topology.model import Topology

_log = logging.getLogger(__name__)


def declare(service: "Service", topology: "Topology") -> None:
    """Create the topology's queues, and bring those that exist to their declared attributes.

    Queues that are not declared are left alone; so are attributes that the topology does not name.
    """
    for queue in queues_in_creation_order(topology):
        key = (topology.account, queue.name)
        attributes = queue_attributes(topology, queue)
        existing = service.engine.queues.get(key)
        if existing is None:
            service.execute(CreateQueue(key, attributes, {}), _done, lambda _: None)
            continue
        drifted = {name: value for name, value in attributes.items() if existing.attributes.get(name) != value}
        if drifted:
            _log.info("queue %s: %s set as declared", queue.name, ", ".join(drifted))
            service.execute(SetQueueAttributes(key, drifted), _done, lambda _: None)


def _done(_: "Outcome") -> bool:
    return True
