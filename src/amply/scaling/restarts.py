"""When a process that ended is started again: a pure rule over times that are handed in.

Knows no process, no clock and no source of randomness.
"""

from dataclasses import dataclass

# A process that ran this long can run: its next end is a new story, not one more round of a crash loop.
STABLE_MS = 60_000
FIRST_DELAY_MS = 500
LAST_DELAY_MS = 30_000


@dataclass
class Restarts:
    """The crash-loop backoff of one process.

    Each early end doubles the delay, from half a second to half a minute; a stable minute forgets them all.
    """

    early_ends: int = 0

    def delay_ms(self, *, ran_ms: int, jitter: float) -> int:
        """How long to wait after an end of a run of `ran_ms`.

        `jitter` (0.0 to 1.0) picks a point in the upper half of the delay, so that processes that fail for one shared
        cause do not come back all at the same moment.
        """
        if ran_ms >= STABLE_MS:
            self.early_ends = 0
        self.early_ends += 1
        # The exponent is capped as well: a process that fails for a month must not make a number of a million bits.
        whole_ms = min(LAST_DELAY_MS, FIRST_DELAY_MS << min(self.early_ends - 1, 16))
        return round(whole_ms * (0.5 + 0.5 * jitter))
