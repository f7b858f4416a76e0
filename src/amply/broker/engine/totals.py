"""Running totals of a queue, for people and metrics; no rule depends on them."""

from msgspec import Struct


class Totals(Struct):
    """What a queue has done since the process started."""

    sent: int = 0
    deduplicated: int = 0
    received: int = 0
    deleted: int = 0
    empty_receives: int = 0
    dead_lettered: int = 0
    moved: int = 0  # away, by move tasks
    expired: int = 0
