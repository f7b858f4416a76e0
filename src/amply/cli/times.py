"""Times as people write and read them on the command line: `90s`, `30m`, `12h`, `7d`.

Knows numbers and words; must not know what a time is of.
"""

import re
from datetime import UTC, datetime

import click

_UNITS_S = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
_PERIOD = re.compile(r"([1-9][0-9]{0,6})([smhd])")
_PERIOD_S_MAX = 365 * 86_400
# The last millisecond of the year 9999, the last that a date can have.
_DATED_MS_MAX = 253_402_300_799_999


def read_period(context: click.Context, parameter: click.Parameter, text: str | None) -> int | None:
    """The callback of an option that takes a time: seconds from `90s`, `30m`, `12h` or `7d`."""
    if text is None:
        return None
    match = _PERIOD.fullmatch(text)
    seconds = int(match[1]) * _UNITS_S[match[2]] if match else 0
    if not 0 < seconds <= _PERIOD_S_MAX:
        raise click.BadParameter(f"{text!r} is no time like 30m, 12h or 7d, up to 365d.", context, parameter)
    return seconds


def short(seconds: float) -> str:
    """A time in whole units of the largest that fits, rounded down: `59s`, `1m`, `23h`, `7d`. Not below `0s`."""
    whole = max(0, int(seconds))
    unit, unit_s = next(((unit, each_s) for unit, each_s in reversed(_UNITS_S.items()) if whole >= each_s), ("s", 1))
    return f"{whole // unit_s}{unit}"


def utc(at_ms: int) -> str:
    """A moment as `2026-01-31 09:30:00 UTC`; one that no calendar has as its number of milliseconds."""
    if not 0 <= at_ms <= _DATED_MS_MAX:
        return f"{at_ms} ms"
    return datetime.fromtimestamp(at_ms // 1000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
