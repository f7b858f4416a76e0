"""The waits between tries."""

from random import Random

import pytest

from amply.transport.backoff import Backoff


def test_waits_double_up_to_the_longest_and_start_again_after_a_success():
    backoff = Backoff(0.5, 3.0, jitter=0.0, random=Random(1))
    assert [backoff.next_s() for _ in range(5)] == [0.5, 1.0, 2.0, 3.0, 3.0]
    backoff.reset()
    assert backoff.next_s() == 0.5


def test_waits_grow_by_the_factor_given():
    backoff = Backoff(1, 100, factor=3, jitter=0, random=Random(1))
    assert [backoff.next_s() for _ in range(4)] == [1, 3, 9, 27]


def test_jitter_moves_every_wait_by_no_more_than_its_share():
    backoff = Backoff(10, 10, jitter=0.2, random=Random(1))
    waits = [backoff.next_s() for _ in range(500)]
    assert min(waits) >= 8
    assert max(waits) <= 12
    assert max(waits) - min(waits) > 3


def test_two_workers_do_not_wait_alike():
    first, second = (Backoff(1, 60, random=Random(seed)) for seed in (1, 2))
    assert [first.next_s() for _ in range(3)] != pytest.approx([second.next_s() for _ in range(3)])
