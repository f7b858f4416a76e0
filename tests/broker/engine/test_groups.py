"""What groups say will be needed next."""

import random

import pytest

from amply.broker.engine.groups import Groups


def waiting(*lines: tuple[str, list[int]]) -> Groups:
    groups = Groups()
    for group, seqs in lines:
        for seq in seqs:
            groups.wait(seq, group)
    return groups


@pytest.mark.parametrize("seed", range(5))
def test_a_single_group_gives_all_that_is_asked_for_in_order_of_sending(seed: int) -> None:
    chance = random.Random(seed)
    seqs = list(range(1000))
    chance.shuffle(seqs)
    groups = waiting(("a", seqs))
    for gone in (taken := seqs[:300]):
        groups.remove(gone)
    left = sorted(set(seqs) - set(taken))
    assert list(groups.next_up(500)) == left[:500]
    assert list(groups.next_up(5000)) == left


def test_many_groups_share_what_is_asked_for() -> None:
    groups = waiting(*((f"g{number}", list(range(number, 1000, 100))) for number in range(100)))
    assert list(groups.next_up(20)) == [*range(0, 1000, 100), *range(1, 1000, 100)]
    assert len(list(groups.next_up(500))) == 500


def test_locked_groups_are_not_next() -> None:
    groups = waiting(("a", [1, 2]), ("b", [3, 4]))
    groups.lock("a")
    assert list(groups.next_up(100)) == [3, 4]
