"""Time."""

import pytest

from amply import clock
from amply.clock import ManualClock, SystemClock


def test_time_does_not_go_back_across_a_restart() -> None:
    tomorrow_ms = clock.wall_ms() + 86_400_000
    assert SystemClock(not_before_ms=tomorrow_ms).now_ms() >= tomorrow_ms


def test_a_step_of_the_wall_clock_moves_no_running_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    running = SystemClock()
    before_ms = running.now_ms()
    monkeypatch.setattr(clock, "wall_ms", lambda: 0)
    assert 0 <= running.now_ms() - before_ms < 60_000


def test_a_manual_clock_stands_still_until_it_is_moved() -> None:
    manual = ManualClock(1000)
    assert (manual.now_ms(), manual.now_ms()) == (1000, 1000)
    manual.advance(1.5)
    assert manual.now_ms() == 2500


def test_a_manual_clock_refuses_to_go_back() -> None:
    with pytest.raises(ValueError, match="does not go back"):
        ManualClock().advance(-1)
