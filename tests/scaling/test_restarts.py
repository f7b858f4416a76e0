"""The crash-loop backoff, without a process and without waiting."""

import pytest

from amply.scaling.restarts import FIRST_DELAY_MS, LAST_DELAY_MS, STABLE_MS, Restarts


def test_each_early_end_doubles_the_delay_until_half_a_minute() -> None:
    restarts = Restarts()
    delays = [restarts.delay_ms(ran_ms=10, jitter=1.0) for _ in range(9)]
    assert delays == [500, 1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000, 30_000]


def test_a_stable_minute_forgets_the_crashes_before_it() -> None:
    restarts = Restarts()
    for _ in range(5):
        restarts.delay_ms(ran_ms=0, jitter=1.0)
    assert restarts.delay_ms(ran_ms=STABLE_MS - 1, jitter=1.0) == 16_000
    assert restarts.delay_ms(ran_ms=STABLE_MS, jitter=1.0) == FIRST_DELAY_MS


@pytest.mark.parametrize(("jitter", "expected_ms"), [(0.0, 250), (0.5, 375), (1.0, 500)])
def test_jitter_spreads_a_delay_over_its_upper_half(jitter: float, expected_ms: int) -> None:
    assert Restarts().delay_ms(ran_ms=0, jitter=jitter) == expected_ms


def test_a_process_that_fails_for_ever_never_waits_longer_than_the_bound() -> None:
    restarts = Restarts(early_ends=1_000_000)
    assert restarts.delay_ms(ran_ms=0, jitter=1.0) == LAST_DELAY_MS
