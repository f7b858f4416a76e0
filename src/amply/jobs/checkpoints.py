"""Checkpoints: recorded donations sealed into the hash chain, and the chain checked against what the store holds."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import msgspec
from sqlalchemy import ColumnElement, Connection, Engine, bindparam, func, select, update

from amply.errors import AmplyError
from amply.jobs import chain, runtime
from amply.jobs.celery_app import app
from amply.jobs.chain import NO_PREVIOUS_HASH, Checkpoint, Donation, Proof
from amply.jobs.records import lock_store, reading, writing
from amply.jobs.runtime import Runtime
from amply.jobs.schema import checkpoints, donations

# The donations that one checkpoint seals at most: what a worker holds in memory at a time.
LEAVES_MAX = 50_000

_FACTS = tuple(donations.c[field] for field in Donation.__struct_fields__)


class UnsealedDonationError(AmplyError):
    """No checkpoint seals this donation."""

    exit_code = 3


class Verification(NamedTuple):
    """What checking the chain found. `newest_hash` is worth keeping elsewhere: it vouches for all before it."""

    checkpoint_count: int
    sealed_count: int
    unsealed_count: int
    newest_hash: str
    problems: tuple[str, ...]


@app.task  # type: ignore[untyped-decorator]
def generate_checkpoint() -> dict[str, int | None]:
    """Seal the donations recorded since the last checkpoint; without any, make none.

    Returns the number of the newest checkpoint made (null when none was) and how many donations were sealed.
    """
    work = runtime.current()
    number, sealed_count = None, 0
    while sealed := _seal_next(work):
        number = sealed.number
        sealed_count += sealed.leaf_count
        if sealed.leaf_count < LEAVES_MAX:
            break
    return {"checkpoint": number, "donations": sealed_count}


def verify_chain(engine: Engine, *, expected_hash: str | None = None) -> Verification:
    """Check every checkpoint and every sealed donation against the chain.

    `expected_hash` is a checkpoint's hash kept outside the store: a chain that was rewritten as a whole lacks it.
    """
    seen: list[Checkpoint] = []
    with reading(engine) as connection:

        def links() -> Iterator[tuple[Checkpoint, Sequence[Donation]]]:
            for row in connection.execute(select(checkpoints).order_by(checkpoints.c.number)).mappings().all():
                checkpoint = Checkpoint(**row)
                seen.append(checkpoint)
                yield checkpoint, _leaves(connection, checkpoint.number)

        problems = list(chain.verify(links()))
        numbers = select(checkpoints.c.number)
        sealed = donations.c.checkpoint_number
        strays = _count(connection, sealed.is_not(None) & sealed.not_in(numbers))
        if strays:
            problems.append(f"{strays} donations name a checkpoint that is not there.")
        unsealed_count = _count(connection, sealed.is_(None))
    if expected_hash is not None and expected_hash not in {checkpoint.hash for checkpoint in seen}:
        problems.append(f"No checkpoint has the hash {expected_hash}: the chain was cut or rewritten.")
    return Verification(
        checkpoint_count=len(seen),
        sealed_count=sum(checkpoint.leaf_count for checkpoint in seen),
        unsealed_count=unsealed_count,
        newest_hash=seen[-1].hash if seen else NO_PREVIOUS_HASH,
        problems=tuple(problems),
    )


def prove_sealed(engine: Engine, donation_id: str) -> tuple[Checkpoint, Donation, Proof]:
    """The checkpoint that seals a donation, the sealed facts, and the proof of it.

    Raises:
        UnsealedDonationError: no checkpoint seals it.
    """
    place = (donations.c.checkpoint_number, donations.c.leaf_index)
    with reading(engine) as connection:
        found = connection.execute(select(*place).where(donations.c.id == donation_id)).first()
        if found is None or found.checkpoint_number is None:
            raise UnsealedDonationError(
                f"No checkpoint seals a donation {donation_id!r}.",
                hint="A new donation is sealed by the next run of generate_checkpoint.",
            )
        of_number = checkpoints.c.number == found.checkpoint_number
        checkpoint = Checkpoint(**connection.execute(select(checkpoints).where(of_number)).mappings().one())
        leaves = _leaves(connection, checkpoint.number)
    return checkpoint, leaves[found.leaf_index], chain.prove(leaves, found.leaf_index)


def _seal_next(work: Runtime) -> Checkpoint | None:
    with writing(work.engine) as connection:
        lock_store(connection)  # two runs at the same time seal one after the other
        unsealed = donations.c.checkpoint_number.is_(None)
        rows = connection.execute(
            select(*_FACTS).where(unsealed).order_by(donations.c.recorded_ms, donations.c.id).limit(LEAVES_MAX)
        )
        leaves = [Donation(*row) for row in rows]
        if not leaves:
            return None
        newest = connection.execute(
            select(checkpoints.c.number, checkpoints.c.hash).order_by(checkpoints.c.number.desc()).limit(1)
        ).first()
        number, previous_hash = (newest.number, newest.hash) if newest else (0, NO_PREVIOUS_HASH)
        sealed = chain.seal(number + 1, previous_hash, leaves, work.clock.now_ms())
        connection.execute(checkpoints.insert().values(msgspec.structs.asdict(sealed)))
        connection.execute(
            update(donations)
            .where(donations.c.id == bindparam("sealed_id"))
            .values(checkpoint_number=sealed.number, leaf_index=bindparam("leaf")),
            [{"sealed_id": donation.id, "leaf": leaf} for leaf, donation in enumerate(leaves)],
        )
    return sealed


def _leaves(connection: Connection, number: int) -> list[Donation]:
    of_number = donations.c.checkpoint_number == number
    rows = connection.execute(select(*_FACTS).where(of_number).order_by(donations.c.leaf_index))
    return [Donation(*row) for row in rows]


def _count(connection: Connection, which: ColumnElement[bool]) -> int:
    return connection.execute(select(func.count()).select_from(donations).where(which)).scalar_one()
