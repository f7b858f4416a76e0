"""Times as people write and read them."""

import click
import pytest

from amply.cli import times

OPTION = click.Option(["--older"])
CONTEXT = click.Context(click.Command("x"))


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("30m", 1800), ("12h", 43_200), ("7d", 604_800), ("365d", 31_536_000)]
)
def test_a_time_is_read_in_seconds(text, seconds):
    assert times.read_period(CONTEXT, OPTION, text) == seconds


@pytest.mark.parametrize("text", ["", "8", "h", "0h", "-1h", "1w", "1.5h", "366d", "1h ", "٣h"])
def test_what_is_no_time_is_refused(text):
    with pytest.raises(click.BadParameter, match="is no time like 30m, 12h or 7d"):
        times.read_period(CONTEXT, OPTION, text)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-5, "0s"), (0, "0s"), (59.9, "59s"), (60, "1m"), (3_599, "59m"), (86_399, "23h"), (86_400, "1d"), (1e7, "115d")],
)
def test_a_time_is_told_in_whole_units_of_the_largest(seconds, text):
    assert times.short(seconds) == text


@pytest.mark.parametrize(
    ("at_ms", "text"),
    [(0, "1970-01-01 00:00:00 UTC"), (1_750_000_000_999, "2025-06-15 15:06:40 UTC"), (2**53, "9007199254740992 ms")],
)
def test_a_moment_is_told_whatever_it_is(at_ms, text):
    assert times.utc(at_ms) == text
