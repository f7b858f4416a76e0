import pytest
from hypothesis import given
from hypothesis import strategies as st

from amply.jobs.retries import SCHEDULE_S, delay_s, retry_after_s

NOW_MS = 1_793_880_000_000


@given(st.integers(1, 9), st.text(), st.integers(0, 10**9))
def test_a_delay_is_the_schedules_with_a_little_jitter_or_what_the_receiver_asked_for(attempts, key, asked_s):
    base = SCHEDULE_S[attempts]
    assert base <= delay_s(attempts, key=key) <= base * 1.1
    asked = delay_s(attempts, key=key, retry_after_s=asked_s)
    assert max(base, min(asked_s, 86_400)) <= asked <= max(base * 1.1, min(asked_s, 86_400))


def test_deliveries_that_failed_together_are_not_tried_again_together():
    assert len({delay_s(3, key=f"ep{number}/evt") for number in range(100)}) == 100


def test_after_ten_attempts_there_is_no_other():
    assert delay_s(9, key="") is not None
    assert delay_s(10, key="") is None
    assert delay_s(11, key="") is None


@pytest.mark.parametrize(
    ("status", "header", "seconds"),
    [
        (429, "120", 120),
        (503, " 7 ", 7),
        (502, "Thu, 05 Nov 2026 12:01:30 GMT", 90),
        (504, "Thu, 05 Nov 2026 11:00:00 GMT", 0),
        (503, "Thu, 05 Nov 2026 12:01:30 -0000", 90),
        (500, "120", 0),
        (200, "120", 0),
        (429, None, 0),
        (429, "soon", 0),
        (429, "-5", 0),
        (429, "²", 0),
        (429, "9" * 400, 999_999_999),
    ],
)
def test_retry_after_is_read_as_a_count_or_a_date_from_answers_that_mean_not_now(status, header, seconds):
    assert retry_after_s(status, header, NOW_MS) == seconds


@given(st.text())
def test_no_header_is_too_strange(header):
    assert retry_after_s(429, header, NOW_MS) >= 0
