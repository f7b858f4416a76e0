"""The chain of sealed donations: hashes, Merkle roots and proofs. Pure: values in, values out.

Each checkpoint seals an ordered list of donations under a Merkle root (the tree of RFC 6962, section 2.1: leaves hashed
behind a 0x00 byte, inner nodes behind 0x01, so that neither can pass for the other) and names the checkpoint before it
by hash. Whoever keeps the newest hash can show that nothing sealed was changed, removed or slipped in.
Must not know the store or the clock.
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence

import msgspec

NO_PREVIOUS_HASH = "0" * 64

_LEAF, _NODE, _CHECKPOINT = b"\x00", b"\x01", b"\x02"


class Donation(msgspec.Struct, frozen=True):
    """The sealed facts of a donation. `amount_minor` counts the currency's smallest unit; `donated_ms` is epoch ms."""

    id: str
    organisation_id: str
    donor: str
    amount_minor: int
    currency: str
    donated_ms: int


class Checkpoint(msgspec.Struct, frozen=True):
    """One link. Numbers count from 1; hashes are 64 lower-case hexadecimal digits; `sealed_ms` is epoch ms."""

    number: int
    previous_hash: str
    merkle_root: str
    leaf_count: int
    first_donation_id: str
    last_donation_id: str
    sealed_ms: int
    hash: str


class Proof(msgspec.Struct, frozen=True):
    """That a donation is leaf `leaf_index` of `leaf_count`: the hashes beside its way to the root, lowest first."""

    leaf_index: int
    leaf_count: int
    beside: tuple[str, ...]


def seal(number: int, previous_hash: str, donations: Sequence[Donation], sealed_ms: int) -> Checkpoint:
    """Make the checkpoint over these donations, in their order.

    Raises:
        ValueError: there are none.
    """
    if not donations:
        raise ValueError("a checkpoint seals at least one donation")
    facts = Checkpoint(
        number=number,
        previous_hash=previous_hash,
        merkle_root=merkle_root(donations),
        leaf_count=len(donations),
        first_donation_id=donations[0].id,
        last_donation_id=donations[-1].id,
        sealed_ms=sealed_ms,
        hash="",
    )
    return msgspec.structs.replace(facts, hash=checkpoint_hash(facts))


def checkpoint_hash(checkpoint: Checkpoint) -> str:
    """The hash over all members of a checkpoint but its own hash."""
    members = msgspec.structs.astuple(checkpoint)[:-1]
    return hashlib.sha256(_CHECKPOINT + msgspec.json.encode(members)).hexdigest()


def merkle_root(donations: Iterable[Donation]) -> str:
    """The root of the RFC 6962 tree over the donations; of none, the hash of nothing."""
    level = [_leaf_hash(donation) for donation in donations]
    if not level:
        return hashlib.sha256().hexdigest()
    while len(level) > 1:
        level = _next_level(level)
    return level[0].hex()


def prove(donations: Sequence[Donation], leaf_index: int) -> Proof:
    """The proof that `donations[leaf_index]` is under the root of them all.

    Raises:
        IndexError: there is no such leaf.
    """
    if not 0 <= leaf_index < len(donations):
        raise IndexError(f"leaf {leaf_index} of {len(donations)}")
    level = [_leaf_hash(donation) for donation in donations]
    index, beside = leaf_index, []
    while len(level) > 1:
        if index ^ 1 < len(level):  # the last node of an odd level has none beside it and moves up as it is
            beside.append(level[index ^ 1].hex())
        level, index = _next_level(level), index // 2
    return Proof(leaf_index=leaf_index, leaf_count=len(donations), beside=tuple(beside))


def proves(proof: Proof, donation: Donation, root: str) -> bool:
    """Whether the proof shows that this donation is under this root, at its place, in a tree of its size."""
    if not 0 <= proof.leaf_index < proof.leaf_count:
        return False
    node, index, width = _leaf_hash(donation), proof.leaf_index, proof.leaf_count
    beside = iter(proof.beside)
    while width > 1:
        if index ^ 1 < width:
            other = next(beside, None)
            if other is None:
                return False
            pair = (bytes.fromhex(other), node) if index % 2 else (node, bytes.fromhex(other))
            node = _node_hash(*pair)
        index, width = index // 2, (width + 1) // 2
    return next(beside, None) is None and node.hex() == root


def verify(links: Iterable[tuple[Checkpoint, Sequence[Donation]]]) -> Iterator[str]:
    """Check a whole chain, link by link from the first, each with the donations it says it seals, in leaf order.

    Yields one sentence for each problem; none means that the chain is whole.
    """
    previous_hash, number = NO_PREVIOUS_HASH, 0
    for checkpoint, donations in links:
        number += 1
        name = f"Checkpoint {checkpoint.number}"
        if checkpoint.number != number:
            yield f"{name} stands where checkpoint {number} should be."
            number = checkpoint.number
        if checkpoint.previous_hash != previous_hash:
            yield f"{name} does not name the hash of the checkpoint before it."
        if checkpoint_hash(checkpoint) != checkpoint.hash:
            yield f"{name} was changed: its hash does not match its contents."
        if not donations or len(donations) != checkpoint.leaf_count:
            yield f"{name} sealed {checkpoint.leaf_count} donations, and {len(donations)} are there."
        elif merkle_root(donations) != checkpoint.merkle_root:
            yield f"{name}: a sealed donation was changed; the Merkle root does not match."
        elif (donations[0].id, donations[-1].id) != (checkpoint.first_donation_id, checkpoint.last_donation_id):
            yield f"{name} names another first or last donation than the ones it seals."
        previous_hash = checkpoint.hash


def _leaf_hash(donation: Donation) -> bytes:
    return hashlib.sha256(_LEAF + msgspec.json.encode(msgspec.structs.astuple(donation))).digest()


def _node_hash(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(_NODE + left + right).digest()


def _next_level(level: list[bytes]) -> list[bytes]:
    pairs = [_node_hash(level[i], level[i + 1]) for i in range(0, len(level) - 1, 2)]
    return pairs + level[len(pairs) * 2 :]
