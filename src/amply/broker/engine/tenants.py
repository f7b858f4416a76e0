"""Which tenants of a standard queue keep its consumers busy: those that must not make the others wait.

A tenant is a MessageGroupId. Source: SQS developer guide, "Amazon SQS fair queues". AWS says that a tenant is noisy by
its share of the messages in flight or of the time spent on them, and gives the 10 %. Ours are the numbers that say from
when on a share means something, and that it must be well above what an even split would give: with five equal tenants
nobody is noisy.
"""

NOISY_SHARE = 0.1
NOISY_MULTIPLE = 1.5  # of an even split among those that were served lately and one more, who may be waiting
NOISY_IN_FLIGHT = 30  # AWS's number, too
NOISY_BUSY_MS = 30_000  # so that a few messages one after the other are left in their order
HALF_LIFE_MS = 60_000  # time that messages spent in flight weighs half as much after a minute
IDLE_BUSY_MS = 100
FORGET_EVERY_MS = 60_000
TENANTS_MAX = 10_000


class _Use:
    """What is in flight, and for how long messages were lately, summed up."""

    __slots__ = ("_as_of_ms", "_busy_ms", "in_flight")

    def __init__(self, now_ms: int) -> None:
        self.in_flight = 0
        self._busy_ms = 0.0
        self._as_of_ms = now_ms

    def busy_ms(self, now_ms: int) -> float:
        """As of now."""
        passed_ms = now_ms - self._as_of_ms
        if passed_ms:
            self._busy_ms = self._busy_ms * 0.5 ** (passed_ms / HALF_LIFE_MS) + self.in_flight * passed_ms
            self._as_of_ms = now_ms
        return self._busy_ms

    def change(self, in_flight: int, now_ms: int) -> None:
        """So many are in flight from now on."""
        self.busy_ms(now_ms)
        self.in_flight = in_flight


class Tenants:
    """The tenants with messages in flight or lately so, and the noisy ones among them."""

    __slots__ = ("_all", "_forgotten_ms", "_uses", "noisy", "now_ms")

    def __init__(self) -> None:
        self.now_ms = 0
        self.noisy: dict[str, None] = {}  # in the order in which they became so
        self._uses: dict[str, _Use] = {}
        self._all = _Use(0)
        self._forgotten_ms = 0

    def came(self, group: str, in_flight: int) -> None:
        """A tenant's message was received; so many are in flight now, of whomever."""
        now_ms = self.now_ms
        self._all.change(in_flight, now_ms)
        use = self._uses.get(group)
        if use is None:
            if len(self._uses) >= TENANTS_MAX or now_ms >= self._forgotten_ms + FORGET_EVERY_MS:
                self._forgotten_ms = now_ms
                self._forget_idle()
            use = self._uses[group] = _Use(now_ms)
        use.change(use.in_flight + 1, now_ms)
        if group not in self.noisy and self._is_loud(use):
            self.noisy[group] = None

    def left(self, group: str, in_flight: int) -> None:
        """A tenant's message is not in flight any more."""
        self._all.change(in_flight, self.now_ms)
        use = self._uses[group]
        use.change(use.in_flight - 1, self.now_ms)

    def in_flight(self, group: str) -> int:
        """How many of the tenant's messages are in flight."""
        use = self._uses.get(group)
        return use.in_flight if use else 0

    def quietest(self, groups: list[str]) -> str:
        """The one with the fewest messages in flight; of several, the one that lately used the least time."""
        return min(groups, key=self._load)

    def _load(self, group: str) -> tuple[int, float]:
        use = self._uses.get(group)
        return (use.in_flight, use.busy_ms(self.now_ms)) if use else (0, 0.0)

    def _is_loud(self, use: _Use) -> bool:
        every, now_ms = self._all, self.now_ms
        share = max(NOISY_SHARE, NOISY_MULTIPLE / (len(self._uses) + 1))
        if use.in_flight >= NOISY_IN_FLIGHT and use.in_flight > share * every.in_flight:
            return True
        busy_ms = use.busy_ms(now_ms)
        return busy_ms >= NOISY_BUSY_MS and busy_ms > share * every.busy_ms(now_ms)

    def _forget_idle(self) -> None:
        """Leave out those that were not served for some minutes; of very many, all that have nothing in flight."""
        many = len(self._uses) >= TENANTS_MAX
        self._uses = {
            group: use
            for group, use in self._uses.items()
            if use.in_flight or group in self.noisy or (not many and use.busy_ms(self.now_ms) >= IDLE_BUSY_MS)
        }
