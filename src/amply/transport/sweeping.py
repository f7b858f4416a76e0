"""What killed processes leave behind: queues that nobody reads any more, found by whether their letters are taken.

A worker looks when it starts; a queue that was swept although its reader lives is made anew by that reader. Knows how
to tell the dead from the living; must not know commands.
"""

import logging
from collections.abc import Collection, Iterable

from amply.transport.boxes import NODE, REPLY, born_s, delete, living, name_of, unread_s
from amply.transport.client import SqsClient
from amply.transport.faults import SqsFault, Unreachable

logger = logging.getLogger(__name__)

# So long a probe lies in its queue before it is looked for, and a letter that has waited so long is a dead worker's.
PROBED_S = 30.0
_DEAD_S = 20
# No inquirer waits for answers so long.
_REPLY_AGE_MS = 3_600_000
_MOST_PROBED = 10
# No letter at all: whoever lives takes it and drops it.
PROBE = "-"


def probe(client: SqsClient, prefix: str, namespace: str, *, ours: Collection[str], now_ms: int) -> list[str]:
    """Delete old queues for answers, and send a probe to the oldest workers' queues that are not ours.

    Gives the URLs of those for `sweep`. Best effort: never raises for what SQS does.
    """
    nodes = []
    try:
        for url in list(living(client, NODE.scope(prefix, namespace))):
            born_ms = (born_s(url) or now_ms // 1000) * 1000
            if NODE.is_name(prefix, name_of(url)) and url not in ours:
                nodes.append((born_ms, url))
            elif REPLY.is_name(prefix, name_of(url)) and now_ms - born_ms > _REPLY_AGE_MS:
                delete(client, url)
        probed = [url for _, url in sorted(nodes)[:_MOST_PROBED]]
        for url in probed:
            client.call("SendMessage", {"QueueUrl": url, "MessageBody": PROBE})
    except (SqsFault, Unreachable) as error:
        logger.info("Queues of dead workers were not looked for: %s", error)
        return []
    return probed


def sweep(client: SqsClient, urls: Iterable[str], now_ms: int) -> None:
    """Delete those whose probes, or other letters, are still there."""
    for url in urls:
        try:
            if unread_s(client, url, now_ms) > _DEAD_S:
                logger.info("The worker of %s is dead; its queue is deleted", name_of(url))
                delete(client, url)
        except (SqsFault, Unreachable) as error:
            logger.info("Queue %s was not looked at: %s", name_of(url), error)
