import hashlib

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from amply.jobs import chain
from amply.jobs.chain import NO_PREVIOUS_HASH, Donation

donations = st.builds(
    Donation,
    id=st.text(min_size=1, max_size=8),
    organisation_id=st.sampled_from(["a", "b"]),
    donor=st.text(max_size=8),
    amount_minor=st.integers(1, 10**12),
    currency=st.sampled_from(["EUR", "JPY"]),
    donated_ms=st.integers(0, 2**42),
)
few = settings(max_examples=40)
lists = st.lists(donations, min_size=1, max_size=20)


def sealed(*groups):
    links, previous_hash = [], NO_PREVIOUS_HASH
    for number, group in enumerate(groups, start=1):
        checkpoint = chain.seal(number, previous_hash, group, sealed_ms=number)
        links.append((checkpoint, list(group)))
        previous_hash = checkpoint.hash
    return links


def tree_head(leaves):
    """RFC 6962, section 2.1, as it is written there."""
    if len(leaves) == 1:
        return hashlib.sha256(b"\x00" + leaves[0]).digest()
    k = 1
    while k * 2 < len(leaves):
        k *= 2
    return hashlib.sha256(b"\x01" + tree_head(leaves[:k]) + tree_head(leaves[k:])).digest()


@few
@given(lists)
def test_the_root_is_the_one_that_rfc_6962_defines(group):
    leaves = [msgspec.json.encode(msgspec.structs.astuple(donation)) for donation in group]
    assert chain.merkle_root(group) == tree_head(leaves).hex()


def test_the_root_of_nothing_is_the_hash_of_nothing():
    assert chain.merkle_root([]) == hashlib.sha256().hexdigest()


@few
@given(lists)
def test_every_donation_can_be_proved(group):
    root = chain.merkle_root(group)
    for index, donation in enumerate(group):
        assert chain.proves(chain.prove(group, index), donation, root)


@few
@given(lists, st.data())
def test_a_proof_holds_for_nothing_else(group, data):
    root = chain.merkle_root(group)
    index = data.draw(st.integers(0, len(group) - 1))
    proof = chain.prove(group, index)
    other = msgspec.structs.replace(group[index], amount_minor=group[index].amount_minor + 1)
    assert not chain.proves(proof, other, root)
    assert not chain.proves(proof, group[index], "0" * 64)
    assert not chain.proves(msgspec.structs.replace(proof, beside=(*proof.beside, root)), group[index], root)
    assert (
        not chain.proves(msgspec.structs.replace(proof, beside=proof.beside[1:]), group[index], root)
        or not proof.beside
    )
    assert not chain.proves(msgspec.structs.replace(proof, leaf_index=proof.leaf_count), group[index], root)


def test_there_is_no_proof_of_a_leaf_that_is_not_there():
    with pytest.raises(IndexError):
        chain.prove([], 0)


def test_nothing_cannot_be_sealed():
    with pytest.raises(ValueError, match="at least one"):
        chain.seal(1, NO_PREVIOUS_HASH, [], 0)


@few
@given(st.lists(lists, max_size=3))
def test_an_untouched_chain_has_no_problems(groups):
    assert list(chain.verify(sealed(*groups))) == []


@few
@given(st.lists(lists, min_size=1, max_size=3), st.data())
def test_any_change_of_a_sealed_donation_is_found(groups, data):
    links = sealed(*groups)
    _, group = links[data.draw(st.integers(0, len(links) - 1))]
    place = data.draw(st.integers(0, len(group) - 1))
    field = data.draw(st.sampled_from(Donation.__struct_fields__))
    value = getattr(group[place], field)
    group[place] = msgspec.structs.replace(
        group[place], **{field: value + 1 if isinstance(value, int) else f"{value}x"}
    )
    assert list(chain.verify(links))


@few
@given(st.lists(lists, min_size=1, max_size=3), st.data())
def test_any_change_of_a_checkpoint_is_found(groups, data):
    links = sealed(*groups)
    place = data.draw(st.integers(0, len(links) - 1))
    checkpoint, group = links[place]
    field = data.draw(st.sampled_from(chain.Checkpoint.__struct_fields__))
    value = getattr(checkpoint, field)
    changed = msgspec.structs.replace(checkpoint, **{field: value + 1 if isinstance(value, int) else f"{value}x"})
    links[place] = changed, group
    assert list(chain.verify(links))


@few
@given(st.lists(lists, min_size=2, max_size=3), st.data())
def test_a_link_that_was_taken_out_is_found(groups, data):
    links = sealed(*groups)
    del links[data.draw(st.integers(0, len(links) - 2))]
    assert list(chain.verify(links))


@few
@given(lists, st.data())
def test_a_donation_that_was_removed_or_slipped_in_is_found(group, data):
    place = data.draw(st.integers(0, len(group) - 1))
    ((checkpoint, leaves),) = sealed(group)
    assert list(chain.verify([(checkpoint, leaves[:place] + leaves[place + 1 :])]))
    assert list(chain.verify([(checkpoint, [*leaves, leaves[place]])]))


def test_a_checkpoint_that_claims_to_seal_nothing_is_found():
    ((checkpoint, _),) = sealed([Donation("d", "o", "", 1, "EUR", 0)])
    empty = msgspec.structs.replace(checkpoint, leaf_count=0, merkle_root=chain.merkle_root([]))
    empty = msgspec.structs.replace(empty, hash=chain.checkpoint_hash(empty))
    assert list(chain.verify([(empty, [])]))


def test_a_renamed_first_donation_is_found_even_under_a_new_hash():
    ((checkpoint, leaves),) = sealed([Donation("d", "o", "", 1, "EUR", 0)])
    renamed = msgspec.structs.replace(checkpoint, first_donation_id="e")
    renamed = msgspec.structs.replace(renamed, hash=chain.checkpoint_hash(renamed))
    assert list(chain.verify([(renamed, leaves)])) == [
        "Checkpoint 1 names another first or last donation than the ones it seals."
    ]
